"""Convolution in all its forms: the fast version, the loops, PyTorch and central differences agree."""

import contextlib
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from checking import as_fields, assert_close, check_operation, normal
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from convlens import ops
from convlens.ops import convolution, loops
from convlens.ops.fast import banded as _banded
from convlens.ops.fast.windows import Windows
from typed import present


@st.composite
def convolutions(draw, most=9):
    """Arrays and options of a convolution that fits: any kernel, stride, padding, dilation, groups."""
    pair = lambda low, high: (draw(st.integers(low, high)), draw(st.integers(low, high)))  # noqa: E731
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    kernel, stride, dilation, padding = pair(1, 5), pair(1, 4), pair(1, 3), pair(0, 5)
    size = tuple(
        draw(st.integers(max(1, (k - 1) * d + 1 - 2 * p), max(1, (k - 1) * d + 1 - 2 * p) + most))
        for k, d, p in zip(kernel, dilation, padding, strict=True)
    )
    c_in, c_out = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 3))
    arrays = {
        "x": normal(draw(st.sampled_from([1, 2, 3])), c_in, *size),
        "w": normal(c_out, c_in // groups, *kernel, seed=1),
        "b": normal(c_out, seed=2),
    }
    return arrays, {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


def check_conv2d(arrays, options, **how):
    check_operation(
        lambda x, w, b: ops.conv2d(x, w, b, **options),
        lambda grad, x, w, b: ops.conv2d_backward(grad, x, w, **options),
        lambda x, w, b: F.conv2d(x, w, b, **options),
        arrays,
        **how,
    )


@settings(deadline=None, max_examples=60)
@given(convolutions())
def test_convolution_agrees_with_pytorch_and_with_central_differences(case):
    check_conv2d(*case)


@settings(deadline=None, max_examples=25)
@given(convolutions(most=3))
def test_convolution_plain_and_fast_does_what_the_loops_do(case):
    arrays, options = case
    x, w, b = arrays.values()
    y = loops.conv2d(x, w, b, **options)
    grad = normal(*y.shape, seed=3)
    expected = loops.conv2d_backward(grad, x, w, **options)
    for form in (contextlib.nullcontext(), ops.fast()):
        with form:
            assert_close(ops.conv2d(x, w, b, **options), y)
            ours = ops.conv2d_backward(grad, x, w, **options)
        for name, a, gradient in zip(ours._fields, ours, expected, strict=True):
            assert_close(a, gradient, what=name)


@settings(deadline=None, max_examples=40)
@given(convolutions(most=25), st.sampled_from([2, 5, 16]), st.booleans())
def test_a_product_with_a_banded_matrix_gives_the_same_convolution(case, tile, few_at_a_time):
    """For any shape, also where `conv2d` itself would choose the other way; in tiles, strips, blocks and threads."""
    (x, w, b), options = case[0].values(), case[1]
    y = loops.conv2d(x, w, b, **options)
    *_, plain_windows, groups = convolution.checked(x, w, **options)
    windows = Windows.of(plain_windows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_banded, "TILE", tile)
        patch.setattr(_banded, "CACHE", 300 if few_at_a_time else _banded.CACHE)
        patch.setattr(_banded, "WORTH_A_PART", 200)
        patch.setattr(_banded, "FEW_GROUPS", 2)
        _banded._bands.cache_clear()
        assume(_banded._bands(windows).span > 0)  # else every window sees padding alone
        assert_close(_banded.banded_correlate(x, w, b, windows, groups)[0], y)
        grad = normal(*y.shape, seed=3)
        expected_x, expected_w, _ = loops.conv2d_backward(grad, x, w, **options)
        dx, dw = _banded.banded_correlate_backward(grad, x, w, windows, groups)
        assert_close(dx, expected_x, what="x")
        assert_close(dw, expected_w, what="w")
        assert_close(_banded.banded_correlate(x, w, None, windows, groups, against=grad)[1], expected_w)
    _banded._bands.cache_clear()


# The layout depends on the shapes: one image at a time or several side by side, one tile or many, parts in threads.
LAYOUTS = {
    "many small images": ((40, 3, 6, 7), (4, 3, 3, 3), {"padding": 1}),
    "a number that no block divides": ((37, 2, 5, 5), (3, 2, 2, 3), {}),
    "many tiles of a large image": ((2, 32, 60, 70), (8, 32, 3, 3), {"padding": 1}),
    "many tiles and a stride": ((3, 16, 70, 61), (16, 16, 5, 5), {"stride": 2, "padding": 2, "dilation": 2}),
    "parts in threads": ((12, 16, 20, 20), (24, 16, 3, 3), {"padding": 1}),
    "1x1": ((4, 6, 9, 9), (5, 6, 1, 1), {}),
    "1x1, strided": ((4, 6, 15, 14), (5, 6, 1, 1), {"stride": 2}),
    "1x1, padded": ((2, 3, 15, 14), (4, 3, 1, 1), {"padding": 1}),
    "depthwise": ((5, 8, 16, 16), (8, 1, 3, 3), {"padding": 1, "groups": 8}),
    "depthwise, strided, rows in tiles": ((3, 9, 20, 50), (18, 1, 5, 5), {"padding": 2, "groups": 9, "stride": 2}),
    "few channels": ((9, 2, 12, 20), (3, 2, 5, 5), {"padding": 2}),
    "nothing but padding in a row": ((2, 1, 1, 1), (1, 1, 1, 1), {"stride": (1, 3), "padding": (0, 1)}),
    "depthwise, small images": ((20, 8, 5, 5), (16, 1, 3, 3), {"padding": 1, "groups": 8}),
    "stride beyond the kernel": ((3, 2, 17, 18), (2, 2, 2, 1), {"stride": 4}),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_convolution_is_right_in_every_layout(name):
    x, w, options = LAYOUTS[name]
    check_conv2d({"x": normal(*x), "w": normal(*w, seed=1), "b": normal(w[0], seed=2)}, options, numerical=False)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 12), st.integers(1, 12), st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.integers(1, 2)
)
@example(5, 7, 2, 3, 2, 1)
def test_same_padding_gives_the_size_divided_by_the_stride_rounded_up(h, w, k_h, k_w, s, d):
    x, kernel = normal(2, 1, h, w), normal(2, 1, k_h, k_w, seed=1)
    y = ops.conv2d(x, kernel, stride=s, padding="same", dilation=d)
    assert y.shape[2:] == (-(-h // s), -(-w // s))
    # TensorFlow's rule, written out: pad by hand, the odd cell below and to the right.
    total = [max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0) for n, k in ((h, k_h), (w, k_w))]
    top, left = total[0] // 2, total[1] // 2
    padded = F.pad(torch.from_numpy(x), (left, total[1] - left, top, total[0] - top))
    assert_close(y, F.conv2d(padded, torch.from_numpy(kernel), stride=s, dilation=d))
    assert_close(y, loops.conv2d(x, kernel, stride=s, padding="same", dilation=d))


def test_four_sides_are_top_bottom_left_right():
    x, w = normal(1, 1, 4, 4), normal(1, 1, 3, 3, seed=1)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 0), (3, 2)))
    assert_close(ops.conv2d(x, w, padding=(1, 0, 3, 2)), ops.conv2d(padded, w))
    assert_close(ops.conv2d(x, w, padding="valid"), ops.conv2d(x, w))


