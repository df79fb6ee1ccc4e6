"""Elementwise arithmetic, sums and means against PyTorch and central differences."""

import numpy as np
import pytest
import torch
from checking import check_operation, normal

from convlens import ops
from typed import wrong

SHAPES = [((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1, 4), (3, 1)), ((), (2, 2)), ((2, 3, 2, 2), (1, 3, 1, 1))]


@pytest.mark.parametrize(("a", "b"), SHAPES)
@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide"])
def test_arithmetic_agrees_with_pytorch_under_broadcasting(name, a, b):
    positive = np.abs(normal(*b, seed=1)) + 0.5
    check_operation(
        getattr(ops, name),
        getattr(ops, f"{name}_backward"),
        lambda a, b: getattr(torch, name)(a, b),
        {"a": normal(*a), "b": positive},
    )


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 0.5, -1, -0.75])
def test_power_agrees_with_pytorch(exponent):
    check_operation(
        lambda x: ops.power(x, exponent=exponent),
        lambda grad, x: ops.power_backward(grad, x, exponent=exponent),
        lambda x: x**exponent,
        {"x": np.abs(normal(3, 4)) + 0.5},
    )


@pytest.mark.parametrize(("name", "reference"), [("exp", torch.exp), ("log", torch.log), ("absolute", torch.abs)])
def test_unary_arithmetic_agrees_with_pytorch(name, reference):
    x = np.abs(normal(3, 4)) + 0.5
    check_operation(getattr(ops, name), getattr(ops, f"{name}_backward"), lambda x: reference(x), {"x": x})


@pytest.mark.parametrize("axis", [None, 1, (2, 3), (0, -1)])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize(("name", "reference"), [("mean", torch.mean), ("total", torch.sum)])
def test_means_and_sums_agree_with_pytorch(name, reference, axis, keepdims):
    if axis is None and keepdims:
        axis = (0, 1, 2, 3)
    kept = {} if axis is None else {"dim": axis, "keepdim": keepdims}
    check_operation(
        lambda x: getattr(ops, name)(x, axis=axis, keepdims=keepdims),
        lambda grad, x: getattr(ops, f"{name}_backward")(grad, x, axis=axis, keepdims=keepdims),
        lambda x: reference(x, **kept),
        {"x": normal(2, 3, 4, 2)},
    )


def test_python_numbers_and_arrays_without_axes_do_not_widen_float32():
    x = np.ones(2, np.float32)
    for number in (0.5, 2, True, np.float64(0.5), np.array(0.5)):
        assert ops.add(x, number).dtype == ops.multiply(number, x).dtype == np.float32
        assert ops.divide_backward(x, x, number).a.dtype == np.float32
    assert ops.add(np.float32(1), 0.5).dtype == np.float32
    assert ops.add(x, np.ones(1)).dtype == ops.add(np.array([1]), 0.5).dtype == np.float64


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0)])
def test_numbers_without_axes_and_empty_arrays_give_what_pytorch_gives(shape):
    x = np.full(shape, 2.0)
    for name, reference in [("mean", torch.mean), ("total", torch.sum)]:
        np.testing.assert_array_equal(getattr(ops, name)(x), reference(torch.from_numpy(x)).numpy())
        axes = getattr(ops, name)(x, axis=-1)
        np.testing.assert_array_equal(axes, reference(torch.from_numpy(x), dim=-1).numpy())
        assert getattr(ops, f"{name}_backward")(axes, x, axis=-1).x.shape == shape
    for name in ("add", "subtract", "multiply", "divide"):
        y = getattr(ops, name)(x, x)
        assert isinstance(y, np.ndarray)
        assert y.shape == shape
        assert all(isinstance(g, np.ndarray) for g in getattr(ops, f"{name}_backward")(y, x, x))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ops.add(np.ones(2), np.ones(3)), "b: shape"),
        (lambda: ops.add_backward(np.ones(3), np.ones(2), np.ones(2)), "grad: shape"),
        (lambda: ops.mean(np.ones(2), axis=1), "axis: 1, expected -1 to 0"),
        (lambda: ops.total(np.ones((2, 2)), axis=(0, -2)), "axis: .* at most once"),
        (lambda: ops.mean_backward(np.ones(3), np.ones((2, 2)), axis=1), "grad: shape"),
        (lambda: ops.power(np.ones(2), exponent=wrong("2")), "exponent: '2', expected a number"),
    ],
)
def test_a_bad_argument_is_named_with_what_was_expected(call, words):
    with pytest.raises(ValueError, match=words):
        call()
