"""Theoretical receptive fields: which part of the image each tensor of an execution can see, operation by operation."""

from torch import Tensor

from convlens.inspection.execution import Execution
from convlens.inspection.fields import shapes, windows  # noqa: F401 (they register their rules)
from convlens.inspection.fields.rules import apply
from convlens.inspection.fields.tensors import TensorFields, size_of


def follow(execution: Execution) -> TensorFields:
    """What each tensor of the execution sees of its input. Inputs of rank one (vectors) have no axes to follow."""
    known = TensorFields(execution.input)
    if not known.extents:
        return known
    for op in execution.ops:
        if not any(known.get(tensor) for tensor in op.inputs):
            continue
        result = apply(known, op)
        results = result if isinstance(result, list) else [result] * len(op.outputs)
        for output, field in zip(op.outputs, results, strict=True):
            if output is None:
                continue
            if field is not None and tuple(map(size_of, field.dims)) != tuple(output.shape):
                field = known.mixed([known.get(tensor) for tensor in op.inputs], tuple(output.shape))
            writes = op.name.endswith("_")
            if writes and field is not None and output.numel() < _elements(output):
                known.overwrite_part(output, field)
            known.put(output, field)
    return known


def _elements(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes() // tensor.element_size()
