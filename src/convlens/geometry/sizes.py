"""Output sizes, padding, and multiply-accumulates of convolution, pooling and resizing.

The one source of these formulas. Everything here takes and gives plain integers and works on one spatial axis unless
it says otherwise. Notation: input size n, kernel k, stride s, dilation d, padding (before, after). Source of the
formulas: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016.
"""

from fractions import Fraction
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


def upsampled_cells(j: int, n: int, m: int, *, linear: bool = False, align_corners: bool = False) -> tuple[int, ...]:
    """Input cells (of n) that output cell j (of m) reads when an axis is resized, nearest or linear interpolation.

    Linear: the cells on either side of (j + 1/2) n / m - 1/2, or of j (n - 1) / (m - 1) with corners aligned.
    """
    if not linear:
        return (j * n // m,)
    if align_corners:
        at = Fraction(j * (n - 1), max(m - 1, 1))
    else:
        at = Fraction((2 * j + 1) * n, 2 * m) - Fraction(1, 2)
    below = at.numerator // at.denominator
    return (below,) if at == below else (below, below + 1)


def adaptive_cells(j: int, n: int, m: int) -> range:
    """Cells (of n) that output cell j (of m) of adaptive pooling reads: floor(j n / m) to ceil((j + 1) n / m) - 1."""
    return range(j * n // m, -(-(j + 1) * n // m))
