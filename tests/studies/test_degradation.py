"""Degradation: the list of plans, what is judged from losses, and the share that `--quick` does."""

import statistics

import numpy as np
import pytest

from convlens.studies.degradation import chosen, judge
from convlens.studies.findings import Findings
from convlens.studies.registry import find

RNG = np.random.default_rng(1)


def losses(plain20, plain56, resnet20, resnet56, spread=0.01):
    each = {"plain-20": plain20, "plain-56": plain56, "resnet-20": resnet20, "resnet-56": resnet56}
    return {name: [mean - spread, mean, mean + spread] for name, mean in each.items()}


@pytest.mark.parametrize(
    ("found", "plain", "residual"),
    [
        (losses(1.5, 1.9, 1.4, 1.4), True, True),
        (losses(1.5, 1.5, 1.4, 1.5), False, False),
        (losses(1.5, 1.51, 1.4, 1.41), False, True),  # within sigma = 0.0141
        (losses(1.5, 1.52, 1.4, 1.42), True, False),
    ],
)
def test_a_difference_counts_beyond_the_deviation_between_seeds(found, plain, residual, tmp_path):
    findings = Findings(find("degradation"), tmp_path)
    judge(findings, found)
    assert [findings.verdicts[claim][0] for claim in ("plain", "residual")] == [plain, residual]
    sigma = (statistics.variance(found["plain-20"]) + statistics.variance(found["plain-56"])) ** 0.5
    assert f"{sigma:.3f}" in findings.verdicts["plain"][1]


def test_as_many_images_of_each_class_are_chosen_and_four_fifths_are_trained_on():
    pixels, labels = chosen("digits", 400, seed=2)
    assert pixels.shape == (500, 32, 32, 3)
    assert np.bincount(labels).tolist() == [50] * 10
    assert not np.array_equal(pixels, chosen("digits", 400, seed=3)[0])


def test_in_small_the_four_networks_are_trained_once_and_read_after(do):
    options = ["data=digits", "images=2000"]
    done = do("degradation", settings=options)
    runs = sorted(path.name for path in (done.folder / "runs").iterdir())
    assert runs == ["plain-20-0", "plain-56-0", "resnet-20-0", "resnet-56-0"]
    assert done.record.verdict == "not run"
    assert "100 images" in done.page
    times = {path: path.stat().st_mtime_ns for path in done.folder.glob("runs/*/weights.safetensors")}
    again = do("degradation", settings=options)
    assert times == {path: path.stat().st_mtime_ns for path in again.folder.glob("runs/*/weights.safetensors")}
    assert again.figure("training loss") == done.figure("training loss")
    rows = done.table("The last epoch, on the training images")
    assert [row[0] for row in rows] == ["plain-20", "plain-56", "resnet-20", "resnet-56"]
