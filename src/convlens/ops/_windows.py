"""Where a kernel looks: the geometry that convolutions and pooling of images share."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convlens.geometry import conv_size, effective_kernel

Array = NDArray[Any]  # numbers of any type


@dataclass(frozen=True)
class Windows:
    """The windows of a kernel on an image of this size; each field holds (vertical, horizontal), in cells.

    around: the padding, (before, after) of each axis. output: how many windows there are.
    """

    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    around: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int]
    output: tuple[int, int]

    @classmethod
    def of(
        cls,
        size: Sequence[int],
        kernel: Sequence[int],
        stride: Sequence[int],
        around: Sequence[tuple[int, int]],
        dilation: Sequence[int],
        *,
        output: Sequence[int] | None = None,
    ) -> "Windows":
        """`output` only where it isn't the size that the other numbers give."""
        axes = zip(size, kernel, stride, around, dilation, strict=True)
        output = output or [conv_size(*axis) for axis in axes]
        return cls(*(tuple(pair) for pair in (size, kernel, stride, around, dilation, output)))  # type: ignore[arg-type]

    @cached_property
    def reach(self) -> tuple[int, ...]:
        """The size of a padded image, which holds all windows and all of the image."""
        return tuple(
            before + max(n + after, (out - 1) * s + effective_kernel(k, d) - before)
            for n, k, s, (before, after), d, out in self.axes()
        )

    def padded(self, x: Array, value: float = 0.0) -> Array:
        """Images (..., H, W) with `value` around them, as far as the windows reach."""
        if self.reach == self.size:
            return x
        padded = np.full((*x.shape[:-2], *self.reach), value, x.dtype)
        self.inside(padded)[...] = x
        return padded

    def inside(self, padded: Array) -> Array:
        """The images without what `padded` put around them, a view."""
        (top, _), (left, _) = self.around
        return padded[..., top : top + self.size[0], left : left + self.size[1]]

    @cached_property
    def cells(self) -> list[tuple[tuple[int, int], tuple[slice, slice]]]:
        """Each kernel cell (i, j), and which cells of a padded image it meets, one for each window."""
        down, right = (
            [slice(i * d, i * d + (out - 1) * s + 1, s) for i in range(k)] for _, k, s, _, d, out in self.axes()
        )
        return [((i, j), (down[i], right[j])) for i, j in np.ndindex(*self.kernel)]

    def patches(self, images: Array) -> Array:
        """(..., H, W) -> (..., K_h, K_w, H_out, W_out): what each kernel cell meets, window by window."""
        padded = self.padded(images)
        patches = np.empty((*images.shape[:-2], *self.kernel, *self.output), images.dtype)
        for (i, j), (rows, columns) in self.cells:
            patches[..., i, j, :, :] = padded[..., rows, columns]
        return patches

    def fold(self, patches: Array) -> Array:
        """The adjoint of `patches`: each number is added to the cell that it would have come from."""
        padded = np.zeros((*patches.shape[:-4], *self.reach), patches.dtype)
        for (i, j), (rows, columns) in self.cells:
            padded[..., rows, columns] += patches[..., i, j, :, :]
        return self.inside(padded)

    @cached_property
    def overlaps(self) -> list[tuple[tuple[slice, slice], tuple[slice, slice]]]:
        """For each kernel cell that lies inside the image anywhere: at which outputs, and which cells of the image it
        meets there, both as (rows, columns)."""
        down, right = ([overlap for i in range(axis[1]) if (overlap := _overlap(i, *axis))] for axis in self.axes())
        return [((p, q), (rows, columns)) for p, rows in down for q, columns in right]

    def axes(self) -> zip:
        return zip(self.size, self.kernel, self.stride, self.around, self.dilation, self.output, strict=True)


def _overlap(i: int, n: int, k: int, s: int, around: tuple[int, int], d: int, out: int) -> tuple[slice, slice] | None:
    """Along one axis: the outputs at which kernel cell i lies inside the image, and the cells it meets; else None."""
    offset = i * d - around[0]  # output o meets cell o * s + offset
    first, last = max(0, -(offset // s)), min(out - 1, (n - 1 - offset) // s)
    if first > last:
        return None
    return slice(first, last + 1), slice(first * s + offset, last * s + offset + 1, s)