@pytest.mark.parametrize(
    "options", [{}, {"stride": 2, "padding": 3}, {"dilation": 2, "padding": (1, 4)}, {"groups": 2, "padding": "same"}]
)
def test_convolution_of_sequences_agrees_with_pytorch_and_the_loops(options):
    groups = options.get("groups", 1)
    arrays = {"x": normal(3, 4, 11), "w": normal(6, 4 // groups, 3, seed=1), "b": normal(6, seed=2)}
    padding = options.get("padding", 0)
    sides = (1, 1) if padding == "same" else padding
    before, after = sides if isinstance(sides, tuple) else (sides, sides)
    rest = {k: v for k, v in options.items() if k != "padding"}
    check_operation(
        lambda x, w, b: ops.conv1d(x, w, b, **options),
        lambda grad, x, w, b: ops.conv1d_backward(grad, x, w, **options),
        lambda x, w, b: F.conv1d(F.pad(x, (before, after)), w, b, **rest),
        arrays,
    )
    x, w, b = arrays.values()
    y = ops.conv1d(x, w, b, **options)
    explicit = {**rest, "padding": (before, after)}
    assert_close(y, loops.conv1d(x, w, b, **explicit))
    for a, expected in zip(
        ops.conv1d_backward(y, x, w, **options), loops.conv1d_backward(y, x, w, **explicit), strict=True
    ):
        assert_close(a, expected)


def test_true_convolution_flips_the_kernel():
    options = {"padding": (1, 2), "stride": 2}
    arrays = {"x": normal(2, 2, 6, 7), "w": normal(3, 2, 2, 3, seed=1), "b": normal(3, seed=2)}
    check_operation(
        lambda x, w, b: ops.true_conv2d(x, w, b, **options),
        lambda grad, x, w, b: ops.true_conv2d_backward(grad, x, w, **options),
        lambda x, w, b: F.conv2d(x, w.flip(2, 3), b, **options),
        arrays,
    )
    x, w, b = arrays.values()
    y = ops.true_conv2d(x, w, b, **options)
    assert_close(y, loops.true_conv2d(x, w, b, **options))
    for a, expected in zip(
        ops.true_conv2d_backward(y, x, w, **options), loops.true_conv2d_backward(y, x, w, **options), strict=True
    ):
        assert_close(a, expected)


def test_true_convolution_is_what_scipy_calls_convolution():
    from scipy.signal import convolve2d

    x, w = normal(1, 1, 6, 5), normal(1, 1, 3, 2, seed=1)
    assert_close(ops.true_conv2d(x, w)[0, 0], convolve2d(x[0, 0], w[0, 0], mode="valid"))


@pytest.mark.parametrize("multiplier", [1, 2])
def test_depthwise_convolution_is_one_group_a_channel(multiplier):
    options = {"padding": 1, "stride": 2, "dilation": 1}
    check_operation(
        lambda x, w, b: ops.depthwise_conv2d(x, w, b, **options),
        lambda grad, x, w, b: ops.depthwise_conv2d_backward(grad, x, w, **options),
        lambda x, w, b: F.conv2d(x, w, b, **options, groups=3),
        {"x": normal(2, 3, 7, 6), "w": normal(3 * multiplier, 1, 3, 3, seed=1), "b": normal(3 * multiplier, seed=2)},
    )


def test_separable_convolution_is_depthwise_then_pointwise():
    options: dict[str, Any] = {"padding": 1, "stride": 2}
    arrays = {
        "x": normal(2, 3, 7, 6),
        "depthwise": normal(6, 1, 3, 3, seed=1),
        "pointwise": normal(4, 6, seed=2),
        "b": normal(4, seed=3),
    }
    check_operation(
        lambda b, **a: ops.separable_conv2d(**a, b=b, **options),
        lambda grad, b, **a: ops.separable_conv2d_backward(grad, **a, **options),
        lambda x, depthwise, pointwise, b: F.conv2d(
            F.conv2d(x, depthwise, **options, groups=3), pointwise[:, :, None, None], b
        ),
        arrays,
    )


def test_1x1_convolution_is_a_dense_layer_at_every_pixel():
    check_operation(
        ops.conv1x1,
        lambda grad, x, w, b: ops.conv1x1_backward(grad, x, w),
        lambda x, w, b: F.linear(x.permute(0, 2, 3, 1), w, b).permute(0, 3, 1, 2),
        {"x": normal(2, 3, 4, 5), "w": normal(6, 3, seed=1), "b": normal(6, seed=2)},
    )


@pytest.mark.parametrize(
    "options", [{}, {"stride": 2, "padding": (1, 2)}, {"dilation": 2, "padding": (2, 0, 1, 3)}, {"padding": "same"}]
)
def test_locally_connected_layer_agrees_with_unfolded_patches_and_with_the_loops(options):
    x = normal(3, 2, 6, 5)
    p, q = ops.conv2d(x, normal(1, 2, 3, 2), **options).shape[2:]
    arrays = {"x": x, "w": normal(p, q, 4, 2, 3, 2, seed=1), "b": normal(4, p, q, seed=2)}
    around: Any = (1, 1, 0, 1) if options.get("padding") == "same" else options.get("padding", 0)
    around = around if isinstance(around, tuple) else (around, around)
    top, bottom, left, right = around if len(around) == 4 else (around[0], around[0], around[1], around[1])

    def reference(x, w, b):
        how = {"stride": options.get("stride", 1), "dilation": options.get("dilation", 1)}
        patches = F.unfold(F.pad(x, (left, right, top, bottom)), (3, 2), **how).reshape(len(x), 12, p, q)
        return torch.einsum("nkpq,pqok->nopq", patches, w.reshape(p, q, 4, 12)) + b

    check_operation(
        lambda x, w, b: ops.locally_connected2d(x, w, b, **options),
        lambda grad, x, w, b: ops.locally_connected2d_backward(grad, x, w, **options),
        reference,
        arrays,
    )
    y = ops.locally_connected2d(*arrays.values(), **options)
    assert_close(y, loops.locally_connected2d(*arrays.values(), **options))
    x, w, _ = arrays.values()
    for a, expected in zip(
        ops.locally_connected2d_backward(y, x, w, **options),
        loops.locally_connected2d_backward(y, x, w, **options),
        strict=True,
    ):
        assert_close(a, expected)


def test_locally_connected_layer_with_equal_weights_is_a_convolution(monkeypatch):
    monkeypatch.setattr("convlens.ops.locally_connected.BLOCK", 1)  # one image a block
    x, w = normal(5, 2, 6, 6), normal(3, 2, 3, 3, seed=1)
    unshared = np.broadcast_to(w, (4, 4, *w.shape))
    y = ops.locally_connected2d(x, unshared)
    assert_close(y, ops.conv2d(x, w))
    gradients, shared = ops.locally_connected2d_backward(y, x, unshared), ops.conv2d_backward(y, x, w)
    assert_close(gradients.x, shared.x)
    assert_close(gradients.w.sum(axis=(0, 1)), shared.w)


@settings(deadline=None, max_examples=25)
@given(convolutions(most=4))
def test_the_matrix_of_a_convolution_does_what_the_convolution_does(case):
    arrays, options = case
    x, w, _ = arrays.values()
    y = ops.conv2d(x, w, **options)
    matrix = ops.conv2d_matrix(w, x.shape[2:], **options)
    assert matrix.shape == (y[0].size, x[0].size)
    for image, expected in zip(x, y, strict=True):
        assert_close((matrix @ image.ravel()).reshape(expected.shape), expected)
    transposed = ops.conv_transpose2d(y, w, **options, output_size=x.shape[2:])
    assert_close(transposed, np.stack([(matrix.T @ image.ravel()).reshape(x.shape[1:]) for image in y]))


def test_integers_are_converted_to_the_float_type_beside_them_never_truncated():
    x, w = np.arange(16).reshape(1, 1, 4, 4), np.full((1, 1, 2, 2), 0.25)
    assert ops.conv2d(x, w).dtype == np.float64
    assert ops.conv2d(x, w)[0, 0, 0, 0] == 2.5
    assert ops.conv2d(x, w.astype(np.float32)).dtype == np.float32
    assert ops.conv2d(x, np.ones((1, 1, 2, 2), np.int8), np.array([1])).dtype == np.float64
    assert ops.conv2d(x.astype(np.float32), w).dtype == np.float64


def test_an_empty_batch_gives_an_empty_output_and_zero_weight_gradients():
    x, w = np.zeros((0, 2, 5, 5)), normal(3, 2, 3, 3)
    y = ops.conv2d(x, w)
    assert y.shape == (0, 3, 3, 3)
    gradients = as_fields(ops.conv2d_backward(y, x, w), ["x", "w", "b"])
    assert gradients["x"].shape == x.shape
    assert not gradients["w"].any()


def test_the_input_gradient_is_left_out_where_it_is_not_wanted():
    x, w = normal(2, 2, 5, 5), normal(3, 2, 3, 3)
    grad = ops.conv2d(x, w)
    without, full = ops.conv2d_backward(grad, x, w, need_x=False), ops.conv2d_backward(grad, x, w)
    assert without.x is None
    assert_close(without.w, full.w)


@settings(deadline=None, max_examples=40)
@given(convolutions(most=25), st.sampled_from([np.nan, np.inf, -np.inf]), st.integers(0, 10**6), st.booleans())
def test_a_cell_that_is_not_finite_reaches_only_what_sees_it(case, bad, where, fast):
    with ops.fast() if fast else contextlib.nullcontext():
        check_a_bad_cell(case, bad, where)


def check_a_bad_cell(case, bad, where):
    arrays, options = case
    x, w, b = (arrays[name].copy() for name in "xwb")
    x.reshape(-1)[where % x.size] = bad
    tensors = [torch.from_numpy(a.copy()).requires_grad_() for a in (x, w)]
    theirs = F.conv2d(tensors[0], tensors[1], torch.from_numpy(b), **options)
    with np.errstate(invalid="ignore"):
        ours = ops.conv2d(x, w, b, **options)
        np.testing.assert_allclose(ours, theirs.detach(), rtol=1e-9, atol=1e-9)
        dw = ops.conv2d_backward(np.ones_like(ours), x, w, **options).w
    theirs.sum().backward()
    np.testing.assert_allclose(dw, present(tensors[1].grad), rtol=1e-9, atol=1e-9)

    grad = normal(*ours.shape, seed=3)
    grad.reshape(-1)[where % grad.size] = bad
    clean = torch.from_numpy(arrays["x"].copy()).requires_grad_()
    F.conv2d(clean, torch.from_numpy(w), torch.from_numpy(b), **options).backward(torch.from_numpy(grad.copy()))
    with np.errstate(invalid="ignore"):
        dx = ops.conv2d_backward(grad, arrays["x"], w, **options).x
        transposed = ops.conv_transpose2d(grad, w, **{**options, "padding": 0})
    np.testing.assert_allclose(dx, present(clean.grad), rtol=1e-9, atol=1e-9)
    expected = F.conv_transpose2d(torch.from_numpy(grad), torch.from_numpy(w), **{**options, "padding": 0})
    np.testing.assert_allclose(transposed, expected, rtol=1e-9, atol=1e-9)
