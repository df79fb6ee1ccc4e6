"""A classifier as one ONNX file: batches of any size, everything in it that its users need to know."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from convlens.base.errors import InputError, out_of_memory, reason
from convlens.base.hardware import machine
from convlens.base.optional import required, silenced
from convlens.base.progress import say
from convlens.base.seeds import generator
from convlens.classify.classifier import Classifier
from convlens.classify.onnx_file import KEY, Label, OnnxNetwork, label_text, needs_exact_int8
from convlens.data.preprocess import Preprocess
from convlens.deploy.agreement import LIMIT, TOLERANCE, compare
from convlens.deploy.program import label_of, traced

if TYPE_CHECKING:
    from convlens.data.splits import Splits

OPSET = 20


def write(
    classifier: Classifier,
    path: Path,
    *,
    with_preprocessing: bool = False,
    int8: bool = False,
    vnni_only: bool = False,
    limit: float = LIMIT,
    parts: "Splits | None" = None,
    **_: Any,
) -> None:
    """Writes the file.

    with_preprocessing: prepared pixels uint8 [N, H, W, C] in, `probabilities` and `logits` [N, K] out; otherwise
        normalized `images` float32 [N, C, H, W] in, `logits` out.
    int8: see `quantization`. vnni_only: for processors with VNNI instructions only. limit: largest loss of accuracy, a
        fraction. parts: the run's images, for scales and for judging.

    Raises:
        InputError: a network that cannot be traced or has an operation that ONNX lacks; one that loses more than
            `limit` in 8 bits; onnx is not installed.
    """
    for library in ("onnx", "onnxscript", "onnxruntime"):
        required(library, "deploy")
    model = _translated(traced(classifier, with_preprocessing), with_preprocessing)
    label = label_of(classifier, opset=OPSET, input="uint8" if with_preprocessing else "float32")
    if int8:
        if parts is None:
            raise InputError("int8 needs the run's images: export the run, not the classifier alone")
        model, label = _in_8_bits(model, label, classifier.preprocess, parts, vnni_only, limit)
    save(model, label, path)


def check(classifier: Classifier, path: Path, *, images: np.ndarray, int8: bool = False, **_: Any) -> float:
    """Opens the file as its users will and compares its answers, see `agreement.compare`.

    int8: they may differ as rounding to 8 bits makes them; how much is lost by it, `write` has judged.
    """
    opened = Classifier.from_onnx(path)
    if opened.classes != classifier.classes or opened.preprocess != classifier.preprocess:
        raise InputError("it does not give its classes and preprocessing back")
    return compare(classifier, opened.logits, images, tolerance=None if int8 else TOLERANCE)


def _in_8_bits(
    model: Any, label: Label, preprocess: Preprocess, parts: "Splits", vnni_only: bool, limit: float
) -> tuple[Any, Label]:
    """The model with 8-bit weights and activations, and the label that says how it was made and what it costs."""
    from convlens.deploy.quantization import IMAGES, quantize

    chosen = generator(0, "calibration").permutation(len(parts.train))
    pixels = np.asarray(parts.train.pixels[np.sort(chosen[:IMAGES])])
    judged, on = (parts.val, "validation") if len(parts.val) else (parts.train.select(chosen[IMAGES:]), "training")
    if not len(judged):
        raise InputError("int8 is compared with float32 on validation images, and the run has none")

    def accuracy(candidate: Any) -> float:
        network = OnnxNetwork(candidate.SerializeToString(), "the network")
        return Classifier(network, preprocess, tuple(label.classes)).evaluate(judged).accuracy

    inputs = pixels if label.input == "uint8" else preprocess.normalize(pixels)
    found = quantize(model, inputs, accuracy, vnni_only=vnni_only, limit=limit, say=say)
    best = found.attempts[-1]
    made = {
        "activations": "uint8", "weights": "int8, per output channel", "reduced_range": not vnni_only,
        "calibration": best.calibration, "float32_layers": best.kept, "images": len(inputs),
        "judged_on": {"part": on, "n": len(judged), "processor": machine().processor, "vnni": not needs_exact_int8()},
        "accuracy": {"float32": found.before, "int8": best.accuracy}, "tried": [list(one) for one in found.attempts],
    }  # fmt: skip
    return found.model, label.model_copy(update={"quantization": made})


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
        with silenced("torch.onnx"), warnings.catch_warnings():  # about libraries that are not needed
            warnings.simplefilter("ignore")
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
