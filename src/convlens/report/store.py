"""What the report needs of the test images, kept in the run folder, so that it can be written again without them."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from convlens.base import files
from convlens.base.errors import InputError
from convlens.classify.evaluation import Evaluation
from convlens.data.images import Images
from convlens.report.cells import SIDE, chosen
from convlens.report.shrink import shrunk
from convlens.runs import pack, unpack

FILE = "evaluation.safetensors"
MISTAKES = 36
"""That are kept as pictures."""

_LARGEST = 128  # pixels: the longer side of a kept picture


class _Meta(BaseModel):
    """The JSON value of the file."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    classes: list[str] = Field(min_length=1)
    loss: float | None
    paths: dict[str, list[str]] | None = None


@dataclass(frozen=True, eq=False)
class Kept:
    """Pictures of some of the images that were judged.

    index: int64 [M], which images. pixels: uint8 [M, H, W, C], made smaller where they were large.
    paths: the names [M] of their files inside the set; None where images have no names.
    """

    index: np.ndarray
    pixels: np.ndarray
    paths: tuple[str, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The paths, or as many empty ones."""
        return self.paths or ("",) * len(self.index)


@dataclass(frozen=True, eq=False)
class StoredEvaluation:
    """An evaluation, its surest mistakes (sides of up to 128 pixels), and what cells show (up to 64 pixels)."""

    evaluation: Evaluation
    mistakes: Kept
    cells: Kept


def save_evaluation(folder: Path, evaluation: Evaluation, images: Images) -> Path:
    """Writes `evaluation.safetensors` into a run folder. `images` are those that were judged, in the same order."""
    if len(images) != evaluation.n:
        raise InputError(f"the evaluation judged {evaluation.n} images, but {len(images)} were given")
    arrays = {"labels": evaluation.labels, "probabilities": evaluation.probabilities}
    paths: dict[str, list[str]] | None = None if images.paths is None else {}
    for group, index, side in (
        ("mistakes", evaluation.mistakes(MISTAKES), _LARGEST),
        ("cells", chosen(evaluation, max(images.shape[1:])), SIDE),
    ):
        arrays |= {f"{group}.index": index, f"{group}.pixels": shrunk(np.asarray(images.pixels[index]), side)}
        if paths is not None and images.paths is not None:
            paths[group] = [str(path).encode("utf-8", "replace").decode() for path in images.paths[index]]
    loss = evaluation.loss if math.isfinite(evaluation.loss) else None
    path = folder / FILE
    files.write_bytes(path, pack(arrays, {"classes": list(evaluation.classes), "loss": loss, "paths": paths}))
    return path


def load_evaluation(folder: Path) -> StoredEvaluation:
    """Reads what `save_evaluation` wrote. Raises `InputError` for a file that is missing, cut short or not ours."""
    path = folder / FILE
    arrays, meta = unpack(path)
    try:
        said = _Meta.model_validate(meta)
        classes, loss = tuple(said.classes), math.nan if said.loss is None else said.loss
        labels = _checked(arrays, "labels", np.int64, 1)
        evaluation = Evaluation(classes, labels, _checked(arrays, "probabilities", np.float32, 2), loss)
        if not np.isfinite(evaluation.probabilities).all():
            raise InputError("a probability is not finite")
        mistakes, cells = (_kept(arrays, said, group, evaluation.n) for group in ("mistakes", "cells"))
    except (KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"{path} is not an evaluation of Convlens as it is now: {reason}; `convlens report --examine` makes it anew"
        ) from None
    return StoredEvaluation(evaluation, mistakes, cells)


def _kept(arrays: dict[str, np.ndarray], said: _Meta, group: str, n: int) -> Kept:
    index = _checked(arrays, f"{group}.index", np.int64, 1)
    pixels = _checked(arrays, f"{group}.pixels", np.uint8, 4)
    paths = None if said.paths is None else tuple(said.paths[group])
    if len(index) != len(pixels) or pixels.shape[3] not in (1, 3) or 0 in pixels.shape[1:]:
        raise InputError(f"the pictures of {group} do not fit")
    if len(index) and not 0 <= index.min() <= index.max() < n:
        raise InputError(f"a picture of {group} is none of the images")
    if paths is not None and len(paths) != len(index):
        raise InputError(f"the names of {group} do not fit")
    return Kept(index, pixels, paths)


def _checked(arrays: dict[str, np.ndarray], name: str, dtype: type, ndim: int) -> np.ndarray:
    array = arrays[name]
    if array.dtype != dtype or array.ndim != ndim:
        raise InputError(f"{name} is {array.dtype} with {array.ndim} axes")
    return array
