"""Costs of the zoo against figures from networks that were built in other libraries (tests/facts/macs.json)."""

import json
from pathlib import Path

import pytest
import torch

from convlens import models
from convlens.base.errors import InputError
from convlens.inspection.summary import summarize

FACTS = json.loads((Path(__file__).parents[1] / "facts" / "macs.json").read_text())


def _entry(name: str) -> models.ModelEntry | None:
    try:
        return models.get(name)
    except InputError:
        return None


SLOW = {"densenet161", "densenet169", "densenet201", "resnet1202_cifar"} | {
    f"keras_densenet{n}" for n in (121, 169, 201)
}
KNOWN = [
    pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in FACTS if _entry(name) is not None
]


@pytest.mark.parametrize("name", KNOWN)
def test_multiply_accumulates_and_parameters_are_those_of_the_network_built_elsewhere(name):
    with torch.device("meta"):
        module = models.create(name)
    summary = summarize(module, models.get(name).input)
    assert summary.macs == FACTS[name]["macs"]
    assert summary.parameters + sum(summary.unused.values()) == FACTS[name]["parameters"]
    assert not summary.depends_on_values
    assert summary.memory.training is not None


@pytest.mark.parametrize(
    ("name", "giga"),
    [("resnet50", 4.089), ("vgg16", 15.470), ("googlenet", 1.498), ("googlenet_2014", 1.583), ("alexnet", 0.714)],
)
def test_the_figures_that_papers_print(name, giga):
    with torch.device("meta"):
        module = models.create(name)
    assert round(summarize(module, models.get(name).input).macs / 1e9, 3) == giga


def test_most_of_the_facts_are_tested():
    assert len(KNOWN) >= 50
