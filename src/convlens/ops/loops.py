"""Convolution and pooling as the textbook writes them: nested loops over single numbers. Slow, and obviously right.

The oracle of the fast operations, and the place to read what they compute. Arguments and results are those of the
functions of the same name in this package; arrays must be float arrays of fitting shapes, nothing is checked.

All convolutions rest on one enumeration, `connections`: which output cell, which input cell and which kernel cell meet.
Forward, out += kernel * in. Backward, in += kernel * out and kernel += in * out. Transposed, in and out change places.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from convlens.ops._checks import per_axis, sides

Array = np.ndarray
Index = tuple[int, ...]
NONE = (0, 0, 0, 0)


def connections(
    x_shape: Index, w_shape: Index, y_shape: Index, stride: Index, padding: Index, dilation: Index, groups: int
) -> Iterator[tuple[Index, Index, Index]]:
    """(n, o, p, q) of the output, (n, c, y, x) of the input and (o, c in its group, i, j) of the kernel that meet."""
    images, _, height, width = x_shape
    c_out, c_group, k_h, k_w = w_shape
    for n in range(images):
        for o in range(c_out):
            group = o // (c_out // groups)
            for p in range(y_shape[2]):
                for q in range(y_shape[3]):
                    for c in range(c_group):
                        for i in range(k_h):
                            for j in range(k_w):
                                y = p * stride[0] + i * dilation[0] - padding[0]
                                x = q * stride[1] + j * dilation[1] - padding[2]
                                if 0 <= y < height and 0 <= x < width:
                                    yield (n, o, p, q), (n, group * c_group + c, y, x), (o, c, i, j)


def options(x: Array, kernel: Any, stride: Any, padding: Any, dilation: Any) -> tuple[Index, Index, Index, Index]:
    """Output size (H_out, W_out), stride, (top, bottom, left, right), dilation."""
    size = x.shape[2:]
    stride, dilation = per_axis("stride", stride, 2), per_axis("dilation", dilation, 2)
    (top, bottom), (left, right) = sides(padding, size, kernel, stride, dilation)
    h_out = (size[0] + top + bottom - (kernel[0] - 1) * dilation[0] - 1) // stride[0] + 1
    w_out = (size[1] + left + right - (kernel[1] - 1) * dilation[1] - 1) // stride[1] + 1
    return (h_out, w_out), stride, (top, bottom, left, right), dilation


def conv2d(
    x: Array, w: Array, b: Array | None = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Array:
    size, stride, padding, dilation = options(x, w.shape[2:], stride, padding, dilation)
    y = np.zeros((len(x), len(w), *size), x.dtype)
    for out, cell, weight in connections(x.shape, w.shape, y.shape, stride, padding, dilation, groups):
        y[out] += w[weight] * x[cell]
    return y if b is None else y + b[:, None, None]


def conv2d_backward(
    grad: Array, x: Array, w: Array, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> tuple[Array, Array, Array]:
    _, stride, padding, dilation = options(x, w.shape[2:], stride, padding, dilation)
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for out, cell, weight in connections(x.shape, w.shape, grad.shape, stride, padding, dilation, groups):
        dx[cell] += grad[out] * w[weight]
        dw[weight] += grad[out] * x[cell]
    return dx, dw, grad.sum(axis=(0, 2, 3))


def true_conv2d(x: Array, w: Array, b: Array | None = None, **how: Any) -> Array:
    return conv2d(x, w[:, :, ::-1, ::-1], b, **how)


def true_conv2d_backward(grad: Array, x: Array, w: Array, **how: Any) -> tuple[Array, Array, Array]:
    dx, dw, db = conv2d_backward(grad, x, w[:, :, ::-1, ::-1], **how)
    return dx, dw[:, :, ::-1, ::-1], db


def conv1d(
    x: Array, w: Array, b: Array | None = None, *, stride: int = 1, padding: Any = 0, dilation: int = 1, groups: int = 1
) -> Array:
    (before, after) = padding if isinstance(padding, tuple) else (padding, padding)
    how = {"stride": (1, stride), "padding": (0, 0, before, after), "dilation": (1, dilation), "groups": groups}
    return conv2d(x[:, :, None], w[:, :, None], b, **how)[:, :, 0]


def conv1d_backward(
    grad: Array, x: Array, w: Array, *, stride: int = 1, padding: Any = 0, dilation: int = 1, groups: int = 1
) -> tuple[Array, Array, Array]:
    (before, after) = padding if isinstance(padding, tuple) else (padding, padding)
    how = {"stride": (1, stride), "padding": (0, 0, before, after), "dilation": (1, dilation), "groups": groups}
    dx, dw, db = conv2d_backward(grad[:, :, None], x[:, :, None], w[:, :, None], **how)
    return dx[:, :, 0], dw[:, :, 0], db


def conv_transpose2d(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: Any = 1,
    padding: Index = NONE,
    output_padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Array:
    """As the function of that name, but `padding` must be (top, bottom, left, right)."""
    stride, dilation = per_axis("stride", stride, 2), per_axis("dilation", dilation, 2)
    extra = per_axis("output_padding", output_padding, 2, least=0)
    size = [
        (x.shape[2 + a] - 1) * stride[a] - sum(padding[2 * a : 2 * a + 2]) + (w.shape[2 + a] - 1) * dilation[a] + 1
        for a in range(2)
    ]
    y = np.zeros((len(x), w.shape[1] * groups, size[0] + extra[0], size[1] + extra[1]), x.dtype)
    for cell, out, weight in connections(y.shape, w.shape, x.shape, stride, padding, dilation, groups):
        y[out] += w[weight] * x[cell]
    return y if b is None else y + b[:, None, None]


def conv_transpose2d_backward(
    grad: Array,
    x: Array,
    w: Array,
    *,
    stride: Any = 1,
    padding: Index = NONE,
    output_padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> tuple[Array, Array, Array]:
    """`output_padding` shows in the shape of grad already."""
    stride, dilation = per_axis("stride", stride, 2), per_axis("dilation", dilation, 2)
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for cell, out, weight in connections(grad.shape, w.shape, x.shape, stride, padding, dilation, groups):
        dx[cell] += grad[out] * w[weight]
        dw[weight] += grad[out] * x[cell]
    return dx, dw, grad.sum(axis=(0, 2, 3))


def locally_connected2d(
    x: Array, w: Array, b: Array | None = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1
) -> Array:
    size, stride, padding, dilation = options(x, w.shape[4:], stride, padding, dilation)
    y = np.zeros((len(x), w.shape[2], *size), x.dtype)
    for out, cell, weight in connections(x.shape, w.shape[2:], y.shape, stride, padding, dilation, 1):
        y[out] += w[out[2:] + weight] * x[cell]
    return y if b is None else y + b


def locally_connected2d_backward(
    grad: Array, x: Array, w: Array, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1
) -> tuple[Array, Array, Array]:
    _, stride, padding, dilation = options(x, w.shape[4:], stride, padding, dilation)
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for out, cell, weight in connections(x.shape, w.shape[2:], grad.shape, stride, padding, dilation, 1):
        dx[cell] += grad[out] * w[out[2:] + weight]
        dw[out[2:] + weight] += grad[out] * x[cell]
    return dx, dw, grad.sum(axis=0)


def windows(x: Array, kernel: Any, stride: Any, padding: Any, dilation: Any = 1) -> Iterator[tuple[Index, list[Index]]]:
    """Each output cell (n, c, p, q) with the input cells (n, c, y, x) of its window, in reading order."""
    kernel = per_axis("kernel", kernel, 2)
    size, stride, (top, _, left, _), dilation = options(x, kernel, stride or kernel, padding, dilation)
    for n, c, p, q in np.ndindex(*x.shape[:2], *size):
        cells = []
        for i in range(kernel[0]):
            for j in range(kernel[1]):
                y, x_ = p * stride[0] + i * dilation[0] - top, q * stride[1] + j * dilation[1] - left
                if 0 <= y < x.shape[2] and 0 <= x_ < x.shape[3]:
                    cells.append((n, c, y, x_))
        yield (n, c, p, q), cells


def max_pool2d(x: Array, kernel: Any, *, stride: Any = None, padding: Any = 0, dilation: Any = 1) -> Array:
    found = list(windows(x, kernel, stride, padding, dilation))
    y = np.zeros(np.add(found[-1][0], 1), x.dtype)
    for out, cells in found:
        y[out] = max((x[cell] for cell in cells), default=-np.inf)
    return y


def max_pool2d_backward(
    grad: Array, x: Array, kernel: Any, *, stride: Any = None, padding: Any = 0, dilation: Any = 1
) -> Array:
    dx = np.zeros_like(x)
    for out, cells in windows(x, kernel, stride, padding, dilation):
        if cells:
            dx[max(cells, key=lambda cell: x[cell])] += grad[out]  # of equals, the first
    return dx


def avg_pool2d(x: Array, kernel: Any, *, stride: Any = None, padding: Any = 0, count_padding: bool = True) -> Array:
    found = list(windows(x, kernel, stride, padding))
    area = np.prod(per_axis("kernel", kernel, 2))
    y = np.zeros(np.add(found[-1][0], 1), x.dtype)
    for out, cells in found:
        y[out] = sum(x[cell] for cell in cells) / (area if count_padding else len(cells))
    return y


def avg_pool2d_backward(
    grad: Array, x: Array, kernel: Any, *, stride: Any = None, padding: Any = 0, count_padding: bool = True
) -> Array:
    area = np.prod(per_axis("kernel", kernel, 2))
    dx = np.zeros_like(x)
    for out, cells in windows(x, kernel, stride, padding):
        for cell in cells:
            dx[cell] += grad[out] / (area if count_padding else len(cells))
    return dx


def adaptive_windows(x: Array, size: Any) -> Iterator[tuple[Index, list[Index]]]:
    """Each output cell with the input cells of its window; rows floor(p H / H_out) to ceil((p + 1) H / H_out)."""
    (height, width), (h_out, w_out) = x.shape[2:], per_axis("size", size, 2)
    for n, c, p, q in np.ndindex(*x.shape[:2], h_out, w_out):
        rows = range(p * height // h_out, -(-(p + 1) * height // h_out))
        columns = range(q * width // w_out, -(-(q + 1) * width // w_out))
        yield (n, c, p, q), [(n, c, i, j) for i in rows for j in columns]


def adaptive_avg_pool2d(x: Array, size: Any) -> Array:
    y = np.zeros((*x.shape[:2], *per_axis("size", size, 2)), x.dtype)
    for out, cells in adaptive_windows(x, size):
        y[out] = sum(x[cell] for cell in cells) / len(cells)
    return y


def adaptive_avg_pool2d_backward(grad: Array, x: Array, size: Any) -> Array:
    dx = np.zeros_like(x)
    for out, cells in adaptive_windows(x, size):
        for cell in cells:
            dx[cell] += grad[out] / len(cells)
    return dx


def adaptive_max_pool2d(x: Array, size: Any) -> Array:
    y = np.zeros((*x.shape[:2], *per_axis("size", size, 2)), x.dtype)
    for out, cells in adaptive_windows(x, size):
        y[out] = max(x[cell] for cell in cells)
    return y


def adaptive_max_pool2d_backward(grad: Array, x: Array, size: Any) -> Array:
    dx = np.zeros_like(x)
    for out, cells in adaptive_windows(x, size):
        dx[max(cells, key=lambda cell: x[cell])] += grad[out]
    return dx
