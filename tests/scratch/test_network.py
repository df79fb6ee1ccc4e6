"""Networks written by hand: shapes, names, starting weights."""

from inspect import Parameter, getdoc, signature
from typing import Any

import numpy as np
import pytest

from convlens import ops, scratch
from convlens.scratch import initial
from convlens.scratch.layers import PlainLayers
from convlens.scratch.operations import OPERATIONS
from typed import present, wrong


def lenet(seed=0):
    x = scratch.image(1, 28, 28)
    x = x.conv2d(6, 5, padding=2).tanh().avg_pool2d(2)
    x = x.conv2d(16, 5).tanh().avg_pool2d(2)
    x = x.flatten().linear(120).tanh().linear(84).tanh().linear(10)
    return scratch.network(x, seed=seed)


def test_lenet_takes_a_few_lines_and_has_its_61706_parameters():
    graph = lenet()
    assert sum(a.size for a in graph.parameters.values()) == 61706
    assert graph(np.zeros((3, 1, 28, 28), np.float32)).shape == (3, 10)
    assert list(graph.parameters)[:2] == ["conv2d_1.weight", "conv2d_1.bias"]


def test_equal_seeds_give_equal_weights():
    a, b, c = lenet(1).parameters, lenet(1).parameters, lenet(2).parameters
    assert all(np.array_equal(a[k], b[k]) for k in a)
    assert not np.array_equal(a["conv2d_1.weight"], c["conv2d_1.weight"])


@pytest.mark.parametrize(
    ("scheme", "variance"),
    [("glorot_uniform", 2 / 700), ("glorot_normal", 2 / 700), ("he_uniform", 2 / 400), ("he_normal", 2 / 400)],
)
def test_starting_weights_have_the_variance_of_their_scheme(scheme, variance):
    shape = (75, 100, 2, 2)  # fan in 400, fan out 300
    assert initial.fans(shape) == (400, 300)
    w = initial.draw(scheme, shape, 0, "w").astype(np.float64)
    assert abs(w.var() / variance - 1) < 0.03
    assert abs(w.mean()) < 5 * (variance / w.size) ** 0.5
    if scheme.endswith("uniform"):
        assert np.abs(w).max() <= (3 * variance) ** 0.5 * (1 + 1e-6)


def test_every_operation_without_weights_is_a_method():
    x = scratch.image(4, 6, 6)
    y = (
        x.leaky_relu(0.2)
        .local_response_norm(size=3)
        .avg_pool2d(2, padding=1)
        .upsample_nearest(2)
        .pad(padding=((1, 1),))
    )
    assert y.shape == (4, 8, 10)
    z = (x.group_norm(2).layer_norm().conv_transpose2d(2, 3, stride=2) * 0.5 - 1.0) / 2.0
    assert z.shape == (2, 13, 13)
    graph = scratch.network(y, z)
    first, second = graph(np.ones((2, 4, 6, 6), np.float32))
    assert (first.shape, second.shape) == ((2, 4, 8, 10), (2, 2, 13, 13))


def test_values_can_be_added_subtracted_multiplied_and_divided():
    x = scratch.image(2)
    graph = scratch.network((x + x * x - x / (x + 1.0)) * 3.0)
    a = np.array([[1.0, 2.0]], np.float32)
    assert np.allclose(graph(a), (a + a * a - a / (a + 1)) * 3)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda: scratch.image(1, 4, 4).conv2d(2, 5), "kernel"),
        (lambda: scratch.image(4).conv2d(2, 3), "conv2d: its input is"),
        (lambda: scratch.image(4).linear(2, weights="he"), "unknown initialization"),
        (lambda: scratch.image(4).linear(2, name="a").linear(2, name="a"), "two layers are called 'a'"),
        (lambda: scratch.image(4).dropout(2), "rate: 2"),
        (lambda: scratch.image(4).softmax(axis=wrong("c")), "axis: .c., expected an integer"),
        (lambda: scratch.image(3, 4, 4) + scratch.image(3, 5, 5), "b: shape"),
    ],
)
def test_a_line_that_cannot_work_is_refused(write, words):
    with pytest.raises(ValueError, match=words):
        scratch.network(write())


