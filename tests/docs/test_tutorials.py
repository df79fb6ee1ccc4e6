"""The tutorials: every heading of a text has its place, commands and links are right, both languages have the same.

Whether each command does what it says is tested with those of the coverage page.
"""

import io
import re
import shlex
import tomllib
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import typer
from lessons import DOCS, FILE, TUTORIALS, commands_of

from convlens import models, studies
from convlens.cli import app

BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
TEXTS = tomllib.loads(Path(__file__).with_name("headings.toml").read_text("utf-8"))


def blocks() -> list:
    found = [(page.stem, *match) for page in TUTORIALS for match in BLOCK.findall(page.read_text("utf-8"))]
    return [pytest.param(code, printed, id=f"{name}-{i}") for i, (name, code, printed) in enumerate(found)]


def headings(page: Path) -> list[tuple[str, str]]:
    """Level and words of each heading; comments in blocks of code are none."""
    return HEADING.findall(FENCED.sub("", page.read_text("utf-8")))


def lines() -> list[str]:
    return sorted({line for page in TUTORIALS for line in commands_of(page)})


def test_every_text_has_its_tutorial():
    assert sorted(page.stem for page in TUTORIALS) == sorted(TEXTS)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_each_heading_of_the_text_has_its_place(page):
    here = [words for _, words in headings(page)]
    place = iter(here)
    missing = [words for words in TEXTS[page.stem] if words not in place]  # `in` moves on: the order counts
    assert not missing, f"not there, or not in this place: {missing}"


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_below_each_heading_stands_something(page):
    text = FENCED.sub("", page.read_text("utf-8"))
    found = re.split(r"^(#+ .+)$", text, flags=re.MULTILINE)[1:]
    for heading, below, after in zip(found[::2], found[1::2], [*found[2::2], "# end"], strict=True):
        deeper = len(after.split()[0]) > len(heading.split()[0])
        assert below.strip() or deeper, heading


@pytest.mark.parametrize("line", lines(), ids=lambda line: line[9:60])
def test_each_command_exists_and_has_these_options(line):
    root: Any = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    command = root.commands[words.pop(0)]
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    given = command.make_context(command.name, words).params  # raises where an option is unknown or has a wrong value
    if command.name == "study" and given["name"]:
        options = studies.STUDIES[given["name"]].options.model_fields
        assert {setting.partition("=")[0] for setting in given["settings"] or []} <= set(options)
    if command.name == "summary":
        for name in given["references"]:
            assert "/" in name or ".py" in name or models.get(name)


@pytest.mark.parametrize(("code", "printed"), blocks())
def test_each_block_prints_what_stands_below_it(code, printed, stock, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONVLENS_DATA", str(stock.folder / "sets"))
    out = io.StringIO()
    with redirect_stdout(out):
        exec(compile(code, "block", "exec"), {"__name__": "block"})
    assert printed, "a block without its output shows nothing"
    assert out.getvalue() == printed


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_both_languages_have_the_same_headings_commands_and_blocks(page):
    other = page.with_suffix(".zh.md")
    assert FENCED.findall(other.read_text("utf-8")) == FENCED.findall(page.read_text("utf-8"))
    assert [level for level, _ in headings(other)] == [level for level, _ in headings(page)]
    numbers = [[re.findall(r"^[\d.]*", words) for _, words in headings(each)] for each in (page, other)]
    assert numbers[0] == numbers[1]
    assert FILE.findall(other.read_text("utf-8")) == FILE.findall(page.read_text("utf-8"))


@pytest.mark.parametrize("page", sorted((DOCS / "tutorials").glob("*.md")), ids=lambda page: page.name)
def test_a_link_of_a_tutorial_leads_somewhere(page: Path):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target
