"""What a network returns, read as logits: the one place that knows the shapes in which networks answer.

A tensor [N, K] is taken as it is. Of a tuple, a list, a dictionary or an object with fields the logits are taken where
it is plain which they are. All else is refused, with what to change.
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from convlens.base.errors import ConvlensError, InputError, out_of_memory, reason
from convlens.base.words import percent
from convlens.models.modes import evaluation_mode
from convlens.models.random_state import same_random_state
from convlens.nn import private

NAMES = ("logits", "out", "output", "outputs", "pred", "preds", "prediction", "predictions", "scores")
AUXILIARY = "aux"  # other entries whose names begin so are outputs of auxiliary heads

# steps of automatic differentiation that hand values on, and those at which a network should not end
_SAME_VALUES = {
    "View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze", "ToCopy", "Clone", "Alias", "Select", "Slice", "T",
    "Permute", "Transpose",
}  # fmt: skip
_BOUNDED = {"Tanh": ("tanh", -1, 1), "Hardtanh": ("hardtanh or ReLU6", -1, 1), "Hardsigmoid": ("hardsigmoid", 0, 1)}
_SURE = 0.99  # a class that can get so much of the probability is sure enough
_ENDINGS = {"Softmax": "softmax", "SafeSoftmax": "softmax", "Sigmoid": "sigmoid"}


@dataclasses.dataclass(frozen=True)
class Outputs:
    """logits: [N, K]. auxiliary: outputs of further heads, [N, K] each. note: what was chosen, if not by its name."""

    logits: Tensor
    auxiliary: tuple[Tensor, ...] = ()
    note: str = ""


def read_outputs(outputs: Any, images: int, classes: int) -> Outputs:
    """The logits in what a network returned for `images` images of `classes` classes.

    Raises:
        InputError: no tensor, several that could be meant, or one of another shape.
    """
    if isinstance(outputs, Tensor):
        as_expected = outputs.shape == (images, classes) and outputs.is_floating_point()
        return Outputs(outputs if as_expected else _logits(outputs, images, classes))
    fields = _fields(outputs)
    if fields is not None:
        return _of_fields(fields, type(outputs).__name__, images, classes)
    if isinstance(outputs, (tuple, list)):
        return _of_sequence(outputs, images, classes)
    raise InputError(f"{_expected(images, classes)}; it gave {_described(outputs)}")


def run(module: Any, x: Tensor) -> Any:
    """What the network returns. An error in it is an `InputError` on one line; too little memory stays what it is."""
    try:
        return module(x)
    except ConvlensError:
        raise
    except Exception as error:
        if out_of_memory(error):
            raise
        raise InputError(f"the network cannot take a batch of shape {tuple(x.shape)}: {reason(error)}") from error


def logits_of(module: Any, x: Tensor, classes: int) -> Tensor:
    """The logits [N, K] of images [N, C, H, W], in the network's own type; the network is in evaluation mode.

    A network that loses the batch axis of a single image (`squeeze()`) and fails then is given the image twice.
    """
    try:
        return read_outputs(run(module, x), len(x), classes).logits
    except InputError:
        if len(x) != 1:
            raise
        with contextlib.suppress(InputError):
            return read_outputs(run(module, torch.cat((x, x))), 2, classes).logits[:1]
        raise


def look(module: nn.Module, x: Tensor, classes: int) -> Outputs:
    """What a network returns for a few images in evaluation mode, with gradients noted; then modes and random state are
    those of before."""
    device = next((p.device for p in module.parameters()), x.device)
    with evaluation_mode(module), same_random_state(), torch.enable_grad():
        return read_outputs(run(module, x.to(device)), len(x), classes)


def first_look(module: nn.Module, x: Tensor, classes: int) -> list[str]:
    """Runs a network once on a few images, before any training, and returns notes on what was chosen or looks wrong.

    Raises:
        InputError: nothing in it can be trained, it cannot take the images, or its outputs are no logits.
    """
    parameters = list(module.parameters())
    if not any(p.requires_grad for p in parameters):
        what = "all are frozen (requires_grad is False)" if parameters else "it has none"
        raise InputError(f"the network has no parameters to train: {what}")
    found = look(module, x, classes)
    refuse_probabilities(found.logits)
    return [note for note in (found.note, bounded(found.logits)) if note]


def refuse_probabilities(logits: Tensor) -> None:
    """Raises `InputError` for outputs of softmax or sigmoid, under which the loss could never fall far.

    Log-softmax is fine: the softmax of its outputs is that of the logits, and so are the loss and its gradient.
    """
    ending = _ending(logits)
    if ending is None and logits.shape[1] > 1:
        values = logits.detach().float()
        if bool(((values >= 0) & (values <= 1)).all()) and bool(((values.sum(1) - 1).abs() < 1e-3).all()):
            ending = "softmax"
    if ending is not None:
        raise InputError(
            f"the network ends in {ending}: its outputs are probabilities, and the loss takes the softmax itself; "
            f"leave the {ending} out, so that the last layer gives the logits"
        )


def bounded(logits: Tensor) -> str:
    """A line about logits that the last operation keeps so close together that no class can be sure, or ""."""
    step, name = _last_step(logits)
    if name not in _BOUNDED:
        return ""
    word, low, high = _BOUNDED[name]
    low, high = private.saved_limits(step, low, high)
    most = 1 / (1 + (logits.shape[1] - 1) * math.exp(low - high))
    if most > _SURE:
        return ""
    return (
        f"the network ends in {word}: its logits stay within {low:g} and {high:g}, so that no class can get more than "
        f"{percent(most, 1)} of the probability; leave it out unless that is meant"
    )


@contextlib.contextmanager
def answering(module: nn.Module, classes: int) -> Iterator[None]:
    """While it is open, the module returns its logits, or a tuple of logits and outputs of auxiliary heads."""

    def hook(_module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> Any:
        found = read_outputs(output, inputs[0].shape[0], classes)
        return (found.logits, *found.auxiliary) if found.auxiliary else found.logits

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors in nested lists, tuples, dictionaries and objects with fields, in order."""
    if isinstance(value, Tensor):
        return [value]
    fields = _fields(value)
    items = list(fields.values()) if fields is not None else value
    if isinstance(items, (list, tuple)):
        return [tensor for item in items for tensor in tensors_in(item)]
    return []


