"""The code blocks of the README and of the pages for programmers run as they stand."""

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    "README.md", "README.zh-CN.md", "docs/numpy.md", "docs/predict.md", "docs/extending.md", "docs/look-inside.md",
    "docs/studies.md",
)  # fmt: skip


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / name).read_text("utf-8"), re.DOTALL)


def python_blocks() -> list:
    found = [(name, block) for name in PAGES for block in blocks(name, "python")]
    return [pytest.param(block, id=f"{name}-{i}") for i, (name, block) in enumerate(found)]


@pytest.mark.parametrize("block", python_blocks())
def test_each_python_block_runs(block, tmp_path):
    done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_what_is_added_from_outside_takes_less_than_thirty_lines():
    lengths = [
        len([line for line in block.splitlines() if line.strip()]) for block in blocks("docs/extending.md", "python")
    ]
    assert len(lengths) == 5
    assert max(lengths) < 30


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_each_convlens_command_of_the_shell_blocks_runs(name, tmp_path):
    rng = np.random.default_rng(0)
    for number, label in enumerate(("apple", "pear")):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(15):
            pixels = rng.integers(100 * number, 100 * number + 100, (48, 64, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{i}.png")
    shutil.copytree(tmp_path / "photos" / "pear", tmp_path / "new-pictures")
    command = Path(sys.executable).with_name("convlens")
    lines = [line for block in blocks(name, "sh") for line in block.splitlines() if line.startswith("convlens ")]
    assert len(lines) >= 3
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        extra = ["--epochs", "2"] if words[0] == "train" else []
        done = subprocess.run([str(command), *words, *extra], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stderr}"


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "README.zh-CN.md",
        "CONTRIBUTING.md",
        *(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")),
    ],
)
def test_every_local_link_leads_somewhere(name):
    page = ROOT / name
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{name} links to {target}"


def test_the_chinese_readme_has_the_same_commands():
    def commands(name: str) -> list[str]:
        return [line.split("#")[0].strip() for block in blocks(name, "sh") for line in block.splitlines() if line]

    assert commands("README.md") == commands("README.zh-CN.md")


def test_the_table_of_the_performance_page_is_that_of_the_logs():
    generator = runpy.run_path(str(ROOT / "docs" / "generate_performance_table.py"))
    fresh = generator["page"]()
    page = (ROOT / "docs" / "performance.md").read_text("utf-8")
    assert page == fresh, "run: python docs/generate_performance_table.py"


def test_the_page_of_commands_is_that_of_the_command_line():
    generator = runpy.run_path(str(ROOT / "docs" / "generate_commands.py"))
    page = (ROOT / "docs" / "commands.md").read_text("utf-8")
    assert page == generator["page"](), "run: python docs/generate_commands.py"
    assert "convlens train" in page
    assert "convlens data check" in page
