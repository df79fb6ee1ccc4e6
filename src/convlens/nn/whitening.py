"""A frozen first layer that makes the patches of natural images uncorrelated and of equal variance."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convlens.base.errors import InputError


class WhiteningConv2d(nn.Conv2d):
    """Convolution with the principal components of k x k image patches, each scaled to unit variance, and negated.

    in_channels: C. There are 2 * C * k * k output channels: each component, then each with the other sign, so that a
        rectifier after it loses nothing.
    kernel_size: k. padding, stride: as in `nn.Conv2d`.
    epsilon: added to the variances (in units of the normalized input, squared), so that noise is not blown up.

    Input [n C h w], output [n 2Ckk h' w'], of the same floating-point type. The weight is frozen; the bias is trained.
    Until `fit` has seen training images, the components are a random orthonormal basis.

    Sources: Page, "How to train your ResNet 8", 2019, for patch whitening; Jordan, "94% on CIFAR-10 in 3.29 seconds on
    a single GPU", 2024, for the negated half, the frozen weight and the trained bias.
    """

    def __init__(
        self,
        in_channels: int,
        kernel_size: int = 2,
        *,
        padding: int = 0,
        stride: int = 1,
        bias: bool = True,
        epsilon: float = 5e-4,
    ):
        self.epsilon = epsilon
        width = in_channels * kernel_size * kernel_size
        super().__init__(in_channels, 2 * width, kernel_size, stride=stride, padding=padding, bias=bias)
        self.weight.requires_grad_(False)

    def reset_parameters(self) -> None:
        """Random orthonormal components and their negatives, bias zero."""
        with torch.no_grad():
            half = self.weight[: len(self.weight) // 2]
            nn.init.orthogonal_(half)
            self.weight[len(half) :] = -half
            if self.bias is not None:
                self.bias.zero_()

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Computes the weight from images [n C h w], normalized as in training, in float64.

        Raises `InputError` if they have another number of channels or are smaller than a patch.
        """
        if images.ndim != 4 or images.shape[1] != self.in_channels or min(images.shape[2:]) < self.kernel_size[0]:
            raise InputError(
                f"whitening: needs images [n, {self.in_channels}, h, w] of at least {self.kernel_size[0]} pixels "
                f"a side, not {list(images.shape)}"
            )
        variances, components = patch_components(images, self.kernel_size[0])
        white = components / (variances + self.epsilon).sqrt()[:, None]
        self.weight.copy_(torch.cat((white, -white)).view_as(self.weight))


def patch_components(images: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Principal components of all size x size patches of images [n c h w], strongest first.

    Returns variances [d] and components [d d], one per row and with its largest entry positive, in float64 on the
    images' device; d = c * size * size in the order of a convolution's weight.
    """
    d = images.shape[1] * size * size
    total = torch.zeros(d, dtype=torch.float64, device=images.device)
    products = torch.zeros(d, d, dtype=torch.float64, device=images.device)
    count = 0
    for part in images.split(256):  # a patch matrix is size² times as large as its images
        patches = F.unfold(part.double(), size).transpose(0, 1).reshape(d, -1)
        total += patches.sum(1)
        products += patches @ patches.T
        count += patches.shape[1]
    mean = total / count
    variances, vectors = torch.linalg.eigh(products / count - torch.outer(mean, mean))
    components = vectors.T.flip(0)
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    return variances.flip(0).clamp_min(0), components * largest.sign()