def _fields(outputs: Any) -> dict[str, Any] | None:
    """Names and values of a dictionary, a named tuple, a dataclass, or an object that has `logits`."""
    if isinstance(outputs, Mapping):
        return {str(name): value for name, value in outputs.items()}
    if isinstance(outputs, tuple) and hasattr(outputs, "_fields"):
        return dict(zip(outputs._fields, outputs, strict=True))  # pyright: ignore[reportAttributeAccessIssue]
    if dataclasses.is_dataclass(outputs) and not isinstance(outputs, type):
        return {field.name: getattr(outputs, field.name) for field in dataclasses.fields(outputs)}
    logits = getattr(outputs, "logits", None)
    return {"logits": logits, **getattr(outputs, "__dict__", {})} if isinstance(logits, Tensor) else None


def _of_fields(fields: dict[str, Any], kind: str, images: int, classes: int) -> Outputs:
    shaped = {name: _shaped(value, images, classes) for name, value in fields.items()}
    fitting = {name: value for name, value in shaped.items() if value is not None}
    auxiliary = tuple(value for name, value in fitting.items() if AUXILIARY in name.lower())
    main = {name: value for name, value in fitting.items() if AUXILIARY not in name.lower()}
    named = next((name for wanted in NAMES for name in fields if name.lower() == wanted), None)
    if named is not None and named not in main and (named.lower() == "logits" or not main):
        misfit = _misfit(fields[named], images, classes)
        raise InputError(f"{_expected(images, classes)}; {named!r} of what it gave is {misfit}")
    for wanted in NAMES:
        for name, value in main.items():
            if name.lower() == wanted:
                return Outputs(value, auxiliary)
    if len(main) == 1:
        (name,) = main
        return Outputs(main[name], auxiliary, f"of what the network returns, {name!r} is taken for the logits")
    found = ", ".join(f"{name!r} ({_described(value)})" for name, value in fields.items()) or "nothing"
    raise InputError(
        f"{_expected(images, classes)}; it gave a {kind} of {found}: call the entry with the logits 'logits'"
    )


