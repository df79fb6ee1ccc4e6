"""The run folder: what a run leaves on disk, and how it is read back. Imports no PyTorch."""

from convlens.base.arrays import pack, unpack
from convlens.runs.folder import RunFolder
from convlens.runs.record import Best, Checkpoint, DataRecord, LeftOut, ModelRecord, PlateauState, RunRecord

__all__ = [
    "Best", "Checkpoint", "DataRecord", "LeftOut", "ModelRecord", "PlateauState", "RunFolder", "RunRecord", "pack",
    "unpack",
]  # fmt: skip
