"""Which terms make up the gradient of one weight: dL/dw = sum over cells of (gradient of the cell) * (d cell / d w).

L is the cross entropy of one class, for one image, in inference mode. Every operation here is linear in each of its
weights, so d cell / d w is what the operation gives for a weight of 1 in that place and 0 elsewhere, less what it gives
for weights of 0: for a convolution the input cell that the weight was multiplied with, for a bias 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from convlens.base.errors import InputError, nearest
from convlens.classify.caller import undisturbed
from convlens.classify.outputs import tensors_in
from convlens.inspection.execution import unchanged
from convlens.inspection.trace.observed import Observed, observe
from convlens.models.random_state import same_random_state
from convlens.nn.private import uncompiled
from convlens.scratch.operation import Call
from convlens.scratch.operations import OPERATIONS

if TYPE_CHECKING:
    from rich.console import RenderableType

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class GradientTerms:
    """What one use of the weight brings.

    Attributes:
        node: the operation that uses it.
        cells: int [T, n], cells of its output, the batch axis in front.
        gradients: dL / d cell, float64 [T].
        inputs: d cell / d w, float64 [T].
    """

    node: str
    cells: Array
    gradients: Array
    inputs: Array

    @property
    def products(self) -> Array:
        return self.gradients * self.inputs


@dataclass(frozen=True, eq=False)
class GradientTrace:
    """The gradient of one weight, taken apart.

    Attributes:
        parameter: its name; `cell` where in it; `weight` its value.
        target: the class whose cross entropy is the loss, its number; `loss` the loss.
        value: the gradient that PyTorch gives, in the network's own type.
        exact: the same in float64, by the NumPy graph.
        terms: one entry for each operation that uses the parameter.
    """

    parameter: str
    cell: list[int]
    shape: list[int]
    weight: float
    target: int
    loss: float
    value: float
    exact: float
    terms: tuple[GradientTerms, ...]
    notes: tuple[str, ...]

    @property
    def recomputed(self) -> float:
        return sum(float(t.products.sum()) for t in self.terms)

    @property
    def magnitude(self) -> float:
        """The sum of the magnitudes of all terms."""
        return sum(float(np.abs(t.products).sum()) for t in self.terms)

    def rows(self) -> list[dict[str, Any]]:
        return [
            {"node": t.node, "cell": cell[1:], "gradient": g, "input": x, "product": g * x}
            for t in self.terms
            for cell, g, x in zip(t.cells.tolist(), t.gradients.tolist(), t.inputs.tolist(), strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        return {
            "parameter": self.parameter,
            "cell": self.cell,
            "shape": self.shape,
            "weight": self.weight,
            "class": self.target,
            "loss": self.loss,
            "value": self.value,
            "exact": self.exact,
            "recomputed": self.recomputed,
            "difference": self.value - self.recomputed,
            "notes": list(self.notes),
            "terms": self.rows(),
        }

    def table(self, *, top: int = 10) -> "RenderableType":
        """For a terminal, by Rich."""
        from convlens.inspection.trace.table import gradient_table

        return gradient_table(self, top=top)


def trace_gradient(
    module: nn.Module,
    image: Tensor | Array,
    layer: str | None = None,
    at: Sequence[int] | None = None,
    *,
    target: int | None = None,
) -> GradientTrace:
    """Which terms make up dL/dw of one weight, L the cross entropy of one class for one image, in inference mode.

    Args:
        module: a network that gives logits [1, K].
        image: its input, float [1, ...].
        layer: a layer, whose weight is meant, or the name of a parameter; by default the last one with a weight.
        at: which weight; by default the one with the largest gradient.
        target: number of the class; by default the predicted one.

    Raises:
        InputError: no such parameter, weight or class; outputs that are no logits.
    """
    observed = observe(module, image)
    name = _parameter(observed, layer)
    target, loss, arrived = _backward(observed, target)
    exact = arrived.parameters[name]
    cell = _cell(name, exact, at)
    own = _torch_gradient(module, image, name, target)
    return GradientTrace(
        parameter=name,
        cell=list(cell),
        shape=list(exact.shape),
        weight=float(observed.graph.parameters[name][cell]),
        target=target,
        loss=loss,
        value=float(own[cell]),
        exact=float(exact[cell]),
        terms=tuple(_terms(observed, name, cell, arrived.nodes)),
        notes=observed.notes,
    )


@dataclass(frozen=True)
class _Arrived:
    """Gradients of parameters by name, and of the outputs of nodes by name."""

    parameters: dict[str, Array]
    nodes: dict[str, Array]


def _backward(observed: Observed, target: int | None) -> tuple[int, float, _Arrived]:
    """The class, the loss, and what arrives where."""
    tape = observed.graph.run(observed.calls[observed.image].output)
    logits = tape.output
    if logits.ndim != 2 or len(logits) != 1 or logits.dtype.kind != "f":
        raise InputError(f"a gradient needs a loss: the network must give logits (1, K), it gives {logits.shape}")
    classes = logits.shape[1]
    target = int(logits.argmax()) if target is None else target
    if not 0 <= target < classes:
        raise InputError(f"class {target}: the network has the classes 0 to {classes - 1}")
    shifted = logits - logits.max()
    log_probabilities = shifted - np.log(np.exp(shifted).sum())
    start = np.exp(log_probabilities)
    start[0, target] -= 1
    nodes: dict[str, Array] = {}
    others = [None] * (len(tape.outputs) - 1)
    found = tape.backward(start, *others, watch=lambda node, grad: nodes.update({node.name: grad.copy()}))
    return target, float(-log_probabilities[0, target]), _Arrived(found.parameters, nodes)


def _terms(observed: Observed, name: str, cell: tuple[int, ...], gradients: dict[str, Array]) -> list[GradientTerms]:
    place = next(i for i, node in enumerate(observed.nodes) if node.name == name)
    found = []
    for position, node in enumerate(observed.nodes):
        if node.name not in gradients:
            continue
        for which, source in enumerate(node.inputs):
            if source == place:
                slope = _derivative(node.op, observed.calls[position], which, cell)
                gradient = gradients[node.name]
                cells = np.argwhere(slope)
                at = tuple(cells.T)
                found.append(GradientTerms(node.name, cells, gradient[at], slope[at]))
    return found


def _derivative(op: str, call: Call, which: int, cell: tuple[int, ...]) -> Array:
    """d output / d weight: the output for a weight of 1 in that place and 0 elsewhere, less that for weights of 0."""

    def given(weights: Array) -> Array:
        arrays = tuple(weights if i == which else a for i, a in enumerate(call.arrays))
        return np.asarray(OPERATIONS[op].forward(replace(call, arrays=arrays, updates={})))

    zero = np.zeros_like(call.arrays[which])
    one = zero.copy()
    one[cell] = 1
    return given(one) - given(zero)


def _parameter(observed: Observed, layer: str | None) -> str:
    names = list(observed.graph.parameters)
    if layer in names:
        return layer
    if not names:
        raise InputError(f"{observed.module} has no parameters that are trained")
    if layer is None:
        return next((n for n in reversed(names) if n.endswith("weight")), names[-1])
    own = [n for n in names if n.startswith(f"{layer}.")]
    direct = [n for n in own if "." not in n[len(layer) + 1 :]]
    if direct:
        return next((n for n in direct if n.endswith(".weight")), direct[0])
    if own:
        raise InputError(f"{layer} is made of several layers: name one of their parameters, such as {own[0]}")
    if layer in observed.paths:
        raise InputError(f"{layer} has no parameters that are trained (those are of {', '.join(names[:6])})")
    raise InputError(
        f"{observed.module} has no layer or parameter {layer!r}{nearest(layer, [*names, *observed.paths])}"
    )


def _cell(name: str, gradient: Array, at: Sequence[int] | None) -> tuple[int, ...]:
    if at is None:
        return tuple(int(i) for i in np.unravel_index(int(np.abs(gradient).argmax()), gradient.shape))
    if len(at) != gradient.ndim or any(not 0 <= i < n for i, n in zip(at, gradient.shape, strict=False)):
        raise InputError(f"at {','.join(map(str, at))}: {name} has shape {'x'.join(map(str, gradient.shape))}")
    return tuple(int(i) for i in at)


def _torch_gradient(module: nn.Module, image: Tensor | Array, name: str, target: int) -> Array:
    """The gradient of the parameter by PyTorch, in the network's own type; the module's own .grad is not touched."""
    module = uncompiled(module)
    parameter = module.get_parameter(name)
    stand_in = parameter.detach().clone().requires_grad_()
    buffers = {key: buffer.clone() for key, buffer in module.named_buffers()}
    with undisturbed(), unchanged(module, False), same_random_state(), torch.enable_grad():
        x = torch.as_tensor(image).detach().to(parameter.device, parameter.dtype)
        logits = tensors_in(functional_call(module, {**buffers, name: stand_in}, (x,)))[0]
        loss = nn.functional.cross_entropy(logits, torch.tensor([target], device=logits.device))
        (gradient,) = torch.autograd.grad(loss, stand_in)
    return gradient.float().cpu().numpy()
