"""The page on the errors of the texts: each line of code on it is true."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import convlens as cl
from convlens import geometry, models, ops
from convlens.cli import app
from convlens.data import Preprocess
from convlens.training import recipe as recipes

PAGE = Path(__file__).parents[1] / "docs" / "errata.md"
ROWS = [
    re.split(r"(?<!\\) \| ", line.strip("| "))
    for line in PAGE.read_text("utf-8").splitlines()
    if re.match(r"\| \d", line)
]


def fails(attempt) -> bool:
    try:
        attempt()
    except Exception:
        return True
    return False


def parses(text: str) -> bool:
    return not fails(lambda: ast.parse(text))


@cache
def tiny(name: str) -> torch.nn.Module:
    """A network without memory for its weights."""
    with torch.device("meta"):
        return models.create(name)


def kernels(name: str) -> list[int]:
    found = [layer.kernel_size[0] for layer in tiny(name).modules() if isinstance(layer, torch.nn.Conv2d)]
    return [int(side) for side in found]


def dense(name: str) -> list[int]:
    return [layer.out_features for layer in tiny(name).modules() if isinstance(layer, torch.nn.Linear)]


def norms(name: str) -> int:
    return sum("Norm" in type(layer).__name__ for layer in tiny(name).modules())


def macs_of_two_3x3(x: int) -> int:
    return 9 * (x - 2) ** 2 + 9 * (x - 4) ** 2


def macs_of_one_5x5(x: int) -> int:
    return 25 * (x - 4) ** 2


def turned_kernel_needed() -> bool:
    """Zero stuffing and a convolution give the transposed convolution with the turned kernel alone."""
    x, w = np.arange(1.0, 5).reshape(1, 1, 2, 2), np.arange(1.0, 10).reshape(1, 1, 3, 3)
    stuffed = np.zeros((1, 1, 7, 7))
    stuffed[0, 0, 2:5:2, 2:5:2] = x[0, 0]
    expected = ops.conv_transpose2d(x, w, stride=2)
    turned, plain = ops.conv2d(stuffed, w[:, :, ::-1, ::-1]), ops.conv2d(stuffed, w)
    return bool(np.allclose(turned, expected) and not np.allclose(plain, expected))


def slope(function) -> float:
    """The derivative at 0."""
    return (function(1e-6) - function(-1e-6)) / 2e-6


def normalized() -> np.ndarray:
    x = np.random.default_rng(0).normal(5, 3, (50, 2, 4, 4))
    return (x - x.mean((0, 2, 3), keepdims=True)) / np.sqrt(x.var((0, 2, 3), keepdims=True) + 1e-5)


def int_sum() -> int:
    out = np.zeros_like(np.array([1]))
    out[0] += np.array([0.6]).astype(out.dtype)[0]
    return int(out[0])


NAMES: dict[str, Any] = {
    "np": np, "torch": torch, "cl": cl, "geometry": geometry, "models": models, "ops": ops, "recipes": recipes,
    "Preprocess": Preprocess, "parameters": lambda name: models.get(name).parameters, "kernels": kernels,
    "dense": dense, "norms": norms, "tiny": tiny, "fails": fails, "parses": parses, "slope": slope,
    "normalized": normalized, "int_sum": int_sum, "turned_kernel_needed": turned_kernel_needed,
    "macs_of_two_3x3": macs_of_two_3x3, "macs_of_one_5x5": macs_of_one_5x5,
}  # fmt: skip


def test_there_are_eighty_four_and_most_of_them_are_shown():
    assert [row[0] for row in ROWS] == [str(number) for number in range(1, 85)]
    assert all(len(row) == 5 for row in ROWS)
    assert sum(row[4] != "by reading" for row in ROWS) >= 60


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row[4].startswith("`") and "convlens " not in row[4]], ids=lambda r: r[0]
)
def test_what_is_said_to_be_right_is_right(row):
    assert eval(row[4].strip("`").replace("\\|", "|"), dict(NAMES)) is not False
    assert eval(row[4].strip("`").replace("\\|", "|"), dict(NAMES))


def test_the_commands_are_there():
    from convlens.studies.registry import find

    known = {command.callback.__name__ for command in app.registered_commands if command.callback}
    for row in ROWS:
        if "convlens " in row[4]:
            _, command, name, *_ = row[4].strip("`").split()
            assert command in known
            assert command != "study" or find(name)
