"""Networks written by hand: shapes, names, starting weights."""

import numpy as np
import pytest

from convlens import scratch
from convlens.scratch import initial


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
        (lambda: scratch.image(4).linear(2, weights="he"), "unknown initialisation"),
        (lambda: scratch.image(4).linear(2, name="a").linear(2, name="a"), "two layers are called 'a'"),
        (lambda: scratch.image(4).dropout(2), "rate: 2"),
        (lambda: scratch.image(4).softmax(axes=1), "softmax"),
        (lambda: scratch.image(3, 4, 4) + scratch.image(3, 5, 5), "b: shape"),
    ],
)
def test_a_line_that_cannot_work_is_refused(write, words):
    with pytest.raises(ValueError, match=words):
        scratch.network(write())


def test_an_unknown_operation_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no operation 'rleu'"):
        scratch.image(3).rleu()
