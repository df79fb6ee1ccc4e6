"""Who is at work: the calls of a pass in their order, and the stack of those that have not returned."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from convlens.inspection.probe.paths import Paths
from convlens.nn import private


@dataclass
class Call:
    """One call of a module, or of a function in the forward pass of a module.

    Attributes:
        path: dotted name of the module ("" for the network itself); of a function that of the module around it.
        kind: class of the module, or name of the function.
        parent: index of the module call around it, None for the network itself.
        is_function: a function rather than a module.
        is_standard: a module that comes with PyTorch.
        has_parts: another module was called during this call.
        output: what it returned (its first tensor, not a copy) where operations are recorded; None if no tensor.
    """

    path: str
    kind: str
    parent: int | None
    is_function: bool = False
    is_standard: bool = False
    has_parts: bool = False
    output: Tensor | None = None


class Calls:
    """Keeps the list of calls, and the stack of those that are open.

    Calls from other threads than the one that made this object, and those by which a backward pass computes a forward
    pass again (checkpointing), are none of the pass and are left out. So are copies of modules, made during the pass.
    """

    def __init__(self, module: nn.Module):
        self.all: list[Call] = []
        self.module: int | None = None  # index of the innermost module call that is open
        self.function: int | None = None  # index of the function call that is open
        self._open: list[tuple[int, nn.Module]] = []
        self._paths = Paths(module)
        self._thread = threading.get_ident()
        self._paused = False

    @property
    def recording(self) -> bool:
        """Whether what runs now belongs to the network: neither to the probe itself nor to another thread."""
        return self.module is not None and not self._paused and threading.get_ident() == self._thread

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Inside, operations are the probe's own and are not recorded."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def enter(self, part: nn.Module) -> Call | None:
        """A module is called."""
        if part not in self._paths or threading.get_ident() != self._thread or private.in_backward():
            return None
        parent = self.module
        if parent is not None:
            self.all[parent].has_parts = True
        path = self._paths.of(part, parent, "" if parent is None else self.all[parent].path)
        standard = type(part).__module__.startswith("torch.nn.modules")
        self.module = len(self.all)
        self._open.append((self.module, part))
        self.all.append(Call(path, type(part).__name__, parent, is_standard=standard))
        return self.all[-1]

    def leave(self, part: nn.Module) -> Call | None:
        """A module returns, or fails. None where its call was left out."""
        if threading.get_ident() != self._thread or not self._open or self._open[-1][1] is not part:
            return None
        index, _ = self._open.pop()
        self.module = self._open[-1][0] if self._open else None
        return self.all[index]

    @contextlib.contextmanager
    def function_call(self, func: Callable[..., Any], worked: Callable[[], bool]) -> Iterator[Call]:
        """While it is open, the function is at work. A call that did nothing (asked for a shape) is forgotten."""
        assert self.module is not None
        name = getattr(func, "__name__", type(func).__name__).strip("_")
        call = Call(self.all[self.module].path, name, self.module, is_function=True)
        index = self.function = len(self.all)
        self.all.append(call)
        try:
            yield call
        finally:
            self.function = None
            if len(self.all) == index + 1 and not worked():
                self.all.pop()