def _of_sequence(outputs: tuple[Any, ...] | list[Any], images: int, classes: int) -> Outputs:
    shaped = [_shaped(value, images, classes) for value in outputs]
    fitting = [value for value in shaped if value is not None]
    if not fitting:
        if len(outputs) == 1:
            return read_outputs(outputs[0], images, classes)
        found = ", ".join(map(_described, outputs)) or "nothing"
        raise InputError(f"{_expected(images, classes)}; it gave a {type(outputs).__name__} of {found}")
    first, *rest = fitting
    place = next(i for i, value in enumerate(shaped) if value is not None)
    note = f"of the {len(outputs)} values that the network returns, number {place + 1} is taken for the logits"
    # further heads have one output per class too; features and losses have not, and probabilities are no head
    auxiliary = tuple(value for value in rest if _ending(value) is None)
    return Outputs(first, auxiliary, note if place else "")


def _shaped(value: Any, images: int, classes: int) -> Tensor | None:
    """The value as [N, K] where it is that but for axes of length 1, also where one image has lost its batch axis."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return None
    if value.shape == (images, classes):
        return value
    if [n for n in value.shape if n != 1] == [n for n in (images, classes) if n != 1]:
        return value.reshape(images, classes)
    return None


def _logits(value: Tensor, images: int, classes: int) -> Tensor:
    shaped = _shaped(value, images, classes)
    if shaped is None:
        raise InputError(f"{_expected(images, classes)}; it gave {_misfit(value, images, classes)}")
    return shaped


def _expected(images: int, classes: int) -> str:
    return (
        f"the network must give one logit per class, shape ({images}, {classes}) for {images} images of "
        f"{classes} classes"
    )


def _misfit(value: Any, images: int, classes: int) -> str:
    """The value in words, with what to change where that is plain."""
    hint = ""
    shape = tuple(value.shape) if isinstance(value, Tensor) else None
    if shape is None or not value.is_floating_point():
        pass
    elif shape in ((images, 1), (images,)) and classes == 2:
        hint = ": a single output for two classes; give the last layer 2 outputs, without a sigmoid"
    elif len(shape) == 2 and shape[0] == images:
        hint = f": its last layer needs {classes} outputs"
    elif len(shape) == 2 and shape[1] == classes:
        hint = ": the first axis must stay the batch, as in x.flatten(1)"
    elif len(shape) == 4:
        hint = ": average over height and width at the end, as in x.mean((2, 3))"
    elif len(shape) == 3 and shape[2] == classes:
        hint = ": average over the middle axis at the end, as in x.mean(1)"
    elif not shape:
        hint = ": return the logits, not a loss"
    return _described(value) + hint


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        kind = "" if value.is_floating_point() else f" {str(value.dtype).removeprefix('torch.')}"
        return f"a{'n' if kind[1:2] == 'i' else ''}{kind} tensor of shape {tuple(value.shape)}"
    return "None" if value is None else f"a {type(value).__name__}"


def _last_step(value: Tensor) -> Any:
    """The operation that gave these values, as automatic differentiation has noted it, and its name; or None."""
    step = value.grad_fn
    while step is not None:
        name = step.name().rstrip("0123456789").removesuffix("Backward").lstrip("_")
        if name not in _SAME_VALUES or not step.next_functions:
            return step, name
        step = step.next_functions[0][0]
    return None, ""


def _ending(value: Tensor) -> str | None:
    """The name of the softmax or sigmoid that gave these values, as automatic differentiation has noted it."""
    return _ENDINGS.get(_last_step(value)[1])
