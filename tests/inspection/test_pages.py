"""The pages of the documentation that show numbers from the summary say what the code says."""

import contextlib
import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from convlens import models
from convlens.inspection.summary import summarize
from convlens.inspection.summary.table import SummaryTable

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["two-3x3-against-one-5x5.md", "summary.md", "inside.md"])
def test_code_on_the_page_prints_what_stands_below_it(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (DOCS / page).read_text()
    blocks = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", text, re.DOTALL)
    assert blocks
    names: dict[str, object] = {}
    for code, shown in blocks:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(code, page, "exec"), names)
        assert printed.getvalue() == shown


def test_the_table_on_the_page_is_the_table_of_the_command():
    shown = re.search(r"```text\n(layer.*?)```", (DOCS / "summary.md").read_text(), re.DOTALL)
    assert shown is not None
    console = Console(width=80, file=io.StringIO(), highlight=False)
    console.print(SummaryTable(summarize(models.create("lenet5"), (1, 28, 28))))
    printed = [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert printed == shown.group(1).splitlines()


def test_the_pair_is_cheaper_from_eleven_pixels_on():
    from torch import nn

    pair = nn.Sequential(nn.Conv2d(1, 1, 3, bias=False), nn.Conv2d(1, 1, 3, bias=False))
    single = nn.Sequential(nn.Conv2d(1, 1, 5, bias=False))
    for x in range(5, 40):
        costs = [summarize(net, (1, x, x)) for net in (pair, single)]
        assert [s.parameters for s in costs] == [18, 25]
        assert [s.macs for s in costs] == [18 * x**2 - 108 * x + 180, 25 * x**2 - 200 * x + 400]
        assert (costs[0].macs < costs[1].macs) == (x > 10)
