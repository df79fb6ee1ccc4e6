"""Every private name of PyTorch that this package uses, and why.

They may change with any version: hence the upper bound on `torch` in pyproject.toml, which is raised when the tests
pass with the next one.
"""

# pyright: reportPrivateImportUsage=false
from typing import Any, Self, TypeGuard

import torch
from torch import Tensor, nn
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,  # shapes without memory, and without a network on "meta"
)
from torch.fx.experimental.proxy_tensor import ProxyTorchDispatchMode
from torch.nn.modules.batchnorm import _NormBase as BatchOrInstanceNorm  # of all sizes, and what users derive of them
from torch.utils._python_dispatch import TorchDispatchMode  # the one way to see the operations of a backward pass
from torch.utils._pytree import tree_leaves  # the parts of an output, in the order in which torch.export counts them

__all__ = [
    "BatchOrInstanceNorm",
    "FakeTensorMode",
    "NeedsValues",
    "PlainDispatchMode",
    "PreDispatchMode",
    "TorchDispatchMode",
    "foreach_add",
    "foreach_add_",
    "foreach_lerp_",
    "foreach_mul_",
    "foreach_norm",
    "fused_adam_",
    "fused_adamw_",
    "fused_sgd_",
    "has_backward_hooks",
    "has_fast_bfloat16",
    "in_backward",
    "is_operator",
    "is_view",
    "saved_limits",
    "schema",
    "storage",
    "tree_leaves",
    "uncompiled",
    "version",
]

# What fake tensors raise where the result of an operation depends on values.
NeedsValues = (DataDependentOutputException, DynamicOutputShapeException)

# One call for a list of tensors, what the optimizers of PyTorch are made of; `torch.optim` itself imports its compiler.
fused_sgd_, fused_adam_, fused_adamw_ = torch._fused_sgd_, torch._fused_adam_, torch._fused_adamw_
foreach_add, foreach_add_, foreach_mul_ = torch._foreach_add, torch._foreach_add_, torch._foreach_mul_
foreach_lerp_, foreach_norm = torch._foreach_lerp_, torch._foreach_norm


class PlainDispatchMode(TorchDispatchMode):
    """Sees operations, and does without PyTorch's compiler, which takes a second to import.

    PyTorch keeps its compiler out of such a mode, for which it imports it; where nothing is compiled there is no need.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class PreDispatchMode(PlainDispatchMode, ProxyTorchDispatchMode):
    """Sees operations as they are asked for (conv2d, linear, batch_norm), before PyTorch takes them apart.

    So do the programs of `torch.export`, whose mode this derives from, as PyTorch lets no other one in at that place.
    Nothing else is taken of it.
    """

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self, torch._C.DispatchKey.PreDispatch)

    def __enter__(self) -> Self:
        self._dispatcher = enable_python_dispatcher()  # without it operations made of others are not seen
        self._dispatcher.__enter__()
        TorchDispatchMode.__enter__(self)
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            TorchDispatchMode.__exit__(self, *error)
        finally:
            self._dispatcher.__exit__(*error)


def has_fast_bfloat16() -> bool:
    """Whether this processor has instructions for bfloat16; nothing public says so."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def storage(tensor: Tensor) -> int:
    """Identity of the memory behind a tensor, the same for all views of it, also where it holds no numbers."""
    return tensor.untyped_storage()._cdata


def version(tensor: Tensor) -> int:
    """How often a tensor was written into."""
    return tensor._version


def is_view(tensor: Tensor) -> bool:
    """Whether automatic differentiation takes a tensor for a part of another one, its memory shared."""
    return tensor._is_view()


def in_backward() -> bool:
    """Whether a backward pass runs in this thread."""
    return torch._C._current_graph_task_id() != -1


def schema(function: Any) -> Any | None:
    """An operator's name, and the names, defaults and aliases of its arguments; None where it is no operator."""
    return getattr(function, "_schema", None)


def is_operator(function: Any) -> TypeGuard[torch._ops.OpOverload]:
    """Whether it is an operator of PyTorch in one of its forms, as programs of `torch.export` call them."""
    return isinstance(function, torch._ops.OpOverload)


def uncompiled(module: nn.Module) -> nn.Module:
    """The network inside the wrapper that `torch.compile` puts around it, or the network itself."""
    return getattr(module, "_orig_mod", module)


def has_backward_hooks(module: nn.Module) -> bool:
    """Whether a layer has hooks on its gradients; nothing public lists them."""
    return bool(module._backward_hooks or module._backward_pre_hooks)


def saved_limits(step: Any, low: float, high: float) -> tuple[float, float]:
    """Between which numbers a step of the backward graph (of hardtanh, ReLU6) was clamped; as given for others."""
    return getattr(step, "_saved_min_val", low), getattr(step, "_saved_max_val", high)
