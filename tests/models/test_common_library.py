"""Names, shapes and outputs equal those of the common PyTorch model library: its weight files load."""

import json
from pathlib import Path

import pytest
import torch
from pinned import digest, fill, probe

from convlens import models

TABLE = json.loads(Path(__file__).with_name("common_library.json").read_text())
SMALL = {"resnet18", "densenet121", "googlenet", "squeezenet"}


@pytest.mark.parametrize("name", TABLE)
def test_state_dict_has_the_names_and_shapes_of_the_common_library(name):
    with torch.device("meta"):
        state = models.create(name).state_dict()
    assert len(state) == TABLE[name]["keys"]
    assert digest(state) == TABLE[name]["digest"]


@pytest.mark.parametrize("name", [n if n in SMALL else pytest.param(n, marks=pytest.mark.slow) for n in TABLE])
def test_equal_weights_give_the_outputs_of_the_common_library(name):
    network = models.create(name).eval()
    fill(network)
    with torch.inference_mode():
        y = network(probe())[0]
    expected = torch.tensor(TABLE[name]["outputs"])
    torch.testing.assert_close(y[[0, 1, 499, 998, 999]], expected, rtol=1e-3, atol=1e-3 * TABLE[name]["std"])
    assert y.std().item() == pytest.approx(TABLE[name]["std"], rel=1e-3)
