"""What stands in a box."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from convlens.inspection.probe import Call, Op

_NORMALIZATIONS = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "dropout")


class Label(NamedTuple):
    text: str
    family: str


def is_small(ops: Sequence[Op]) -> bool:
    """Whether a layer is a detail of the one before it: normalization, activation, dropout, another shape."""
    return bool(ops) and all(_is_detail(op) for op in ops if op.inputs)


def _is_detail(op: Op) -> bool:
    if op.is_view or any(name in op.name for name in _NORMALIZATIONS):
        return True
    computed = [tensor for tensor in op.inputs if tensor.dim() > 1 or tensor.numel() > 1]
    return (op.is_pointwise and len({id(tensor) for tensor in computed}) <= 1) or op.name in ("clone", "_softmax")


def label(ops: Sequence[Op], call: Call) -> Label:
    """The text and the family of a layer, by the operation that does the work."""
    for op in ops:
        if op.name == "convolution":
            return _convolution(op)
        if op.name in ("addmm", "mm", "linear", "bmm", "matmul"):
            output = op.outputs[0]
            return Label(f"linear, {output.shape[-1] if output is not None else '?'}", "linear")
        if "pool" in op.name:
            return _pooling(op)
    names = {op.name.rstrip("_") for op in ops}
    if names & {"cat"}:
        return Label("concat", "join")
    if names == {"mean"} and len(ops) == 1:
        return Label("global avg pool", "pooling")
    if len(names) == 1 and names <= {"add", "mul", "sub"} and _of_two(ops[0]):
        return Label({"add": "+", "mul": "×", "sub": "−"}[names.pop()], "join")
    return Label(call.kind.replace("_", " "), "other")


def _of_two(op: Op) -> bool:
    return len({id(tensor) for tensor in op.inputs if isinstance(tensor, Tensor)}) == 2


def _convolution(op: Op) -> Label:
    weight, groups = op.arguments["weight"], op.arguments["groups"]
    size = "×".join(map(str, weight.shape[2:]))
    transposed = op.arguments["transposed"]
    channels = weight.shape[1] * groups if transposed else weight.shape[0]
    depthwise = groups > 1 and groups == op.inputs[0].shape[1]
    kind = "transposed conv" if transposed else "depthwise conv" if depthwise else "conv"
    text = f"{size} {kind}, {channels}"
    if groups > 1 and not depthwise:
        text += f", {groups} groups"
    if max(op.arguments["dilation"]) > 1:
        text += f", dilation {max(op.arguments['dilation'])}"
    return Label(text + _step(op.arguments["stride"], "×" if transposed else "/"), "convolution")


def _pooling(op: Op) -> Label:
    kind = "max pool" if "max" in op.name else "avg pool"
    size = op.arguments.get("kernel_size")
    if size is None:
        output = op.outputs[0]
        cells = tuple(output.shape[2:]) if output is not None else ()
        where = "global" if all(n == 1 for n in cells) else "adaptive"
        return Label(f"{where} {kind}" + ("" if where == "global" else f", {'×'.join(map(str, cells))}"), "pooling")
    size = [size] if isinstance(size, int) else list(size)
    stride = op.arguments.get("stride") or size
    return Label(f"{'×'.join(map(str, size))} {kind}{_step(stride, '/')}", "pooling")


def _step(stride: Sequence[int] | int, sign: str) -> str:
    steps = {stride} if isinstance(stride, int) else set(stride)
    return "" if steps == {1} else f", {sign}{'×'.join(map(str, sorted(steps)))}"
