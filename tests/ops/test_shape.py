"""Operations that move numbers against PyTorch and central differences."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from checking import check_operation, normal

from convlens import ops
from typed import wrong


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


def test_pixels_are_shuffled_as_pytorch_does():
    for name, shape in [("pixel_shuffle", (2, 12, 3, 2)), ("pixel_unshuffle", (2, 3, 4, 6))]:
        check_operation(
            lambda x, n=name: getattr(ops, n)(x, factor=2),
            lambda grad, x, n=name: getattr(ops, f"{n}_backward")(grad, x, factor=2),
            lambda x, n=name: getattr(F, n)(x, 2),
            {"x": normal(*shape)},
        )


def test_single_numbers_and_empty_arrays_move_as_in_pytorch():
    one, nothing = np.array(3.0), np.zeros((0, 2))
    assert ops.flatten(one, start=0).tolist() == [3.0]
    assert ops.permute(one, axes=()).shape == ops.permute_backward(one, one, axes=()).x.shape == ()
    assert ops.broadcast(one, shape=(2, 3)).shape == (2, 3)
    assert isinstance(ops.take(np.ones(3), index=(1,)), np.ndarray)
    assert ops.concat([nothing, nothing], axis=0).shape == (0, 2)
    assert ops.permute(nothing, axes=(1, 0)).shape == (2, 0)
    assert ops.pad(nothing, padding=((0, 0), (1, 1))).shape == (0, 4)
    assert ops.flatten(np.zeros((0, 2, 3))).shape == (0, 6)


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
        (lambda: ops.flatten(np.ones((2, 3)), start=3), "start: 3, expected -2 to 1"),
        (lambda: ops.permute(np.ones((2, 3)), axes=(2, 3)), "axes: 2, expected -2 to 1"),
        (lambda: ops.permute_backward(np.ones((2, 3)), np.ones((2, 3)), axes=(1, 0)), "grad: shape"),
        (lambda: ops.broadcast(np.ones(3), shape=(3, 2)), "shape: "),
        (lambda: ops.broadcast(np.ones((2, 3)), shape=(3,)), "shape: "),
        (lambda: ops.broadcast_backward(np.ones((2, 4)), np.ones(3)), "grad: shape"),
        (lambda: ops.concat([np.ones(())]), "axis: 1"),
        (lambda: ops.concat([np.ones(2), np.ones(())], axis=0), r"xs\[1\]: shape"),
        (lambda: ops.concat_backward(np.ones(3), [np.ones(2)], axis=0), "grad: shape"),
        (lambda: ops.take_backward(np.ones(3), np.ones((2, 2)), index=(0,)), "grad: shape"),
        (lambda: ops.put_backward(np.ones(3), np.ones(2), 1.0, index=(0,)), "grad: shape"),
        (lambda: ops.reshape_backward(np.ones(3), np.ones(2)), "grad: shape"),
        (lambda: ops.pad(np.ones((0, 2)), padding=((1, 1), (0, 0)), mode="replicate"), "padding"),
        (lambda: ops.pad(np.ones(3), padding=wrong(((1.5, 0),))), "padding: 1.5, expected an integer"),
        (lambda: ops.pixel_shuffle(np.ones((1, 3, 2, 2)), factor=2), "x: 3 channels, expected a multiple of 4"),
        (lambda: ops.pixel_unshuffle(np.ones((1, 3, 3, 2)), factor=2), "x: 3 x 2 pixels"),
    ],
)
def test_a_bad_argument_is_named_with_what_was_expected(call, words):
    with pytest.raises(ValueError, match=words):
        call()
