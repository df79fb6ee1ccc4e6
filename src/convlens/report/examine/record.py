"""What an examination found, as it lies in a run folder."""

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from convlens.base import files
from convlens.base.errors import InputError
from convlens.runs import pack, unpack

FILE = "examination.safetensors"
SIDE = 96
"""Pixels: the longer side of a kept picture."""


Topic = Literal["network", "units", "duplicates", "labels", "where", "own_object"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class LayerRow(_Part):
    """See `inspection.summary.Layer`. memory: bytes kept for the backward pass for one image; None if not known."""

    name: str
    kind: str
    output: list[int] | None
    parameters: int
    buffers: int
    macs: int
    memory: int | None


class NetworkFacts(_Part):
    """layers: in their order. batch: images of a batch. training: bytes for such a batch; None if not known."""

    layers: list[LayerRow]
    parameters: int
    buffers: int
    macs: int
    batch: int
    state: int
    image: int | None
    training: int | None


class RectifierRow(_Part):
    """See `inspection.dead.Rectifier`."""

    name: str
    after: str
    units: int
    dead: int


class Units(_Part):
    """Rectifiers, and how many images they were looked at with."""

    images: int
    rectifiers: list[RectifierRow]


class Pair(_Part):
    """A test image and its twin: index, part and path of both, the number of the class of both."""

    test: int
    path: str
    label: int
    part: Literal["train", "val"]
    index: int
    other_path: str
    other_label: int
    exact: bool


class Duplicates(_Part):
    """equal, alike: test images that equal one of training or validation, or only look the same; alike is None where
    looks were not compared, because of `why`. conflicts: pairs with different labels. without: accuracy on the other
    test images. pairs: the first of them, with pictures."""

    test: int
    equal: int
    alike: int | None
    why: str
    conflicts: int
    without: float | None
    pairs: list[Pair]


class Doubt(_Part):
    """A label that is likely to be wrong. quality: the probability of the label that it has."""

    part: str
    index: int
    path: str
    given: int
    suggested: int
    quality: float
    probability: float
    doubted: bool


class Labels(_Part):
    """images: looked at. doubted: labels that confident learning holds for wrong. learned: the accuracy on the training
    images. listed: rows of the whole list. doubts: its first rows, with pictures."""

    images: int
    doubted: int
    listed: int
    learned: float
    skipped: int
    doubts: list[Doubt]


class Where(_Part):
    """index: the test images whose maps were drawn. notes: of the method, such as the layer."""

    index: list[int]
    notes: list[str]


class Examination(_Part):
    """left_out: what could not be found out, and the reason; or "own_object", of which there is more to say."""

    network: NetworkFacts | None = None
    units: Units | None = None
    duplicates: Duplicates | None = None
    labels: Labels | None = None
    where: Where | None = None
    left_out: dict[Topic, str] = Field(default_factory=dict)


Pictures = dict[str, np.ndarray]
"""uint8 [N, H, W, C] by name: "duplicates.test", "duplicates.other", "labels", "where"."""


def save(folder: Path, found: Examination, pictures: Pictures) -> None:
    """Writes `examination.safetensors`."""
    files.write_bytes(folder / FILE, pack(pictures, found.model_dump(mode="json")))


def load(folder: Path) -> tuple[Examination, Pictures] | None:
    """What `save` wrote; None where nothing was. Raises `InputError` for a file that is not ours or does not fit."""
    path = folder / FILE
    if not path.exists():
        return None
    arrays, meta = unpack(path)
    try:
        found = Examination.model_validate(meta)
        pairs = found.duplicates.pairs if found.duplicates else []
        doubts = found.labels.doubts if found.labels else []
        where = found.where.index if found.where else []
        of = {"duplicates.test": pairs, "duplicates.other": pairs, "labels": doubts, "where": where}
        for name, rows in of.items():
            pixels = arrays.get(name, np.zeros((0, 1, 1, 1), np.uint8))
            if pixels.dtype != np.uint8 or pixels.ndim != 4 or len(pixels) != len(rows):
                raise InputError(f"the pictures of {name} do not fit")
            if pixels.shape[3] not in (1, 3) or 0 in pixels.shape[1:]:
                raise InputError(f"the pictures of {name} are none")
            arrays[name] = pixels
    except (ValidationError, InputError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path} is not an examination of Convlens: {reason}") from None
    return found, arrays
