"""Muon: momentum whose every step is made orthogonal, so that no direction of a filter bank is left behind.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; for convolutions as in Jordan's
record networks for CIFAR-10. The Newton-Schulz iteration goes back to Kovarik (1970) and Bjorck and Bowie (1971).
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from convlens.base.errors import InputError
from convlens.nn import private
from convlens.training.updates import Optimizer

# p(s) = a s + b s^3 + c s^5: steep at 0, and once in 0.7 .. 1.2 a singular value stays there (Jordan, 2024)
_A, _B, _C = 3.4445, -4.7750, 2.0315


def orthogonalized(matrices: Tensor, steps: int = 5, dtype: torch.dtype | None = None) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly: same singular vectors, singular values about 0.7 to 1.2.

    matrices: [batch rows columns], floating point. Returns the same shape and dtype.
    steps: of the quintic Newton-Schulz iteration. Five lift what is above 1/1000 of the norm into that band.
    dtype: of the products; bfloat16 on a GPU and float32 elsewhere by default.
    """
    dtype = dtype or (torch.bfloat16 if matrices.is_cuda else torch.float32)
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices  # the Gram matrix of the short side is the smaller one
    x = (x / (torch.linalg.matrix_norm(x.float(), keepdim=True) + 1e-7)).to(dtype)
    for _ in range(steps):
        gram = x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C)
        x = torch.baddbmm(x, polynomial, x, beta=_A)
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(Optimizer):
    """For weights of two or more dimensions inside the network; each is seen as a matrix [filters, all else].

    lr: learning rate; the step of a filter bank has a spectral norm of about lr * sqrt(max(1, rows / columns)).
    momentum, nesterov: as in `torch.optim.SGD`.
    weight_decay: decoupled: weights shrink by lr * weight_decay each step.
    steps, dtype: of the Newton-Schulz iteration, see `orthogonalized`.
    normalize: before each step, scales each weight to a norm of sqrt(filters), as Jordan's CIFAR networks do: their
        filters feed batch norm, so only the direction matters, and the relative step stays lr. Then the
        factor for tall matrices and the weight decay do not apply.

    Filters of one shape go through the iteration together. Raises `InputError` for a parameter of fewer dimensions.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.02,
        momentum: float = 0.95,
        *,
        nesterov: bool = True,
        weight_decay: float = 0.0,
        steps: int = 5,
        normalize: bool = False,
        dtype: torch.dtype | None = None,
    ):
        if lr < 0 or not 0 <= momentum < 1 or weight_decay < 0 or steps < 1:
            raise InputError(
                f"muon: lr {lr}, momentum {momentum}, weight_decay {weight_decay}, steps {steps}: "
                "lr and weight_decay must not be negative, momentum in 0 .. 1, steps at least 1"
            )
        settings = {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
        self.dtype = dtype
        super().__init__(params, {**settings, "steps": steps, "normalize": normalize})
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.ndim < 2:
                    raise InputError(
                        f"muon: a parameter of shape {list(parameter.shape)} is no filter; give it to another optimizer"
                    )

    def _update(self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor]) -> None:
        momentum, buffers = group["momentum"], self._kept(parameters, "momentum_buffer")
        private.foreach_mul_(buffers, momentum)
        private.foreach_add_(buffers, gradients)
        directions = private.foreach_add(gradients, buffers, alpha=momentum) if group["nesterov"] else buffers
        for members, updates in self._orthogonal_by_shape(parameters, directions, group["steps"]):
            _apply(group, members, updates)

    def _orthogonal_by_shape(
        self, parameters: list[Tensor], directions: list[Tensor] | tuple[Tensor, ...], steps: int
    ) -> list[tuple[list[Tensor], Tensor]]:
        """Parameters whose matrices have one shape, with their orthogonalized directions [members rows columns]."""
        groups: dict[Any, list[tuple[Tensor, Tensor]]] = {}
        for parameter, direction in zip(parameters, directions, strict=True):
            matrix = direction.flatten(1)
            groups.setdefault((matrix.shape, matrix.device, matrix.dtype), []).append((parameter, matrix))
        result = []
        for pairs in groups.values():
            stacked = torch.stack([matrix for _, matrix in pairs])
            result.append(([parameter for parameter, _ in pairs], orthogonalized(stacked, steps, self.dtype)))
        return result


def _apply(group: dict[str, Any], members: list[Tensor], updates: Tensor) -> None:
    rows, columns = updates.shape[1:]
    size = group["lr"]
    if group["normalize"]:
        norms = torch.stack(private.foreach_norm(members)).clamp_min(1e-7)
        private.foreach_mul_(members, list((rows**0.5 / norms).unbind()))
    else:
        size *= max(1.0, rows / columns) ** 0.5
        if group["weight_decay"]:
            private.foreach_mul_(members, 1 - group["lr"] * group["weight_decay"])
    shaped = [update.view(p.shape) for p, update in zip(members, updates.contiguous(), strict=True)]
    private.foreach_add_(members, shaped, alpha=-size)
