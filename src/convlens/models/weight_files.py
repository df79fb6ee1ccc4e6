"""Reads weight files, ours or foreign: safetensors, PyTorch files that hold nothing but tensors, and run folders.

No file is ever allowed to run code. A pickle is read by PyTorch's restricted reader alone, and what that refuses is
refused here: there is no fallback. Whatever else is wrong with a file is one `InputError`.
"""

import pickle
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convlens.base import files
from convlens.base.errors import InputError
from convlens.base.screen import printable
from convlens.runs import RunFolder

# where trainers put the weights in their checkpoints, the likeliest first
WRAPPERS = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params", "module",
    "state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema",
)  # fmt: skip
_DEPTH = 3  # of dictionaries in dictionaries
_MAGIC = {b"\x89HDF\r\n\x1a\n": "an HDF5 file (Keras)", b"\x93NUMPY": "a NumPy file", b"\x1f\x8b": "a gzip file"}
_CODE = (
    "is refused: it is damaged, or holds more than tensors and could run code when opened; have its author save the "
    "state dict alone, best as safetensors"
)

State = dict[str, Tensor]


def read_states(path: Path) -> list[tuple[str, State]]:
    """Every state dict in a file or run folder: where it stood in it ("" for the file itself), names and tensors.

    Raises:
        InputError: no such file, a damaged one, one that holds more than tensors, or none.
    """
    if path.is_dir():
        folder = RunFolder(path)
        arrays, _ = folder.read_weights(folder.read_record())
        return [("", {name: torch.from_numpy(array) for name, array in arrays.items()})]
    if not path.exists():
        raise InputError(f"there is no weights file {path}")
    content = _read(path)
    found = list(_states(content, "", set()))
    if not found:
        raise InputError(
            f"{path} holds no state dict (names and tensors), neither plain nor under {', '.join(WRAPPERS)}"
        )
    return found


def _read(path: Path) -> Any:
    with files.explained("read", path), files.open_plain(path) as file:
        start = file.read(16)
    for magic, kind in _MAGIC.items():
        if start.startswith(magic):
            raise InputError(f"{path} is {kind}; weights are read from safetensors and from PyTorch's files")
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        return _read_safetensors(path)
    return _read_pickle(path)


def _read_safetensors(path: Path) -> State:
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except Exception as error:  # of many kinds, according to where the file is damaged
        raise InputError(f"{path} is not a whole safetensors file: {_line(error)}") from None


def _read_pickle(path: Path) -> Any:
    _check_zip(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(f"{path} {_CODE}") from None
    except Exception as error:  # of many kinds, according to where the file is damaged
        raise InputError(f"{path} is not a whole PyTorch file: {_line(error)}") from None


def _check_zip(path: Path) -> None:
    """What PyTorch's reader does not look at: sizes and checksums of the members."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            announced = sum(member.file_size for member in members)
            if announced > path.stat().st_size:  # it stores what it saves; more would only fill the memory
                raise InputError(f"{path} is refused: it announces {announced:,} bytes, more than it holds")
            damaged = [member.filename for member in members if not _is_whole(archive, member)]
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} is not a whole PyTorch file: {_line(error)}") from None
    if damaged and len(damaged) < len(members):  # all of them: it was saved without checksums
        raise InputError(f"{path} is damaged: the checksum of {damaged[0]!r} in it does not hold")


def _is_whole(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(member) as file:
            while file.read(1 << 20):
                pass
    except zipfile.BadZipFile:
        return False
    return True


def _states(content: Any, where: str, seen: set[int], depth: int = _DEPTH) -> Iterator[tuple[str, State]]:
    if not isinstance(content, dict) or id(content) in seen:
        return
    seen.add(id(content))  # a file may put one dictionary into itself, or into a thousand others
    own = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if own:
        yield where, own
    if depth == 0:
        return
    known = [key for key in WRAPPERS if key in content]
    others = [key for key in content if isinstance(key, str) and key not in known]
    for key in known + others:
        yield from _states(content[key], f"{where}.{key}" if where else key, seen, depth - 1)


def plain(value: Tensor) -> str | None:
    """Why a tensor of a file cannot be taken over, or None: it must be dense and of an ordinary type."""
    if value.is_meta:
        return "has no values (device meta)"
    if value.is_quantized:
        return "is quantized"
    if value.layout != torch.strided or value.is_nested:
        return "is sparse"
    if value.is_complex():
        return "is complex"
    if value.is_floating_point() and value.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        return f"is {str(value.dtype).removeprefix('torch.')}"
    return None


def _line(error: Exception) -> str:
    return printable(" ".join(next(iter(str(error).strip().splitlines()), "").split()))[:200] or type(error).__name__
