"""Upsampling against the exact rule, against PyTorch, and against central differences."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from checking import assert_close, check_operation, normal
from hypothesis import given
from hypothesis import strategies as st

from convlens import geometry, ops

NEAREST = [({}, "nearest"), ({"exact": True}, "nearest-exact")]
SMOOTH = [("bilinear", False), ("bilinear", True), ("bicubic", False), ("bicubic", True)]


@pytest.mark.parametrize(
    ("kwargs", "torch_kwargs"),
    [
        ({"scale": 2}, {"scale_factor": 2}),
        ({"scale": (1.5, 2.3)}, {"scale_factor": (1.5, 2.3)}),
        ({"scale": (1.1, 0.6)}, {"scale_factor": (1.1, 0.6)}),
        ({"size": (7, 3)}, {"size": (7, 3)}),
        ({"size": (2, 9)}, {"size": (2, 9)}),
        ({"size": 1}, {"size": 1}),
    ],
)
def test_upsampling_agrees_with_pytorch(kwargs, torch_kwargs):
    cases = [("upsample_nearest", extra, {"mode": mode}) for extra, mode in NEAREST]
    cases += [(f"upsample_{m}", {"align_corners": a}, {"mode": m, "align_corners": a}) for m, a in SMOOTH]
    for name, extra, torch_extra in cases:
        check_operation(
            lambda x, s={**kwargs, **extra}, name=name: getattr(ops, name)(x, **s),
            lambda grad, x, s={**kwargs, **extra}, name=name: getattr(ops, f"{name}_backward")(grad, x, **s),
            lambda x, t=torch_extra: F.interpolate(x, **torch_kwargs, **t),
            {"x": normal(2, 3, 4, 5)},
        )


@pytest.mark.parametrize(("shape", "linear"), [((2, 3, 5), "linear"), ((1, 2, 3, 4, 2), "trilinear")])
def test_sequences_and_volumes_are_resized_as_well(shape, linear):
    x = normal(*shape)
    size, scale = (7, 3, 5)[: len(shape) - 2], (1.7, 2.0, 2.6)[: len(shape) - 2]
    for ours, theirs in [({"size": size}, {"size": size}), ({"scale": scale}, {"scale_factor": scale})]:
        for extra, mode in NEAREST:
            expected = F.interpolate(torch.from_numpy(x), **theirs, mode=mode)
            assert np.array_equal(ops.upsample_nearest(x, **ours, **extra), expected.numpy())
        expected = F.interpolate(torch.from_numpy(x), **theirs, mode=linear)
        assert_close(ops.upsample_bilinear(x, **ours), expected.numpy())


def test_nearest_by_size_follows_the_exact_rule_for_every_pair_of_sizes():
    for n in range(1, 65):
        x = np.arange(n, dtype=np.float32).reshape(1, 1, n)
        for m in range(1, 129):
            copied, centered = (ops.upsample_nearest(x, size=m, exact=exact)[0, 0] for exact in (False, True))
            assert copied.tolist() == [i * n // m for i in range(m)]
            assert centered.tolist() == [(2 * i + 1) * n // (2 * m) for i in range(m)]
    assert geometry.upsampled_cells(81, 2, 82) == (1,)


def test_nearest_by_size_differs_from_pytorch_only_where_pytorch_leaves_the_rule():
    left = 0
    for n in range(1, 65):
        x = torch.arange(n, dtype=torch.float32).reshape(1, 1, n)
        for m in range(1, 129, 3):
            theirs = F.interpolate(x, size=m, mode="nearest").numpy()
            left += not np.array_equal(theirs, ops.upsample_nearest(x.numpy(), size=m))
    assert left < 64 * 43 / 25


DECIMALS = st.integers(1, 50).map(lambda k: k / 10)
RATIOS = st.builds(lambda p, q: p / q, st.integers(1, 9), st.integers(1, 9))


@given(n=st.integers(1, 60), scale=st.one_of(st.floats(0.1, 5), DECIMALS, RATIOS))
def test_by_scale_every_variant_is_that_of_pytorch(n, scale):
    if int(n * scale) < 1:
        return
    x = normal(1, 2, n, 3).astype(np.float32)
    factors, tensor = (scale, 1.0), torch.from_numpy(x)
    for extra, mode in NEAREST:
        expected = F.interpolate(tensor, scale_factor=factors, mode=mode).numpy()
        assert np.array_equal(ops.upsample_nearest(x, scale=factors, **extra), expected)
    for mode, corners in SMOOTH:
        wide = x.astype(np.float64)
        expected = F.interpolate(torch.from_numpy(wide), scale_factor=factors, mode=mode, align_corners=corners).numpy()
        assert_close(getattr(ops, f"upsample_{mode}")(wide, scale=factors, align_corners=corners), expected)


@given(n=st.integers(1, 40), m=st.integers(1, 90))
def test_by_size_interpolation_is_that_of_pytorch(n, m):
    x = normal(1, 1, n, 2)
    for mode, corners in SMOOTH:
        expected = F.interpolate(torch.from_numpy(x), size=(m, 3), mode=mode, align_corners=corners).numpy()
        assert_close(getattr(ops, f"upsample_{mode}")(x, size=(m, 3), align_corners=corners), expected)


def test_a_cell_that_is_not_finite_reaches_only_the_cells_that_read_it():
    x = np.zeros((1, 1, 6, 6))
    x[0, 0, 2, 3] = np.nan
    assert np.isnan(ops.upsample_nearest(x, size=12)).sum() == 4
    expected = F.interpolate(torch.from_numpy(x), size=(12, 12), mode="bilinear").numpy()
    assert np.array_equal(np.isnan(ops.upsample_bilinear(x, size=12)), np.isnan(expected))


def test_a_batch_of_no_images_stays_one():
    x = np.zeros((0, 2, 3, 3), np.float32)
    y = ops.upsample_bilinear(x, size=5)
    assert (y.shape, y.dtype) == ((0, 2, 5, 5), np.float32)
    assert ops.upsample_bilinear_backward(y, x, size=5).x.shape == x.shape


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ops.upsample_nearest(np.ones((1, 1, 2, 2))), "size: None and scale: None"),
        (lambda: ops.upsample_nearest(np.ones((2, 2)), scale=2), "x: shape"),
        (lambda: ops.upsample_nearest(np.ones((1, 1, 0, 2)), scale=2), "x: shape .* empty"),
        (lambda: ops.upsample_nearest(np.ones((1, 1, 2, 2)), scale=0.4), "scale: 0.4 .* at least one cell"),
        (lambda: ops.upsample_nearest(np.ones((1, 1, 2, 2)), scale=-1), "scale: -1, expected a positive factor"),
        (lambda: ops.upsample_nearest(np.ones((1, 1, 2, 2)), scale=(2, 2, 2)), "expected a positive factor, or 2"),
        (lambda: ops.upsample_bicubic(np.ones((1, 1, 2, 2)), size=0), "size: 0, expected an integer of at least 1"),
    ],
)
def test_a_bad_argument_is_named_with_what_was_expected(call, words):
    with pytest.raises(ValueError, match=words):
        call()
