"""What the methods of captum share. It is imported where it is used: 1 s, and an extra of its own."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from convlens.base.errors import InputError
from convlens.inspection.explain.attribution import Aims, score
from convlens.inspection.explain.subject import Pictures, Subject

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 16


def captum() -> Any:
    """The module `captum.attr`. Raises `InputError` where it is not installed."""
    try:
        from captum import attr
    except ImportError:
        raise InputError(
            "integrated-gradients, grad-cam and occlusion need captum: pip install 'convlens[explain]'"
        ) from None
    return attr


def explained(subject: Subject) -> "Callable[..., Tensor]":
    """The explained number as captum calls it: `forward(x, target)` or `forward(x, target, against)` to [N]."""

    def forward(x: "Tensor", target: "Tensor", against: "Tensor | None" = None) -> "Tensor":
        return score(subject, x, target, against)

    return forward


def batches(
    subject: Subject, pictures: Pictures, aims: Aims, device: str
) -> "Iterator[tuple[Tensor, tuple[Any, ...]]]":
    """Inputs [n, C, H, W], a few pictures at a time, and the further arguments of `explained`. Within `at_work`."""
    import torch

    for start in range(0, len(pictures), BATCH):
        part = slice(start, start + BATCH)
        classes = [aims.target[part]] + ([] if aims.against is None else [aims.against[part]])
        yield subject.inputs(pictures.pixels[part], device), tuple(torch.from_numpy(c).to(device) for c in classes)
