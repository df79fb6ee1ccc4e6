"""What to change in the training images, as data. No PyTorch here."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Literal

from convlens.base.errors import InputError, nearest

PADDINGS = ("zero", "reflect", "edge")
"""What lies beyond the border: zero after normalisation (the mean colour), the mirrored image, its last pixels."""


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a batch; everything is off by default.

    flip: True mirrors left and right with probability 1/2. "alternating" mirrors a random half of the images in
        epoch 0 and in each epoch exactly those that the epoch before did not (Jordan, "94% on CIFAR-10 in 3.29
        seconds on a single GPU", 2024): every two epochs show each image both ways.
    vertical_flip: mirrors top and bottom with probability 1/2.
    quarter_turns: turns by 0, 90, 180 or 270 degrees, each with probability 1/4. Square images only.
    rotate: turns by an angle uniform in -rotate .. rotate degrees (0 to 180), bilinear.
    shift: moves by a whole number of pixels uniform in -shift .. shift in each direction.
    crop_scale: (smallest, largest) share of the image's area that is cut out and enlarged to the full size, bilinear;
        None for no crop. crop_ratio: (smallest, largest) width / height of the cut (Szegedy et al., "Going deeper
        with convolutions", 2015).
    brightness, contrast, saturation: factor uniform in max(0, 1 - v) .. 1 + v, applied in this order.
    noise: standard deviation of Gaussian noise, where black is 0 and white 1.
    cutout: side in pixels of a square that is painted in the mean colour; its centre is anywhere in the image, so part
        of it may lie outside (DeVries and Taylor, "Improved regularization of convolutional neural networks with
        cutout", 2017).
    mixup: alpha of the Beta(alpha, alpha) distribution from which the weights of two blended images come (Zhang et al.,
        "mixup: beyond empirical risk minimization", 2018); 0 for none.
    cutmix: the same for a rectangle of one image pasted into another (Yun et al., "CutMix", 2019). With both on, each
        batch takes one of the two at random.
    padding: what shift and rotate show beyond the border, one of `PADDINGS`.

    Raises `InputError` where a value makes no sense.
    """

    flip: bool | Literal["alternating"] = False
    vertical_flip: bool = False
    quarter_turns: bool = False
    rotate: float = 0.0
    shift: int = 0
    crop_scale: tuple[float, float] | None = None
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    noise: float = 0.0
    cutout: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0
    padding: str = "zero"

    def __post_init__(self) -> None:
        if not (isinstance(self.flip, bool) or self.flip == "alternating"):
            raise InputError(f'augment: flip must be true, false or "alternating", not {self.flip!r}')
        for name in ("vertical_flip", "quarter_turns"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"augment: {name} must be true or false, not {getattr(self, name)!r}")
        for name in ("shift", "cutout"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise InputError(f"augment: {name} must be a whole number of pixels, 0 or more, not {value!r}")
        for name in ("rotate", "brightness", "contrast", "saturation", "noise", "mixup", "cutmix"):
            if not _is_number(getattr(self, name)) or getattr(self, name) < 0:
                raise InputError(f"augment: {name} must be a number, 0 or more, not {getattr(self, name)!r}")
        if self.rotate > 180:
            raise InputError(f"augment: rotate must be at most 180 degrees, not {self.rotate!r}")
        if self.crop_scale is not None:
            self._check_range("crop_scale", "0 < smallest <= largest <= 1", 1.0)
        self._check_range("crop_ratio", "0 < smallest <= largest", math.inf)
        if self.padding not in PADDINGS:
            hint = nearest(str(self.padding), PADDINGS)
            raise InputError(f"augment: padding must be one of {', '.join(PADDINGS)}, not {self.padding!r}{hint}")

    def _check_range(self, name: str, rule: str, largest: float) -> None:
        value = getattr(self, name)
        good = isinstance(value, (tuple, list)) and len(value) == 2 and all(_is_number(v) for v in value)
        if not good or not 0 < value[0] <= value[1] <= largest:
            raise InputError(f"augment: {name} must be two numbers with {rule}, not {value!r}")
        object.__setattr__(self, name, (float(value[0]), float(value[1])))

    def require_size(self, height: int, width: int) -> None:
        """Raises `InputError` where the settings do not suit images of that size in pixels."""
        if self.quarter_turns and height != width:
            raise InputError(
                f"augment: quarter_turns need square images, these are {height} x {width}; "
                "choose a square size or rotate"
            )
        if self.shift >= min(height, width):
            raise InputError(
                f"augment: shift {self.shift} is too far for images of {height} x {width}; "
                f"choose at most {min(height, width) - 1}"
            )

    @cached_property
    def active(self) -> bool:
        """Whether anything is on."""
        off = Augmentation()
        names = {field.name for field in fields(self)} - {"crop_ratio", "padding"}
        return any(getattr(self, name) != getattr(off, name) for name in names)

    @property
    def mixes(self) -> bool:
        """Whether labels become probabilities (mixup, cutmix)."""
        return self.mixup > 0 or self.cutmix > 0

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Augmentation":
        """The inverse of `to_dict`; missing keys keep their defaults. Raises `InputError` on an unknown key."""
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise InputError(f"augment: unknown key '{name}'{nearest(str(name), known)}")
        return cls(**values)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
