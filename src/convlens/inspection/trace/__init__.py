"""Where one number of a network comes from, term by term, down to the pixels."""

from convlens.inspection.trace.pixels import Level, Pixels, Scaling
from convlens.inspection.trace.trace import Trace, trace

__all__ = ["Level", "Pixels", "Scaling", "Trace", "trace"]
