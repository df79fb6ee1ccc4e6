"""What to change in the training images, as data. No PyTorch here."""

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, ValidationError

from convlens.base.errors import InputError, nearest
from convlens.base.words import short


def _rising(largest: float | None) -> AfterValidator:
    rule = "0 < smallest <= largest" + (f" <= {largest}" if largest else "")

    def check(value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1] or (largest is not None and value[1] > largest):
            raise ValueError(f"must be two numbers with {rule}")
        return value

    return AfterValidator(check)


Shares = Annotated[tuple[float, float], Strict(False), _rising(1)]
Ratios = Annotated[tuple[float, float], Strict(False), _rising(None)]
Strength = Annotated[float, Field(ge=0)]


class AugmentSettings(BaseModel):
    """Random changes of a batch, as a recipe asks for them; by default what suits most sets.

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
    cutout: side in pixels of a square that is painted in the mean color; its center is anywhere in the image, so part
        of it may lie outside (DeVries and Taylor, "Improved regularization of convolutional neural networks with
        cutout", 2017).
    mixup: alpha of the Beta(alpha, alpha) distribution from which the weights of two blended images come (Zhang et al.,
        "mixup: beyond empirical risk minimization", 2018); 0 for none.
    cutmix: the same for a rectangle of one image pasted into another (Yun et al., "CutMix", 2019). With both on, each
        batch takes one of the two at random.
    padding: what shift and rotate show beyond the border: zero after normalization (the mean color), the mirrored
        image, or its last pixels.

    `auto` fits the images: see `resolve`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    flip: bool | Literal["auto", "alternating"] = "auto"
    vertical_flip: bool = False
    shift: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    crop_scale: Shares | None = None
    crop_ratio: Ratios = (3 / 4, 4 / 3)
    quarter_turns: bool = False
    rotate: float = Field(default=0.0, ge=0, le=180)
    brightness: Strength = 0.0
    contrast: Strength = 0.0
    saturation: Strength = 0.0
    noise: Strength = 0.0
    cutout: int = Field(default=0, ge=0)
    mixup: Strength = 0.0
    cutmix: Strength = 0.0
    padding: Literal["zero", "reflect", "edge"] = "zero"

    def resolve(self, channels: int, height: int, width: int) -> "Augmentation":
        """`auto` settled: color images are flipped, gray ones (mostly writing) are not; shift is 1/14 of the side."""
        values = self.model_dump()
        if self.flip == "auto":
            values["flip"] = channels == 3
        if self.shift == "auto":
            values["shift"] = 0 if self.crop_scale else round(min(height, width) / 14)
        return Augmentation(**values)


class Augmentation(AugmentSettings):
    """The same, settled, as it is applied: nothing is `auto`, and everything is off by default.

    Raises `InputError` where a value makes no sense.
    """

    model_config = ConfigDict(strict=True)

    flip: bool | Literal["alternating"] = False
    shift: int = Field(default=0, ge=0)

    def __init__(self, **values: Any):
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors()[0]
            key = str(first["loc"][0])
            if first["type"] == "extra_forbidden":
                raise InputError(f"augment: unknown key '{key}'{nearest(key, type(self).model_fields)}") from None
            why = first["msg"].removeprefix("Value error, ")
            raise InputError(f"augment: {key}: {why} (got {short(values[key])})") from None

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
        names = type(self).model_fields.keys() - {"crop_ratio", "padding"}
        return any(getattr(self, name) != getattr(off, name) for name in names)

    @property
    def mixes(self) -> bool:
        """Whether labels become probabilities (mixup, cutmix)."""
        return self.mixup > 0 or self.cutmix > 0
