"""Draws the random numbers of a batch and applies the changes in their order."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from convlens.base.errors import InputError
from convlens.base.seeds import derive, generator
from convlens.data.augment import color, spatial
from convlens.data.augment.settings import Augmentation

_CROP_TRIES = 10
_UNIFORM = (
    "turns", "vertical flip", "flip", "shift down", "shift right", "rotate", "brightness", "contrast", "saturation",
    "cutout row", "cutout column",
)  # fmt: skip
"""What takes one uniform number per image. All are drawn, whatever is on: a generator costs more than numbers."""


@dataclass(frozen=True)
class Share:
    """The part of a batch that one process holds: random numbers are drawn for the whole batch, its rows are kept.

    size: images in the whole batch.
    rows: int64 [m], which of them are at hand: the process's own, then those that mixup or cutmix blends into them.
    own: how many are the process's own; only they come back.
    """

    size: int
    rows: np.ndarray
    own: int


@dataclass(frozen=True)
class Augmenter:
    """Applies an `Augmentation` to batches.

    settings: what to change.
    seed: of the run.
    mean, std: of the channels, as in `Preprocess`, empty for 0 and 1. They say what a value of a floating-point batch
        means, (p - mean) / std of a pixel p in 0..1, and that the fill color is the mean.

    The changes come in this order: turns, flips, shift, crop, rotation, brightness, contrast, saturation, noise,
    cutout, mixup or cutmix. uint8 batches stay uint8 (rounded to the nearest after each step that interpolates) and
    floating-point ones keep their type. uint8 is the faster by far.
    """

    settings: Augmentation = field(default_factory=Augmentation)
    seed: int = 0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __call__(
        self,
        x: Tensor,
        y: Tensor,
        *,
        epoch: int,
        step: int,
        indices: Tensor | None = None,
        num_classes: int | None = None,
        share: Share | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The changed batch, in channels-last memory, and its labels.

        x: [n c h w], uint8 or floating point; it is not written to.
        y: int64 [n]; comes back as it is, or under mixup and cutmix as float32 [n num_classes] of probabilities.
        epoch, step: the address of the batch; `step` counts within the epoch.
        indices: int64 [n], which samples of the set these are, best on the CPU; needed for the alternating flip.
        num_classes: needed under mixup and cutmix.
        share: which images of the batch x, y and indices are (see `share`), if not all; its own ones come back, with
            the values that they have when the whole batch is changed at once.

        Raises `InputError` where the settings do not suit the images (quarter turns of oblong ones, a shift
        beyond the image).
        """
        if not self.settings.active or len(x) == 0:
            return x, self._one_hot(y, num_classes) if self.settings.mixes else y
        share = share or Share(len(x), np.arange(len(x)), len(x))
        batch = _Batch(self, x.permute(0, 2, 3, 1).contiguous(), share, epoch, step)
        batch.move(indices)
        batch.color()
        batch.cut_out()
        if self.settings.mixes:
            y = batch.mix(self._one_hot(y, num_classes))
        return batch.x.permute(0, 3, 1, 2), y

    def share(self, own: np.ndarray, size: int, *, epoch: int, step: int) -> Share:
        """What must be at hand to change the rows `own` of a batch of `size` images: more under mixup and cutmix."""
        if not self.settings.mixes:
            return Share(size, own, len(own))
        partners = _mixing(self, size, epoch, step)[2][own]
        return Share(size, np.concatenate((own, np.setdiff1d(partners, own))), len(own))

    def _one_hot(self, y: Tensor, num_classes: int | None) -> Tensor:
        if num_classes is None:
            raise InputError("augment: mixup and cutmix need to know the number of classes (num_classes)")
        return F.one_hot(y, num_classes).float()


