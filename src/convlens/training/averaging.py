"""Averages of the weights over the steps: an exponential moving average to judge by, and one that feeds back."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from convlens.base.errors import InputError
from convlens.nn import private


class _Average:
    """A second copy of a module's parameters and buffers, kept in its memory formats."""

    def __init__(self, module: nn.Module):
        self.updates = 0
        self._values = {name: t.detach().clone() for name, t in module.state_dict().items()}
        self._floating = [name for name, t in self._values.items() if t.is_floating_point()]
        self._others = [name for name, t in self._values.items() if not t.is_floating_point()]

    @torch.no_grad()
    def _move(self, module: nn.Module, decay: float) -> None:
        """average = decay * average + (1 - decay) * module; integer buffers (counters) are copied."""
        live = module.state_dict()
        if self._floating:
            averages = [self._values[name] for name in self._floating]
            private.foreach_lerp_(averages, [live[name] for name in self._floating], 1 - decay)
        for name in self._others:
            self._values[name].copy_(live[name])

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Overwrites the module's parameters and buffers by the averages."""
        for name, t in module.state_dict().items():
            t.copy_(self._values[name])

    @contextlib.contextmanager
    def swapped(self, module: nn.Module) -> Iterator[nn.Module]:
        """The module with the averages in it; its own values come back afterwards, bit by bit."""
        own = {name: t.detach().clone() for name, t in module.state_dict().items()}
        self.copy_to(module)
        try:
            yield module
        finally:
            with torch.no_grad():
                for name, t in module.state_dict().items():
                    t.copy_(own[name])

    def state_dict(self) -> dict[str, Tensor]:
        """Averages by name, and the number of updates (int64)."""
        return {f"average.{name}": t for name, t in self._values.items()} | {"updates": torch.tensor(self.updates)}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state_dict`. Raises `InputError` if it belongs to another network."""
        expected = {f"average.{name}": tuple(t.shape) for name, t in self._values.items()} | {"updates": ()}
        found = {name: tuple(t.shape) for name, t in state.items()}
        if found != expected:
            wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
            raise InputError(f"the averaged weights do not fit this network: {wrong[0]} is missing or another shape")
        self.updates = int(state["updates"])
        for name, t in self._values.items():
            t.copy_(state[f"average.{name}"])


class ExponentialMovingAverage(_Average):
    """average <- d * average + (1 - d) * weights at every step; integer buffers are copied.

    decay: what d rises to: it is min(decay, (1 + t) / (10 + t)) at update t = 0, 1, ..., so that the random weights of
        the beginning are forgotten at once (as in TensorFlow; Polyak and Juditsky, 1992, for the idea of averaging).
    """

    def __init__(self, module: nn.Module, decay: float = 0.999):
        if not 0 <= decay < 1:
            raise InputError(f"ema: the decay must lie in 0 .. 1, not {decay}")
        super().__init__(module)
        self.decay = decay

    def update(self, module: nn.Module) -> None:
        """Call after each optimizer step."""
        self._move(module, min(self.decay, (1 + self.updates) / (10 + self.updates)))
        self.updates += 1


class Lookahead(_Average):
    """Slow weights that the fast ones return to every few steps, ever more slowly.

    Zhang et al., "Lookahead optimizer: k steps forward, 1 step back", 2019, with the rising decay of Jordan's
    CIFAR-10 networks (2024): after each `every`-th update t of `total`, slow <- d * slow + (1 - d) * fast with
    d = decay^every * (t / total)^3, and the fast weights become the slow ones. After the last update the network
    holds the slow weights.
    """

    def __init__(self, module: nn.Module, total: int, *, every: int = 5, decay: float = 0.95):
        if total < 1 or every < 1 or not 0 <= decay < 1:
            raise InputError(
                f"lookahead: total {total}, every {every}, decay {decay}: "
                "total and every must be at least 1, the decay in 0 .. 1"
            )
        super().__init__(module)
        self.total, self.every, self.decay = total, every, decay

    def update(self, module: nn.Module) -> None:
        """Call after each optimizer step."""
        self.updates += 1
        due, last = self.updates % self.every == 0, self.updates == self.total
        if due:
            self._move(module, self.decay**self.every * (self.updates / self.total) ** 3)
        if due or last:
            self.copy_to(module)
