"""Numeric settings: settled once at the start from the hardware, put in force, reused by `--resume`."""

import importlib.util
import os
import shutil

import torch

from convlens.base.errors import InputError
from convlens.base.hardware import usable_cores
from convlens.classify.device import choose
from convlens.nn import private
from convlens.training.numeric import Numeric

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def settle(
    device: str = "auto",
    precision: str = "auto",
    *,
    compile: bool = False,
    deterministic: bool = False,
    threads: int | None = None,
) -> Numeric:
    """Chooses device, dtype, memory format, threads and compilation; `reasons` says why in words.

    Raises:
        InputError: a device or precision that this machine does not have, or an unknown name.
    """
    device, why_device = choose(device)
    dtype, why_dtype = _dtype(precision, device)
    count = threads or min(torch.get_num_threads(), usable_cores())
    lacking = _no_compiler(device) if compile else None
    deterministic = deterministic or torch.are_deterministic_algorithms_enabled()  # the caller may have switched it on
    return Numeric(
        device=device,
        dtype=dtype,
        channels_last=device != "mps",
        threads=count,
        compile=compile and lacking is None,
        deterministic=deterministic or device == "cpu",
        reasons={
            "device": why_device,
            "dtype": why_dtype,
            "channels_last": "convolutions are faster with the channels innermost"
            if device != "mps"
            else "Metal kernels want the channels outside",
            "threads": "one per core that this process may use, as PyTorch counts them",
            "compile": (f"off: {lacking}" if lacking else "asked for")
            if compile
            else "off: eager kernels start at once, and small networks do not repay the time of compiling",
            "deterministic": "PyTorch's CPU kernels give the same bits for the same number of threads"
            if device == "cpu"
            else ("asked for" if deterministic else "off: on a GPU it costs speed; ask with --deterministic"),
        },
    )


def _dtype(wanted: str, device: str) -> tuple[str, str]:
    if wanted in DTYPES:
        return wanted, "asked for"
    if wanted != "auto":
        raise InputError(f"unknown precision {wanted!r}: choose auto, float32 or bfloat16")
    if device.startswith("cuda"):
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return ("bfloat16", "the GPU has it") if native else ("float32", "the GPU has no bfloat16")
    if device == "cpu" and private.has_fast_bfloat16():
        return "bfloat16", "the processor has bfloat16 instructions (AVX-512 BF16 or AMX)"
    return "float32", f"this {device} has no fast bfloat16"


def _no_compiler(device: str) -> str | None:
    """Why `torch.compile` cannot work here, if it cannot."""
    if device.startswith("cuda"):
        return (
            None if importlib.util.find_spec("triton") else "compiling for a GPU needs Triton, which is not installed"
        )
    if device == "cpu":
        wanted = [os.environ["CXX"]] if "CXX" in os.environ else ["g++", "clang++", "cl"]
        if not any(map(shutil.which, wanted)):
            return f"compiling needs a C++ compiler and there is none here ({', '.join(wanted)})"
        return None
    return f"PyTorch does not compile for {device}"


def apply(numeric: Numeric) -> list[str]:
    """Puts the settings in force for this process. Returns what could not be had as stored, in words.

    What it switches is put back by `classify.caller.undisturbed`.
    """
    if numeric.device == "cpu":
        torch.set_num_threads(numeric.threads)
        if torch.get_num_threads() != numeric.threads:
            return [f"threads: {torch.get_num_threads()} instead of {numeric.threads}"]
        return []
    if numeric.deterministic and not torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(True, warn_only=True)
    if numeric.device.startswith("cuda"):
        # the fastest kernel is found by trying: which one wins can change the bits
        torch.backends.cudnn.benchmark = not (numeric.deterministic or torch.backends.cudnn.deterministic)
    return []
