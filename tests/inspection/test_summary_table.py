"""The table at different widths."""

import io
import re

import pytest
import torch
from rich.console import Console
from torch import nn

from convlens import models
from convlens.inspection.summary import Summary, summarize
from convlens.inspection.summary.table import SummaryTable, macs_text


def printed(summary: Summary, width: int, depth: int | None = None) -> list[str]:
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(SummaryTable(summary, depth))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def of(name: str) -> Summary:
    with torch.device("meta"):
        return summarize(models.create(name), models.get(name).input)


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("name", ["googlenet_aux", "vgg16", "resnet50"])
def test_the_table_fits_the_terminal_and_cuts_off_no_number(name, width):
    summary = of(name)
    lines = printed(summary, width)
    assert max(map(len, lines)) <= width
    total = next(line for line in lines if line.startswith("total"))
    assert f"{summary.parameters:,}" in total
    assert f"{summary.macs:,}" in total
    assert not any("…" in line for line in lines)


def test_in_a_narrow_terminal_only_names_give_way():
    summary = of("googlenet")
    lines = printed(summary, 60)
    assert max(map(len, lines)) <= 60
    total = next(line for line in lines if line.startswith("total"))
    assert total.split() == ["total", f"{summary.parameters:,}", f"{summary.macs:,}"]


def test_numbers_stand_below_each_other_and_add_up():
    summary = of("resnet18")
    lines = printed(summary, 80)
    end = lines[0].index("parameters") + len("parameters")
    column = [line[end - 12 : end].strip() for line in lines[1 : lines.index("")]]
    values = [int(value.replace(",", "")) for value in column if re.fullmatch(r"[\d,]+", value)]
    assert sum(values[:-1]) == values[-1] == 11_689_512


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_folding_keeps_the_sums(depth):
    summary = of("resnet50")
    lines = printed(summary, 120, depth)
    body = lines[1 : lines.index("")]
    indents = {(len(line) - len(line.lstrip())) // 2 for line in body}
    assert max(indents) == depth - 1
    numbers = [re.findall(r"\d{1,3}(?:,\d{3})+", line) for line in body]
    largest = [int(found[-1].replace(",", "")) for found in numbers if found]
    assert largest[-1] == summary.macs
    assert summary.macs <= sum(largest[:-1]) <= summary.macs + summary.parameters


def test_a_folded_line_shows_the_output_and_field_of_its_last_layer():
    lines = printed(of("resnet50"), 80, 1)
    (line,) = [line for line in lines if line.startswith("layer4")]
    entering = 512 * 196 * 1024 + 512 * 49 * 512 * 9 + 2048 * 49 * 512 + 2048 * 49 * 1024
    others = 512 * 49 * 2048 + 512 * 49 * 512 * 9 + 2048 * 49 * 512
    assert line.split() == ["layer4", "2048×7×7", "14,964,736", f"{entering + 2 * others:,}", "427", "/32"]


def test_names_of_the_user_are_shown_as_they_are():
    net = nn.Sequential()
    net.add_module("[red]conv[/red]", nn.Conv2d(1, 1, 3))
    lines = printed(summarize(net, (1, 5, 7)), 80)
    assert lines[2].split() == ["[red]conv[/red]", "Conv2d", "1×3×5", "10", "135", "60", "B", "3", "1", "0"]


def test_unequal_axes_are_both_shown():
    net = nn.Sequential(nn.Conv2d(1, 1, (3, 5), stride=(1, 2)))
    assert printed(summarize(net, (1, 9, 9)), 80)[2].split()[-3:] == ["3×5", "1×2", "0"]


def test_what_is_left_out_is_said():
    notes = " ".join(" ".join(printed(of("googlenet_aux"), 120)).split())
    assert "do not run in evaluation mode: aux1 (3,188,968), aux2 (3,191,016)" in notes
    assert "multiply-accumulates of convolutions and matrix products" in notes


def test_measured_fields_get_a_table_of_their_own():
    net = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU(), nn.MaxPool2d(2))
    text = "\n".join(printed(summarize(net, (1, 8, 8), effective=True), 80))
    assert "effective receptive field of" in text
    assert "Luo" in text


def test_amounts_for_people():
    assert [macs_text(n) for n in (999, 1_500_000, 4_089_184_256, 2 * 10**12)] == [
        "999",
        "1.500 M",
        "4.089 G",
        "2.000 T",
    ]
