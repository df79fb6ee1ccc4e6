"""The forms of a network that are compared: PyTorch in several ways, ONNX Runtime in float32 and in 8 bits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import nn

from convlens.base.errors import InputError, out_of_memory, reason
from convlens.base.hardware import compiler, machine
from convlens.classify.classifier import Classifier
from convlens.classify.onnx_file import OnnxNetwork
from convlens.classify.outputs import logits_of
from convlens.data.splits import Splits
from convlens.deploy import exporters

Call = Callable[[np.ndarray], np.ndarray]
EAGER, ONNX, INT8 = "pytorch", "onnx float32", "onnx int8"
_FAST_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")


class Form(NamedTuple):
    """One of them. call: normalized float32 [N, C, H, W] to logits [N, K]; None where it is not to be had here.

    why: then, why it is not. file: what it runs, where that is a file.
    """

    name: str
    call: Call | None = None
    why: str = ""
    file: Path | None = None


def forms(
    classifier: Classifier,
    another: Callable[[], nn.Module] | None,
    parts: Splits,
    folder: Path,
    threads: int,
    compiled: bool,
) -> list[Form]:
    """All of them. To be called, and to be used, with the module in evaluation mode and PyTorch in inference mode.

    another: see `measure.measure`. folder: for their files. compiled: whether PyTorch's compiler is tried.
    """
    module, classes = classifier.module, len(classifier.classes)
    if next(iter(module.parameters()), torch.zeros(0)).device.type != "cpu":
        raise InputError("forms are measured on the CPU: add --device cpu")
    found = [Form(EAGER, _pytorch(module, classes))]
    found.append(_channels_last(another, classes))
    found.append(_bfloat16(module, classes))
    found.append(_compiled(module, classes, classifier) if compiled else Form("pytorch, compiled", why="not asked for"))
    found.append(_onnx(ONNX, classifier, folder / "float32.onnx", parts, threads, int8=False))
    found.append(_onnx(INT8, classifier, folder / "int8.onnx", parts, threads, int8=True))
    return found


def _pytorch(module: nn.Module, classes: int) -> Call:
    def call(x: np.ndarray) -> np.ndarray:
        return logits_of(module, torch.from_numpy(x), classes).numpy()

    return call


def _channels_last(another: Callable[[], nn.Module] | None, classes: int) -> Form:
    name = "pytorch, channels-last"
    if another is None:
        return Form(name, why="it would rearrange a network that is not ours")
    module: nn.Module = cast(Any, another()).to(memory_format=torch.channels_last)

    def call(x: np.ndarray) -> np.ndarray:
        return logits_of(module, torch.from_numpy(x).to(memory_format=torch.channels_last), classes).numpy()

    return Form(name, call)


def _bfloat16(module: nn.Module, classes: int) -> Form:
    name = "pytorch, bfloat16"
    if not any(one in machine().instructions for one in _FAST_BFLOAT16):
        return Form(name, why="this processor has no instructions for it")

    def call(x: np.ndarray) -> np.ndarray:
        with torch.autocast("cpu", torch.bfloat16):
            return logits_of(module, torch.from_numpy(x), classes).float().numpy()

    return Form(name, call)


def _compiled(module: nn.Module, classes: int, classifier: Classifier) -> Form:
    name = "pytorch, compiled"
    if compiler() is None:
        return Form(name, why="there is no C++ compiler")
    fast = torch.compile(module, dynamic=False)
    try:
        for size in (1, 8, 64):
            shape = (size, classifier.preprocess.channels, *classifier.preprocess.size)
            logits_of(fast, torch.zeros(shape), classes)
    except Exception as error:  # the compiler's own, of many types
        if out_of_memory(error):
            raise
        return Form(name, why=f"PyTorch's compiler fails: {reason(error)[:200]}")

    return Form(name, lambda x: logits_of(fast, torch.from_numpy(x), classes).numpy())


def _onnx(name: str, classifier: Classifier, path: Path, parts: Splits, threads: int, *, int8: bool) -> Form:
    settings = {"int8": True, "parts": parts} if int8 else {}
    images = np.asarray(parts.test.pixels[: min(32, len(parts.test))])
    try:
        exporters.export(classifier, "onnx", path, images=images, **settings)
    except InputError as error:
        return Form(name, why=str(error).split(" was not written: ")[-1])
    return Form(name, OnnxNetwork(path.read_bytes(), str(path), threads=threads), file=path)
