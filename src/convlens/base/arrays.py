"""Named arrays and a JSON value in one file, in the safetensors format: equal bytes for equal content."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from convlens.base.errors import InputError

_KEY = "convlens"  # one metadata entry only: the format does not keep the order of several


def pack(arrays: Mapping[str, np.ndarray], meta: dict[str, Any]) -> bytes:
    """The bytes of such a file."""
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    return save(contiguous, {_KEY: json.dumps(meta, sort_keys=True, allow_nan=False)})


def unpack(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the JSON value of such a file. Runs no code, whatever the file holds.

    Raises:
        InputError: no such file, not a safetensors file, or cut short.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            meta = (file.metadata() or {}).get(_KEY, "{}")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        return arrays, json.loads(meta)
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except (SafetensorError, ValueError, TypeError, OSError) as error:
        raise InputError(f"{path} is not a readable safetensors file: {error}") from None
