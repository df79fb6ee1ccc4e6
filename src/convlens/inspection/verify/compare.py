"""Both engines on the same batch: is PyTorch's network the one that the NumPy operations spell out?

The module runs as it is, in PyTorch; its exported program runs as a graph on `convlens.ops`. Both compute in float64,
so rounding explains differences of 1e-15 or, through many layers, 1e-12: anything above 1e-8 is a different formula.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from convlens.base.errors import InputError, out_of_memory, reason
from convlens.base.seeds import generator
from convlens.classify.caller import undisturbed
from convlens.classify.device import available, choose
from convlens.inspection.probe import Probe, refuse_scripted
from convlens.inspection.verify.draws import SharedDraws
from convlens.inspection.verify.sums import RESIDUE, Magnitudes, deviations, summed
from convlens.models.lazy import settled_copy
from convlens.nn import private
from convlens.scratch.from_torch import from_torch
from convlens.scratch.graph import LEAVES, Gradients, Graph, Tape
from convlens.scratch.operation import Mode

Array = np.ndarray
MODES = ("training", "inference")


@dataclass(frozen=True)
class Comparison:
    """How far the engines are apart in one mode. Errors are max|a - b| / max|b| of a tensor, b PyTorch's.

    Attributes:
        forward: by node, the outputs of layers and of the network ("output 0"); updated running statistics by name.
        gradients: by name, of the input and of every parameter.
        cancelled: gradients whose terms cancel to less than a thousandth (see `inspection.verify.sums`).
        nodes: operations in the graph, parameters and other leaves not counted.
    """

    forward: dict[str, float]
    gradients: dict[str, float]
    cancelled: tuple[str, ...]
    nodes: int


@dataclass(frozen=True)
class Verification:
    """The largest differences over the modes that were compared, and where they are ("training: conv1.weight")."""

    forward_max_error: float
    forward_worst: str
    gradient_max_error: float
    gradient_worst: str
    nodes: int
    batch: int
    modes: dict[str, Comparison] = field(repr=False)

    def agrees(self, tolerance: float = 1e-8) -> bool:
        """Whether no tensor differs by more than this."""
        return max(self.forward_max_error, self.gradient_max_error) <= tolerance

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the figures, and the ten worst tensors of each kind in each mode."""

        def worst(errors: dict[str, float]) -> dict[str, float]:
            return dict(sorted(errors.items(), key=lambda item: -item[1])[:10])

        modes = {
            name: {"forward": worst(c.forward), "gradients": worst(c.gradients), "cancelled": list(c.cancelled)}
            for name, c in self.modes.items()
        }
        return {**{k: v for k, v in asdict(self).items() if k != "modes"}, "modes": modes}


def verify(
    module: nn.Module,
    input_shape: Sequence[int],
    *,
    batch: int = 4,
    seed: int = 0,
    mode: str | None = None,
    device: str = "cpu",
) -> Verification:
    """Runs both engines in float64 on one batch of normal random numbers and compares what comes out.

    Compared are the outputs (and on the way those of every layer), the running statistics after a step of training, and
    the gradients of sum(outputs * random numbers) with respect to the input and to every parameter. Dropout, and
    whatever else is drawn at random, is the same in both engines.

    Args:
        module: any network that `scratch.from_torch` can read; it is copied and not changed.
        input_shape: of one sample.
        batch: samples; batch normalization over fewer than 4 is too ill-conditioned to compare.
        seed: of the input, the gradients and the masks.
        mode: "training", "inference", or None for both.
        device: where PyTorch's side runs, "cpu", "cuda" or "auto"; NumPy's is the CPU.

    Raises:
        InputError: the network cannot be traced, or holds an operation that the NumPy engine lacks.
    """
    if mode is not None and mode not in MODES:
        raise InputError(f"mode: {mode!r}, expected 'training', 'inference' or None for both")
    if batch < 1:
        raise InputError(f"batch: {batch}, expected at least 1")
    device = "cpu" if device == "auto" and not available("cuda") else choose(device)[0]
    if device.startswith("mps"):
        raise InputError("device 'mps': Apple's GPU has no float64, in which networks are compared; choose cpu")
    compared: dict[str, Comparison] = {}
    with undisturbed():
        refuse_scripted(module)
        double = settled_copy(module, tuple(input_shape)).double()
        for name in MODES if mode is None else (mode,):
            training = name == "training"
            double.to("cpu").train(training)
            with _Float64():
                compared[name] = _compare(double, tuple(input_shape), batch, seed, device, training=training)
    forward = _largest({name: c.forward for name, c in compared.items()})
    gradient = _largest({name: c.gradients for name, c in compared.items()})
    return Verification(*forward, *gradient, max(c.nodes for c in compared.values()), batch, compared)


