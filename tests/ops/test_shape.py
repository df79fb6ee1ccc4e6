"""Operations that move numbers against PyTorch and central differences."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from checking import check_operation, normal

from convlens import ops


@pytest.mark.parametrize(
    ("name", "settings", "reference"),
    [
        ("flatten", {}, lambda x: x.flatten(1)),
        ("flatten", {"start": 0}, lambda x: x.flatten()),
        ("flatten", {"start": 1, "end": 2}, lambda x: x.flatten(1, 2)),
        ("reshape", {"shape": (2, -1, 4)}, lambda x: x.reshape(2, -1, 4)),
        ("permute", {"axes": (0, 2, 3, 1)}, lambda x: x.permute(0, 2, 3, 1)),
        ("permute", {"axes": (-1, 0, 1, 2)}, lambda x: x.permute(-1, 0, 1, 2)),
        ("take", {"index": (slice(None), 1)}, lambda x: x[:, 1]),
        ("take", {"index": (slice(None), slice(0, 3, 2), -1)}, lambda x: x[:, 0:3:2, -1]),
        ("broadcast", {"shape": (5, 2, 3, 4, 2)}, lambda x: x.expand(5, 2, 3, 4, 2)),
        ("pad", {"padding": ((1, 2), (0, 3)), "value": 0.5}, lambda x: F.pad(x, (0, 3, 1, 2), value=0.5)),
        ("pad", {"padding": ((-1, 2), (1, -1))}, lambda x: F.pad(x, (1, -1, -1, 2))),
        ("pad", {"padding": ((3, 2), (1, 1)), "mode": "reflect"}, lambda x: F.pad(x, (1, 1, 3, 2), mode="reflect")),
        ("pad", {"padding": ((3, 5), (1, 0)), "mode": "replicate"}, lambda x: F.pad(x, (1, 0, 3, 5), mode="replicate")),
        ("pad", {"padding": ((3, 2), (2, 1)), "mode": "circular"}, lambda x: F.pad(x, (2, 1, 3, 2), mode="circular")),
    ],
)
def test_an_operation_on_shapes_agrees_with_pytorch(name, settings, reference):
    check_operation(
        lambda x: getattr(ops, name)(x, **settings),
        lambda grad, x: getattr(ops, f"{name}_backward")(grad, x, **settings),
        reference,
        {"x": normal(2, 3, 4, 2)},
    )


def test_concat_joins_and_its_gradient_is_cut_at_the_same_places():
    parts = [normal(2, n, 3, seed=n) for n in (1, 4, 2)]
    y = ops.concat(parts)
    assert np.array_equal(y, torch.cat([torch.tensor(p) for p in parts], 1))
    back = ops.concat_backward(y, parts).xs
    assert all(np.array_equal(a, b) for a, b in zip(back, parts, strict=True))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ops.reshape(np.ones(6), shape=(4, 2)), r"shape: \(4, 2\), expected one of 6"),
        (lambda: ops.permute(np.ones((2, 3)), axes=(0, 0)), "axes"),
        (lambda: ops.take(np.ones((2, 3)), index=(5,)), "index"),
        (lambda: ops.concat([]), "xs: no arrays"),
        (lambda: ops.concat([np.ones((2, 3)), np.ones((3, 3))]), r"xs\[1\]: shape"),
        (lambda: ops.pad(np.ones(3), padding=((1, 1),), mode="mirror"), "mode: 'mirror'"),
        (lambda: ops.pad(np.ones(3), padding=((3, 0),), mode="reflect"), "padding"),
        (lambda: ops.pad(np.ones(3), padding=((-2, -2),)), "padding"),
        (lambda: ops.flatten(np.ones((2, 3)), start=1, end=0), "start: 1"),
    ],
)
def test_a_bad_argument_is_named_with_what_was_expected(call, words):
    with pytest.raises(ValueError, match=words):
        call()
