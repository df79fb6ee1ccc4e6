"""The charts of a training show what can be seen: steps of a short run, errors of a good one."""

import itertools
import re

import pytest

from convlens.report.curves import charts
from typed import present


def _record(epoch, accuracy, **more):
    return {"epoch": epoch, "train_loss": 1.0 / epoch, "train_accuracy": accuracy, "val_accuracy": accuracy, **more}


def _points(chart, kind):
    path = re.search(rf'class="line {kind}" d="M([^"]*)"', str(chart["svg"]))
    return [tuple(map(float, point.split())) for point in present(path).group(1).split("L")]


def test_a_run_of_one_epoch_is_a_line_of_its_parts():
    parts = [2.0, 1.5, 1.0, 0.9]
    loss, accuracy = charts([_record(1, 0.5, train_loss_parts=parts, train_accuracy_parts=[0.2, 0.4, 0.6, 0.8])], 1)
    points = _points(loss, "a")
    assert len(points) == len(_points(accuracy, "a")) == 4
    steps = [b[0] - a[0] for a, b in itertools.pairwise(points)]
    assert steps == pytest.approx([steps[0]] * 3, abs=0.2)
    assert [y for _, y in points] == sorted(y for _, y in points)  # down on the page
    assert ">0.5<" in str(loss["svg"])  # ticks within the epoch


def test_a_run_whose_parts_are_not_all_known_is_drawn_by_epochs():
    loss = charts([_record(1, 0.5, train_loss_parts=[2.0, 1.5]), _record(2, 0.6)], 2)[0]
    assert len(_points(loss, "a")) == 2


def test_high_accuracies_are_drawn_as_errors_on_a_logarithmic_axis():
    low, high = charts([_record(1, 0.5), _record(2, 0.89)], 2), charts([_record(1, 0.5), _record(2, 0.99)], 2)
    assert "Accuracy" in [chart["title"] for chart in low]
    error = next(chart for chart in high if "Error" in chart["title"])
    assert error["legend"][0]["value"] == "lowest 1 %"
    first, last = _points(error, "b")
    assert last[1] > first[1] + 100  # lower on the page, and by far


def test_no_error_at_all_lies_below_every_other_and_is_called_zero():
    error = charts([_record(1, 0.98), _record(2, 1.0), _record(3, 0.99)], 2)[1]
    assert error["legend"][0]["value"] == "lowest 0 %"
    heights = [y for _, y in _points(error, "b")]
    assert heights[1] == max(heights)
    everything = charts([_record(1, 1.0), _record(2, 1.0)], 1)[1]
    assert everything["legend"][0]["value"] == "lowest 0 %"
