"""Every parameter of a run as text: name, shape, all values."""

import io
from pathlib import Path

import numpy as np

from convlens.base import files
from convlens.runs import RunFolder


def export_text(folder: RunFolder, path: Path) -> float:
    """Writes name, shape and every value of every array of the run's weights, in nine significant digits.

    Reading the numbers back gives the same float32 bits. Returns the largest difference found when the text
    was read back (0.0 where the promise holds).
    """
    arrays, _ = folder.read_weights(folder.read_record())
    out = io.StringIO()
    worst = 0.0
    for name, array in arrays.items():
        out.write(f"{name} {'x'.join(map(str, array.shape)) or 'scalar'} {array.dtype}\n")
        rows = array.reshape(-1, array.shape[-1] if array.ndim else 1)
        text = io.StringIO()
        np.savetxt(text, rows, fmt="%.9g" if array.dtype.kind == "f" else "%d")
        back = np.loadtxt(io.StringIO(text.getvalue()), dtype=array.dtype, ndmin=2)
        worst = max(worst, float(np.abs(back.reshape(rows.shape).astype(np.float64) - rows).max(initial=0.0)))
        out.write(text.getvalue() + "\n")
    files.make_folder(path.parent)
    files.write_text(path, out.getvalue())
    return worst
