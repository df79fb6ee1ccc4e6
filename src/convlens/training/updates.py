"""SGD, Adam, AdamW and RMSprop on PyTorch's fused and grouped kernels, without `torch.optim`.

The first optimizer made from `torch.optim` imports PyTorch's compiler, which takes as long again as PyTorch itself: a
third of a short training run. The kernels are the same, so are the numbers, the groups and the names in the state.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from convlens.nn import private


class Optimizer:
    """Groups of parameters with settings of their own, and the state of each parameter, as in `torch.optim`.

    params: tensors, or groups: dictionaries with `params` and settings that differ from the defaults.
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]):
        groups = list(params)
        if groups and not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        self.param_groups = [{**defaults, **group, "params": list(group["params"])} for group in groups]
        self.state: dict[Tensor, dict[str, Any]] = defaultdict(dict)

    def step(self) -> None:
        """One step for every parameter that has a gradient."""
        with torch.no_grad():
            for group in self.param_groups:
                parameters, gradients = [], []
                for p in group["params"]:
                    if p.grad is not None:
                        parameters.append(p)
                        gradients.append(p.grad)
                if parameters:
                    self._update(group, parameters, gradients)

    def _update(self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Any]) -> None:
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def _kept(self, parameters: list[Tensor], key: str) -> list[Tensor]:
        """A tensor of the state for each parameter; zeros like the parameter at first."""
        kept = []
        for p in parameters:
            if key not in self.state[p]:
                self.state[p][key] = torch.zeros_like(p, memory_format=torch.preserve_format)
            kept.append(self.state[p][key])
        return kept


class SGD(Optimizer):
    """v = momentum v + g; w -= lr v, or lr (g + momentum v) with Nesterov's look ahead (Sutskever et al., 2013).

    `weight_decay` times w is part of g.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ):
        settings = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, {**settings, "nesterov": nesterov and momentum > 0})

    def _update(self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Any]) -> None:
        private.fused_sgd_(
            parameters,
            gradients,
            self._kept(parameters, "momentum_buffer") if group["momentum"] else [],
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=0.0,
            nesterov=group["nesterov"],
            maximize=False,
            is_first_step=False,
        )


class Adam(Optimizer):
    """Steps scaled by running means of gradient and squared gradient (Kingma and Ba, 2015).

    decoupled: weight decay shrinks the weights (AdamW: Loshchilov and Hutter, 2019) instead of joining the gradient.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled: bool = False,
    ):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self.kernel = private.fused_adamw_ if decoupled else private.fused_adam_

    def _update(self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Any]) -> None:
        for p in parameters:
            if "step" not in self.state[p]:
                self.state[p]["step"] = torch.zeros((), dtype=torch.float32, device=p.device)
        steps = [self.state[p]["step"] for p in parameters]
        private.foreach_add_(steps, 1)
        self.kernel(
            parameters,
            gradients,
            self._kept(parameters, "exp_avg"),
            self._kept(parameters, "exp_avg_sq"),
            [],
            steps,
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )


class RMSprop(Optimizer):
    """Steps divided by the running size of the gradient (Tieleman and Hinton, 2012; centered: Graves, 2013).

    v = alpha v + (1 - alpha) g^2; d = g / (sqrt(v) + eps), or g / (sqrt(v - m^2) + eps) with the running mean m of g;
    with momentum b = momentum b + d; w -= lr b. `weight_decay` times w is part of g. There is no fused kernel.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        centered: bool = False,
    ):
        settings = {"lr": lr, "alpha": alpha, "eps": eps, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, {**settings, "centered": centered})

    def _update(self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Any]) -> None:
        squares = self._kept(parameters, "square_avg")
        means = self._kept(parameters, "grad_avg") if group["centered"] else [None] * len(parameters)
        buffers = self._kept(parameters, "momentum_buffer") if group["momentum"] else [None] * len(parameters)
        for p, g, square, mean, buffer in zip(parameters, gradients, squares, means, buffers, strict=True):
            if group["weight_decay"]:
                g = g.add(p, alpha=group["weight_decay"])
            square.mul_(group["alpha"]).addcmul_(g, g, value=1 - group["alpha"])
            size = square
            if mean is not None:
                mean.lerp_(g, 1 - group["alpha"])
                size = square.addcmul(mean, mean, value=-1).clamp_(min=0)  # rounding must not make a NaN
            size = size.sqrt().add_(group["eps"])
            if buffer is not None:
                buffer.mul_(group["momentum"]).addcdiv_(g, size)
                p.add_(buffer, alpha=-group["lr"])
            else:
                p.addcdiv_(g, size, value=-group["lr"])
