"""Integer arithmetic of convolution and pooling: output sizes, padding, receptive fields, multiply-accumulates.

The one source of these formulas. Everything here takes and gives plain integers, works on one spatial axis
unless it says otherwise, and imports nothing. Notation: input size n, kernel k, stride s, dilation d,
padding (before, after). Source of the formulas: Dumoulin and Visin, "A guide to convolution arithmetic for
deep learning", 2016.
"""

from dataclasses import dataclass
from math import prod
from typing import Literal

Padding = int | tuple[int, int] | Literal["same", "valid"]


def effective_kernel(k: int, d: int = 1) -> int:
    """Extent of a dilated kernel: (k - 1) * d + 1."""
    return (k - 1) * d + 1


def same_padding(n: int, k: int, s: int = 1, d: int = 1) -> tuple[int, int]:
    """TensorFlow's `same`: pads so that the output is ceil(n / s); the odd cell goes after."""
    total = max((-(-n // s) - 1) * s + effective_kernel(k, d) - n, 0)
    return total // 2, total - total // 2


def resolve_padding(padding: Padding, n: int, k: int, s: int = 1, d: int = 1) -> tuple[int, int]:
    """Any way of writing the padding of one axis, as (before, after)."""
    if padding == "same":
        return same_padding(n, k, s, d)
    if padding == "valid":
        return 0, 0
    if isinstance(padding, int):
        return padding, padding
    if isinstance(padding, tuple) and len(padding) == 2:
        return padding
    raise ValueError(f"padding: {padding!r} is neither 'same', 'valid', an integer nor a pair (before, after)")


def conv_size(n: int, k: int, s: int = 1, padding: Padding = 0, d: int = 1, *, ceil: bool = False) -> int:
    """Output size of a convolution or pooling: floor((n + p - k_effective) / s) + 1.

    With `ceil`, rounds up, but never lets the last window start in the padding after the input (PyTorch's rule).

    Raises:
        ValueError: the kernel is larger than the padded input.
    """
    before, after = resolve_padding(padding, n, k, s, d)
    room = n + before + after - effective_kernel(k, d)
    if room < 0:
        raise ValueError(
            f"kernel of extent {effective_kernel(k, d)} is larger than the padded input of size "
            f"{n} + {before} + {after}"
        )
    if not ceil:
        return room // s + 1
    size = -(-room // s) + 1
    return size - 1 if (size - 1) * s >= n + before else size


def transposed_size(n: int, k: int, s: int = 1, padding: Padding = 0, d: int = 1, output_padding: int = 0) -> int:
    """Output size of a transposed convolution: (n - 1) * s - p + k_effective + output_padding.

    `same` gives n * s and `valid` (n - 1) * s + max(k_effective, s), as TensorFlow does.
    """
    if padding == "same":
        return n * s
    if padding == "valid":
        return (n - 1) * s + max(effective_kernel(k, d), s)
    before, after = resolve_padding(padding, n, k, s, d)
    return (n - 1) * s - before - after + effective_kernel(k, d) + output_padding


def transposed_remainder(size: int, k: int, s: int, padding: Padding = 0, d: int = 1) -> int:
    """The output padding that a transposed convolution needs to give back `size`: (size + p - k_effective) mod s."""
    before, after = resolve_padding(padding, size, k, s, d)
    return (size + before + after - effective_kernel(k, d)) % s


def conv_macs(output: tuple[int, ...], in_channels: int, kernel: tuple[int, ...], groups: int = 1) -> int:
    """Multiply-accumulates of a convolution for one image: output elements times (C_in / groups) * kernel area.

    `output` is (C_out, *spatial). Biases, and everything that is not a convolution or a matrix product, count 0.
    For a transposed convolution pass the size of its input as `output` and swap the channel numbers.
    """
    return prod(output) * (in_channels // groups) * prod(kernel)


def linear_macs(in_features: int, out_features: int, positions: int = 1) -> int:
    """Multiply-accumulates of a dense layer applied at `positions` positions."""
    return in_features * out_features * positions


@dataclass(frozen=True)
class ReceptiveField:
    """Which input cells one output cell of a layer can see, along one axis.

    Output cell i sees input cells start + i * jump ... start + i * jump + size - 1; cells outside the input are
    padding. Source: Araujo, Norris and Sim, "Computing receptive fields of convolutional neural networks", 2019.
    """

    size: int = 1
    jump: int = 1
    start: int = 0

    def window(self, k: int, s: int = 1, before: int = 0, d: int = 1) -> "ReceptiveField":
        """The field after a convolution or pooling with this kernel, stride, padding before, and dilation."""
        return ReceptiveField(
            size=self.size + (effective_kernel(k, d) - 1) * self.jump,
            jump=self.jump * s,
            start=self.start - before * self.jump,
        )

    def span(self, index: int) -> tuple[int, int]:
        """First and last input cell (inclusive, may lie in the padding) that output cell `index` sees."""
        first = self.start + index * self.jump
        return first, first + self.size - 1
