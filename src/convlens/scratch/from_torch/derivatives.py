"""Derivatives that a network defines by itself: an exported program does not hold them, so they are refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from convlens.base.errors import InputError
from convlens.nn import private

_ONLY_TORCH = "which NumPy would not know of; this network runs in the PyTorch engine only"


@contextmanager
def own_derivatives_refused(module: nn.Module) -> Iterator[None]:
    """While it is open, a pass through the module that changes gradients by code of its own is an `InputError`.

    Found are functions with a backward of their own (`torch.autograd.Function`) and hooks on gradients.
    """
    for path, part in module.named_modules():
        if private.has_backward_hooks(part):
            raise InputError(f"{path or 'the network'} ({type(part).__name__}) has backward hooks, {_ONLY_TORCH}")

    def examine(part: nn.Module, _inputs: Any, output: Any) -> None:
        for tensor in private.tree_leaves(output):
            if isinstance(tensor, torch.Tensor) and (name := _own_function(tensor)):
                raise InputError(
                    f"{type(part).__name__} uses {name}, a function with a derivative of its own, {_ONLY_TORCH}"
                )

    handle = module.register_forward_hook(examine)
    try:
        with _NoHooks():
            yield
    finally:
        handle.remove()


def _own_function(tensor: torch.Tensor) -> str | None:
    """The name of a function in Python with its own backward among those that a tensor was made by."""
    pending, seen = [tensor.grad_fn], set()
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(node, torch.autograd.function.BackwardCFunction):
            return type(node).__name__.removesuffix("Backward")
        pending += [source for source, _ in node.next_functions]
    return None


class _NoHooks(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.register_hook:
            raise InputError(f"it changes gradients by a hook on a tensor (register_hook), {_ONLY_TORCH}")
        return func(*args, **(kwargs or {}))