class _Batch:
    """The images [n h w c] of one batch on their way through the changes."""

    def __init__(self, augmenter: Augmenter, x: Tensor, share: Share, epoch: int, step: int):
        self.x, self.share, self.augmenter = x, share, augmenter
        self.n, self.h, self.w, self.c = x.shape
        self.seed, self.epoch, self.step = augmenter.seed, epoch, step
        self.settings = augmenter.settings
        self.mean, self.std, self.fill = _colors(augmenter.mean, augmenter.std, self.c, x.dtype, x.device)

        table = generator(self.seed, "augment", self.epoch, self.step).random((len(_UNIFORM), share.size))
        self.uniform: dict[str, np.ndarray] = dict(zip(_UNIFORM, table[:, share.rows], strict=True))

    def draw(self, name: str) -> np.random.Generator:
        """For what needs more than one uniform number per image."""
        return generator(self.seed, "augment", name, self.epoch, self.step)

    def between(self, name: str, low: float, high: float) -> np.ndarray:
        """Uniform in low .. high: float64 [n]."""
        return low + (high - low) * self.uniform[name]

    def whole(self, name: str, low: int, high: int) -> np.ndarray:
        """Each of low, ..., high - 1 as likely: int64 [n]."""
        return np.floor(self.between(name, low, high)).astype(np.int64)

    def to_device(self, values: np.ndarray) -> Tensor:
        """To the device; float64 becomes float32. The copy is staged, so the host does not wait for it."""
        if values.dtype == np.float64:
            values = values.astype(np.float32)
        return torch.from_numpy(values).to(self.x.device, non_blocking=True)

    def move(self, indices: Tensor | None) -> None:
        """Turns, flips, shift, crop, rotation."""
        s = self.settings
        s.require_size(self.h, self.w)
        turns = self.whole("turns", 0, 4) if s.quarter_turns else np.zeros(self.n, np.int64)
        # a turn by 90 degrees is a transposition and a flip upside down; the flips of turn and setting make one
        self.replace(turns % 2 == 1, spatial.transposed)
        upside_down = ((turns == 1) | (turns == 2)) ^ self.coins("vertical flip", s.vertical_flip)
        if s.vertical_flip or s.quarter_turns:
            self.x = spatial.upside_down(self.x, self.to_device(upside_down))
        flips = self.sides(indices) if s.flip == "alternating" else self.coins("flip", s.flip is True)
        self.replace((turns >= 2) ^ flips, spatial.mirrored)
        if s.shift:
            self.shift()
        if s.crop_scale:
            boxes = random_boxes(self.draw("crop"), self.share.size, self.h, self.w, s.crop_scale, s.crop_ratio)
            self.x = spatial.resampled(self.x, self.boxes_to_device(boxes[:, self.share.rows]))
        if s.rotate:
            degrees = self.to_device(self.between("rotate", -s.rotate, s.rotate))
            self.x = spatial.rotated(self.x, degrees, padding=s.padding, fill=self.fill)

    def coins(self, name: str, wanted: bool) -> np.ndarray:
        return self.uniform[name] < 0.5 if wanted else np.zeros(self.n, bool)

    def sides(self, indices: Tensor | None) -> np.ndarray:
        """Which images the alternating flip mirrors in this epoch: bool [n]."""
        if indices is None:
            raise InputError("augment: the alternating flip needs the samples' numbers (indices)")
        numbers = indices.cpu().numpy().astype(np.uint64)
        return (random_bits(numbers, derive(self.seed, "augment", "sides")) ^ (self.epoch & 1)).astype(bool)

    def replace(self, chosen: np.ndarray, change: Callable[[Tensor], Tensor]) -> None:
        where = np.flatnonzero(chosen)
        if len(where) == 0:
            return
        source = np.arange(self.n)
        source[where] = self.n + np.arange(len(where))
        self.x = spatial.replaced(self.x, self.to_device(where), self.to_device(source), change)

    def shift(self) -> None:
        limit, padding = self.settings.shift, self.settings.padding
        down = self.to_device(self.whole("shift down", -limit, limit + 1))
        right = self.to_device(self.whole("shift right", -limit, limit + 1))
        self.x = spatial.shifted(self.x, down, right, limit=limit, padding=padding, fill=self.fill)

    def boxes_to_device(self, boxes: np.ndarray) -> spatial.Boxes:
        top, left, height, width = self.to_device(boxes)
        return top, left, height, width

    def color(self) -> None:
        """Brightness, contrast, saturation, noise: in float32 where black is 0 and white 1."""
        s = self.settings
        if not (s.brightness or s.contrast or s.saturation or s.noise):
            return
        uint8 = self.x.dtype == torch.uint8
        values = self.x.float() / 255 if uint8 else self.x.float() * self.std + self.mean
        for name, change in (
            ("brightness", color.brightened),
            ("contrast", color.contrasted),
            ("saturation", color.saturated),
        ):
            reach = getattr(s, name)
            if reach:
                values = change(values, self.to_device(self.between(name, max(0.0, 1 - reach), 1 + reach)))
        if s.noise:
            source = torch.Generator(self.x.device)
            source.manual_seed(derive(self.seed, "augment", "noise", self.epoch, self.step))
            rows = None if self.share.own == self.share.size else self.to_device(self.share.rows)
            values = color.noised(values, s.noise, source, self.share.size, rows)
        values = values * 255 if uint8 else (values - self.mean) / self.std
        self.x = spatial.as_type(values, self.x.dtype)

    def cut_out(self) -> None:
        side = self.settings.cutout
        if side:
            boxes = np.full((4, self.n), side)
            boxes[0] = self.whole("cutout row", 0, self.h) - side // 2
            boxes[1] = self.whole("cutout column", 0, self.w) - side // 2
            self.x = spatial.pasted(self.x, self.fill.expand(self.w, self.c), self.boxes_to_device(boxes))

    def mix(self, y: Tensor) -> Tensor:
        """mixup or cutmix of each image with another of the batch: their labels in the same proportions."""
        s = self.settings
        size, rows, n = self.share.size, self.share.rows, self.share.own
        draw, blend, partners = _mixing(self.augmenter, size, self.epoch, self.step)
        place = np.empty(size, np.int64)
        place[rows] = np.arange(len(rows))
        partner = self.to_device(place[partners[rows[:n]]])
        alpha = s.mixup if blend else s.cutmix
        weight = draw.beta(alpha, alpha, size)
        x, other = self.x[:n], self.x.index_select(0, partner)
        if blend:
            own = self.to_device(weight[rows[:n]])
            mixed = torch.lerp(other.float(), x.float(), own[:, None, None, None])
            self.x = spatial.as_type(mixed, x.dtype)
        else:
            boxes = patch_boxes(draw, weight, self.h, self.w)[:, rows[:n]]
            own = self.to_device(1 - boxes[2] * boxes[3] / (self.h * self.w))
            self.x = spatial.pasted(x, other, self.boxes_to_device(boxes))
        return torch.lerp(y.index_select(0, partner), y[:n], own[:, None])


