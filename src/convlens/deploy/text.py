"""Every array of a network as text: name, shape, all values."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convlens.base.errors import InputError
from convlens.data.labels import on_cpu

if TYPE_CHECKING:
    from convlens.classify.classifier import Classifier


def write(classifier: "Classifier", path: Path) -> None:
    """Writes name, shape, type and every value of each parameter and buffer, with so many digits that reading the
    numbers back gives the same bits."""
    with path.open("w", encoding="utf-8") as out:
        for name, array in arrays_of(classifier).items():
            digits = "%.17g" if array.dtype == np.float64 else "%.9g"
            rows = _rows(array)
            out.write(f"{_heading(name, array)}\n")
            np.savetxt(out, rows, fmt=digits if array.dtype.kind == "f" else "%d")
            out.write("\n")


def check(classifier: "Classifier", path: Path) -> float:
    """Reads the file back. Returns the largest difference of a value, which is 0.

    Raises:
        InputError: another name, shape, type, value or number of values than the classifier has.
    """
    with path.open(encoding="utf-8") as file:
        for name, array in arrays_of(classifier).items():
            rows = _rows(array)
            if file.readline() != f"{_heading(name, array)}\n":
                raise InputError(f"the text has no heading of {name!r} where it should stand")
            lines = "".join(file.readline() for _ in rows)
            back = np.loadtxt(io.StringIO(lines), array.dtype, ndmin=2) if rows.size else rows
            if back.shape != rows.shape or not np.array_equal(back, rows) or file.readline() != "\n":
                raise InputError(f"the text of {name!r} does not give its values back")
        if file.read():
            raise InputError("the text goes on after the last array")
    return 0.0


def arrays_of(classifier: "Classifier") -> dict[str, np.ndarray]:
    """Every parameter and buffer, by its name."""
    return {name: np.asarray(on_cpu(tensor)) for name, tensor in classifier.module.state_dict().items()}


def _rows(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1, array.shape[-1] if array.ndim else 1)


def _heading(name: str, array: np.ndarray) -> str:
    return f"{name} {'x'.join(map(str, array.shape)) or 'scalar'} {array.dtype}"
