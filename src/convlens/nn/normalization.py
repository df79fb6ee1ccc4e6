"""Normalizations as papers and Keras define them, where PyTorch's defaults differ."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


class LocalResponseNorm(nn.Module):
    """Divides each cell by (k + alpha * sum of the squares of `size` neighboring channels) ** beta.

    Source: Krizhevsky, Sutskever, Hinton, 2012, section 3.3, with its constants as defaults. PyTorch's own layer
    divides alpha by `size`, the paper does not.
    """

    def __init__(self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0):
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"

    def forward(self, x: Tensor) -> Tensor:
        return F.local_response_norm(x, self.size, self.alpha * self.size, self.beta, self.k)


class KerasBatchNorm2d(nn.BatchNorm2d):
    """Batch norm with Keras' defaults: eps 1e-3, and the running averages keep 99 % of their old value at each step."""

    def __init__(self, num_features: int, eps: float = 1e-3, momentum: float = 0.01, **rest: Any):
        super().__init__(num_features, eps, momentum, **rest)
