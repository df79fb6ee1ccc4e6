"""Traces of pictures through a classifier: the preprocessing is a part of the way."""

from collections.abc import Sequence
from typing import Any

from convlens.base.errors import InputError, nearest
from convlens.classify.classifier import Classifier
from convlens.inspection.trace.gradient import GradientTrace, trace_gradient
from convlens.inspection.trace.pixels import Scaling
from convlens.inspection.trace.trace import Trace, trace


def trace_picture(
    classifier: Classifier, picture: Any, layer: str | None = None, at: Sequence[int] | None = None
) -> Trace:
    """`trace` for a picture (what `Preprocess.prepare` takes), down to its pixels from 0 to 255."""
    preprocess = classifier.preprocess
    pixels = preprocess.prepare(picture)
    scaling = Scaling(pixels, preprocess.mean, preprocess.std)
    return trace(classifier.module, preprocess.normalize(pixels[None]), layer, at, scaling=scaling)


def trace_picture_gradient(
    classifier: Classifier,
    picture: Any,
    layer: str | None = None,
    at: Sequence[int] | None = None,
    *,
    target: str | int | None = None,
) -> GradientTrace:
    """`trace_gradient` for a picture. target: name or number of the class; by default the predicted one."""
    preprocess = classifier.preprocess
    pixels = preprocess.prepare(picture)
    number = None if target is None else class_number(classifier.classes, target)
    return trace_gradient(classifier.module, preprocess.normalize(pixels[None]), layer, at, target=number)


def class_number(classes: Sequence[str], target: str | int) -> int:
    """The number of a class, by its name or number. Raises `InputError` for one that is not there."""
    if isinstance(target, str) and target in classes:
        return classes.index(target)
    text = str(target)
    if text.isdecimal() and int(text) < len(classes):
        return int(text)
    raise InputError(f"there is no class {target!r}{nearest(text, classes)} (0 to {len(classes) - 1}, or by name)")
