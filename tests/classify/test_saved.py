"""A network out of a run folder is the one that was trained, also where its weights file does not hold all of it."""

import numpy as np
import pytest
import torch
from torch import nn

import convlens as cl
from convlens import models
from convlens.classify import saved
from convlens.models.network import shapes_only

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)
DATA = {"train": (PIXELS[:30], np.arange(30) % 2), "test": (PIXELS[30:], np.arange(10) % 2)}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> cl.Run:
    out = tmp_path_factory.mktemp("saved") / "run"
    return cl.train("lenet5", DATA, epochs=1, out=out, quiet=True, tensorboard=False)


def constant(net: nn.Module) -> None:
    net.register_buffer("scale", torch.full((1,), 2.0), persistent=False)


def attribute(net: nn.Module) -> None:
    net.scale = torch.full((1,), 2.0)


def listed(net: nn.Module) -> None:
    vars(net)["scales"] = [torch.full((1,), 2.0)]


def nothing(net: nn.Module) -> None:
    pass


@pytest.mark.parametrize("add", [nothing, constant, attribute, listed])
def test_a_constant_that_is_not_saved_keeps_its_value(run, monkeypatch, add):
    true, built = saved.build, []

    def build(*arguments, **more):
        net = true(*arguments, **more)
        built.append(torch.get_default_device().type)
        add(net)
        return net

    monkeypatch.setattr(saved, "build", build)
    module = cl.load(run.path).module
    assert {tensor.device.type for tensor in module.state_dict().values()} == {"cpu"}
    constants = [*getattr(module, "scales", []), *([module.scale] if hasattr(module, "scale") else [])]
    assert [tensor.item() for tensor in constants] == ([] if add is nothing else [2])
    assert built == (["meta"] if add is nothing else ["meta", "cpu"])


def test_a_weight_with_two_names_stays_one(run, monkeypatch):
    """Both names are saved; filled one by one they would become two tensors."""
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    assert saved._only_saved_tensors(net)
    net[1].weight = net[0].weight
    assert not saved._only_saved_tensors(net)


@pytest.mark.parametrize("name", ["lenet5", "resnet20", "densenet121", "sprint", "mlp", "googlenet"])
def test_networks_of_the_zoo_are_built_once_and_filled(name):
    with shapes_only():
        assert saved._only_saved_tensors(models.create(name))


def test_what_is_loaded_has_the_saved_weights_and_their_switches(run):
    arrays, _ = run.folder.read_weights()
    module = cl.load(run.path).module
    fresh = models.create("lenet5")
    assert not module.training
    for name, tensor in module.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), arrays[name])
        assert tensor.is_contiguous()
    flags = {name: parameter.requires_grad for name, parameter in module.named_parameters()}
    assert flags == {name: parameter.requires_grad for name, parameter in fresh.named_parameters()}


def test_a_network_is_loaded_as_float32_whatever_the_caller_has_as_default(run):
    torch.set_default_dtype(torch.float64)
    try:
        assert {p.dtype for p in cl.load(run.path).module.parameters()} == {torch.float32}
    finally:
        torch.set_default_dtype(torch.float32)
