"""The one way to look inside a forward or backward pass."""

import contextlib
import sys
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from convlens.base.errors import InputError, nearest
from convlens.classify.outputs import tensors_in
from convlens.inspection.probe.calls import Call, Calls
from convlens.inspection.probe.operations import Functions, Op, Operations, Requests
from convlens.inspection.probe.values import Found, Keep, Slot, copied, mapped
from convlens.nn import private


class Probe:
    """Looks at a pass of a network, forward and backward, while it is open.

    The network is used as it is, never copied. The probe draws no random numbers, sets no training flags, and takes
    all of its hooks away when it closes, after an error, too. Opened again, it begins anew. Its records may be read
    while it is open, and later.

        with Probe(network, ["features.3"], gradients=True) as probe:
            network(x).sum().backward()
        probe.outputs["features.3"][0], probe.gradients["features.3"][0]

    Only what the thread that opened it runs is recorded. A compiled network runs without its compiler meanwhile, and
    layers of PyTorch that have a fused form for inference (`nn.TransformerEncoderLayer`) run step by step.

    Args:
        module: any network.
        at: paths of the modules to look at, as in `module.get_submodule(path)` ("" is the network itself); None for
            all. A module that stands at several places is looked at under the name by which it is called.
        inputs: keep what the modules were called with, too.
        gradients: keep the gradients of what the modules returned.
        operations: record every operation, and by whom it was asked for: True for those below PyTorch's dispatcher,
            "asked" for those that the network asks for (`linear`, where below there are a transposition and a product),
            with copies of what they gave. This holds on to all tensors of the pass.
        keep: what to keep of a tensor, called with the path and the tensor as soon as it exists, such as
            `lambda path, tensor: tensor.std().item()`. Unless given, a copy, apart from automatic differentiation.

    Attributes:
        outputs: by path a list with what each call returned, its tensors replaced by what `keep` made of them; None
            for a call that failed. Empty for a module that was not called.
        inputs: as `outputs`, a tuple for each call: its positional arguments, then those given by name.
        calls: all calls of modules in their order; where operations are recorded, those of functions, too.

    Raises:
        InputError: the network has no such module, or is scripted, which hides what it executes.
    """

    def __init__(
        self,
        module: nn.Module,
        at: Sequence[str] | None = None,
        *,
        inputs: bool = True,
        gradients: bool = False,
        operations: bool | Literal["asked"] = False,
        keep: Keep = copied,
    ):
        refuse_scripted(module)
        self._module = private.uncompiled(module)
        known = [path for path, _ in self._module.named_modules(remove_duplicate=False)]
        self._at = known if at is None else [at] if isinstance(at, str) else list(at)
        for path in self._at:
            if path not in known:
                raise InputError(f"{type(self._module).__name__} has no module {path!r}{nearest(path, known)}")
        self._inputs, self._gradients, self._record, self._keep = inputs, gradients, operations, keep
        self._stack: contextlib.ExitStack | None = None
        self._reset()

    def _reset(self) -> None:
        self.inputs = Found(self._at) if self._inputs else Found((), dict.fromkeys(self._at, _NO_INPUTS))
        self.outputs = Found(self._at)
        self._slots = Found(self._at)
        self._calls = Calls(self._module)
        self._operations = Requests(self._calls) if self._record == "asked" else Operations(self._calls)
        self._pending: list[tuple[Call, int]] = []  # calls that are looked at and have not returned, and their numbers

    @property
    def calls(self) -> list[Call]:
        return self._calls.all

    @property
    def operations(self) -> list[Op]:
        """Every operation of the forward pass, in order; `Op.module` counts in `calls`."""
        if not self._record:
            raise InputError("operations are not recorded: ask for them by Probe(..., operations=True)")
        return self._operations.found

    @property
    def gradients(self) -> Found:
        """As `outputs`: gradients of the loss with respect to them, as far as the backward pass has come.

        None for a tensor that the loss does not depend on. Of several backward passes the last one counts.
        """
        if not self._gradients:
            raise InputError("gradients are not kept: ask for them by Probe(..., gradients=True)")
        lost = {path for path in self._at if any(slot.is_lost for slot in _slots_in(self._slots[path]))}
        found = Found((path for path in self._at if path not in lost), {path: _LOST.format(path) for path in lost})
        for path in found:
            found[path] = mapped(self._slots[path], Slot, lambda slot: slot.value)
        return found

    def __enter__(self) -> "Probe":
        if self._stack is not None:
            raise InputError("this probe is open already: make another one")
        self._reset()
        with contextlib.ExitStack() as stack:
            if "torch._dynamo" in sys.modules:  # otherwise nothing is compiled
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            for part in self._module.modules():
                stack.callback(part.register_forward_pre_hook(self._enter, with_kwargs=True).remove)
                stack.callback(part.register_forward_hook(self._leave, always_call=True).remove)
            if self._record:
                stack.enter_context(Functions(self._calls, self._operations))
                stack.enter_context(self._operations)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        stack, self._stack = self._stack, None
        assert stack is not None
        stack.__exit__(*error)
        for slot in _slots_in(list(self._slots.values())):
            slot.close()

    def __deepcopy__(self, _memo: dict[int, Any]) -> "Probe":
        return self  # a copy of the network has the hooks, too; they are none of a second probe

    def _enter(self, part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call = self._calls.enter(part)
        if call is None or call.path not in self.outputs:
            return
        self._pending.append((call, len(self.outputs[call.path])))
        self.outputs[call.path].append(None)
        self._slots[call.path].append(None)
        if self._inputs:
            self.inputs[call.path].append(self._kept(call.path, (*args, *kwargs.values())))

    def _leave(self, part: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        call = self._calls.leave(part)
        if call is None:
            return
        if self._record:
            call.output = next(iter(tensors_in(output)), None)
        if self._pending and self._pending[-1][0] is call:
            _, number = self._pending.pop()
            self.outputs[call.path][number] = self._kept(call.path, output)
            if self._gradients:
                self._slots[call.path][number] = mapped(output, Tensor, lambda t: self._awaited(call.path, t))

    def _kept(self, path: str, value: Any) -> Any:
        with self._calls.paused():
            return mapped(value, Tensor, lambda tensor: self._keep(path, tensor))

    def _awaited(self, path: str, tensor: Tensor) -> Slot | None:
        """Where the tensor's gradient will stand; None if it has none."""
        if not tensor.requires_grad or self._stack is None:
            return None
        slot = Slot(tensor)

        def arrived(gradient: Tensor) -> None:
            slot.value = self._kept(path, gradient)

        self._stack.callback(tensor.register_hook(arrived).remove)
        return slot


_NO_INPUTS = "inputs are not kept: leave inputs=False out"
_LOST = (
    "the gradient of {!r} cannot be seen: it returns a view, which is written in place afterwards (as by "
    "ReLU(inplace=True)); write inplace=False there, or look at the module before it"
)


def _slots_in(value: Any) -> list[Slot]:
    found: list[Slot] = []
    mapped(value, Slot, found.append)
    return found


def refuse_scripted(module: nn.Module) -> None:
    """Raises `InputError` for a network that is, or has, a scripted or traced part."""
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        raise InputError("a scripted network hides what it executes: pass the network that it was made from")
