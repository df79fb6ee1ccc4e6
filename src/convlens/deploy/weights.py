"""The arrays of a network as safetensors: what other libraries load into a network of the same layers."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from convlens.base import files
from convlens.base.arrays import pack, unpack
from convlens.base.errors import InputError
from convlens.deploy.program import label_of
from convlens.deploy.text import arrays_of

if TYPE_CHECKING:
    from convlens.classify.classifier import Classifier


def write(classifier: "Classifier", path: Path) -> None:
    """Writes every parameter and buffer by its name, and the label of `program.label_of` in the metadata."""
    files.write_bytes(path, pack(arrays_of(classifier), _meta(classifier)))


def check(classifier: "Classifier", path: Path) -> float:
    """Reads the file back. Returns the largest difference of a value, which is 0.

    Raises:
        InputError: another name, shape, type or value than the classifier has.
    """
    found, meta = unpack(path, sealed=True)
    expected = arrays_of(classifier)
    if meta != _meta(classifier) or found.keys() != expected.keys():
        raise InputError("it does not give its names back")
    for name, array in expected.items():
        back = found[name]
        if (back.dtype, back.shape, back.tobytes()) != (array.dtype, array.shape, array.tobytes()):
            raise InputError(f"{name!r} does not give its values back")
    return 0.0


def _meta(classifier: "Classifier") -> dict[str, Any]:
    return {"convlens": label_of(classifier, opset=None).model_dump(mode="json")}
