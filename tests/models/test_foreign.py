"""Each network of `foreign.py` trains for an epoch, answers about pictures and can be summarised."""

import numpy as np
import pytest
import torch
from foreign import NETWORKS

import convlens as cl
from convlens.inspection.summary import summarize


@pytest.fixture
def pictures():
    """Dark and bright pictures, uint8 [9, 16, 16]: the last batch has one picture."""
    labels = np.arange(9) % 2
    noise = np.random.default_rng(0).integers(0, 60, (9, 16, 16))
    return (noise + labels[:, None, None] * 150).astype(np.uint8), labels


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_a_public_shape_trains_predicts_and_is_summarised(name, pictures, tmp_path):
    torch.manual_seed(0)
    network = NETWORKS[name]()
    pixels, labels = pictures
    run = cl.train(
        network, {"train": pictures, "test": pictures}, epochs=1, out=tmp_path / "run", quiet=True, device="cpu",
        recipe={"val_fraction": 0.0, "batch_size": 4, "eval_batch_size": 8}, size=16,
    )  # fmt: skip
    assert run.results["test"]["n"] == 9
    assert 0 <= run.predict(pixels[0]).probability <= 1
    assert run.evaluate((pixels + 1, labels)).n == 9  # others than it was trained on
    assert summarize(network, (1, 16, 16)).parameters > 0
