"""Units that never fire: channels and neurons whose rectifier gives nothing but zero, whatever the image."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convlens.classify.caller import undisturbed
from convlens.inspection.probe import Op, Probe
from convlens.models.modes import evaluation_mode

_ZERO_BELOW = ("relu", "relu_", "threshold", "threshold_")
_CLAMPS = ("hardtanh", "hardtanh_", "clamp", "clamp_", "clamp_min", "clamp_min_")  # ReLU6 among them


@dataclass(frozen=True)
class Rectifier:
    """One rectifier of a network, and how many of its units never fired.

    name: path of its module; of a function the path around it and the function's name; ":2" is the second use of one.
    after: path of the module whose output it rectifies, "" where that is not known.
    units: channels of a feature map, else neurons. dead: those of them that were zero at every place for every image.
    """

    name: str
    after: str
    units: int
    dead: int


def dead_units(module: nn.Module, batches: Iterable[Tensor]) -> list[Rectifier]:
    """The rectifiers of a network in their order, looked at while it runs in evaluation mode over batches [n, C, H, W].

    Every operation counts that gives zero below zero, whether a module or a function asks for it. Nothing of the
    network or the process is changed. Raises `InputError` for a scripted network, and whatever the network raises.
    """
    fired: dict[str, Tensor] = {}
    after: dict[str, str] = {}
    with undisturbed(), torch.inference_mode(), evaluation_mode(module):
        for x in batches:
            with Probe(module, at=[], inputs=False, operations=True) as probe:
                module(x)
            for name, source, alive in _seen(probe):
                fired[name] = fired[name] | alive if name in fired else alive
                after[name] = source
            del probe
    return [Rectifier(name, after[name], len(alive), int((~alive).sum())) for name, alive in fired.items()]


def _seen(probe: Probe) -> list[tuple[str, str, Tensor]]:
    """(name, after, bool [units]: fired for any image) of each rectifier in a pass."""
    found: list[tuple[str, str, Tensor]] = []
    uses: dict[str, int] = {}
    made_by: dict[int, str] = {}
    for op in probe.operations:
        output = op.outputs[0] if op.outputs else None
        if output is None:
            continue
        call = probe.calls[op.module]
        if _rectifies(op) and output.dim() >= 2:
            function = "" if op.function is None or call.is_standard else probe.calls[op.function].kind
            name = ".".join(filter(None, (call.path, function))) or op.name
            uses[name] = uses.get(name, 0) + 1
            numbered = name if uses[name] == 1 else f"{name}:{uses[name]}"
            found.append((numbered, made_by.get(id(op.inputs[0]), ""), _alive(output)))
        made_by[id(output)] = call.path
    return found


def _rectifies(op: Op) -> bool:
    arguments = op.arguments
    if op.name in _ZERO_BELOW:
        return arguments.get("value", 0) == 0 == arguments.get("threshold", 0)
    return op.name in _CLAMPS and arguments.get("min_val", arguments.get("min")) == 0


def _alive(output: Tensor) -> Tensor:
    """bool [units], on the CPU: which channels (axis 1) are above zero anywhere."""
    others = [axis for axis in range(output.dim()) if axis != 1]
    return (output.amax(dim=others) > 0).cpu()