def test_an_unknown_operation_or_setting_is_an_error_of_python():
    value: Any = scratch.image(4)
    with pytest.raises(AttributeError, match="'rleu'"):
        value.rleu()
    with pytest.raises(TypeError, match="'axes'"):
        value.softmax(axes=1)


PLAIN = sorted(name for name in vars(PlainLayers) if not name.startswith("_"))


@pytest.mark.parametrize("layer", PLAIN)
def test_a_layer_takes_what_its_operation_takes(layer):
    if layer == "dropout":
        return  # its mask belongs to the step, not to the layer
    ours = dict(signature(getattr(scratch.Value, layer)).parameters)
    theirs = dict(signature(getattr(ops, layer)).parameters)
    for left_out in ("x", "w", "b"):
        theirs.pop(left_out, None)
    for added in ("self", "name"):
        ours.pop(added)
    assert {name: p.annotation for name, p in ours.items() if p.annotation is Parameter.empty} == {}
    assert ours.keys() == theirs.keys()
    if layer not in ("total", "mean"):  # where all axes, the batch's among them, are no default
        assert {name: p.default for name, p in ours.items()} == {name: p.default for name, p in theirs.items()}


def test_each_operation_of_one_array_is_a_layer_with_a_docstring():
    def arrays(name):
        given = signature(getattr(ops, name)).parameters.values()
        return [p.name for p in given if p.kind is Parameter.POSITIONAL_OR_KEYWORD and p.default is Parameter.empty]

    known = [name for name in OPERATIONS if hasattr(ops, name)]
    expected = {name for name in known if arrays(name) in (["x"], ["x", "kernel"], ["x", "size"])}
    layers = {name for name in dir(scratch.Value) if getdoc(getattr(scratch.Value, name)) and not name.startswith("_")}
    assert expected - layers == set()
    assert {name for name in PLAIN if name not in layers} == set()


def numeric(graph, x, eps=1e-6):
    """The gradient of sum(graph(x)^2) / 2 by central differences."""
    found = np.zeros_like(x)
    for cell in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[cell] = eps
        found[cell] = ((graph(x + step) ** 2).sum() - (graph(x - step) ** 2).sum()) / (4 * eps)
    return found


ARGUMENTS = {
    "threshold": {"threshold": 0.9, "value": 0.1},
    "clamp": {"low": 0.0, "high": 6.0},
    "max_pool2d": {"kernel": 2},
    "avg_pool2d": {"kernel": 2},
    "adaptive_avg_pool2d": {"size": 2},
    "adaptive_max_pool2d": {"size": 2},
    "upsample_nearest": {"scale": 2},
    "upsample_bilinear": {"scale": 2},
    "upsample_bicubic": {"scale": 2},
    "pixel_shuffle": {"factor": 2},
    "pixel_unshuffle": {"factor": 2},
    "reshape": {"shape": (-1, 16)},
    "permute": {"axes": (0, 3, 2, 1)},
    "broadcast": {"shape": (-1, 4, 2, 2)},
    "take": {"index": (slice(None), 1)},
    "pad": {"padding": [(1, 0)]},
    "power": {"exponent": 2.0},
    "total": {"axis": 2},
    "mean": {"axis": (2, 3)},
}


@pytest.mark.parametrize("layer", PLAIN)
def test_a_layer_hands_its_gradient_back(layer):
    value = getattr(scratch.image(4, 2, 2), layer)(**ARGUMENTS.get(layer, {}), name="it")
    graph = scratch.network(value, dtype=np.float64)
    x = np.random.default_rng(0).uniform(0.5, 2.0, (2, 4, 2, 2))
    tape = graph.run(x)
    assert tape.output.shape[1:] == value.shape
    assert np.array_equal(tape.value("it"), tape.output)
    (gradient,) = tape.backward(tape.output, inputs=True).inputs
    assert np.allclose(present(gradient), numeric(graph, x), atol=1e-6)
