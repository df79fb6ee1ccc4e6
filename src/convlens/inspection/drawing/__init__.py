"""A network drawn as a graph: boxes for its layers, arrows for what flows between them, blocks that repeat once."""

from convlens.inspection.drawing.boxes import Box, Drawing, drawing
from convlens.inspection.drawing.paint import paint

__all__ = ["Box", "Drawing", "drawing", "paint"]