def relative_difference(ours: Array, reference: Array, least: float | Array = 0.0) -> float:
    """The largest |a - b| / max(max|b|, least); where that is 0, 0 if a is 0 too and else 1. Infinity if not finite.

    least: one number, or one for each element.
    """
    if ours.shape != reference.shape:
        return float("inf")
    difference = np.abs(np.subtract(ours, reference, dtype=np.float64))
    scale = np.maximum(np.abs(reference).max(initial=0), least)
    if not np.isfinite(difference).all() or not np.isfinite(scale).all():
        return float("inf")
    error = np.where(scale > 0, difference / np.where(scale > 0, scale, 1), difference > 0)
    return float(error.max(initial=0))


def _compare(
    module: nn.Module, shape: tuple[int, ...], batch: int, seed: int, device: str, *, training: bool
) -> Comparison:
    graph = _with_constants_of_pytorch(_double(module, shape, batch))
    x = generator(seed, "verify", "input").standard_normal((batch, *shape))
    tape = graph.run(x, training=training, seed=seed)
    inputs = torch.from_numpy(x).to(device).requires_grad_()
    outputs, forward = _compare_forward(module.to(device), graph, tape, inputs, Mode(training, seed))
    if training:
        forward |= _compare_statistics(graph, tape, {k: _array(b) for k, b in module.named_buffers()})
    nodes = sum(node.op not in LEAVES for node in graph.nodes)
    if any(ours.shape != tuple(reference.shape) for ours, reference in zip(tape.outputs, outputs, strict=True)):
        return Comparison(forward, {}, (), nodes)
    gradients, cancelled = _compare_backward(module, graph, tape, inputs, outputs, seed)
    return Comparison(forward, gradients, cancelled, nodes)


def _compare_forward(
    module: nn.Module, graph: Graph, tape: Tape, inputs: torch.Tensor, mode: Mode
) -> tuple[list[torch.Tensor], dict[str, float]]:
    """PyTorch's outputs; the errors of the outputs and, as soon as it exists, of what each layer returns."""

    def compared(path: str, output: torch.Tensor) -> float:
        return relative_difference(tape.value(path), _array(output))

    with Probe(module, _layers(module, graph), inputs=False, keep=compared) as probe, SharedDraws(mode):
        outputs = _outputs(module, inputs)
    if len(outputs) != len(tape.outputs):
        raise InputError(f"the network gave {len(outputs)} outputs, its exported form {len(tape.outputs)}")
    # a layer that is used twice has two outputs and one name: it is left to its users
    found = {path: errors[0] for path, errors in probe.outputs.items() if len(errors) == 1}
    forward = {path: error for path, error in found.items() if isinstance(error, float)}
    for i, (ours, reference) in enumerate(zip(tape.outputs, outputs, strict=True)):
        forward[f"output {i}"] = relative_difference(ours, _array(reference))
    return outputs, forward


