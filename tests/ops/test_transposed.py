"""Transposed convolution: PyTorch, the loops, the sparse matrix, and the adjoint of convolution agree with it."""

from typing import Any

import numpy as np
import pytest
import torch.nn.functional as F
from checking import assert_close, check_operation, normal
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens import ops
from convlens.ops import loops


@st.composite
def transposed_convolutions(draw, most=5):
    pair = lambda low, high: (draw(st.integers(low, high)), draw(st.integers(low, high)))  # noqa: E731
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    kernel, stride, dilation, size = pair(1, 5), pair(1, 4), pair(1, 3), pair(1, most)
    padding, extra = [], []
    for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
        full = (n - 1) * s + (k - 1) * d + 1
        padding.append(draw(st.integers(0, min(5, (full - 1) // 2))))
        extra.append(draw(st.integers(0, max(s, d) - 1)))
    c_in, c_group = groups * draw(st.integers(1, 2)), draw(st.integers(1, 2))
    arrays = {
        "x": normal(draw(st.sampled_from([1, 2, 3])), c_in, *size),
        "w": normal(c_in, c_group, *kernel, seed=1),
        "b": normal(c_group * groups, seed=2),
    }
    options = {"stride": stride, "padding": tuple(padding), "dilation": dilation, "groups": groups}
    return arrays, {**options, "output_padding": tuple(extra)}


@settings(deadline=None, max_examples=60)
@given(transposed_convolutions())
def test_transposed_convolution_agrees_with_pytorch_and_with_central_differences(case):
    arrays, options = case
    check_operation(
        lambda x, w, b: ops.conv_transpose2d(x, w, b, **options),
        lambda grad, x, w, b: ops.conv_transpose2d_backward(grad, x, w, **options),
        lambda x, w, b: F.conv_transpose2d(x, w, b, **options),
        arrays,
    )


@settings(deadline=None, max_examples=25)
@given(transposed_convolutions(most=3))
def test_fast_transposed_convolution_and_loops_agree(case):
    arrays, options = case
    x, w, b = arrays.values()
    (top, left) = options["padding"]
    explicit = {**options, "padding": (top, top, left, left)}
    y = ops.conv_transpose2d(x, w, b, **options)
    assert_close(y, loops.conv_transpose2d(x, w, b, **explicit))
    grad = normal(*y.shape, seed=3)
    ours = ops.conv_transpose2d_backward(grad, x, w, **options)
    for a, expected in zip(ours, loops.conv_transpose2d_backward(grad, x, w, **explicit), strict=True):
        assert_close(a, expected)


@pytest.mark.parametrize("shape", [(40, 6, 8, 8), (3, 16, 30, 33)])
def test_transposed_convolution_is_right_in_every_layout(shape):
    options: dict[str, Any] = {"stride": 2, "padding": 1}
    check_operation(
        lambda x, w, b: ops.conv_transpose2d(x, w, b, **options),
        lambda grad, x, w, b: ops.conv_transpose2d_backward(grad, x, w, **options),
        lambda x, w, b: F.conv_transpose2d(x, w, b, **options),
        {"x": normal(*shape), "w": normal(shape[1], 8, 4, 4, seed=1), "b": normal(8, seed=2)},
        numerical=False,
    )


@settings(deadline=None, max_examples=40)
@given(st.integers(3, 12), st.integers(3, 12), st.integers(1, 3), st.integers(1, 4), st.integers(0, 2))
def test_transposed_convolution_inverts_the_shape_of_convolution(h, w, k, s, p):
    x, kernel = normal(2, 3, h, w), normal(4, 3, k, k, seed=1)
    y = ops.conv2d(x, kernel, stride=s, padding=p)
    back = ops.conv_transpose2d(y, kernel, stride=s, padding=p, output_size=(h, w))
    assert back.shape == x.shape
    # It is the adjoint: <conv(x), y> = <x, transposed(y)>; without padding asked for by the caller.
    assert np.isclose((y * y).sum(), (x * back).sum())


@pytest.mark.parametrize(("n", "k", "s"), [(4, 3, 2), (5, 2, 3), (3, 5, 1), (3, 1, 2)])
def test_same_and_valid_give_tensorflows_output_sizes(n, k, s):
    x, w = normal(1, 2, n, n), normal(2, 3, k, k, seed=1)
    same, valid = (ops.conv_transpose2d(x, w, stride=s, padding=p) for p in ("same", "valid"))
    assert same.shape == (1, 3, n * s, n * s)
    size = (n - 1) * s + max(k, s)
    assert valid.shape == (1, 3, size, size)
    # The gradient of the forward convolution with the same padding, which is how TensorFlow defines it.
    for y, padding in ((same, "same"), (valid, "valid")):
        forward = ops.conv2d_backward(x, y, w, stride=s, padding=padding)
        assert_close(y, forward.x)
