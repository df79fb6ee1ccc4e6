"""A trace: every operation that one forward pass runs, in order, with the layer that asked for it.

The forward pass runs on fake tensors (shapes without values), so the largest network takes a second and no
memory. Control flow that depends on values cannot run that way; then the pass is repeated on real numbers, and
the trace is that of the branch taken. Recording what runs, below PyTorch's dispatcher, needs no cooperation of
the network: functional calls, shared weights, loops and a user's own modules are all seen alike.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from convlens.base.errors import InputError, out_of_memory, reason
from convlens.classify.outputs import run, tensors_in
from convlens.inspection.paths import Paths
from convlens.models.lazy import settled
from convlens.models.random_state import same_random_state
from convlens.nn.private import FakeTensorMode, TorchDispatchMode, schema, storage, uncompiled


@dataclass
class Call:
    """One call of a module, or of a function in the forward pass of a module that has parts of its own.

    Attributes:
        path: dotted name of the module ("" for the network itself).
        kind: class of the module, or name of the function.
        parent: index of the module call around it, None for the network itself.
        is_function: a function rather than a module.
        is_standard: a module that comes with PyTorch.
        has_parts: another module was called during this call.
        output: what it returned (its first tensor), None if no tensor.
    """

    path: str
    kind: str
    parent: int | None
    is_function: bool = False
    is_standard: bool = False
    has_parts: bool = False
    output: Tensor | None = None


@dataclass(frozen=True)
class Op:
    """One executed operation of PyTorch's ATen library.

    Attributes:
        name: such as "convolution", without namespace and overload.
        arguments: by name, defaults filled in.
        outputs: tensors that it returned (None for what is no tensor).
        module: index of the innermost module call around it.
        function: index of the function call around it, None if it was called by a module of PyTorch directly.
        is_view: returns memory that was there before.
        is_pointwise: each output element comes from the input elements at the same place.
    """

    name: str
    arguments: dict[str, Any]
    outputs: tuple[Tensor | None, ...]
    module: int
    function: int | None
    is_view: bool
    is_pointwise: bool

    @property
    def inputs(self) -> list[Tensor]:
        return tensors_in(list(self.arguments.values()))


@dataclass
class Trace:
    """What one forward pass ran.

    `parameters` and `buffers` map `id` of a tensor that stands for one to its name.
    """

    batch: int
    input: Tensor
    ops: list[Op] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    parameters: dict[int, str] = field(default_factory=dict)
    buffers: dict[int, str] = field(default_factory=dict)
    constants: set[int] = field(default_factory=set)  # storages of parameters and buffers
    saved: list[Tensor] = field(default_factory=list)  # what automatic differentiation keeps
    output: Any = None
    is_real: bool = False


def trace(module: nn.Module, input_shape: tuple[int, ...], *, training: bool = False, batch: int = 1) -> Trace:
    """Runs the network once and records every operation.

    Args:
        module: any network that takes one tensor. Weights, buffers, gradients, modes and the random state stay as
            they are.
        input_shape: of one example, without the batch: (C, H, W), (C, L), (F,), ...
        training: run in training mode and collect what is saved for the backward pass.
        batch: number of examples.

    Raises:
        InputError: the network cannot run on such an input.
    """
    module = settled(uncompiled(module), input_shape)
    refuse_scripted(module)
    with _modes_restored(module, training):
        try:
            with _silenced("torch._subclasses.fake_tensor"):  # it reports what we report
                return _run(module, (batch, *input_shape), training, fake=True)
        except Exception:  # values are needed, or an operation without a fake form: count a real pass instead
            pass
        try:
            return _run(module, (min(batch, 7), *input_shape), training, fake=False)
        except Exception as error:
            if out_of_memory(error):
                raise
            size = "x".join(map(str, input_shape))
            raise InputError(f"the network cannot run on an input of {size}: {reason(error)}") from error


def refuse_scripted(module: nn.Module) -> None:
    """Raises `InputError` for a network that is, or has, a scripted or traced part."""
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        raise InputError("a scripted network hides what it executes: pass the network that it was made from")


@contextlib.contextmanager
def _silenced(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


@contextlib.contextmanager
def _modes_restored(module: nn.Module, training: bool) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    module.train(training)
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def _run(module: nn.Module, shape: tuple[int, ...], training: bool, *, fake: bool) -> Trace:
    first = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(0))
    mode = FakeTensorMode(allow_non_fake_inputs=True) if fake else None

    def stand_in(tensor: Tensor) -> Tensor:
        if mode is not None:
            return mode.from_tensor(tensor, static_shapes=True)
        return tensor if isinstance(tensor, nn.Parameter) else tensor.detach().clone()  # buffers may be written to

    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.nullcontext() if fake else same_random_state())
        stack.enter_context(torch.set_grad_enabled(training))
        stack.enter_context(mode or contextlib.nullcontext())
        if fake:
            x = torch.empty(shape, dtype=first.dtype, device=first.device)
        else:
            x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=first.dtype).to(first.device)
        traced = Trace(batch=shape[0], input=x, is_real=not fake)
        state = _stand_ins(module, stand_in, traced)
        if training:
            keep = torch.autograd.graph.saved_tensors_hooks(lambda t: (traced.saved.append(t), t)[1], lambda t: t)
            stack.enter_context(keep)
        recorder = _Recorder(traced)
        stack.enter_context(recorder.hooks(module))
        stack.enter_context(_Functions(recorder))
        stack.enter_context(_Operations(recorder))
        traced.output = functional_call(module, state, (x,), tie_weights=False)
    return traced


def _stand_ins(module: nn.Module, stand_in: Callable[[Tensor], Tensor], traced: Trace) -> dict[str, Tensor]:
    """A tensor for every name of a parameter or buffer, the same one for all names of a shared tensor."""
    made: dict[int, Tensor] = {}
    state = {}
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    for name, tensor in named:
        if id(tensor) not in made:
            made[id(tensor)] = stand_in(tensor)
            names = traced.parameters if isinstance(tensor, nn.Parameter) else traced.buffers
            names[id(made[id(tensor)])] = name
        state[name] = made[id(tensor)]
        traced.constants.add(storage(state[name]))
    return state


class _Recorder:
    """Keeps the stack of calls, and files each operation under it."""

    def __init__(self, traced: Trace):
        self.traced = traced
        self.stack: list[int] = []
        self.function: int | None = None

    @contextlib.contextmanager
    def hooks(self, module: nn.Module) -> Iterator[None]:
        handles = []
        try:
            paths = Paths(module)
            for part in module.modules():
                handles.append(part.register_forward_pre_hook(lambda part, _: self._enter(part, paths)))
                handles.append(part.register_forward_hook(lambda part, _, output: self._leave(output)))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, part: nn.Module, paths: Paths) -> None:
        calls = self.traced.calls
        parent = self.stack[-1] if self.stack else None
        path = paths.of(part, parent, "" if parent is None else calls[parent].path)
        if parent is not None:
            calls[parent].has_parts = True
        standard = type(part).__module__.startswith("torch.nn.modules")
        self.stack.append(len(calls))
        calls.append(Call(path, type(part).__name__, parent, is_standard=standard))

    def _leave(self, output: Any) -> None:
        self.traced.calls[self.stack.pop()].output = next(iter(tensors_in(output)), None)

    def call_function(self, func: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Any:
        """Runs the outermost torch function and files what it runs under its name."""
        calls, before = self.traced.calls, self.function
        if before is not None or not self.stack:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", type(func).__name__).strip("_")
        self.function = len(calls)
        calls.append(Call(calls[self.stack[-1]].path, name, self.stack[-1], is_function=True))
        ops = len(self.traced.ops)
        try:
            output = func(*args, **kwargs)
        finally:
            index, self.function = self.function, before
        if len(self.traced.ops) == ops and len(calls) == index + 1:
            calls.pop()  # asked for a shape or the like
        else:
            calls[index].output = next(iter(tensors_in(output)), None)
        return output

    def record(self, func: Any, args: tuple, kwargs: dict[str, Any], output: Any) -> None:
        if func.namespace == "prim" or not self.stack:
            return
        form: Any = schema(func)
        arguments = {a.name: a.default_value for a in form.arguments if a.has_default_value()}
        arguments |= dict(zip((a.name for a in form.arguments), args, strict=False)) | kwargs
        outputs = output if isinstance(output, (list, tuple)) else (output,)
        name = form.name.split("::")[-1]
        self.traced.ops.append(
            Op(
                name=name,
                arguments=arguments,
                outputs=tuple(o if isinstance(o, Tensor) else None for o in outputs),
                module=self.stack[-1],
                function=self.function,
                is_view=func.is_view or name in ("_unsafe_view", "lift_fresh"),
                is_pointwise=torch.Tag.pointwise in func.tags,
            )
        )


class _Functions(TorchFunctionMode):
    def __init__(self, recorder: _Recorder):
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[override]
        return self.recorder.call_function(func, args, kwargs or {})


class _Operations(TorchDispatchMode):
    def __init__(self, recorder: _Recorder):
        super().__init__()
        self.recorder = recorder

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[override]
        output = func(*args, **(kwargs or {}))
        self.recorder.record(func, args, kwargs or {}, output)
        return output


def captured(module: nn.Module, x: Tensor, calls: Sequence[int]) -> list[Tensor]:
    """Runs the network on real numbers, in evaluation mode and with gradients, and returns what some calls returned.

    Args:
        module: the network; its weights, buffers and modes stay as they are.
        x: input, [N, *input_shape].
        calls: indices into `Trace.calls` of an evaluation trace.
    """
    module = uncompiled(module)
    with _modes_restored(module, False), same_random_state(), torch.enable_grad():
        traced = Trace(batch=len(x), input=x, is_real=True)
        buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
        recorder = _Recorder(traced)
        with recorder.hooks(module), _Functions(recorder), _Operations(recorder):
            run(lambda x: functional_call(module, buffers, (x,)), x)
    outputs = [traced.calls[index].output for index in calls]
    return [output for output in outputs if output is not None]
