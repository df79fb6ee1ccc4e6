"""A classifier as one ONNX file: batches of any size, everything in it that its users need to know."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from convlens.base.errors import InputError, out_of_memory, reason
from convlens.classify.onnx_file import KEY, Label, label_text, required
from convlens.deploy.agreement import compare
from convlens.deploy.program import label_of, traced

if TYPE_CHECKING:
    from convlens.classify.classifier import Classifier

OPSET = 20


def write(classifier: "Classifier", path: Path, *, with_preprocessing: bool = False, **_: Any) -> None:
    """Writes the file.

    with_preprocessing: prepared pixels uint8 [N, H, W, C] in, `probabilities` and `logits` [N, K] out; otherwise
        normalized `images` float32 [N, C, H, W] in, `logits` out.

    Raises:
        InputError: a network that cannot be traced or has an operation that ONNX lacks; onnx is not installed.
    """
    for library in ("onnx", "onnxscript", "onnxruntime"):
        required(library, "deploy")
    model = _translated(traced(classifier, with_preprocessing), with_preprocessing)
    label = label_of(classifier, opset=OPSET, input="uint8" if with_preprocessing else "float32")
    save(model, label, path)


def check(classifier: "Classifier", path: Path, *, images: np.ndarray, **_: Any) -> float:
    """Opens the file as its users will and compares its answers, see `agreement.compare`."""
    from convlens.classify.classifier import Classifier

    opened = Classifier.from_onnx(path)
    if opened.classes != classifier.classes or opened.preprocess != classifier.preprocess:
        raise InputError("it does not give its classes and preprocessing back")
    return compare(classifier, opened.logits, images)


def save(model: Any, label: Label, path: Path) -> None:
    """Writes an ONNX model with its label, in one file."""
    import onnx

    onnx.helper.set_model_props(model, {KEY: label_text(label)})
    onnx.checker.check_model(model)
    onnx.save_model(model, path)


def _translated(program: torch.export.ExportedProgram, with_preprocessing: bool) -> Any:
    """The program as an `onnx.ModelProto`."""
    outputs = ["probabilities", "logits"] if with_preprocessing else ["logits"]
    inputs = ["pixels"] if with_preprocessing else ["images"]
    try:
        with _silent():
            found = torch.onnx.export(
                program, (), dynamo=True, external_data=False, opset_version=OPSET, input_names=inputs,
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
