"""Each network of `foreign.py` trains for an epoch, answers about pictures, can be summarized and verified."""

from typing import Any

import numpy as np
import pytest
import torch
from foreign import NETWORKS
from torch import nn

import convlens as cl
from convlens.base.errors import InputError
from convlens.inspection.summary import summarize
from convlens.inspection.verify import verify

FAST = {
    "plain", "squeeze", "dict output", "auxiliary heads", "lazy", "spectral norm", "log-softmax", "tied weights",
    "patch transformer", "input normalized inside",
}  # fmt: skip
EACH = [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS]
REFUSED = {"spectral norm": "writes in place under torch.no_grad()"}  # by the NumPy engine


@pytest.fixture
def parts():
    """Dark and bright pictures, uint8 [9, 16, 16]: the last batch for evaluation has one picture."""
    labels = np.arange(9) % 2
    random = np.random.default_rng(0)
    return {
        part: ((random.integers(0, 60, (9, 16, 16)) + labels[:, None, None] * 150).astype(np.uint8), labels)
        for part in ("train", "test", "new")
    }


def train(network, parts, tmp_path, **more):
    return cl.train(
        network, {part: parts[part] for part in ("train", "test")}, epochs=1, out=tmp_path / "run", quiet=True,
        device="cpu", recipe={"val_fraction": 0.0, "batch_size": 4, "eval_batch_size": 8, **more}, size=16,
    )  # fmt: skip


@pytest.mark.parametrize("name", EACH)
def test_a_network_of_a_public_shape_trains_predicts_and_is_summarized(name, parts, tmp_path):
    torch.manual_seed(0)
    network = NETWORKS[name]()
    run = train(network, parts, tmp_path)
    assert run.results["test"]["n"] == 9
    pixels, labels = parts["new"]
    judged = run.evaluate((pixels, labels))
    assert judged.n == 9
    for i in (0, 8):  # alone as among others
        answer = run.predict(pixels[i])
        likeliest = judged.probabilities[i].argmax()
        assert answer.label == judged.classes[likeliest]
        assert answer.probability == pytest.approx(judged.probabilities[i].max(), abs=1e-5)
    assert summarize(network, (1, 16, 16)).parameters > 0


@pytest.mark.parametrize("name", EACH)
def test_a_network_of_a_public_shape_agrees_with_numpy_or_is_refused_in_one_line(name):
    torch.manual_seed(0)
    network = NETWORKS[name]()
    if name in REFUSED:
        with pytest.raises(InputError) as refused:
            verify(network, (1, 16, 16))
        assert REFUSED[name] in str(refused.value)
        assert "\n" not in str(refused.value)
    else:
        assert verify(network, (1, 16, 16)).agrees(1e-8)


class Mish(nn.Module):
    """An activation that PyTorch has compiled from its text, as older repositories do."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 5, 3), nn.Linear(64, 2)
        self.activation = mish

    def forward(self, x):
        return self.head(self.activation(self.conv(x)).flatten(1))


def mish(x):
    return x * torch.tanh(nn.functional.softplus(x))


def scripted_function():
    network = Mish()
    network.activation = torch.jit.script(mish)
    return network


def scripted_part():
    network: Any = Mish()
    network.conv = torch.jit.script(network.conv)
    return network


SCRIPTED = {
    "function": scripted_function, "part": scripted_part,
    "network": lambda: torch.jit.script(nn.Sequential(nn.Conv2d(1, 4, 5, 3), nn.Flatten(), nn.Linear(64, 2))),
    "traced": lambda: torch.jit.trace(Mish(), torch.zeros(2, 1, 16, 16)),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*trace.*")
@pytest.mark.parametrize("kind", SCRIPTED)
@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_scripted_networks_and_functions_train_and_answer(kind, optimizer, parts, tmp_path):
    torch.manual_seed(0)
    network = SCRIPTED[kind]()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    run = train(network, parts, tmp_path, optimizer={"name": optimizer})
    assert not any(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert 0 <= run.predict(parts["new"][0][0]).probability <= 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*trace.*")
@pytest.mark.parametrize("kind", ["part", "network", "traced"])
def test_what_a_scripted_network_hides_is_said_in_one_line(kind, parts, tmp_path):
    for look in (
        lambda network: summarize(network, (1, 16, 16)),
        lambda network: verify(network, (1, 16, 16)),
        lambda network: cl.train(
            network, {part: parts[part] for part in ("train", "test")}, epochs=1, out=tmp_path / "run", quiet=True,
            engine="numpy", size=16, recipe={"val_fraction": 0.0, "batch_size": 4},
        ),
    ):  # fmt: skip
        with pytest.raises(InputError, match="scripted"):
            look(SCRIPTED[kind]())
