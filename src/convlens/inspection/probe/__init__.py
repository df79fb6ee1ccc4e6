"""`Probe`, the one way to look inside a forward or backward pass."""

from convlens.inspection.probe.calls import Call
from convlens.inspection.probe.operations import Op
from convlens.inspection.probe.probe import Probe, refuse_scripted

__all__ = ["Call", "Op", "Probe", "refuse_scripted"]
