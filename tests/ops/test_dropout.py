"""Dropout and its addressed masks against PyTorch and central differences."""

import numpy as np
import pytest
import torch
from checking import check_operation, normal

from convlens import ops


def test_dropout_multiplies_by_a_mask_and_scales_what_is_kept():
    mask = ops.dropout_mask((2, 3, 4), 0.25, 7, "dropout", 3)
    check_operation(
        lambda x: ops.dropout(x, rate=0.25, mask=mask),
        lambda grad, x: ops.dropout_backward(grad, x, rate=0.25, mask=mask),
        lambda x: x * torch.tensor(mask) / 0.75,
        {"x": normal(2, 3, 4)},
    )


def test_a_mask_depends_on_its_address_only_and_drops_at_the_rate():
    mask = ops.dropout_mask((1000, 100), 0.3, 1, "layer", 2)
    assert np.array_equal(mask, ops.dropout_mask((1000, 100), 0.3, 1, "layer", 2))
    assert not np.array_equal(mask, ops.dropout_mask((1000, 100), 0.3, 1, "layer", 3))
    assert abs(mask.mean() - 0.7) < 5 * (0.3 * 0.7 / 1e5) ** 0.5
    x = normal(1000, 100)
    assert np.array_equal(ops.dropout(x, rate=0.3, seed=1, address=("layer", 2)), ops.dropout(x, rate=0.3, mask=mask))


@pytest.mark.parametrize(("rate", "kept"), [(0.0, True), (1.0, False)])
def test_rates_zero_and_one_keep_and_drop_everything(rate, kept):
    assert (ops.dropout_mask((50,), rate, 0) == kept).all()
    assert ops.dropout(np.ones(50), rate=rate, seed=0).tolist() == [float(kept)] * 50


def test_dropout_outside_training_is_the_identity():
    x = normal(3, 4)
    assert np.array_equal(ops.dropout(x, training=False), x)
    assert np.array_equal(ops.dropout_backward(x, x, training=False).x, x)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ops.dropout(np.ones(3), rate=1.5, seed=0), "rate: 1.5"),
        (lambda: ops.dropout(np.ones(3)), "mask: expected"),
        (lambda: ops.dropout(np.ones(3), mask=np.ones(2, bool)), "mask: shape"),
    ],
)
def test_a_bad_argument_is_named_with_what_was_expected(call, words):
    with pytest.raises(ValueError, match=words):
        call()
