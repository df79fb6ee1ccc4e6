"""Named arrays and a JSON value in one file, in the safetensors format: equal bytes for equal content."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from convlens.base import files, strict_json
from convlens.base.errors import InputError
from convlens.base.screen import printable

_KEY = "convlens"  # one metadata entry only: the format does not keep the order of several
_DIGEST = "sha256"  # in the JSON value: over the value without it, and all arrays
_SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2, "U32": 4, "I32": 4, "F32": 4,
    "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip
_LARGEST_HEADER = 100_000_000  # bytes; the format's own limit


def pack(arrays: Mapping[str, np.ndarray], meta: dict[str, Any]) -> bytes:
    """The bytes of such a file. It carries a digest of its content, which `unpack` compares."""
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    sealed = {**meta, _DIGEST: _digest(contiguous, meta)}
    return save(contiguous, {_KEY: json.dumps(sealed, sort_keys=True, allow_nan=False)})


def unpack(path: Path, *, sealed: bool = False) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the JSON value of such a file. Runs no code, whatever the file holds.

    Raises:
        InputError: no such file, not a safetensors file, cut short, or changed since it was written (a file without
            a digest, of an earlier version or of another program, is taken as it is, unless it must be `sealed`).
    """
    header(path)
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(_KEY, "{}")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, ValueError, TypeError, AttributeError, OSError) as error:
        raise InputError(f"{path} is not a readable safetensors file: {_line(error)}") from None
    meta = strict_json.loads(text, f"the metadata of {path}")
    if not isinstance(meta, dict):
        raise InputError(f"the metadata of {path} is no JSON object")
    digest = meta.pop(_DIGEST, None)
    if (sealed or digest is not None) and digest != _digest(arrays, meta):
        raise InputError(f"{path} is damaged: its content is not what was written (another SHA-256)")
    return arrays, meta


def header(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each array of a safetensors file, by name, read and checked without reading the arrays.

    Raises:
        InputError: no plain file, or not a whole safetensors file: its arrays must fill it, one after the other.
    """
    try:
        with files.open_plain(path) as file:
            size = file.seek(0, 2)
            file.seek(0)
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, _LARGEST_HEADER):
                raise ValueError("it is cut short, or of another kind")
            entries = strict_json.loads(file.read(length).decode(), f"the header of {path}")
        return _shapes(entries, size - 8 - length)
    except InputError:
        raise
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise InputError(f"{path} is not a readable safetensors file: {_line(error)}") from None


def _shapes(entries: Any, size: int) -> dict[str, tuple[int, ...]]:
    if not isinstance(entries, dict):
        raise ValueError("its header is no JSON object")
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or set(map(type, metadata.values())) - {str}:
        raise ValueError("its metadata are no texts")
    shapes, places = {}, []
    for name, entry in entries.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ValueError("an array has no dtype, shape and place")
        shape, place = entry["shape"], entry["data_offsets"]
        for part in (shape, place):
            if not isinstance(part, list) or set(map(type, part)) - {int} or min(part, default=0) < 0:
                raise ValueError("a shape or place is no list of numbers")
        if entry["dtype"] not in _SIZES or len(place) != 2 or len(shape) > 32:
            raise ValueError("an array of a kind that is not known")
        if place[1] - place[0] != math.prod(shape) * _SIZES[entry["dtype"]]:
            raise ValueError("an array is shorter or longer than its shape says")
        shapes[name] = tuple(shape)
        places.append(place)
    end = 0
    for begin, after in sorted(places):
        if begin != end:
            raise ValueError("its arrays overlap, or leave a gap")
        end = after
    if end != size:
        raise ValueError("it is cut short, or longer than its arrays")
    return shapes


def _digest(arrays: Mapping[str, np.ndarray], meta: dict[str, Any]) -> str:
    found = hashlib.sha256(json.dumps(meta, sort_keys=True, allow_nan=False).encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        found.update(json.dumps([name, array.dtype.str, list(array.shape)]).encode())
        found.update(array.tobytes() if array.size == 0 else array.reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def _line(error: Exception) -> str:
    return printable(" ".join(str(error).split()))[:300] or type(error).__name__
