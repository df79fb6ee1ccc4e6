"""The run folder: what a run leaves on disk, and how it is read back. Imports no PyTorch."""

from convlens.base.arrays import pack, unpack
from convlens.runs.folder import RunFolder
from convlens.runs.record import DataRecord, ModelRecord, RunRecord

__all__ = ["DataRecord", "ModelRecord", "RunFolder", "RunRecord", "pack", "unpack"]
