"""Batched augmentation against one image at a time in NumPy, Pillow and SciPy, with the same drawn numbers."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from scipy import ndimage

from convlens.base.errors import InputError
from convlens.base.seeds import generator
from convlens.data.augment import Augmentation
from convlens.data.augment import spatial as g
from convlens.data.augment.augmenter import Augmenter, patch_boxes, random_boxes
from typed import untyped

DTYPES = [torch.uint8, torch.float32]


def pictures(n=12, h=9, w=7, c=3, dtype=torch.uint8, seed=0) -> torch.Tensor:
    """Random images [n h w c]; floating-point ones are roughly normalized."""
    values = np.random.default_rng(seed).integers(0, 256, (n, h, w, c), dtype=np.uint8)
    x = torch.from_numpy(values)
    return x if dtype == torch.uint8 else (x.to(dtype) - 120) / 60


def augmented(x: torch.Tensor, *, epoch=0, step=0, seed=5, y=None, k=None, **changes: Any):
    """`Augmenter` on [n h w c]; returns images in that order, and the labels."""
    y = torch.arange(len(x)) if y is None else y
    augmenter = Augmenter(Augmentation(**changes), seed=seed)
    numbers = torch.arange(len(x))
    out, y = augmenter(x.permute(0, 3, 1, 2), y, epoch=epoch, step=step, indices=numbers, num_classes=k)
    return out.permute(0, 2, 3, 1), y


UNIFORM = (
    "turns", "vertical flip", "flip", "shift down", "shift right", "rotate", "brightness", "contrast", "saturation",
    "cutout row", "cutout column",
)  # fmt: skip


def drawn(name: str, n: int, epoch=0, step=0, seed=5) -> np.ndarray:
    """The uniform numbers of one change, one per image."""
    return generator(seed, "augment", epoch, step).random((len(UNIFORM), n))[UNIFORM.index(name)]


# ---- places of pixels, one image at a time


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_flips_and_turns_match_numpy_image_by_image(dtype, channels):
    x = pictures(40, 6, 6, channels, dtype)
    out, _ = augmented(x, flip=True, vertical_flip=True, quarter_turns=True)
    turns = (drawn("turns", 40) * 4).astype(int)
    upside_down, mirrored = drawn("vertical flip", 40) < 0.5, drawn("flip", 40) < 0.5
    for i in range(40):
        expected = np.rot90(x[i].numpy(), turns[i])
        expected = np.flipud(expected) if upside_down[i] else expected
        expected = np.fliplr(expected) if mirrored[i] else expected
        np.testing.assert_array_equal(out[i].numpy(), expected)
    assert len(set(turns)) == 4
    assert 0 < mirrored.sum() < 40


@pytest.mark.parametrize("only", [{"flip": True}, {"vertical_flip": True}])
def test_flips_keep_or_mirror_oblong_images(only):
    x = pictures(30)
    out, _ = augmented(x, **only)
    mirror = np.fliplr if "flip" in only else np.flipud
    kinds = {
        (np.array_equal(out[i], x[i]), np.array_equal(out[i].numpy(), mirror(x[i].numpy()))) for i in range(len(x))
    }
    assert kinds == {(True, False), (False, True)}


@settings(max_examples=60, deadline=None)
@given(
    h=st.integers(3, 9), w=st.integers(3, 9), c=st.sampled_from([1, 3]), limit=st.integers(1, 2),
    padding=st.sampled_from(["zero", "edge", "reflect"]), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 99),
)  # fmt: skip
def test_shift_is_padding_and_cropping_of_each_image(h, w, c, limit, padding, dtype, seed):
    x = pictures(10, h, w, c, dtype, seed)
    down, right = torch.from_numpy(np.random.default_rng(seed).integers(-limit, limit + 1, (2, 10)))
    fill = torch.arange(1, c + 1).to(dtype)
    out = g.shifted(x, down, right, limit=limit, padding=padding, fill=fill)
    for i in range(10):
        top, left = limit - int(down[i]), limit - int(right[i])
        for channel in range(c):
            plane = x[i, ..., channel].numpy()
            if padding == "zero":
                padded = np.pad(plane, limit, constant_values=channel + 1)
            else:
                padded = np.pad(plane, limit, mode=padding)
            np.testing.assert_array_equal(out[i, ..., channel].numpy(), padded[top : top + h, left : left + w])


def test_shift_draws_every_offset_and_fills_with_the_mean_color():
    x = torch.full((400, 5, 5, 3), 7, dtype=torch.uint8)
    augmenter = Augmenter(Augmentation(shift=1), seed=1, mean=(0.5, 0.25, 1.0), std=(0.2, 0.2, 0.2))
    out, _ = augmenter(x.permute(0, 3, 1, 2), torch.zeros(400, dtype=torch.int64), epoch=0, step=0)
    out = out.permute(0, 2, 3, 1).numpy()
    offsets = {tuple(np.argwhere((image == 7).all(-1)).min(0) - np.argwhere((image == 7).all(-1)).max(0))
               for image in out}  # fmt: skip
    assert offsets == {(-4, -4), (-3, -4), (-4, -3), (-3, -3)}
    beyond = out[(out != 7).all(-1)]
    assert len(beyond)
    assert (beyond == [128, 64, 255]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(9, 7), (16, 16), (5, 12)])
def test_crop_enlarges_as_pillow_does(size, dtype):
    h, w = size
    x = pictures(25, h, w, 3, dtype)
    boxes = random_boxes(np.random.default_rng(3), 25, h, w, (0.1, 1.0), (0.5, 2.0))
    top, left, height, width = torch.from_numpy(boxes)
    out = g.resampled(x, (top, left, height, width))
    assert out.dtype == dtype
    for i in range(25):
        frame = (int(left[i]), int(top[i]), int(left[i] + width[i]), int(top[i] + height[i]))
        for channel in range(3):
            plane = Image.fromarray(np.ascontiguousarray(x[i, ..., channel].float().numpy()))
            expected = np.asarray(plane.crop(frame).resize((w, h), Image.Resampling.BILINEAR))
            tolerance = 0.502 if dtype == torch.uint8 else 1e-4  # half a level by rounding
            assert abs(out[i, ..., channel].float().numpy() - expected).max() < tolerance


@settings(max_examples=60, deadline=None)
@given(
    h=st.integers(1, 40), w=st.integers(1, 40), low=st.floats(0.01, 1), high=st.floats(0.01, 1),
    narrow=st.floats(0.1, 1), wide=st.floats(1, 10), seed=st.integers(0, 99),
)  # fmt: skip
def test_crop_boxes_lie_inside_the_image(h, w, low, high, narrow, wide, seed):
    scale = (min(low, high), max(low, high))
    top, left, height, width = random_boxes(np.random.default_rng(seed), 50, h, w, scale, (narrow, wide))
    assert (height >= 1).all()
    assert (width >= 1).all()
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= h).all()
    assert (left + width <= w).all()


def test_crop_boxes_have_the_area_and_shape_asked_for():
    top, left, height, width = random_boxes(np.random.default_rng(0), 20_000, 100, 100, (0.2, 0.6), (0.75, 4 / 3))
    area, shape = height * width / 1e4, width / height
    assert 0.19 < area.min() < 0.21
    assert 0.59 < area.max() < 0.61
    assert abs(area.mean() - 0.4) < 0.01
    assert shape.min() > 0.73
    assert shape.max() < 1.37
    assert abs(np.log(shape).mean()) < 0.01
    assert abs((top / (100 - height)).mean() - 0.5) < 0.02
    assert abs((left / (100 - width)).mean() - 0.5) < 0.02


def test_a_crop_that_cannot_fit_takes_the_largest_centered_box_of_an_allowed_shape():
    boxes = random_boxes(np.random.default_rng(0), 4, 10, 100, (1.0, 1.0), (1.0, 2.0))
    assert boxes.T.tolist() == [[0, 40, 10, 20]] * 4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("padding", "mode"), [("zero", "grid-constant"), ("edge", "nearest"), ("reflect", "mirror")])
def test_rotation_matches_scipy_image_by_image(padding, mode, dtype):
    x = pictures(12, 11, 8, 3, dtype)
    degrees = torch.linspace(-180, 180, 12)
    fill = torch.tensor([10, 20, 30]).to(dtype)
    out = g.rotated(x, degrees, padding=padding, fill=fill)
    assert out.dtype == dtype
    center = np.array([5.0, 3.5])
    for i in range(12):
        a = np.deg2rad(float(degrees[i]))
        matrix = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])  # output (row, column) to input
        for channel in range(3):
            plane = x[i, ..., channel].numpy().astype(np.float64)
            expected = ndimage.affine_transform(
                plane, matrix, untyped(center - matrix @ center), order=1, mode=mode, cval=float(fill[channel])
            )
            tolerance = 0.51 if dtype == torch.uint8 else 1e-3
            assert abs(out[i, ..., channel].double().numpy() - expected).max() < tolerance


def test_rotation_by_a_right_angle_is_numpys_counter_clockwise_turn():
    x = pictures(1, 8, 8)
    out = g.rotated(x, torch.tensor([90.0]), padding="edge", fill=torch.zeros(3, dtype=torch.uint8))
    np.testing.assert_array_equal(out[0].numpy(), np.rot90(x[0].numpy()))


@pytest.mark.parametrize("dtype", DTYPES)
def test_cutout_paints_one_square_in_each_image(dtype):
    x = pictures(50, 9, 7, 3, dtype)
    augmenter = Augmenter(Augmentation(cutout=4), seed=5, mean=(0.1, 0.2, 0.3), std=(0.2, 0.2, 0.2))
    out, y = augmenter(x.permute(0, 3, 1, 2), torch.arange(50), epoch=2, step=3)
    rows = (drawn("cutout row", 50, 2, 3) * 9).astype(int)
    columns = (drawn("cutout column", 50, 2, 3) * 7).astype(int)
    color = np.array([26, 51, 76]) if dtype == torch.uint8 else np.zeros(3)  # round(255 mean); 0 once normalized
    for i in range(50):
        expected = x[i].numpy().copy()
        top, left = rows[i] - 2, columns[i] - 2
        expected[max(0, top) : top + 4, max(0, left) : left + 4] = color
        np.testing.assert_array_equal(out[i].permute(1, 2, 0).numpy(), expected)
    assert y.tolist() == list(range(50))


# ---- the alternating flip


def test_alternating_flip_mirrors_exactly_what_the_epoch_before_did_not():
    x = pictures(64)
    mirrored = np.fliplr
    previous = None
    for epoch in range(4):
        out, _ = augmented(x, epoch=epoch, step=epoch + 7, flip="alternating")
        now = [np.array_equal(out[i].numpy(), mirrored(x[i].numpy())) for i in range(64)]
        assert all(flipped or torch.equal(out[i], x[i]) for i, flipped in enumerate(now))
        assert 15 < sum(now) < 49
        if previous is not None:
            assert now == [not flipped for flipped in previous]
        previous = now


def test_alternating_flip_goes_by_the_sample_not_by_its_place_in_the_batch():
    augmenter = Augmenter(Augmentation(flip="alternating"), seed=3)
    x = pictures(40).permute(0, 3, 1, 2)
    order = torch.from_numpy(np.random.default_rng(1).permutation(40))
    straight, _ = augmenter(x, order, epoch=0, step=0, indices=torch.arange(40))
    shuffled, _ = augmenter(x[order], order, epoch=0, step=9, indices=order)
    assert torch.equal(straight[order], shuffled)


def test_alternating_flip_without_numbers_is_refused():
    with pytest.raises(InputError, match="indices"):
        Augmenter(Augmentation(flip="alternating"))(torch.zeros(2, 1, 4, 4), torch.zeros(2), epoch=0, step=0)


# ---- color


@pytest.mark.parametrize(
    ("name", "enhance"),
    [("brightness", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast), ("saturation", ImageEnhance.Color)],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_color_matches_pillow_image_by_image(name, enhance, dtype):
    x = pictures(20)
    mean, std = (0.4, 0.5, 0.6), (0.3, 0.2, 0.25)
    given = x if dtype == torch.uint8 else (x.float() / 255 - torch.tensor(mean)) / torch.tensor(std)
    augmenter = Augmenter(Augmentation(**{name: 0.8}), seed=5, mean=mean, std=std)
    out, _ = augmenter(given.permute(0, 3, 1, 2), torch.arange(20), epoch=0, step=0)
    out = out.permute(0, 2, 3, 1)
    if dtype == torch.float32:
        out = (out * torch.tensor(std) + torch.tensor(mean)) * 255
    factors = 0.2 + 1.6 * drawn(name, 20)
    for i in range(20):
        expected = np.asarray(enhance(Image.fromarray(x[i].numpy())).enhance(factors[i])).astype(float)
        assert abs(out[i].numpy().astype(float) - expected).max() <= 2  # Pillow rounds the gray as well


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_color_of_gray_images_stays_in_range(name):
    x = pictures(20, c=1)
    out, _ = augmented(x, **untyped({name: 3.0}))
    assert out.dtype == torch.uint8
    assert torch.equal(out, x) == (name == "saturation")


@pytest.mark.parametrize("dtype", DTYPES)
def test_noise_has_the_deviation_asked_for(dtype):
    x = torch.full((40, 16, 16, 3), 128, dtype=torch.uint8)
    given = x if dtype == torch.uint8 else x / 255
    out, _ = augmented(given, noise=0.1)
    difference = out.double() - given.double()
    scale = 255 if dtype == torch.uint8 else 1
    assert abs(difference.mean()) < 0.002 * scale
    assert abs(difference.std() - 0.1 * scale) < 0.002 * scale
    again, _ = augmented(given, noise=0.1)
    other, _ = augmented(given, noise=0.1, step=1)
    assert torch.equal(out, again)
    assert not torch.equal(out, other)


# ---- labels


@pytest.mark.parametrize(
    "changes",
    [
        {"flip": True}, {"flip": "alternating"}, {"vertical_flip": True}, {"quarter_turns": True}, {"rotate": 180.0},
        {"shift": 3}, {"crop_scale": (0.3, 1.0)}, {"cutout": 3}, {"brightness": 0.02}, {"contrast": 0.5},
        {"saturation": 0.5}, {"noise": 0.002},
    ],
)  # fmt: skip
def test_each_label_stays_with_its_image(changes):
    x = (torch.arange(16, dtype=torch.uint8) * 14 + 20)[:, None, None, None].expand(16, 8, 8, 3).contiguous()
    out, y = augmented(x, padding="edge", **changes)
    assert torch.equal(y, torch.arange(16))
    middle = out.float().flatten(1).median(1).values
    assert ((middle - 20) / 14).round().tolist() == y.tolist()


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from([{"mixup": 1.0}, {"cutmix": 1.0}, {"mixup": 0.2, "cutmix": 0.5}]), step=st.integers(0, 30),
    dtype=st.sampled_from([torch.float32, torch.uint8]), h=st.integers(2, 9), w=st.integers(2, 9),
)  # fmt: skip
def test_mixed_labels_have_the_proportions_of_the_pixels(kind, step, dtype, h, w):
    # every image is of one value, ten times its class: the mean pixel must be ten times the mean class
    classes = torch.arange(20)
    x = (classes * 10).to(dtype)[:, None, None, None].expand(20, h, w, 1).contiguous()
    out, y = augmented(x, y=classes, k=20, step=step, **kind)
    assert y.dtype == torch.float32
    assert y.shape == (20, 20)
    torch.testing.assert_close(y.sum(1), torch.ones(20))
    tolerance = 0.51 if dtype == torch.uint8 else 1e-3
    assert ((y @ classes.float()) * 10 - out.float().mean((1, 2, 3))).abs().max() < tolerance
    assert ((y > 0).sum(1) <= 2).all()


def test_cutmix_pastes_one_rectangle_of_the_partner_at_its_place():
    x = pictures(30, 12, 10)
    out, y = augmented(x, k=30, cutmix=1.0)
    draw = generator(5, "augment", "mix", 0, 0)
    partner, weight = draw.permutation(30), draw.beta(1.0, 1.0, 30)
    top, left, height, width = patch_boxes(draw, weight, 12, 10)
    for i in range(30):
        expected = x[i].numpy().copy()
        place = np.s_[top[i] : top[i] + height[i], left[i] : left[i] + width[i]]
        expected[place] = x[partner[i]].numpy()[place]
        np.testing.assert_array_equal(out[i].numpy(), expected)
        own = 1 - height[i] * width[i] / 120
        assert y[i, i] == pytest.approx(1.0 if partner[i] == i else own)


def test_with_mixup_and_cutmix_both_occur():
    x = (torch.arange(8) * 30).to(torch.uint8)[:, None, None, None].expand(8, 6, 6, 1).contiguous()
    pure = set()
    for step in range(12):
        out, _ = augmented(x, k=8, step=step, mixup=1.0, cutmix=1.0)
        pure.add(bool((out % 30 == 0).all()))  # pasted pixels keep their values, blended ones do not
    assert pure == {True, False}


def test_an_empty_batch_under_mixing_still_has_probabilities():
    x, y = augmented(pictures(12)[:0], k=4, mixup=1.0)
    assert x.shape == (0, 9, 7, 3)
    assert y.shape == (0, 4)


def test_mixing_without_the_number_of_classes_is_refused():
    with pytest.raises(InputError, match="num_classes"):
        augmented(pictures(), mixup=0.2)


# ---- addresses


EVERYTHING = {
    "flip": "alternating", "vertical_flip": True, "quarter_turns": True, "rotate": 20.0, "shift": 2,
    "crop_scale": (0.5, 1.0), "brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "noise": 0.05, "cutout": 3,
    "mixup": 0.4, "cutmix": 1.0, "padding": "reflect",
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_address_gives_the_same_bits_and_another_one_others(dtype):
    x = pictures(16, 8, 8, 3, dtype)
    first, _ = augmented(x, k=16, epoch=1, step=2, **EVERYTHING)
    again, _ = augmented(x, k=16, epoch=1, step=2, **EVERYTHING)
    assert first.dtype == dtype
    assert torch.equal(first, again)
    for other in ({"epoch": 2, "step": 2}, {"epoch": 1, "step": 3}, {"epoch": 1, "step": 2, "seed": 6}):
        assert not torch.equal(first, augmented(x, k=16, **other, **EVERYTHING)[0])


def test_switching_one_change_on_leaves_the_draws_of_the_others_alone():
    x = pictures(16, 8, 8)
    flipped, _ = augmented(x, flip=True)
    both, _ = augmented(x, flip=True, cutout=2)
    differing = (flipped != both).any(-1)
    assert (differing.sum((1, 2)) <= 4).all()


def test_the_number_of_threads_does_not_change_the_bits():
    x = pictures(64, 32, 32)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(augmented(x, k=64, **EVERYTHING))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_the_input_is_not_written_to():
    for dtype in DTYPES:
        x = pictures(16, 8, 8, 3, dtype)
        copy = x.clone()
        augmented(x, k=16, **EVERYTHING)
        assert torch.equal(x, copy)


def test_the_result_is_channels_last_whatever_came_in():
    x = torch.zeros(4, 3, 8, 8)
    for batch in (x, x.to(memory_format=torch.channels_last)):
        out, _ = Augmenter(Augmentation(shift=2))(batch, torch.zeros(4), epoch=0, step=0)
        assert out.is_contiguous(memory_format=torch.channels_last)


def test_nothing_on_changes_nothing():
    x, y = torch.rand(4, 3, 8, 8), torch.arange(4)
    out, labels = Augmenter()(x, y, epoch=0, step=0)
    assert out is x
    assert labels is y
    assert not Augmentation(padding="edge", crop_ratio=(1, 1)).active


@pytest.mark.parametrize(("changes", "message"), [({"quarter_turns": True}, "square"), ({"shift": 7}, "at most 6")])
def test_settings_that_do_not_suit_the_images_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        augmented(pictures(), **changes)
    with pytest.raises(InputError, match="2 channels, the images 3"):
        Augmenter(Augmentation(cutout=2), mean=(0.1, 0.2))(torch.zeros(1, 3, 4, 4), torch.zeros(1), epoch=0, step=0)
