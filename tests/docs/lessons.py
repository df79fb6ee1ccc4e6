"""The commands of the documentation, run as a reader would run them, each on a share of the data."""

import io
import re
import shlex
import shutil
import sys
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from convlens.cli import main
from convlens.studies import STUDIES

DOCS = Path(__file__).parents[2] / "docs"
TUTORIALS = sorted(page for page in (DOCS / "tutorials").glob("*.md") if not page.name.endswith(".zh.md"))
SHELL = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r'^```py title="([\w.]+)"\n(.*?)^```', re.MULTILINE | re.DOTALL)


def commands_of(page: Path) -> list[str]:
    """The lines of a page's shell blocks that call convlens, without their comments."""
    lines = [line for block in SHELL.findall(page.read_text("utf-8")) for line in block.splitlines()]
    return [shlex.join(shlex.split(line, comments=True)) for line in lines if line.startswith("convlens ")]


def coverage_rows() -> list[dict[str, str]]:
    texts = tomllib.loads((DOCS / "coverage.toml").read_text("utf-8"))
    return [row for text in texts.values() for row in text["rows"]]


def all_commands() -> list[str]:
    """Each command of the coverage page and of the tutorials once."""
    rows = [shlex.join(shlex.split(row["command"])) for row in coverage_rows() if "command" in row]
    return list(dict.fromkeys(rows + [line for page in TUTORIALS for line in commands_of(page)]))


@dataclass
class Ran:
    code: int
    out: str
    err: str


class Stock:
    """A folder with what the commands need: small sets in the place of the named ones, pictures, files, runs.

    A run folder that a command reads is made by the command of the same pages that trains it.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.sets = {"mnist": folder / "sets" / "mnist", "cifar10": folder / "sets" / "cifar10"}
        _write_digits(self.sets["mnist"])
        _write_photographs(self.sets["cifar10"])
        digit = _digits()[0][0]
        Image.fromarray(digit).save(folder / "zero.png")
        for page in TUTORIALS:
            for name, text in FILE.findall(page.read_text("utf-8")):
                (folder / name).write_text(text, "utf-8")

    def run(self, line: str) -> Ran:
        """Runs a command in the present folder, after the runs that it reads have been put there."""
        words = shlex.split(line)[1:]
        for name in self._reads(words):
            if not (self.folder / name).exists():
                made = self.run(self._maker(name))
                assert made.code == 0, made.err
                shutil.copytree(name, self.folder / name)
            if not Path(name).exists():
                shutil.copytree(self.folder / name, name)
        for source in self.folder.iterdir():
            if source.is_file() and not Path(source.name).exists():
                shutil.copyfile(source, source.name)
        return _run(self._lessened(words))

    @staticmethod
    def _reads(words: list[str]) -> list[str]:
        before = dict(zip(words[1:], words, strict=False))
        writes = words[0] == "train" and "--resume" not in words
        return [
            "/".join(word.split("/")[:2])
            for word in words
            if word.startswith("runs/") and not (writes and before[word] == "--out")
        ]

    @staticmethod
    def _maker(run: str) -> str:
        found = [line for line in all_commands() if line.startswith("convlens train ") and f"--out {run}" in line]
        made = [line for line in found if "--resume" not in line]
        assert made, f"no command of the pages trains {run}"
        return made[0]

    def _lessened(self, words: list[str]) -> list[str]:
        words = [str(self.sets.get(word, word)) if words[i - 1] == "--data" else word for i, word in enumerate(words)]
        if words[0] == "train":
            return [*words, "--epochs", "1", "--quiet"]
        if words[0] == "study" and len(words) > 1:
            asked = "data" in STUDIES[words[1]].options.model_fields
            return [*words, "--quick", "--quiet", *(["--set", f"data={self.sets['cifar10']}"] if asked else [])]
        return words


def _run(words: list[str]) -> Ran:
    out, err, before, code = io.StringIO(), io.StringIO(), sys.argv, 0
    sys.argv = ["convlens", *words]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    finally:
        sys.argv = before
    return Ran(code, out.getvalue(), err.getvalue())


def _digits() -> tuple[np.ndarray, np.ndarray]:
    found: Any = load_digits()
    small = (found.images * 15.9).astype(np.uint8)
    pixels = np.stack([np.asarray(Image.fromarray(one).resize((28, 28))) for one in small])
    return pixels, found.target.astype(np.uint8)


def _write_digits(folder: Path) -> None:
    """Scikit-learn's digits in MNIST's form and size."""
    folder.mkdir(parents=True)
    pixels, labels = _digits()
    for part, chosen in (("train", slice(0, 240)), ("t10k", slice(240, 300))):
        for kind, array in (("images-idx3", pixels[chosen]), ("labels-idx1", labels[chosen])):
            head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
            (folder / f"{part}-{kind}-ubyte").write_bytes(head + array.tobytes())


def _write_photographs(folder: Path) -> None:
    """Ten classes of 32x32 crops of scikit-learn's photographs."""
    photos, rng = load_sample_images().images, np.random.default_rng(0)
    for label in ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]:
        (folder / label).mkdir(parents=True)
        for i in range(12):
            top, left = rng.integers(0, 380), rng.integers(0, 600)
            crop = photos[i % 2][top : top + 32, left : left + 32]
            Image.fromarray(crop).save(folder / label / f"{i}.png")
