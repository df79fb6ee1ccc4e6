"""What the operations take and give."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Array", "ArrayLike", "Booleans", "Integers", "Padding", "Size"]

Array = NDArray[np.floating]
"""float32 or float64, whichever the operands are (`arrays.as_floats` says how it is chosen)."""
Integers = NDArray[np.integer]
"""Labels, indices."""
Booleans = NDArray[np.bool_]
"""Masks."""
Size = int | Sequence[int]
"""One integer for all spatial axes, or one for each: (vertical, horizontal)."""
Padding = int | Sequence[int] | str
"""Cells around an image: see `conv2d`."""
