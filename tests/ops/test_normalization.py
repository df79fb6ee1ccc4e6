"""Normalization layers against PyTorch and central differences."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from checking import assert_close, check_operation, normal
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens import ops
from typed import wrong


def arrays(shape, vector=None):
    vector = shape[1:2] if vector is None else vector
    return {"x": normal(*shape) * 3 + 1, "w": normal(*vector, seed=1), "b": normal(*vector, seed=2)}


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 6), (3, 4, 5, 2), (2, 2, 1, 3)])
def test_batch_norm_agrees_with_pytorch_in_training(shape):
    check_operation(
        ops.batch_norm,
        ops.batch_norm_backward,
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        arrays(shape),
    )


def test_batch_norm_agrees_with_pytorch_in_inference():
    given_arrays = arrays((3, 4, 5, 2)) | {"mean": normal(4, seed=3), "var": np.abs(normal(4, seed=4)) + 0.1}
    check_operation(
        ops.batch_norm_inference,
        ops.batch_norm_inference_backward,
        lambda x, mean, var, w, b: F.batch_norm(x, mean, var, w, b, eps=1e-5),
        given_arrays,
        constant=("mean", "var"),
    )


@pytest.mark.parametrize("momentum", [0.1, 0.0, 1.0])
def test_running_statistics_follow_pytorch(momentum):
    x = normal(4, 3, 5)
    mean, var = normal(3, seed=1), np.abs(normal(3, seed=2))
    t_mean, t_var = torch.tensor(mean), torch.tensor(var)
    F.batch_norm(torch.tensor(x), t_mean, t_var, training=True, momentum=momentum)
    new = ops.update_statistics(ops.Statistics(mean, var), ops.batch_statistics(x), x.size // 3, momentum=momentum)
    assert_close(new.mean, t_mean)
    assert_close(new.var, t_var)


def test_keras_counts_momentum_from_the_other_end_and_keeps_the_population_variance():
    old, batch = ops.Statistics(np.zeros(1), np.ones(1)), ops.Statistics(np.array([3.0]), np.array([4.0]))
    new = ops.update_statistics(old, batch, 0, momentum=1 - 0.99)
    assert_close(new.mean, [0.03])
    assert_close(new.var, [0.99 + 0.04])


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_group_norm_agrees_with_pytorch(groups):
    check_operation(
        lambda **a: ops.group_norm(**a, groups=groups),
        lambda grad, **a: ops.group_norm_backward(grad, **a, groups=groups),
        lambda x, w, b: F.group_norm(x, groups, w, b),
        arrays((2, 6, 3, 2)),
    )


def test_instance_norm_agrees_with_pytorch():
    check_operation(
        ops.instance_norm,
        ops.instance_norm_backward,
        lambda x, w, b: F.instance_norm(x, weight=w, bias=b),
        arrays((2, 3, 4, 5)),
    )


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_layer_norm_agrees_with_pytorch(axes):
    shape = (3, 2, 4, 5)
    over = shape[-axes:]
    check_operation(
        lambda **a: ops.layer_norm(**a, axes=axes),
        lambda grad, **a: ops.layer_norm_backward(grad, **a, axes=axes),
        lambda x, w, b: F.layer_norm(x, over, w, b),
        arrays(shape, over),
    )


@pytest.mark.parametrize(("size", "channels"), [(5, 8), (4, 7), (1, 3), (3, 2), (9, 4)])
def test_local_response_normalization_agrees_with_pytorch(size, channels):
    check_operation(
        lambda x: ops.local_response_norm(x, size=size, alpha=0.3, beta=0.75, k=2.0),
        lambda grad, x: ops.local_response_norm_backward(grad, x, size=size, alpha=0.3, beta=0.75, k=2.0),
        lambda x: F.local_response_norm(x, size, 0.3, 0.75, 2.0),
        {"x": normal(2, channels, 3, 2)},
    )


@given(st.integers(2, 5), st.integers(1, 4), st.integers(1, 4), st.floats(-100, 100))
@settings(deadline=None, max_examples=25)
def test_a_normalized_channel_has_mean_zero_and_variance_one(n, channels, side, offset):
    x = normal(n, channels, side, side, seed=n) + offset
    y = ops.batch_norm(x, eps=0.0)
    assert np.abs(y.mean(axis=(0, 2, 3))).max() < 1e-9
    assert np.abs(y.var(axis=(0, 2, 3)) - 1).max() < 1e-9


def test_one_group_is_layer_norm_and_as_many_groups_as_channels_are_instance_norm():
    x = normal(2, 4, 3, 3)
    assert_close(ops.group_norm(x, groups=1), ops.layer_norm(x, axes=3))
    assert_close(ops.group_norm(x, groups=4), ops.instance_norm(x))


def test_the_variance_survives_a_large_mean():
    x = (normal(64, 1, 8, 8) * 0.1 + 1000).astype(np.float32)
    assert_close(ops.batch_statistics(x).var, [np.var(x, dtype=np.float64)], 1e-3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ops.batch_norm(np.ones((2, 3)), np.ones(2)), r"w: shape \(2,\), expected \(3,\)"),
        (lambda: ops.batch_norm(np.ones(3)), "x: shape"),
        (lambda: ops.group_norm(np.ones((2, 6, 2)), groups=4), "groups: 4, expected a divisor of the 6 channels"),
        (lambda: ops.layer_norm(np.ones((2, 3)), np.ones(2)), r"w: shape \(2,\), expected \(3,\)"),
        (lambda: ops.layer_norm(np.ones((2, 3)), axes=3), "axes: 3, expected 1 to 2"),
        (lambda: ops.local_response_norm(np.ones((2, 3)), size=0), "size: 0"),
        (
            lambda: ops.update_statistics(ops.Statistics(np.ones(1), np.ones(1)), batch=wrong(None), n=1),
            "n: 1 value",
        ),
        (
            lambda: ops.update_statistics(ops.Statistics(np.ones(1), np.ones(1)), batch=wrong(None), n=4, momentum=2),
            "momentum: 2",
        ),
        (lambda: ops.batch_norm_backward(np.ones((2, 2)), np.ones((2, 3))), "grad: shape"),
    ],
)
def test_a_bad_argument_is_named_with_what_was_expected(call, words):
    with pytest.raises(ValueError, match=words):
        call()
