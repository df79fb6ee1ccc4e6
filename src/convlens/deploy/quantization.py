"""8-bit integers for a network's convolutions and dense layers, as far as the answers stay right.

Activations become unsigned, weights signed, one scale for each output channel. x86 processors without VNNI add two
products in 16 bits, which overflow where both factors are large: the same file then gives other answers than elsewhere.
So weights use 7 of their 8 bits ("reduced range"), unless the file is for processors with VNNI only.
"""

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import onnx

from convlens.base.errors import InputError
from convlens.base.words import percent
from convlens.deploy.agreement import LIMIT

IMAGES = 512
"""Training images whose activations set the scales."""
FEWEST = 256
_TOGETHER = 32
_TYPES = ["Conv", "Gemm", "MatMul", "Add", "MaxPool", "AveragePool", "GlobalAveragePool", "Relu", "Clip", "Concat"]
_CALIBRATIONS = {"min-max": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}
_ISLANDS = ("last", "first and last", "first, last and depthwise")


class Attempt(NamedTuple):
    """One way to quantize, and the share of validation images that it gets right.

    calibration: how the range of an activation follows from the training images. kept: layers left in float32.
    """

    calibration: str
    kept: str
    accuracy: float

    def line(self, before: float) -> str:
        """The attempt in words. before: accuracy in float32."""
        kept = f", {self.kept} in float32" if self.kept else ""
        lost = (before - self.accuracy) * 100
        change = f"{abs(lost):.2f} points {'lost' if lost > 0 else 'gained'}"
        return f"int8, {self.calibration}{kept}: {percent(self.accuracy)} right, {change}"


class Quantized(NamedTuple):
    """The model, the accuracy of float32, and what was tried; the last attempt is the model."""

    model: onnx.ModelProto
    before: float
    attempts: tuple[Attempt, ...]


def quantize(
    model: onnx.ModelProto,
    inputs: np.ndarray,
    accuracy: Callable[[onnx.ModelProto], float],
    *,
    vnni_only: bool = False,
    limit: float = LIMIT,
    say: Callable[[str], None] = lambda line: None,
) -> Quantized:
    """The first of these that loses at most `limit`: three calibrations, then the best of them with layers in float32.

    inputs: [N, ...] of the model, from training images. accuracy: of a model, on validation images. say: is told of
        each attempt.

    Raises:
        InputError: none of them is good enough; the message lists what was tried. Fewer than 256 inputs.
    """
    if len(inputs) < FEWEST:
        raise InputError(f"int8 takes its scales from at least {FEWEST} training images; the run has {len(inputs)}")
    before, attempts = accuracy(model), []
    say(f"float32: {percent(before)} right")
    with tempfile.TemporaryDirectory() as folder, _quiet():
        maker = _Maker(model, inputs, Path(folder), reduced=not vnni_only)
        for calibration, kept in _ways(attempts):
            made = maker.make(calibration, kept)
            attempts.append(Attempt(calibration, kept, accuracy(made)))
            say(attempts[-1].line(before))
            if before - attempts[-1].accuracy <= limit:
                return Quantized(made, before, tuple(attempts))
    tried = "; ".join(attempt.line(before) for attempt in attempts)
    raise InputError(
        f"int8 loses more than {limit * 100:g} points of the {percent(before)} that float32 gets right on validation "
        f"images: {tried}"
    )


def _ways(attempts: list[Attempt]) -> Iterator[tuple[str, str]]:
    for calibration in _CALIBRATIONS:
        yield calibration, ""
    best = max(attempts, key=lambda attempt: attempt.accuracy).calibration
    for kept in _ISLANDS:
        yield best, kept


class _Maker:
    """Quantizes one model in several ways; the ranges of a calibration are found once."""

    def __init__(self, model: onnx.ModelProto, inputs: np.ndarray, folder: Path, reduced: bool):
        from onnxruntime.quantization.shape_inference import quant_pre_process

        self.folder, self.reduced = folder, reduced
        self.inputs = inputs[: len(inputs) // _TOGETHER * _TOGETHER]
        self.prepared = folder / "prepared.onnx"
        onnx.save_model(model, folder / "float32.onnx")  # given the model itself, it loses the weights
        quant_pre_process(folder / "float32.onnx", self.prepared, skip_symbolic_shape=True)
        self.nodes = onnx.load(self.prepared).graph

    def make(self, calibration: str, kept: str) -> onnx.ModelProto:
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

        quantize_static(
            self.prepared,
            self.folder / "int8.onnx",
            cast(Any, _Reader(self.nodes.input[0].name, self.inputs)),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_TYPES,
            per_channel=True,
            reduce_range=self.reduced,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=self._kept(kept),
            calibrate_method=CalibrationMethod[_CALIBRATIONS[calibration]],
            calibration_cache_path=self.folder / f"{calibration}.json",
            extra_options={
                "CalibStridedMinMax": _TOGETHER,
                "OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"],  # 256 logits would make ties
            },
        )
        return onnx.load(self.folder / "int8.onnx")

    def _kept(self, kept: str) -> list[str]:
        layers = [node for node in self.nodes.node if node.op_type in ("Conv", "Gemm", "MatMul")]
        names = [node.name for node in layers if "depthwise" in kept and _groups(node) > 1]
        return [*names, *([layers[0].name] if "first" in kept else []), *([layers[-1].name] if "last" in kept else [])]


def _groups(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)


class _Reader:
    """Hands inputs to ONNX Runtime's calibration, some at a time, so that what it keeps of them stays small."""

    def __init__(self, name: str, inputs: np.ndarray):
        self.name, self.inputs = name, inputs
        self.set_range(0, len(inputs))

    def __len__(self) -> int:
        return len(self.inputs)

    def set_range(self, start_index: int, end_index: int) -> None:
        self.at, self.end = start_index, end_index

    def get_next(self) -> dict[str, np.ndarray] | None:
        if self.at >= self.end:
            return None
        found = self.inputs[self.at : min(self.at + _TOGETHER, self.end)]
        self.at += len(found)
        return {self.name: found}

    def __iter__(self) -> Iterator[Any]:
        return iter(self.get_next, None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what ONNX Runtime writes about each tensor."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(None):
            yield
    finally:
        logging.disable(before)
