"""Guided backpropagation and the deconvolution network: the gradient with another rule at each rectifier.

Both walk backward as the gradient does. At a rectifier y = max(x, 0) the gradient lets pass what comes from above where
x > 0; the deconvolution network (Zeiler and Fergus 2014) lets pass what is positive, wherever x was; guided
backpropagation (Springenberg et al. 2015) lets pass what is positive, where x > 0.
"""

import numpy as np

from convlens.inspection.explain.attribution import Attribution, aims
from convlens.inspection.explain.registry import register
from convlens.inspection.explain.subject import Options, Pictures, Subject
from convlens.inspection.explain.walk import walk
from convlens.scratch.graph import Node, Rule, Rules
from convlens.scratch.operations import OPERATIONS, Call

Array = np.ndarray

SMOOTH = ("leaky_relu", "prelu", "elu", "selu", "celu", "silu", "gelu", "mish", "softplus")
"""Activations that follow the rectifier but for a small part: what is negative from above stops there, too."""


def guided(node: Node) -> Rule | None:
    """The rules of guided backpropagation: see `Tape.backward`."""
    if not is_rectifier(node):
        return None
    return lambda call, grad: OPERATIONS[node.op].backward(call, np.maximum(grad, 0))


def deconvolution(node: Node) -> Rule | None:
    """The rules of the deconvolution network. Maxima of pooling go back to where they came from ("switches")."""
    if not is_rectifier(node):
        return None
    return _positive


def is_rectifier(node: Node) -> bool:
    """ReLU in any of its forms (`clamp(min=0)`, too), and activations that are nearly that."""
    if node.op in ("clamp", "hardtanh"):  # ReLU6 is a hardtanh of 0 to 6
        return node.options.get("low") == 0
    if node.op == "threshold":
        return node.options.get("threshold") == 0
    return node.op == "relu" or node.op in SMOOTH


def _positive(call: Call, grad: Array) -> list[Array | None]:
    return [np.maximum(grad, 0), *[None] * (len(call.arrays) - 1)]


@register("guided-backprop", group="attribution")
def guided_backprop(subject: Subject, pictures: Pictures, options: Options) -> Attribution:
    """The gradient without what is negative on its way, its largest magnitude (Springenberg et al. 2015)."""
    return _attribution("guided-backprop", guided, subject, pictures, options)


@register("deconvolution", group="attribution")
def deconvolution_network(subject: Subject, pictures: Pictures, options: Options) -> Attribution:
    """The deconvolution network's picture of the logit, its largest magnitude (Zeiler and Fergus 2014)."""
    return _attribution("deconvolution", deconvolution, subject, pictures, options)


def _attribution(name: str, rules: Rules, subject: Subject, pictures: Pictures, options: Options) -> Attribution:
    wanted = aims(subject, pictures, options)
    arrived = np.concatenate([found for _, found in walk(subject, pictures, wanted, wanted.weights(), rules)])
    count = sum(is_rectifier(node) for node in subject.graph.nodes)
    notes = () if count else ("the network has no rectifier: the map is that of the plain gradient",)
    return Attribution(
        what=name,
        arrays={"maps": np.abs(arrived).max(1), "gradient": arrived},
        notes=notes,
        signed=False,
        unit="|rectified gradient|",
    )
