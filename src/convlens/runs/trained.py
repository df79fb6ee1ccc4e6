"""Which pictures a run was trained on: 8 bytes of each, so that they are recognized when the run is judged."""

from collections.abc import Sequence

import numpy as np

from convlens.base.arrays import header, unpack
from convlens.base.errors import InputError
from convlens.runs.folder import RunFolder

FILE = "trained.safetensors"
MOST = 1 << 26
"""Pictures. Of a set with more (half a GiB of fingerprints) none are kept."""


def keep_trained(folder: RunFolder, fingerprints: Sequence[np.ndarray]) -> None:
    """Writes the fingerprints, each uint64 [N] (see `Images.fingerprints`), of the training and validation pictures.

    What is there stays where anything was learned: a run that goes on has the pictures that it began with.
    """
    path = folder.path / FILE
    if sum(map(len, fingerprints)) <= MOST and not (path.exists() and folder.holds_weights()):
        folder.write_arrays(path, {"fingerprints": np.unique(np.concatenate(fingerprints))}, {})


def read_trained(folder: RunFolder) -> np.ndarray | None:
    """What `keep_trained` wrote: uint64 [M], ascending. None where nothing was kept, as by earlier versions.

    Raises `InputError` for a file that is damaged or of another kind.
    """
    path = folder.path / FILE
    if not path.exists():
        return None
    shapes = header(path)
    shape = shapes.get("fingerprints", ())
    if set(shapes) != {"fingerprints"} or len(shape) != 1 or shape[0] > MOST:
        raise InputError(f"{path} does not hold fingerprints of pictures")
    found = unpack(path)[0]["fingerprints"]
    if found.dtype != np.uint64:
        raise InputError(f"{path} does not hold fingerprints of pictures")
    return np.sort(found)
