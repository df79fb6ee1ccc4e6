"""The page that says where each lesson is: complete, up to date, and every command on it runs."""

import re
import runpy
import shlex

import pytest
from lessons import DOCS, all_commands, coverage_rows

from convlens import studies

LONG = ("transfer", "regularisation", "convolution", "capacity", "vgg11_lrn", "resnet1202", "resnet18_tfbook --data")
SIZES = {"S0": 46, "S1": 23, "S2": 28, "S3": 14, "S4": 14}


def slow(line: str) -> list[pytest.MarkDecorator]:
    long = any(part in line for part in LONG) and "--set" not in line  # with settings, a study is a part of itself
    return [pytest.mark.slow] if long else []


def test_the_page_is_that_of_the_rows():
    generator = runpy.run_path(str(DOCS / "generate_coverage.py"))
    assert (DOCS / "coverage.md").read_text("utf-8") == generator["page"](), "run: python docs/generate_coverage.py"


def test_every_row_of_the_texts_is_there_once():
    ids = [f"{text}-{number:02}" for text, count in SIZES.items() for number in range(1, count + 1)]
    assert [row["id"] for row in coverage_rows()] == ids
    assert len(ids) == 125


def test_every_link_leads_to_a_page_and_a_heading():
    for row in coverage_rows():
        if "page" in row:
            name, _, anchor = row["page"].partition("#")
            text = (DOCS / name).read_text("utf-8")
            headings = [re.sub(r"[^\w\- ]", "", line.lstrip("# ")) for line in text.splitlines() if line[:1] == "#"]
            slugs = [re.sub(r"[\s-]+", "-", heading.strip().lower()) for heading in headings]
            assert not anchor or anchor in slugs, f"{row['id']}: {row['page']} (there is {slugs})"


def test_every_study_that_is_named_is_there():
    lines = [row["command"] for row in coverage_rows() if row.get("command", "").startswith("convlens study")]
    told = {shlex.split(line)[2] for line in lines}
    assert len(told) >= 10
    assert told <= set(studies.STUDIES)


@pytest.mark.parametrize("line", [pytest.param(line, marks=slow(line), id=line[9:60]) for line in all_commands()])
def test_each_command_runs(line, run):
    done = run(line)
    assert done.code == 0, done.err
    assert done.out.strip()
