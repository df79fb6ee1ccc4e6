"""Test-time augmentation: one image judged in several views. Reported apart from the plain accuracy, never instead."""

import torch.nn.functional as F
from torch import Tensor, nn

from convlens.classify.outputs import logits_of


class Views(nn.Module):
    """A network whose logits are averaged over views of each image (Krizhevsky et al., 2012; weights: Jordan, 2024).

    kind: "mirror": the image and its mirror image, half each. "mirror+shift": these two get half of the weight, and
        their two copies moved by one pixel along either diagonal (borders reflected) share the other half.

    classes: K, where the network returns more than its logits (see `outputs.read_outputs`).

    Input [n C H W], output logits [n K] of the network's type.
    """

    def __init__(self, network: nn.Module, kind: str = "mirror+shift", classes: int | None = None):
        super().__init__()
        self.network, self.kind, self.classes = network, kind, classes

    def forward(self, x: Tensor) -> Tensor:
        plain = self._mirrored(x)
        if self.kind == "mirror":
            return plain
        height, width = x.shape[2:]
        padded = F.pad(x, (1, 1, 0, 0), mode=_border(width))
        padded = F.pad(padded, (0, 0, 1, 1), mode=_border(height))
        moved = [padded[:, :, i : i + height, i : i + width] for i in (0, 2)]
        return 0.5 * plain + 0.25 * (self._mirrored(moved[0]) + self._mirrored(moved[1]))

    def _mirrored(self, x: Tensor) -> Tensor:
        return 0.5 * (self._logits(x) + self._logits(x.flip(3)))

    def _logits(self, x: Tensor) -> Tensor:
        return self.network(x) if self.classes is None else logits_of(self.network, x, self.classes)


def _border(size: int) -> str:
    """How one pixel beyond the border is found; a row or column of one pixel is its own mirror image."""
    return "reflect" if size > 1 else "replicate"
