"""Which calls of an execution become rows of a summary."""

from collections import Counter
from dataclasses import dataclass

from convlens.inspection import costs
from convlens.inspection.execution import Execution
from convlens.inspection.probe import Call, Op
from convlens.nn.private import storage


@dataclass(frozen=True)
class Rows:
    """Which calls are rows of a summary, and which row each operation belongs to."""

    names: dict[int, str]  # of the calls that are rows, in order
    of_op: list[int]  # by operation, its row; calls that only give views are no rows, but may stand here


def rows_of(execution: Execution) -> Rows:
    """Decides which calls are rows: modules without parts as a whole, all else function by function."""
    products = Counter(op.module for op in execution.ops if costs.multiplies(op))

    def whole(index: int) -> bool:
        call = execution.calls[index]
        plain = not call.has_parts and not call.is_function
        return plain and (call.is_standard or (call.parent is not None and products[index] <= 1))

    of_op = [op.module if whole(op.module) or op.function is None else op.function for op in execution.ops]
    working = {row for row, op in zip(of_op, execution.ops, strict=True) if not op.is_view or _flattens(op, execution)}
    names: dict[int, str] = {}
    seen = Counter[str]()
    for index, call in enumerate(execution.calls):
        shown = index in working or (whole(index) and call.kind != "Identity")
        if shown:
            name = _name(call)
            seen[name] += 1
            names[index] = name if seen[name] == 1 else f"{name}:{seen[name]}"
    return Rows(names, of_op)


def _name(call: Call) -> str:
    return ".".join(filter(None, (call.path, call.kind))) if call.is_function or not call.path else call.path


def _flattens(op: Op, execution: Execution) -> bool:
    """Whether a view makes vectors of feature maps, which is worth a row though it costs nothing."""
    y = op.outputs[0]
    if not op.inputs or y is None or storage(op.inputs[0]) in execution.constants:
        return False
    x = op.inputs[0]
    return y.dim() == 2 < x.dim() and y.numel() == x.numel()


def first_uses(execution: Execution, rows: Rows, tensors: dict[int, str]) -> dict[int, list[str]]:
    """By row, which of some tensors it is the first to use. A view of a tensor stands for the tensor.

    tensors: names by `id`, such as `execution.parameters`.
    """
    stands_for = {key: [name] for key, name in tensors.items()}
    done: set[str] = set()
    result: dict[int, list[str]] = {}
    for row, op in zip(rows.of_op, execution.ops, strict=True):
        names = [name for tensor in op.inputs for name in stands_for.get(id(tensor), ())]
        if op.is_view and row not in rows.names:
            stands_for |= {id(output): names for output in op.outputs if output is not None and names}
            continue
        fresh = [name for name in dict.fromkeys(names) if name not in done]
        done.update(fresh)
        result.setdefault(row, []).extend(fresh)
    return result
