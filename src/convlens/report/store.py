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
from convlens.runs import pack, unpack

FILE = "evaluation.safetensors"
_KEPT = 36  # mistakes kept as pictures
_LARGEST = 128  # pixels: the longer side of a kept picture


class _Meta(BaseModel):
    """The JSON value of the file."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    classes: list[str] = Field(min_length=1)
    loss: float | None
    paths: list[str] | None = None


@dataclass(frozen=True, eq=False)
class StoredEvaluation:
    """An evaluation and its surest mistakes.

    index: int64 [M], which images of the evaluation were mistaken, the surest mistake first.
    pixels: uint8 [M, H, W, C], those images, made smaller where a side exceeded 128 pixels.
    paths: the names [M] of their files inside the set; None where images have no names.
    """

    evaluation: Evaluation
    index: np.ndarray
    pixels: np.ndarray
    paths: tuple[str, ...] | None = None


def save_evaluation(folder: Path, evaluation: Evaluation, images: Images) -> Path:
    """Writes `evaluation.safetensors` into a run folder. `images` are those that were judged, in the same order."""
    if len(images) != evaluation.n:
        raise InputError(f"the evaluation judged {evaluation.n} images, but {len(images)} were given")
    index = evaluation.mistakes(_KEPT)
    arrays = {
        "labels": evaluation.labels,
        "probabilities": evaluation.probabilities,
        "mistakes.index": index,
        "mistakes.pixels": _smaller(np.asarray(images.pixels[index])),
    }
    loss = evaluation.loss if math.isfinite(evaluation.loss) else None
    paths = (
        None
        if images.paths is None
        else [str(path).encode("utf-8", "replace").decode() for path in images.paths[index]]
    )
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
        index = _checked(arrays, "mistakes.index", np.int64, 1)
        pixels = _checked(arrays, "mistakes.pixels", np.uint8, 4)
        evaluation = Evaluation(classes, labels, _checked(arrays, "probabilities", np.float32, 2), loss)
        if len(index) != len(pixels) or pixels.shape[3] not in (1, 3) or 0 in pixels.shape[1:]:
            raise InputError("the pictures of the mistakes do not fit")
        if not np.isfinite(evaluation.probabilities).all():
            raise InputError("a probability is not finite")
        if len(index) and not 0 <= index.min() <= index.max() < evaluation.n:
            raise InputError("a mistake is none of the images")
        if said.paths is not None and len(said.paths) != len(index):
            raise InputError("the names of the mistakes do not fit")
    except (KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path} is not an evaluation of Convlens: {reason}") from None
    return StoredEvaluation(evaluation, index, pixels, None if said.paths is None else tuple(said.paths))


def _checked(arrays: dict[str, np.ndarray], name: str, dtype: type, ndim: int) -> np.ndarray:
    array = arrays[name]
    if array.dtype != dtype or array.ndim != ndim:
        raise InputError(f"{name} is {array.dtype} with {array.ndim} axes")
    return array


def _smaller(pixels: np.ndarray) -> np.ndarray:
    n, height, width, channels = pixels.shape
    scale = _LARGEST / max(height, width)
    if scale >= 1:
        return pixels
    from PIL import Image

    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    out = np.empty((n, size[1], size[0], channels), np.uint8)
    for i, picture in enumerate(pixels):
        image = Image.fromarray(np.ascontiguousarray(picture[..., 0] if channels == 1 else picture))
        out[i] = np.asarray(image.resize(size, Image.Resampling.LANCZOS)).reshape(out.shape[1:])
    return out
