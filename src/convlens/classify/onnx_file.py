"""ONNX files that Convlens wrote, opened with ONNX Runtime: a network that answers where there is no PyTorch."""

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from convlens.base import files, strict_json
from convlens.base.errors import InputError
from convlens.base.hardware import machine, usable_cores
from convlens.base.optional import required
from convlens.data.preprocess import Preprocess
from convlens.runs.record import checked

KEY = "convlens"
"""The entry of the file's metadata under which its `Label` stands, as JSON."""
FORMAT_VERSION = 1
_LARGEST = 2 << 30  # bytes of a file; ONNX itself cannot hold more in one
_VNNI = ("avx512_vnni", "avx_vnni")


class Label(BaseModel):
    """What an exported file says of itself, beside the network.

    preprocess: see `Preprocess.to_dict`. input: "float32": normalized [N, C, H, W] in; "uint8": prepared pixels
        [N, H, W, C] in, and probabilities out. opset: of ONNX.
    facts: what is known of the network besides (see `Classifier.facts`).
    quantization: how its numbers were made 8 bits wide, if they were.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    format_version: Literal[1] = FORMAT_VERSION
    classes: list[str] = Field(min_length=1)
    preprocess: dict[str, Any]
    input: Literal["float32", "uint8"] = "float32"
    opset: int | None = None
    facts: dict[str, Any] = {}
    quantization: dict[str, Any] | None = None


class Port(NamedTuple):
    """An input or output of a network; sizes that are free have a name."""

    name: str
    type: str
    shape: list[int | str]


class Opened(NamedTuple):
    """An ONNX file of ours: its network, and what it says of itself."""

    network: "OnnxNetwork"
    label: Label
    preprocess: Preprocess


class OnnxNetwork:
    """A network in ONNX Runtime: an array in, logits float32 [N, K] out; safe to call from several threads.

    The same picture gets the same bits alone and in any batch. The kernels of ONNX Runtime promise no such thing, so
    the first time that a size of batch comes up its first and last picture are computed alone, too; where a bit
    differs, batches are computed picture by picture from then on.

    takes_pixels: whether the array is prepared pixels uint8 [N, H, W, C], not normalized float32 [N, C, H, W].
    inputs, outputs, metadata: of the file.
    """

    def __init__(self, content: bytes, name: str, *, threads: int | None = None, exact_int8: bool | None = None):
        """content: of the file. name: what errors call it. threads: all usable cores by default.

        exact_int8: whether sums of 8-bit products are kept from overflowing 16 bits, which costs time; by default on
            processors without VNNI instructions, where they can.
        """
        runtime = required("onnxruntime", "serve")
        options = runtime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = threads or usable_cores()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if needs_exact_int8() if exact_int8 is None else exact_int8:
            options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            self._session = runtime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
            self.inputs = [Port(one.name, one.type, one.shape) for one in self._session.get_inputs()]
            self.outputs = [Port(one.name, one.type, one.shape) for one in self._session.get_outputs()]
            self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        except Exception as error:  # of many types, one for each thing that can be wrong
            raise InputError(f"{name} cannot be opened as ONNX: {_first_line(error)}") from None
        if len(self.inputs) != 1:
            raise InputError(f"{name}: the network has {len(self.inputs)} inputs; a classifier has one")
        self.takes_pixels = self.inputs[0].type == "tensor(uint8)"
        names = [output.name for output in self.outputs]
        self._logits = "logits" if "logits" in names else names[0]
        self._settled: set[int] = {0, 1}
        self._one_by_one = False

    def __call__(self, x: np.ndarray) -> np.ndarray:
        if self._one_by_one:
            return self._each(x)
        found = self._run(x)
        if len(x) not in self._settled:
            ends = [0, len(x) - 1]
            if found.shape[0] != len(x) or found[ends].tobytes() != self._each(x[ends]).tobytes():
                self._one_by_one = True
                return self._each(x)
            self._settled.add(len(x))
        return found

    def _each(self, x: np.ndarray) -> np.ndarray:
        return np.concatenate([self._run(x[k : k + 1]) for k in range(len(x))])

    def _run(self, x: np.ndarray) -> np.ndarray:
        try:
            return self._session.run([self._logits], {self.inputs[0].name: np.ascontiguousarray(x)})[0]
        except Exception as error:
            if isinstance(error, MemoryError):
                raise
            raise InputError(f"the network cannot take {x.dtype} {list(x.shape)}: {_first_line(error)}") from None


def open_file(path: Path | str, *, threads: int | None = None, exact_int8: bool | None = None) -> Opened:
    """Reads an ONNX file that `convlens export` wrote. threads, exact_int8: see `OnnxNetwork`.

    Raises:
        InputError: no such file, no ONNX, metadata that are missing or make no sense, other inputs or outputs than they
            say; ONNX Runtime is not installed.
    """
    network = OnnxNetwork(files.read_bytes(path, _LARGEST), str(path), threads=threads, exact_int8=exact_int8)
    text = network.metadata.get(KEY)
    if text is None:
        raise InputError(
            f"{path} says neither its classes nor its preprocessing: it was not written by convlens export"
        )
    where = f"{path}: metadata {KEY!r}"
    label = checked(Label, strict_json.loads(text, where), f"{where} is not valid")
    preprocess = Preprocess.from_dict(label.preprocess)
    _refuse_other_shapes(network, label, preprocess, str(path))
    return Opened(network, label, preprocess)


def label_text(label: Label) -> str:
    """The JSON that `open_file` reads."""
    return json.dumps(label.model_dump(mode="json"), ensure_ascii=False, sort_keys=True)


def needs_exact_int8() -> bool:
    """Whether this is an x86 processor without VNNI, where sums of two 8-bit products can overflow."""
    instructions = machine().instructions
    return "avx2" in instructions and not any(name in instructions for name in _VNNI)


def _refuse_other_shapes(network: OnnxNetwork, label: Label, preprocess: Preprocess, name: str) -> None:
    height, width = preprocess.size
    pixels = label.input == "uint8"
    inner = [height, width, preprocess.channels] if pixels else [preprocess.channels, height, width]
    expected = ("tensor(uint8)" if pixels else "tensor(float)", inner)
    given = network.inputs[0]
    if (given.type, list(given.shape[1:])) != expected:
        raise InputError(
            f"{name}: its input is {given.type} {given.shape}, its metadata say {expected[0]} [batch, {inner}]"
        )
    for output in network.outputs:
        if list(output.shape[1:]) != [len(label.classes)]:
            raise InputError(
                f"{name}: its output {output.name!r} has the shape {output.shape}, for {len(label.classes)} classes"
            )


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split("\n")[0].split())[:300]
