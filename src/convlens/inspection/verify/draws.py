"""The random numbers of a graph, drawn by PyTorch too: so that networks with dropout can be compared."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convlens.nn import private
from convlens.scratch.operation import Mode


class SharedDraws(private.TorchDispatchMode):
    """While it is open, PyTorch draws the numbers that a graph would draw, in the same order.

    All kinds of dropout, functions and layers, in place or not, come down to a few operations that draw; these are
    replaced, below automatic differentiation.
    """

    def __init__(self, mode: Mode):
        super().__init__()
        self.mode, self.count = mode, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        draw = _DRAWS.get(str(func.overloadpacket).removeprefix("aten."))
        if draw is None:
            return func(*args, **kwargs)
        which, self.count = self.count, self.count + 1
        return draw(self.mode, which, func, args, kwargs)


def _bernoulli(mode: Mode, which: int, func: Any, args: Any, kwargs: Any) -> Tensor:
    """Ones with a probability that is a number, a tensor beside, or the tensor itself."""
    x = args[0]
    default = 0.5 if _in_place(func) else x
    p = args[1] if len(args) > 1 else kwargs.get("p", default)
    if isinstance(p, Tensor):
        drawn = mode.uniform(which, tuple(x.shape)) < p.detach().cpu().numpy()
    else:
        drawn = mode.mask(which, tuple(x.shape), 1 - p)
    return _given(func, x, drawn)


def _uniform(mode: Mode, which: int, func: Any, args: Any, kwargs: Any) -> Tensor:
    x = func(*args, **kwargs)  # of the right shape and type; its numbers are replaced
    return x.copy_(torch.as_tensor(np.asarray(mode.uniform(which, tuple(x.shape)))))


def _fused_dropout(mode: Mode, which: int, func: Any, args: Any, kwargs: Any) -> tuple[Tensor, Tensor]:
    """What dropout is on a GPU: the output and the mask."""
    x, rate = args[:2]
    mask = torch.from_numpy(mode.mask(which, tuple(x.shape), rate)).to(x.device)
    return x * mask / (1 - rate), mask


def _given(func: Any, x: Tensor, drawn: np.ndarray) -> Tensor:
    """The drawn numbers as a new tensor, or in the tensor that the operation writes into."""
    target = x if _in_place(func) else torch.empty_like(x)
    return target.copy_(torch.as_tensor(np.asarray(drawn)))


def _in_place(func: Any) -> bool:
    return str(func.overloadpacket).endswith("_")


_DRAWS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("bernoulli", "bernoulli_"), _bernoulli),
    "native_dropout": _fused_dropout,
    **dict.fromkeys(("rand", "rand_like"), _uniform),
}
