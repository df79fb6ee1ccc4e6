"""Elementwise arithmetic, sums and means against PyTorch and central differences."""

import numpy as np
import pytest
import torch
from checking import check_operation, normal

from convlens import ops

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


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ops.add(np.ones(2), np.ones(3)), "b: shape"),
    ],
)
def test_a_bad_argument_is_named_with_what_was_expected(call, words):
    with pytest.raises(ValueError, match=words):
        call()
