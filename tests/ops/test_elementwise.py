"""Elementwise operations in parts: the bits of the plain forms, whatever the arguments."""

import numpy as np
import pytest
from checking import normal

from convlens import ops
from convlens.base.errors import InputError
from convlens.ops.fast import elementwise, parallel

SETTINGS = {
    "threshold": {"threshold": 0.5, "value": -1.0},
    "clamp": {"low": -0.5, "high": 0.5},
    "softplus": {"beta": 2.0},
    "dropout": {"rate": 0.3, "mask": normal(8, 3, 5) > 0},
}
NAMES = sorted(name for name in elementwise.DROP_INS if not name.endswith("_backward"))


@pytest.fixture(autouse=True)
def _small_parts_on_two_threads(monkeypatch):
    monkeypatch.setattr(elementwise, "A_PART", 10)
    monkeypatch.setattr(parallel, "_threads", lambda: 2)
    parallel._pool.cache_clear()
    yield
    parallel._pool.cache_clear()


def both(name, x, **settings):
    """The output and the gradient of x, by the plain form and by the drop-in."""

    def run():
        y = getattr(ops, name)(x, **settings)
        return [y, getattr(ops, f"{name}_backward")(np.cos(y), x, **settings).x]

    plain = run()
    with ops.fast():
        return zip(plain, run(), strict=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_parts_give_the_bits_of_the_whole(name, dtype):
    x = normal(8, 3, 5).astype(dtype)
    x[0, 0, :4] = [np.nan, np.inf, -np.inf, 0]
    with np.errstate(invalid="ignore", over="ignore"):
        for plain, fast in both(name, x, **SETTINGS.get(name, {})):
            assert fast.dtype == plain.dtype == dtype
            np.testing.assert_array_equal(fast, plain)


def test_an_output_at_hand_is_cut_like_the_arrays():
    x, grad = normal(8, 30), normal(8, 30, seed=1)
    for name in ("sigmoid", "tanh"):
        y = getattr(ops, name)(x)
        backward = getattr(ops, f"{name}_backward")
        with ops.fast():
            np.testing.assert_array_equal(backward(grad, x, y=y).x, backward(grad, x).x)


def test_one_mask_for_a_channel_is_repeated():
    x, mask = normal(8, 3, 5), normal(8, 3, 1) > 0
    for plain, fast in both("dropout", x, rate=0.3, mask=mask):
        np.testing.assert_array_equal(fast, plain)


def test_a_mask_that_is_drawn_is_drawn_once_for_the_whole_batch():
    for plain, fast in both("dropout", normal(8, 3, 50), rate=0.3, seed=1, address=("layer", 2)):
        np.testing.assert_array_equal(fast, plain)


@pytest.mark.parametrize(
    "x", [3.0, [1.0, -2.0], np.float32(2), np.zeros((0, 3)), normal(64, 4).T, normal(64).astype(">f8"), np.arange(64)]
)
def test_arguments_out_of_the_ordinary_are_left_to_the_plain_form(x):
    for plain, fast in both("relu", x):
        assert fast.shape == plain.shape
        assert fast.dtype == plain.dtype
        np.testing.assert_array_equal(fast, plain)


def test_errors_are_those_of_the_plain_form():
    with ops.fast(), pytest.raises(InputError, match=r"^grad: shape \(9, 9\), expected \(8, 9\)"):
        ops.relu_backward(np.zeros((9, 9)), np.zeros((8, 9)))
    with ops.fast(), pytest.raises(InputError, match=r"^mask: shape"):
        ops.dropout(np.zeros((8, 9)), mask=np.ones(5, bool))


@pytest.mark.parametrize("outputs", [4, 300])
def test_a_dense_layer_is_the_same_but_for_rounding(outputs, monkeypatch):
    monkeypatch.setattr(parallel, "SMALL_PRODUCT", 10_000)
    x, w, b, grad = normal(20, 30), normal(outputs, 30), normal(outputs), normal(20, outputs)
    plain = [ops.linear(x, w, b), *ops.linear_backward(grad, x, w)]
    with ops.fast():
        fast = [ops.linear(x, w, b), *ops.linear_backward(grad, x, w)]
    for one, other in zip(plain, fast, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-12, atol=1e-12)


def test_in_a_part_the_plain_operations_run():
    def nested(part, workspace):
        return ops.conv2d(np.ones((4, 2, 9, 9)), np.ones((2, 2, 3, 3))).sum()  # would wait for itself in the fast form

    with ops.fast():
        assert parallel.run(nested, [slice(0, 1), slice(1, 2)], np.dtype(float)) == [4 * 2 * 49 * 18.0] * 2
