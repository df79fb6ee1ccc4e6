"""A classifier as one ONNX file: batches of any size, everything in it that its users need to know."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from convlens.base.errors import InputError, out_of_memory, reason
from convlens.classify.caller import undisturbed
from convlens.classify.onnx_file import KEY, Label, label_text, required
from convlens.classify.outputs import read_outputs
from convlens.data.preprocess import Preprocess
from convlens.models.modes import evaluation_mode
from convlens.scratch.from_torch.export import exported

if TYPE_CHECKING:
    from convlens.classify.classifier import Classifier

OPSET = 20
TOLERANCE = 1e-4
"""Largest difference of a logit from PyTorch's, relative to the largest logit."""
BATCHES = (1, 3, 32)


def write(classifier: "Classifier", path: Path, *, with_preprocessing: bool = False, **_: Any) -> None:
    """Writes the file.

    with_preprocessing: prepared pixels uint8 [N, H, W, C] in, `probabilities` and `logits` [N, K] out; otherwise
        normalized `images` float32 [N, C, H, W] in, `logits` out.

    Raises:
        InputError: a network that cannot be traced or has an operation that ONNX lacks; onnx is not installed.
    """
    for library in ("onnx", "onnxscript", "onnxruntime"):
        required(library, "deploy")
    model = _translated(program(classifier, with_preprocessing), with_preprocessing)
    label = Label(
        classes=list(classifier.classes),
        preprocess=classifier.preprocess.to_dict(),
        input="uint8" if with_preprocessing else "float32",
        opset=OPSET,
        facts=dict(classifier.facts),
    )
    save(model, label, path)


def check(classifier: "Classifier", path: Path, *, images: np.ndarray, **_: Any) -> float:
    """Opens the file as its users will and compares it with the classifier, at batches of 1, 3 and 32 pictures.

    images: prepared pixels uint8 [N, H, W, C], N at least 1.

    Returns the largest difference of a logit, relative to the largest logit. Raises `InputError` where it exceeds
    `TOLERANCE`, or where the likeliest class is another one.
    """
    from convlens.classify.classifier import Classifier

    opened = Classifier.from_onnx(path)
    if opened.classes != classifier.classes or opened.preprocess != classifier.preprocess:
        raise InputError("it does not give its classes and preprocessing back")
    worst = 0.0
    for size in BATCHES:
        pixels = images[np.arange(size) % len(images)]
        expected, found = classifier.logits(pixels), opened.logits(pixels)
        worst = max(worst, _difference(expected, found, size))
    return worst


def program(classifier: "Classifier", with_preprocessing: bool) -> torch.export.ExportedProgram:
    """The classifier's network as `torch.export` has it, for batches of any size. The network is left as it was."""
    module, preprocess = classifier.module, classifier.preprocess
    whole = _Whole(module, preprocess, len(classifier.classes), with_preprocessing)
    height, width = preprocess.size
    shape = (height, width, preprocess.channels) if with_preprocessing else (preprocess.channels, height, width)
    dtype = torch.uint8 if with_preprocessing else torch.float32
    with undisturbed(), torch.no_grad(), evaluation_mode(module):
        whole.training = False
        return exported(whole, shape, batch=2, dynamic=True, dtype=dtype)


def save(model: Any, label: Label, path: Path) -> None:
    """Writes an ONNX model with its label, in one file."""
    import onnx

    onnx.helper.set_model_props(model, {KEY: label_text(label)})
    onnx.checker.check_model(model)
    onnx.save_model(model, path)


class _Whole(nn.Module):
    """A network whose output is one tensor of logits; with the arithmetic of `Preprocess.normalize`, if wanted."""

    def __init__(self, network: nn.Module, preprocess: Preprocess, classes: int, from_pixels: bool):
        super().__init__()
        self.network, self.classes, self.from_pixels = network, classes, from_pixels
        self.mean = torch.tensor(preprocess.mean)[:, None, None]
        self.std = torch.tensor(preprocess.std)[:, None, None]

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        if self.from_pixels:
            x = (x.permute(0, 3, 1, 2).to(torch.float32) / 255 - self.mean.to(x.device)) / self.std.to(x.device)
        logits = read_outputs(self.network(x), x.shape[0], self.classes).logits
        return (torch.softmax(logits, 1), logits) if self.from_pixels else logits


def _translated(traced: torch.export.ExportedProgram, with_preprocessing: bool) -> Any:
    """The program as an `onnx.ModelProto`."""
    outputs = ["probabilities", "logits"] if with_preprocessing else ["logits"]
    inputs = ["pixels"] if with_preprocessing else ["images"]
    try:
        with _silent():
            found = torch.onnx.export(
                traced, (), dynamo=True, external_data=False, opset_version=OPSET, input_names=inputs,
                output_names=outputs, verbose=False,
            )  # fmt: skip
    except Exception as error:  # one type for each step of the translation
        if out_of_memory(error):
            raise
        raise InputError(f"the network cannot be written as ONNX: {reason(error)}") from error
    if found is None:
        raise InputError("the network cannot be written as ONNX")
    return _tidied(found.model_proto)


def _tidied(model: Any) -> Any:
    """Names the batch's axis, and leaves out what only the tracer needed: its notes hold paths of this computer."""
    graph = model.graph
    symbol = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    if not symbol:
        raise InputError("the size of the batch is fixed in the translated network")
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        for side in value.type.tensor_type.shape.dim:
            if side.dim_param == symbol:
                side.dim_param = "batch"
    for part in (model, graph, *model.functions, *graph.node, *graph.input, *graph.output, *graph.initializer):
        if hasattr(part, "metadata_props"):
            del part.metadata_props[:]
        part.ClearField("doc_string")
    graph.name = "convlens"
    return model


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without the exporter's lines about libraries that are not needed and functions that PyTorch itself calls."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _difference(expected: np.ndarray, found: np.ndarray, size: int) -> float:
    """The largest difference of the logits [n, K], relative to the largest. Refuses what is no rounding."""
    scale = float(np.abs(expected).max()) or 1.0
    worst = float(np.abs(expected - found).max()) / scale
    if not worst <= TOLERANCE:
        raise InputError(
            f"in a batch of {size}, its outputs differ from PyTorch's by {worst:.2g} of the largest; "
            f"{TOLERANCE:g} is rounding"
        )
    best = np.take_along_axis(expected, expected.argmax(1)[:, None], 1)
    ours = np.take_along_axis(expected, found.argmax(1)[:, None], 1)
    if (best - ours > 2 * TOLERANCE * scale).any():
        raise InputError(f"in a batch of {size}, its likeliest class is another one than PyTorch's")
    return worst
