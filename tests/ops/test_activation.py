"""Activation functions against PyTorch and central differences."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from checking import assert_close, check_operation, distinct, normal

from convlens import ops
from typed import wrong

CASES = [
    ("relu", {}, F.relu),
    ("leaky_relu", {"slope": 0.2}, lambda x: F.leaky_relu(x, 0.2)),
    ("clamp", {"low": 0.0, "high": 0.51}, lambda x: x.clamp(0.0, 0.51)),
    ("clamp", {"low": -0.29}, lambda x: x.clamp(-0.29)),
    ("sigmoid", {}, torch.sigmoid),
    ("tanh", {}, torch.tanh),
    ("silu", {}, F.silu),
    ("gelu", {}, F.gelu),
    ("gelu", {"approximate": "tanh"}, lambda x: F.gelu(x, approximate="tanh")),
    ("threshold", {"threshold": 0.11, "value": -3.0}, lambda x: F.threshold(x, 0.11, -3.0)),
    ("elu", {}, F.elu),
    ("elu", {"alpha": 1.7}, lambda x: F.elu(x, 1.7)),
    ("selu", {}, F.selu),
    ("celu", {"alpha": 0.5}, lambda x: F.celu(x, 0.5)),  # PyTorch's backward rounds 1 / alpha to float32
    ("softplus", {}, F.softplus),
    ("softplus", {"beta": 3.0, "threshold": 2.0}, lambda x: F.softplus(x, 3.0, 2.0)),
    ("log_sigmoid", {}, F.logsigmoid),
    ("mish", {}, F.mish),
    ("softmax", {}, lambda x: F.softmax(x, -1)),
    ("softmax", {"axis": 1}, lambda x: F.softmax(x, 1)),
    ("log_softmax", {}, lambda x: F.log_softmax(x, -1)),
    ("log_softmax", {"axis": 1}, lambda x: F.log_softmax(x, 1)),
]


@pytest.mark.parametrize(("name", "settings", "reference"), CASES, ids=[f"{n}-{s}" for n, s, _ in CASES])
def test_an_activation_agrees_with_pytorch_forward_and_backward(name, settings, reference):
    forward, backward = getattr(ops, name), getattr(ops, f"{name}_backward")
    for shape in [(3, 5), (2, 3, 4, 5)]:
        check_operation(
            lambda x: forward(x, **settings),
            lambda grad, x: backward(grad, x, **settings),
            lambda x: reference(x),
            {"x": distinct(*shape) * 2},
        )


def test_a_gated_linear_unit_agrees_with_pytorch():
    for axis in (1, -1):
        check_operation(
            lambda x, a=axis: ops.glu(x, axis=a),
            lambda grad, x, a=axis: ops.glu_backward(grad, x, axis=a),
            lambda x, a=axis: F.glu(x, a),
            {"x": normal(3, 4, 6)},
        )


@pytest.mark.parametrize(("shape", "slopes"), [((2, 3, 4), 3), ((2, 3), 3), ((2, 3, 2, 2), 1), ((5,), 1)])
def test_a_rectifier_that_learns_its_slopes_agrees_with_pytorch(shape, slopes):
    arrays = {"x": distinct(*shape), "w": normal(slopes)}
    check_operation(ops.prelu, ops.prelu_backward, lambda x, w: F.prelu(x, w), arrays)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "softmax", "log_softmax"])
def test_a_backward_function_may_be_given_the_output(name):
    x, grad = normal(4, 7), normal(4, 7, seed=1)
    y = getattr(ops, name)(x)
    backward = getattr(ops, f"{name}_backward")
    assert np.array_equal(backward(grad, x, y=y).x, backward(grad, x).x)


@pytest.mark.parametrize(("name", "slope"), [("relu", 0), ("leaky_relu", 0.01)])
def test_the_gradient_at_zero_is_that_of_the_left_side(name, slope):
    assert getattr(ops, f"{name}_backward")(np.ones(1), np.zeros(1)).x[0] == slope


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [*dict.fromkeys(name for name, s, _ in CASES if not s)])
def test_huge_arguments_neither_overflow_nor_become_nan(name, dtype):
    x = np.array([-1e4, -800, -50, 0, 50, 800, 1e4], dtype)
    grad = np.ones_like(x)
    assert np.isfinite(getattr(ops, name)(x)).all()
    assert np.isfinite(getattr(ops, f"{name}_backward")(grad, x).x).all()


def test_a_tiny_sigmoid_keeps_its_relative_precision():
    x = np.array([-5.0, -20, -37, -100, -700])
    assert_close(ops.sigmoid(x) / np.exp(x) * (1 + np.exp(x)), np.ones(5), 1e-11)


def test_gelu_is_right_to_the_last_digits():
    x = np.linspace(-5, 7, 5001)
    expected = np.array([v * 0.5 * (1 + math.erf(v * math.sqrt(0.5))) for v in x])
    assert (np.abs(ops.gelu(x) - expected) <= 1e-15 * (1 + np.abs(expected))).all()


def test_relu6_does_not_pass_the_gradient_on_its_limits_but_clamp_does():
    x = np.array([0.0, 3, 6])
    assert ops.clamp_backward(np.ones(3), x, low=0, high=6, closed=False).x.tolist() == [0, 1, 0]
    assert ops.clamp_backward(np.ones(3), x, low=0, high=6).x.tolist() == [1, 1, 1]


def _agrees(ours, expected, what):
    assert isinstance(ours, np.ndarray), f"{what}: {type(ours)}"
    assert ours.dtype == expected.numpy().dtype, what
    np.testing.assert_allclose(ours, expected.numpy(), rtol=1e-6, atol=1e-12, err_msg=what)


ODD_INPUTS = {
    "one number": np.array(-9.0),
    "another number": np.array(0.7, np.float32),
    "no images": np.zeros((0, 3)),
    "no channels": np.zeros((2, 0, 3), np.float32),
    "backwards": normal(4, 6)[::-1, ::-2],
    "not finite": np.array([[np.nan, 1, -1], [np.inf, 0, 2], [-np.inf, 1, 3]]),
}


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
@pytest.mark.parametrize("x", ODD_INPUTS.values(), ids=ODD_INPUTS)
@pytest.mark.parametrize(("name", "settings", "reference"), CASES, ids=[f"{n}-{s}" for n, s, _ in CASES])
def test_odd_inputs_of_an_activation_give_what_pytorch_gives(name, settings, reference, x):
    if settings.get("axis") == 1 and x.ndim < 2:
        with pytest.raises(ValueError, match="axis: 1, expected -1 to 0"):
            ops.softmax(x, axis=1)
        return
    tensor = torch.from_numpy(x.copy()).requires_grad_()
    expected = reference(tensor)
    _agrees(getattr(ops, name)(x, **settings), expected.detach(), "forward")
    grad = np.ones_like(x)
    expected.backward(torch.from_numpy(grad.copy()))
    _agrees(getattr(ops, f"{name}_backward")(grad, x, **settings).x, tensor.grad, "backward")


def test_settings_of_numpy_do_not_widen_float32():
    x = np.array([-1, 2], np.float32)
    for name, settings in [(name, s) for name, s, _ in CASES if s and "axis" not in s and "approximate" not in s]:
        wide = {key: np.float64(value) for key, value in settings.items()}
        assert getattr(ops, name)(x, **wide).dtype == np.float32, name
        assert getattr(ops, f"{name}_backward")(x, x, **wide).x.dtype == np.float32, name


def test_integers_are_converted_and_never_truncated():
    assert ops.sigmoid(np.array([0, 1])).tolist() == pytest.approx([0.5, 1 / (1 + math.exp(-1))])
    assert ops.leaky_relu(np.array([-1, 1]), slope=0.5).tolist() == [-0.5, 1]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ops.relu(np.array(["a"])), "x: dtype"),
        (lambda: ops.relu(np.ones(2, complex)), "x: dtype complex128"),
        (lambda: ops.relu_backward(np.ones(2), np.ones(3)), r"grad: shape \(2,\), expected \(3,\)"),
        (lambda: ops.gelu(np.ones(2), approximate="tan"), "approximate: 'tan', expected"),
        (lambda: ops.clamp(np.ones(2)), "clamp"),
        (lambda: ops.clamp(np.ones(2), low=wrong("0")), "low: '0', expected a number"),
        (lambda: ops.relu(np.ones(2, np.float16)), "x: dtype float16"),
        (lambda: ops.relu([[1], [1, 2]]), "x: not an array"),
        (lambda: ops.celu(np.ones(2), alpha=0), "alpha: 0"),
        (lambda: ops.softplus(np.ones(2), beta=0), "beta: 0"),
        (lambda: ops.glu(np.ones(3)), "x: shape .* even size"),
        (lambda: ops.prelu(np.ones((2, 3)), np.ones(2)), r"w: shape \(2,\), expected \(3,\)"),
        (lambda: ops.softmax(np.ones(3), axis=1), "axis: 1, expected -1 to 0"),
    ],
)
def test_a_bad_argument_is_named_with_what_was_expected(call, words):
    with pytest.raises(ValueError, match=words):
        call()
