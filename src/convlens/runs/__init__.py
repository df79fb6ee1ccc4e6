"""The run folder: what a run leaves on disk, and how it is read back. Imports no PyTorch."""

from convlens.base.arrays import pack, unpack
from convlens.runs.folder import RunFolder
from convlens.runs.record import (
    Best,
    Checkpoint,
    DataRecord,
    LeftOut,
    ModelRecord,
    PlateauState,
    ProcessRecord,
    RunRecord,
    StartedFrom,
    Stopped,
)
from convlens.runs.trained import keep_trained, read_trained

__all__ = [
    "Best", "Checkpoint", "DataRecord", "LeftOut", "ModelRecord", "PlateauState", "ProcessRecord", "RunFolder",
    "RunRecord", "StartedFrom", "Stopped", "keep_trained", "pack", "read_trained",
    "unpack",
]  # fmt: skip