def _compare_backward(
    module: nn.Module, graph: Graph, tape: Tape, inputs: torch.Tensor, outputs: list[torch.Tensor], seed: int
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Errors of the gradients of sum(outputs * random numbers) by name, and the names of those that cancel."""
    grads = [
        generator(seed, "verify", "gradient", i).standard_normal(y.shape) if y.dtype.kind == "f" else None
        for i, y in enumerate(tape.outputs)
    ]
    total = torch.zeros((), dtype=torch.float64, device=inputs.device)
    for y, g in zip(outputs, grads, strict=True):
        if g is not None:
            total = total + (y * torch.from_numpy(g).to(inputs.device)).sum()
    if total.requires_grad:
        total.backward()
    magnitudes = Magnitudes(graph)
    ours = tape.backward(*grads, inputs=True, watch=magnitudes)
    reference = {name: p.grad for name, p in module.named_parameters() if name in ours.parameters}
    compared = _compare_gradients(graph, ours, {"input": inputs.grad, **reference}, magnitudes)
    for p in module.parameters():
        p.grad = None
    return compared


_CAST = (
    "the engines are compared in float64: numbers of float32 inside the network do not fit; "
    "make them of the type of its weights, as in x.to(self.weight.dtype)"
)


_CASTS = {torch.Tensor.to, torch.Tensor.type, torch.Tensor.softmax, torch.softmax, F.softmax, F.log_softmax}


class _Float64(TorchFunctionMode):
    """While it is open, casts to float32 give float64: a network that says x.float() is compared in float64, too."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.float:
            return args[0].double()
        if func not in _CASTS:  # export itself calls others, whose types must stay
            return func(*args, **(kwargs or {}))
        args = tuple(torch.float64 if a is torch.float32 else a for a in args)
        return func(*args, **{k: torch.float64 if v is torch.float32 else v for k, v in (kwargs or {}).items()})


def _outputs(module: nn.Module, inputs: torch.Tensor) -> list[torch.Tensor]:
    """What PyTorch gives, in the order of the exported program. The network may overwrite its input."""
    try:
        return _tensors(module(inputs.clone()))
    except Exception as error:
        if out_of_memory(error):
            raise
        hint = f" ({_CAST})" if "dtype" in str(error) or "Float" in str(error) else ""
        raise InputError(f"{type(module).__name__} cannot run in float64: {reason(error)}{hint}") from error


def _double(module: nn.Module, shape: tuple[int, ...], batch: int) -> Graph:
    try:
        return from_torch(module, shape, batch=batch, dynamic=False, dtype=torch.float64)
    except InputError as error:
        if "dtype" in str(error) and "cannot be traced" in str(error):
            raise InputError(f"{error} ({_CAST})") from error
        raise


def _with_constants_of_pytorch(graph: Graph) -> Graph:
    """PyTorch holds some constants of derivatives in float32, for float64 too: so do we, to compare.

    These are the 1/6 of the hard sigmoid and the alpha of CELU.
    """
    sixth = float(np.float32(1) / np.float32(6))
    for i, node in enumerate(graph.nodes):
        kept: dict[str, float] = {}
        if node.op == "hardsigmoid" and node.options["slope"] == 1 / 6:
            kept = {"slope": sixth}
        if node.op == "celu" and node.options["inverse"] == 1 / node.options["alpha"]:
            kept = {"inverse": 1 / float(np.float32(node.options["alpha"]))}
        graph.nodes[i] = replace(node, options={**node.options, **kept})
    return graph


def _compare_statistics(graph: Graph, tape: Tape, reference: dict[str, Array]) -> dict[str, float]:
    """Errors of the updated running statistics, by name.

    Where a layer is fed by another normalization, its mean may be zero but for rounding. A mean is used only divided by
    a deviation, so its error is taken relative to the channel's deviation in this batch where the mean is smaller.
    """
    scales = deviations(graph, tape)
    return {
        name: relative_difference(ours, reference[name], scales.get(name, 0.0)) for name, ours in graph.buffers.items()
    }


def _compare_gradients(
    graph: Graph, ours: Gradients, reference: dict[str, torch.Tensor | None], magnitudes: Magnitudes
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Errors by name, and the names of the gradients that are the residue of a sum."""
    sums = summed(graph)
    errors, cancelled = {}, []
    for name, tensor in reference.items():
        a = ours.inputs[0] if name == "input" else ours.parameters[name]
        if a is None:
            a = np.zeros(() if tensor is None else tuple(tensor.shape))
        b = np.zeros(a.shape) if tensor is None else _array(tensor)
        least = RESIDUE * magnitudes.found.get(name, 0.0) if name in sums else 0.0
        if float(np.abs(b).max(initial=0)) < least:
            cancelled.append(name)
        errors[name] = relative_difference(a, b, least)
    return errors, tuple(cancelled)


def _layers(module: nn.Module, graph: Graph) -> list[str]:
    """The paths of the layers that are one node of the graph."""
    names = {node.name for node in graph.nodes}
    paths = [path for path, _ in module.named_modules() if path in names]
    return [path for path in paths if f"{path}#2" not in names]


def _tensors(output: Any) -> list[torch.Tensor]:
    """All tensors in an output, in the order of the exported program."""
    return [leaf for leaf in private.tree_leaves(output) if isinstance(leaf, torch.Tensor)]


def _array(tensor: torch.Tensor) -> Array:
    return tensor.detach().cpu().numpy()


def _largest(modes: dict[str, dict[str, float]]) -> tuple[float, str]:
    """The largest error and where it is; nothing compared counts as 0."""
    errors = {f"{mode}: {name}": e for mode, by_name in modes.items() for name, e in by_name.items()}
    worst = max(errors, key=lambda name: errors[name], default="")
    return errors.get(worst, 0.0), worst
