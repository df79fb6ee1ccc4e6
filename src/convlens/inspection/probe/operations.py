"""What runs: each function that PyTorch is asked for, and each operation below its dispatcher."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from convlens.classify.outputs import tensors_in
from convlens.inspection.probe.calls import Calls
from convlens.nn import private


@dataclass(frozen=True)
class Op:
    """One executed operation of PyTorch's ATen library.

    Attributes:
        name: such as "convolution", without namespace and overload.
        arguments: by name, defaults filled in. Tensors are those of the pass, not copies.
        outputs: tensors that it returned (None for what is no tensor).
        module: index of the innermost module call around it.
        function: index of the function call around it, None if it was called by a module of PyTorch directly.
        is_view: returns memory that was there before.
        is_pointwise: each output element comes from the input elements at the same place.
        overload: the operation itself, as PyTorch calls it.
        values: copies of the outputs, made when they existed; empty unless operations are recorded as asked for.
    """

    name: str
    arguments: dict[str, Any]
    outputs: tuple[Tensor | None, ...]
    module: int
    function: int | None
    is_view: bool
    is_pointwise: bool
    overload: Any = None
    values: tuple[Tensor | None, ...] = ()

    @property
    def inputs(self) -> list[Tensor]:
        return tensors_in(list(self.arguments.values()))


def recorded(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any, calls: Calls) -> Op:
    """The record of an operation that has run."""
    assert calls.module is not None
    form: Any = private.schema(func)
    arguments = {a.name: a.default_value for a in form.arguments if a.has_default_value()}
    arguments |= dict(zip((a.name for a in form.arguments), args, strict=False)) | kwargs
    outputs = output if isinstance(output, (list, tuple)) else (output,)
    name = form.name.split("::")[-1]
    return Op(
        name=name,
        arguments=arguments,
        outputs=tuple(o if isinstance(o, Tensor) else None for o in outputs),
        module=calls.module,
        function=calls.function,
        is_view=func.is_view or name in ("_unsafe_view", "lift_fresh"),
        is_pointwise=torch.Tag.pointwise in func.tags,
        overload=func,
    )


class Operations(private.PlainDispatchMode):
    """Records the operations that run within the network in `found`."""

    def __init__(self, calls: Calls):
        super().__init__()
        self.found: list[Op] = []
        self._calls = calls

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if self._calls.recording and func.namespace != "prim":
            self.found.append(recorded(func, args, kwargs or {}, output, self._calls))
        return output


class Requests(private.PreDispatchMode):
    """Records the operations that the network asks for in `found`, with copies of what they give."""

    def __init__(self, calls: Calls):
        super().__init__()
        self.found: list[Op] = []
        self._calls = calls

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if self._calls.recording and func.namespace != "prim":
            op = recorded(func, args, kwargs or {}, output, self._calls)
            with self._calls.paused():
                copies = tuple(None if tensor is None else tensor.detach().clone() for tensor in op.outputs)
            self.found.append(dataclasses.replace(op, values=copies))
        return output


class Functions(TorchFunctionMode):
    """Files the outermost functions that the network calls, and what they returned."""

    def __init__(self, calls: Calls, operations: Operations | Requests):
        super().__init__()
        self._calls, self._operations = calls, operations

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not self._calls.recording or self._calls.function is not None:
            return func(*args, **kwargs)
        before = len(self._operations.found)
        with self._calls.function_call(func, lambda: len(self._operations.found) > before) as call:
            output = func(*args, **kwargs)
            call.output = next(iter(tensors_in(output)), None)
        return output
