"""Dense layer, arithmetic, shapes, upsampling, dropout against PyTorch and central differences."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from checking import assert_close, check_operation, normal

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
    ("kwargs", "torch_kwargs"),
    [
        ({"scale": 2}, {"scale_factor": 2}),
        ({"scale": (1.5, 2.3)}, {"scale_factor": (1.5, 2.3)}),
        ({"size": (7, 3)}, {"size": (7, 3)}),
        ({"size": (2, 9)}, {"size": (2, 9)}),
        ({"size": 1}, {"size": 1}),
    ],
)
def test_upsampling_agrees_with_pytorch(kwargs, torch_kwargs):
    for mode, extra, torch_extra in [
        ("nearest", {}, {}),
        ("bilinear", {}, {"align_corners": False}),
        ("bilinear", {"align_corners": True}, {"align_corners": True}),
    ]:
        settings = {**kwargs, **extra}
        if extra and "scale" in settings:
            continue
        check_operation(
            lambda x, s=settings, m=mode: getattr(ops, f"upsample_{m}")(x, **s),
            lambda grad, x, s=settings, m=mode: getattr(ops, f"upsample_{m}_backward")(grad, x, **s),
            lambda x, m=mode, t=torch_extra: F.interpolate(x, mode=m, **torch_kwargs, **t),
            {"x": normal(2, 3, 4, 5)},
        )


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


def test_image_kernels_do_what_their_names_say():
    sums = {name: kernel.sum() for name, kernel in ops.kernels.ALL.items()}
    ones = {"identity", "sharpen", "box blur", "gaussian blur", "gaussian blur 5x5", "emboss"}
    assert {name for name, total in sums.items() if abs(total - 1) < 1e-12} == ones
    assert all(abs(total) < 1e-12 for name, total in sums.items() if name not in ones)
    ramp = np.arange(9.0).reshape(3, 3)
    assert (ops.kernels.SOBEL_X * ramp).sum() == 8
    assert (ops.kernels.SOBEL_Y * ramp).sum() == 24
    assert assert_close(ops.kernels.GAUSSIAN_BLUR, np.outer([1, 2, 1], [1, 2, 1]) / 16) is None


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ops.linear(np.ones((2, 3)), np.ones((4, 5))), r"x: shape \(2, 3\), expected \(..., 5\)"),
        (lambda: ops.linear(np.ones((2, 5)), np.ones((4, 5)), np.ones(5)), r"b: shape \(5,\), expected \(4,\)"),
        (lambda: ops.linear(np.ones((2, 5)), np.ones(5)), "w: shape"),
        (lambda: ops.matmul(np.ones((2, 3)), np.ones((2, 3))), "b: shape"),
        (lambda: ops.add(np.ones(2), np.ones(3)), "b: shape"),
        (lambda: ops.reshape(np.ones(6), shape=(4, 2)), r"shape: \(4, 2\), expected one of 6"),
        (lambda: ops.permute(np.ones((2, 3)), axes=(0, 0)), "axes"),
        (lambda: ops.take(np.ones((2, 3)), index=(5,)), "index"),
        (lambda: ops.concat([]), "xs: no arrays"),
        (lambda: ops.concat([np.ones((2, 3)), np.ones((3, 3))]), r"xs\[1\]: shape"),
        (lambda: ops.pad(np.ones(3), padding=((1, 1),), mode="mirror"), "mode: 'mirror'"),
        (lambda: ops.pad(np.ones(3), padding=((3, 0),), mode="reflect"), "padding"),
        (lambda: ops.pad(np.ones(3), padding=((-2, -2),)), "padding"),
        (lambda: ops.upsample_nearest(np.ones((1, 1, 2, 2))), "size: None and scale: None"),
        (lambda: ops.upsample_nearest(np.ones((1, 2, 2)), scale=2), "x: shape"),
        (lambda: ops.dropout(np.ones(3), rate=1.5, seed=0), "rate: 1.5"),
        (lambda: ops.dropout(np.ones(3)), "mask: expected"),
        (lambda: ops.dropout(np.ones(3), mask=np.ones(2, bool)), "mask: shape"),
        (lambda: ops.flatten(np.ones((2, 3)), start=1, end=0), "start: 1"),
    ],
)
def test_a_bad_argument_is_named_with_what_was_expected(call, words):
    with pytest.raises(ValueError, match=words):
        call()
