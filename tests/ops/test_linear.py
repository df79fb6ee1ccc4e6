"""The dense layer and matrix products against PyTorch and central differences."""

import numpy as np
import pytest
import torch.nn.functional as F
from checking import check_operation, normal

from convlens import ops


@pytest.mark.parametrize("leading", [(1,), (5,), (2, 3), ()])
def test_linear_agrees_with_pytorch(leading):
    arrays = {"x": normal(*leading, 4), "w": normal(3, 4, seed=1), "b": normal(3, seed=2)}
    check_operation(
        ops.linear, lambda grad, x, w, b: ops.linear_backward(grad, x, w), lambda x, w, b: F.linear(x, w, b), arrays
    )


def test_linear_leaves_the_input_gradient_out_where_it_is_not_wanted():
    gradients = ops.linear_backward(np.ones((2, 3)), np.ones((2, 4)), np.ones((3, 4)), need_x=False)
    assert gradients.x is None
    assert gradients.w.shape == (3, 4)


@pytest.mark.parametrize(
    ("a", "b"), [((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)), ((5, 2, 3), (5, 3, 1))]
)
def test_matmul_agrees_with_pytorch(a, b):
    check_operation(ops.matmul, ops.matmul_backward, lambda a, b: a @ b, {"a": normal(*a), "b": normal(*b, seed=1)})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ops.linear(np.ones((2, 3)), np.ones((4, 5))), r"x: shape \(2, 3\), expected \(..., 5\)"),
        (lambda: ops.linear(np.ones((2, 5)), np.ones((4, 5)), np.ones(5)), r"b: shape \(5,\), expected \(4,\)"),
        (lambda: ops.linear(np.ones((2, 5)), np.ones(5)), "w: shape"),
        (lambda: ops.matmul(np.ones((2, 3)), np.ones((2, 3))), "b: shape"),
    ],
)
def test_a_bad_argument_is_named_with_what_was_expected(call, words):
    with pytest.raises(ValueError, match=words):
        call()
