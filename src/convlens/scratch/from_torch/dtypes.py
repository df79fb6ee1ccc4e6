"""Types of numbers: which casts of a PyTorch program the NumPy engine honors, and PyTorch's promotion of operands.

The NumPy engine computes in float32 and float64. Where operands differ, NumPy and PyTorch promote by other rules (a
vector of float32 times one number of float64 is float32 in PyTorch, float64 in NumPy), so operands are cast first to
the type that PyTorch computes in.
"""

from typing import Any

import numpy as np
import torch

from convlens.base.errors import InputError
from convlens.scratch.from_torch.translation import Builder, Out, cast

# Operations that take operands of several types as they are.
_MIXED = {
    *("where", "masked_fill", "index", "index_put", "index_select", "gather", "embedding", "to", "_to_copy", "type_as"),
    *("gt", "lt", "ge", "le", "eq", "ne", "logical_not", "logical_and", "logical_or", "bitwise_not", "bitwise_and"),
    *("bitwise_or", "scaled_dot_product_attention", "argmax", "contiguous", "clone", "detach", "expand_as", "view_as"),
    *("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "new_empty", "empty_like"),
    *("__and__", "__iand__", "__or__", "__ior__", "reshape_as", "fill", "zero", "bernoulli"),
}
# Operations that only move numbers, of whatever type.
_REARRANGING = {
    *("view", "reshape", "flatten", "unflatten", "permute", "transpose", "t", "mT", "numpy_T", "expand", "squeeze"),
    *("unsqueeze", "select", "slice", "split", "split_with_sizes", "chunk", "cat", "concat", "stack", "narrow"),
    *("unbind", "alias", "lift_fresh_copy", "repeat", "flip", "roll", "swapaxes", "swapdims", "movedim", "moveaxis"),
    *("broadcast_to",),
}


def name(dtype: torch.dtype) -> str:
    """float32 and so on."""
    return str(dtype).removeprefix("torch.")


def array(tensor: torch.Tensor) -> np.ndarray:
    """The numbers of a tensor; half precision becomes float32."""
    if tensor.is_floating_point():
        return tensor.detach().to("cpu", torch.promote_types(tensor.dtype, torch.float32)).numpy()
    return tensor.detach().cpu().numpy()


def is_float(dtype: str) -> bool:
    """Whether a type has a gradient."""
    return "float" in dtype


def fitted(g: Builder, x: Out) -> Out:
    """An output in the type that PyTorch gives it: between operations integers may be held as floats."""
    return x if is_float(x.dtype) or not x.dtype else Out(g.emit("cast", [x], dtype=x.dtype).position, x.shape, x.dtype)


def of_first(meta: Any) -> str:
    """The type of an operation's first tensor."""
    metas = meta if isinstance(meta, (list, tuple)) else [meta]
    return next((name(m.dtype) for m in metas if isinstance(m, torch.Tensor)), "")


def promoted(g: Builder, op: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of an operation in the type that PyTorch computes it in."""
    dtype = g.result_dtype
    if op in _MIXED or not dtype:
        return arguments
    if is_float(dtype) or op == "copy":
        return {key: _cast_all(g, value, dtype) for key, value in arguments.items()}
    if dtype != "int64" and op not in _REARRANGING:
        raise InputError(f"it computes {op!r} in {dtype}, and the NumPy engine computes in float32 and float64 only")
    return arguments


def _cast_all(g: Builder, value: Any, dtype: str) -> Any:
    if isinstance(value, Out):
        return cast(g, value, dtype)
    return [_cast_all(g, item, dtype) for item in value] if isinstance(value, list) else value
