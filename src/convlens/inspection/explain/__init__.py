"""Explanations of networks: what their channels look for, and which pixels a decision comes from.

A method is a file here with a function `@register(name, group=...)`; importing this package enters all of them.
"""

# ruff: noqa: F401
from convlens.inspection.explain import (
    deconvnet,
    embedding,
    grad_cam,
    integrated_gradients,
    kernels,
    listening,
    lrp,
    maps,
    maximize,
    occlusion,
    patches,
    rectified,
    saliency,
)
from convlens.inspection.explain.attribution import Attribution
from convlens.inspection.explain.explain import Explanations, explain
from convlens.inspection.explain.explanation import Explanation
from convlens.inspection.explain.registry import METHODS, register
from convlens.inspection.explain.subject import Options, Pictures, Subject

__all__ = [
    "METHODS",
    "Attribution",
    "Explanation",
    "Explanations",
    "Options",
    "Pictures",
    "Subject",
    "explain",
    "register",
]
