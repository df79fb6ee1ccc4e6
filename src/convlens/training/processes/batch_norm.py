"""Batch normalization over a whole batch whose images are spread over shards and processes.

Each shard adds up its own values; the sums of all shards are put together in the order of the shards, in float64. The
same numbers come out wherever the shards are, which no synchronised batch norm of PyTorch promises.

With n_v images x pixels, mean m_v and variance s_v of shard v (Chan, Golub and LeVeque, 1983):

    N = sum n_v,   m = sum n_v m_v / N,   s = sum n_v (s_v + (m_v - m)^2) / N

and backward, with the normalized values z and the gradient g of the outputs (Ioffe and Szegedy, 2015):

    dx = gamma / sqrt(s + eps) * (g - sum g / N - z * sum(g z) / N)
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from convlens.training.processes.lockstep import Lockstep
from convlens.training.processes.world import World


class SpreadBatchNorm(TorchFunctionMode):
    """Within a pass of `steps`, batch norms in training mode are over the shards of all passes of all processes."""

    def __init__(self, steps: Lockstep, world: World):
        super().__init__()
        self.steps, self.world = steps, world

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.batch_norm:
            return self._batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _batch_norm(
        self,
        input: Tensor,
        running_mean: Tensor | None = None,
        running_var: Tensor | None = None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """`F.batch_norm`, whose arguments these are."""
        if not training:
            return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)

        def of_all(own: list[tuple[Tensor, float]]) -> tuple[Tensor, Tensor, float]:
            mean, var, count = _together(self._all([values for values, _ in own]))
            momentum = own[0][1]  # where it is 1 / batches so far, the first pass has counted this batch, once
            if count < 2:
                raise ValueError(f"batch norm of a single value per channel: input {list(input.shape)}")
            if running_mean is not None and running_var is not None:
                with torch.no_grad():
                    running_mean.lerp_(mean.to(running_mean.dtype), momentum)
                    running_var.lerp_((var * (count / (count - 1))).to(running_var.dtype), momentum)
            return mean.float(), var.float(), count

        def forward(own: Tensor) -> tuple[Tensor, Tensor, float]:
            return self.steps.meet((own, momentum), of_all)

        def backward(own: Tensor) -> Tensor:
            return self.steps.meet(own, lambda values: self._all(values).sum(0))

        return _BatchNorm.apply(input, weight, bias, eps, forward, backward)  # pyright: ignore[reportReturnType]

    def _all(self, own: list[Tensor]) -> Tensor:
        """The rows of all shards, in their order, of this process's: float64 [V, n]."""
        return self.world.gather(torch.stack(own)).flatten(0, 1)


def _together(rows: Tensor) -> tuple[Tensor, Tensor, float]:
    """Mean [C] and variance [C] over all shards, and the count; rows: of each shard count, means and variances."""
    n = rows[:, :1]
    means, variances = rows[:, 1:].chunk(2, dim=1)
    total = n.sum()
    mean = (n * means).sum(0) / total
    return mean, (n * (variances + (means - mean).square())).sum(0) / total, float(total)


class _BatchNorm(torch.autograd.Function):
    """One shard's part. PyTorch's own kernels add up a channel and apply scale and shift."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
        share: Callable[[Tensor], tuple[Tensor, Tensor, float]],
        share_back: Callable[[Tensor], Tensor],
    ) -> Tensor:
        mean, var = torch.ops.aten.batch_norm_update_stats(x, None, None, 0.0)
        values = x.new_full((1,), x.numel() // x.shape[1], dtype=torch.float64)
        mean, var, ctx.count = share(torch.cat((values, mean.double(), var.double())))
        ctx.save_for_backward(x, weight, mean, var)
        ctx.eps, ctx.share, ctx.biased = eps, share_back, bias is not None
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight, mean, var = ctx.saved_tensors
        _, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, mean, var, None, None, False, ctx.eps, [False, True, True]
        )
        by_z, by_one = (ctx.share(torch.cat((by_weight, by_bias)).double()) / ctx.count).chunk(2)
        slope = (var.double() + ctx.eps).rsqrt()
        if weight is not None:
            slope = slope * weight.double()
        shifted = F.batch_norm(
            x, mean, var, (-slope * by_z).float(), (-slope * by_one).float(), False, 0.0, ctx.eps
        )  # that is, -slope * (z * sum(g z) / N + sum g / N)
        channels = (1, -1) + (1,) * (x.ndim - 2)
        dx = torch.addcmul(shifted, grad, slope.to(x.dtype).view(channels))
        return dx, by_weight if weight is not None else None, by_bias if ctx.biased else None, None, None, None