def _mixing(augmenter: Augmenter, size: int, epoch: int, step: int) -> tuple[np.random.Generator, bool, np.ndarray]:
    """(the source of what is drawn next, whether mixup rather than cutmix, the partner of each image: int64 [size])."""
    s, draw = augmenter.settings, generator(augmenter.seed, "augment", "mix", epoch, step)
    blend = bool(draw.random() < 0.5) if s.mixup and s.cutmix else s.mixup > 0
    return draw, blend, draw.permutation(size)


def random_bits(numbers: np.ndarray, key: int) -> np.ndarray:
    """A random bit for each number (uint64), always the same for the same key: uint64 of 0 and 1.

    The finalizer of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
    """
    z = numbers * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))) >> np.uint64(63)


def random_boxes(
    draw: np.random.Generator, n: int, h: int, w: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> np.ndarray:
    """Rectangles of random area and shape within h x w: int64 [4 n], first row, first column, height, width.

    The area is uniform in `scale`, the logarithm of width / height uniform in `ratio`. Of ten candidates the first
    that fits is taken; failing that, the largest centered rectangle of an allowed shape.
    """
    area = draw.uniform(*scale, (_CROP_TRIES, n)) * (h * w)
    shape = np.exp(draw.uniform(math.log(ratio[0]), math.log(ratio[1]), (_CROP_TRIES, n)))
    widths = np.rint(np.sqrt(area * shape)).astype(np.int64)
    heights = np.rint(np.sqrt(area / shape)).astype(np.int64)
    fits = (widths >= 1) & (widths <= w) & (heights >= 1) & (heights <= h)
    first = fits.argmax(axis=0), np.arange(n)
    found = fits[first]
    whole = min(max(w / h, ratio[0]), ratio[1])
    height = np.where(found, heights[first], max(1, round(min(h, w / whole))))
    width = np.where(found, widths[first], max(1, round(min(w, h * whole))))
    top = np.where(found, np.floor(draw.random(n) * (h - height + 1)), (h - height) // 2)
    left = np.where(found, np.floor(draw.random(n) * (w - width + 1)), (w - width) // 2)
    return np.stack((top.astype(np.int64), left.astype(np.int64), height, width))


def patch_boxes(draw: np.random.Generator, weight: np.ndarray, h: int, w: int) -> np.ndarray:
    """Rectangles of the image's shape and the share 1 - weight of its area, centered anywhere, cut at the border.

    int64 [4 n]: first row, first column, height, width.
    """
    side = np.sqrt(1 - weight)
    result = []
    for size in (h, w):
        length = np.rint(side * size).astype(np.int64)
        start = draw.integers(0, size, len(weight)) - length // 2
        first, last = np.clip(start, 0, size), np.clip(start + length, 0, size)
        result.append((first, last - first))
    (top, height), (left, width) = result
    return np.stack((top, left, height, width))


@functools.lru_cache(maxsize=64)
def _colors(
    mean: tuple[float, ...], std: tuple[float, ...], channels: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and deviation (float32 [c]), and the mean color as the images hold it ([c], 0 once normalized)."""
    for values in (mean, std):
        if values and len(values) != channels:
            raise InputError(f"augment: mean and std have {len(values)} channels, the images {channels}")
    average = torch.tensor(mean or (0.0,) * channels, device=device)
    deviation = torch.tensor(std or (1.0,) * channels, device=device)
    uint8 = dtype == torch.uint8
    return average, deviation, spatial.as_type(average * 255 if uint8 else average * 0, dtype)
