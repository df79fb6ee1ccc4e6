"""`models.describe` says in words what a network is, whatever names it."""

import pytest
import torch
from torch import nn

from convlens import models
from convlens.base.errors import InputError
from convlens.models.network import Network


@pytest.mark.parametrize("name", [*models.names(), "resnet20", "keras_vgg16"])
def test_every_name_is_described(name):
    entry, text = models.get(name), models.describe(name)
    assert entry.name in text
    assert entry.paper.title in text
    assert str(entry.paper.year) in text
    assert f"{entry.parameters:,}" in text
    assert all(f"differs: {line}" in text for line in entry.differences)
    assert ("a form of a textbook" in text) == entry.textbook
    with torch.device("meta"):
        network = models.create(name)
    assert isinstance(network, Network)
    for stage, (path, channels, _) in network.stages.items():
        assert f"  {stage}: {channels} channel" in text
        assert f"({path})" in text


def test_a_function_an_entry_and_a_name_say_the_same():
    text = models.describe("lenet5")
    assert models.describe(models.lenet5) == models.describe(models.get("lenet5")) == text
    assert "input: 1 channel of 28x28 pixels, 10 outputs" in text
    assert "s4: 16 channels, a cell every 4 pixels (features.s4)" in text


def test_a_class_says_which_entries_it_builds():
    text = models.describe(models.LeNet5)
    assert "in the zoo: lenet5, " in text
    assert "lenet5_1998," not in text


def test_a_network_says_its_own_numbers():
    text = models.describe(models.resnet18(num_classes=3))
    assert text.startswith("made as resnet18: ")
    assert "parameters: 11,178,051" in text  # 997 classes of 513 numbers fewer than 11,689,512
    assert "stage4: 512 channels, a cell every 32 pixels (layer4)" in text


def test_a_strangers_network_is_described_too():
    class Mine(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 4)

    assert models.describe(Mine()) == "Mine: a torch.nn.Module\nparameters: 16"
    assert "(N, in_channels, H, W)" not in models.describe(models.VGG)


@pytest.mark.parametrize("what", [3, None, print, test_a_strangers_network_is_described_too])
def test_what_is_no_network_is_refused(what):
    with pytest.raises(InputError, match="describe takes a name of the zoo"):
        models.describe(what)


def test_an_unknown_name_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'lenet5'"):
        models.describe("lenet-5")
