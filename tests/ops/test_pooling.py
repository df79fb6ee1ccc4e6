"""Pooling: the fast version, the loops, PyTorch and central differences agree."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from checking import assert_close, check_operation, distinct, normal
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens import ops
from convlens.ops import loops
from convlens.ops.fast import parallel, pooling
from typed import present


@st.composite
def poolings(draw, dilated=True, most=8):
    pair = lambda low, high: (draw(st.integers(low, high)), draw(st.integers(low, high)))  # noqa: E731
    kernel, stride = pair(1, 5), pair(1, 4)
    dilation = pair(1, 3) if dilated else (1, 1)
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    # With dilation a window must not see padding alone, so the images are at least as large as the window.
    size = tuple(
        draw(st.integers((k - 1) * d + 1, (k - 1) * d + 1 + most)) for k, d in zip(kernel, dilation, strict=True)
    )
    x = distinct(draw(st.integers(1, 2)), draw(st.integers(1, 3)), *size)
    return x, kernel, {"stride": stride, "padding": padding}, dilation


@settings(deadline=None, max_examples=60)
@given(poolings(), st.booleans())
def test_max_pooling_agrees_with_pytorch_and_with_central_differences(case, ceil):
    x, kernel, options, dilation = case
    options["dilation"] = dilation
    check_operation(
        lambda x: ops.max_pool2d(x, kernel, **options, ceil=ceil),
        lambda grad, x: ops.max_pool2d_backward(grad, x, kernel, **options, ceil=ceil),
        lambda x: F.max_pool2d(x, kernel, **options, ceil_mode=ceil),
        {"x": x},
    )


@settings(deadline=None, max_examples=60)
@given(poolings(dilated=False), st.booleans(), st.booleans())
def test_average_pooling_agrees_with_pytorch_and_with_central_differences(case, ceil, count_padding):
    x, kernel, options, _ = case
    x = normal(*x.shape)  # the evenly spaced values may cancel to a sum of nothing but rounding
    options["count_padding"] = count_padding
    reference = {"stride": options["stride"], "padding": options["padding"], "count_include_pad": count_padding}
    check_operation(
        lambda x: ops.avg_pool2d(x, kernel, **options, ceil=ceil),
        lambda grad, x: ops.avg_pool2d_backward(grad, x, kernel, **options, ceil=ceil),
        lambda x: F.avg_pool2d(x, kernel, **reference, ceil_mode=ceil),
        {"x": x},
    )


@settings(deadline=None, max_examples=30)
@given(poolings(most=3))
def test_fast_max_pooling_and_loops_agree_with_ties_too(case):
    x, kernel, options, dilation = case
    x = np.round(x * 4) / 4  # many equal values: the first in reading order wins
    options["dilation"] = dilation
    y = ops.max_pool2d(x, kernel, **options)
    assert_close(y, loops.max_pool2d(x, kernel, **options))
    grad = normal(*y.shape)
    ours = ops.max_pool2d_backward(grad, x, kernel, **options).x
    assert_close(ours, loops.max_pool2d_backward(grad, x, kernel, **options))
    tensor = torch.from_numpy(x).requires_grad_()
    F.max_pool2d(tensor, kernel, **options).backward(torch.from_numpy(grad))
    assert_close(ours, tensor.grad)


@settings(deadline=None, max_examples=30)
@given(poolings(dilated=False, most=3), st.booleans())
def test_fast_average_pooling_and_loops_agree(case, count_padding):
    x, kernel, options, _ = case
    x = normal(*x.shape)
    y = ops.avg_pool2d(x, kernel, **options, count_padding=count_padding)
    assert_close(y, loops.avg_pool2d(x, kernel, **options, count_padding=count_padding))
    ours = ops.avg_pool2d_backward(y, x, kernel, **options, count_padding=count_padding).x
    assert_close(ours, loops.avg_pool2d_backward(y, x, kernel, **options, count_padding=count_padding))


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 11), st.integers(1, 11))
def test_adaptive_pooling_agrees_with_pytorch_and_the_loops(h, w, h_out, w_out):
    x = distinct(2, 2, h, w)
    for name in ("adaptive_avg_pool2d", "adaptive_max_pool2d"):
        forward, backward = getattr(ops, name), getattr(ops, f"{name}_backward")
        check_operation(
            lambda x, forward=forward: forward(x, (h_out, w_out)),
            lambda grad, x, backward=backward: backward(grad, x, (h_out, w_out)),
            lambda x, name=name: getattr(F, name)(x, (h_out, w_out)),
            {"x": x},
        )
        y = forward(x, (h_out, w_out))
        assert_close(y, getattr(loops, name)(x, (h_out, w_out)))
        assert_close(backward(y, x, (h_out, w_out)).x, getattr(loops, f"{name}_backward")(y, x, (h_out, w_out)))


def with_ties_and_holes(shape, seed):
    """Few different values, some NaN, some infinite."""
    return np.random.default_rng(seed).choice(
        [0.0, 1, 2, np.nan, -np.inf, np.inf], shape, p=[0.3, 0.3, 0.2, 0.1, 0.05, 0.05]
    )


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    size=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    ceil=st.booleans(),
    data=st.data(),
)
def test_maxima_their_places_and_gradients_are_those_of_pytorch_also_for_nan_and_ties(
    seed, size, kernel, stride, ceil, data
):
    padding = data.draw(st.integers(0, kernel // 2))
    x = with_ties_and_holes((2, 2, *size), seed)
    options = {"stride": stride, "padding": padding}
    tensor = torch.from_numpy(x.copy()).requires_grad_()
    theirs, places = F.max_pool2d(tensor, kernel, **options, ceil_mode=ceil, return_indices=True)
    ours, indices = ops.max_pool2d_with_indices(x, kernel, **options, ceil=ceil)
    assert np.array_equal(ours, theirs.detach(), equal_nan=True)
    assert np.array_equal(ours, ops.max_pool2d(x, kernel, **options, ceil=ceil), equal_nan=True)
    assert np.array_equal(indices, places)
    theirs.backward(torch.ones_like(theirs))
    dx = ops.max_pool2d_backward(np.ones_like(ours), x, kernel, **options, ceil=ceil).x
    assert np.array_equal(dx, present(tensor.grad))


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    target=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_adaptive_pooling_of_nan_and_ties_is_that_of_pytorch(seed, size, target):
    x = with_ties_and_holes((2, 2, *size), seed)
    tensor = torch.from_numpy(x.copy()).requires_grad_()
    theirs, places = F.adaptive_max_pool2d(tensor, target, return_indices=True)
    ours, indices = ops.adaptive_max_pool2d_with_indices(x, target)
    assert np.array_equal(ours, theirs.detach(), equal_nan=True)
    assert np.array_equal(indices, places)
    theirs.backward(torch.ones_like(theirs))
    assert np.array_equal(ops.adaptive_max_pool2d_backward(np.ones_like(ours), x, target).x, present(tensor.grad))
    with np.errstate(invalid="ignore"):
        means = ops.adaptive_avg_pool2d(x, target)
    np.testing.assert_allclose(means, F.adaptive_avg_pool2d(tensor, target).detach(), rtol=1e-12)


def test_a_divisor_takes_the_place_of_the_number_of_cells():
    for count_padding in (True, False):
        options = {"padding": 1, "count_padding": count_padding, "divisor": 3}
        check_operation(
            lambda x, o=options: ops.avg_pool2d(x, 2, **o),
            lambda grad, x, o=options: ops.avg_pool2d_backward(grad, x, 2, **o),
            lambda x: F.avg_pool2d(x, 2, padding=1, divisor_override=3),
            {"x": normal(2, 2, 5, 4)},
        )


@pytest.mark.parametrize("name", ["avg", "max"])
def test_global_pooling_gives_one_number_a_channel(name):
    check_operation(
        getattr(ops, f"global_{name}_pool2d"),
        getattr(ops, f"global_{name}_pool2d_backward"),
        lambda x: x.mean((2, 3)) if name == "avg" else x.amax((2, 3)),
        {"x": distinct(3, 4, 5, 2)},
    )


def test_the_stride_is_the_kernel_unless_given():
    x = distinct(2, 1, 6, 9)
    assert ops.max_pool2d(x, (2, 3)).shape == (2, 1, 3, 3)
    assert_close(ops.avg_pool2d(x, 3), ops.avg_pool2d(x, 3, stride=3))


def test_pooling_in_blocks_and_threads_is_the_same(monkeypatch):
    x = distinct(9, 2, 12, 12)
    whole = ops.max_pool2d(x, 3, stride=2, padding=1)
    monkeypatch.setattr(pooling, "CACHE", 1)
    monkeypatch.setattr(parallel, "WORTH_A_PART", 1)
    assert np.array_equal(ops.max_pool2d(x, 3, stride=2, padding=1), whole)
    check_operation(
        lambda x: ops.max_pool2d(x, 3, stride=2, padding=1),
        lambda grad, x: ops.max_pool2d_backward(grad, x, 3, stride=2, padding=1),
        lambda x: F.max_pool2d(x, 3, stride=2, padding=1),
        {"x": x},
    )


def test_integers_are_averaged_as_float64():
    y = ops.avg_pool2d(np.array([[[[1, 2], [3, 4]]]]), 2)
    assert y.dtype == np.float64
    assert y.item() == 2.5


def test_an_empty_batch_gives_an_empty_output():
    assert ops.max_pool2d(np.zeros((0, 2, 4, 4)), 2).shape == (0, 2, 2, 2)
    assert ops.avg_pool2d_backward(np.zeros((0, 2, 2, 2)), np.zeros((0, 2, 4, 4)), 2).x.shape == (0, 2, 4, 4)
