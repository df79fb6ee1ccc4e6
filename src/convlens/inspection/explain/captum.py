"""What the methods of captum share. It is imported where it is used: 1 s, and an extra of its own."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from convlens.base.optional import required
from convlens.inspection.explain.attribution import score
from convlens.inspection.explain.subject import Subject

if TYPE_CHECKING:
    from torch import Tensor


def captum() -> Any:
    """The module `captum.attr`. Raises `InputError` where it is not installed."""
    need = "integrated-gradients, grad-cam and occlusion need captum"
    return required("captum.attr", "explain", need)


def explained(subject: Subject) -> "Callable[..., Tensor]":
    """The explained number as captum calls it: `forward(x, target)` or `forward(x, target, against)` to [N]."""

    def forward(x: "Tensor", target: "Tensor", against: "Tensor | None" = None) -> "Tensor":
        return score(subject, x, target, against)

    return forward
