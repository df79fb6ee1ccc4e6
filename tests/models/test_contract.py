"""What the zoo promises of names, arguments, auxiliary outputs, and networks behind a whitening layer."""

import re
from typing import Any

import pytest
import torch
from torch import nn

from convlens import models
from convlens.base.errors import InputError
from convlens.models.build import build
from convlens.models.network import Network
from convlens.models.weights import load_weights


@pytest.mark.parametrize(("name", "argument", "value", "known"), [
    ("vgg_blocks_d2l", "column", "LRN", ["'A'", "'A-LRN'", "'D'", "'E'", "did you mean"]),
    ("vgg16", "column", "d", ["'D'"]), ("vgg16", "norm_layer", "layer", ["'batch'", "'keras'"]),
    ("squeezenet", "version", "2.0", ["'1.0'", "'1.1'"]), ("lenet5", "activation", "gelu", ["'relu'", "'tanh'"]),
    ("lenet5", "pool", "min", ["'max'", "'avg'"]), ("vgg16", "init", "kaiming", ["'he'", "'glorot'"]),
    ("resnet18", "block", "bottelneck", ["'bottleneck'", "did you mean"]), ("mlp", "activation", 3, ["'relu'"]),
    ("resnet50", "norm_layer", None, ["'batch'", "'keras'"]), ("lenet5", "norm_layer", "bach", ["mean 'batch'"]),
])  # fmt: skip
def test_an_unknown_value_of_an_argument_lists_the_known_ones(name, argument, value, known):
    with pytest.raises(InputError, match=f"{argument}: unknown value {re.escape(repr(value))}") as refused:
        models.create(name, **{argument: value})
    assert "\n" not in str(refused.value)
    for each in known:
        assert each in str(refused.value)


def test_squeezenet_has_the_librarys_names():
    assert models.get("squeezenet1_0") is models.get("squeezenet")
    torch.manual_seed(0)
    first = models.create("squeezenet1_0", num_classes=3).state_dict()
    torch.manual_seed(0)
    assert all(torch.equal(a, b) for a, b in zip(
        first.values(), models.create("squeezenet", num_classes=3).state_dict().values(), strict=True
    ))  # fmt: skip


@pytest.mark.parametrize(("name", "side"), [("googlenet_aux", 64), ("googlenet_2014_aux", 96)])
def test_auxiliary_outputs_are_in_the_librarys_order(name, side):
    """The common library returns (logits, aux_logits2, aux_logits1): the head after 4d comes before that after 4a."""
    torch.manual_seed(0)
    network = models.create(name, num_classes=3, image_size=side).train()
    seen = {}
    for path in ("fc", "aux1", "aux2"):
        network.get_submodule(path).register_forward_hook(lambda m, x, y, path=path: seen.update({path: y}))
    outputs = network(torch.randn(2, 3, side, side))
    assert [id(y) for y in outputs] == [id(seen[path]) for path in ("fc", "aux2", "aux1")]


def whitened(name="lenet5", **arguments) -> Any:
    torch.manual_seed(0)
    return build(name, in_channels=1, image_size=(28, 28), whitening=3, **{"num_classes": 5, **arguments})


@pytest.mark.parametrize("name", ["lenet5", "resnet20_cifar", "sprint"])
def test_a_network_behind_a_whitening_layer_keeps_the_contract(name):
    network = whitened(name).eval()
    assert isinstance(network, Network)
    assert network.output_layers
    assert all(path.startswith("network.") for path in network.output_layers)
    x = torch.randn(2, 1, 28, 28)
    seen = []
    for path, *_ in network.stages.values():
        network.get_submodule(path).register_forward_hook(lambda *_, path=path: seen.append(path))
    y = network(x)
    assert y.shape == (2, 5)
    assert seen == [stage.path for stage in network.stages.values()]
    assert network.features(x).ndim == 4
    assert network.classifier is network.get_submodule("network.classifier")
    names = list(network.state_dict())
    assert names[0] == "whitening.weight"
    assert all(key.startswith("network.") for key in names[2:])


def test_a_whitened_network_takes_another_head_and_weights_with_another():
    source, target = whitened(), whitened(num_classes=3)
    body = {key: value.clone() for key, value in source.state_dict().items()}
    source.reset_classifier(7)
    assert source(torch.randn(1, 1, 28, 28)).shape == (1, 7)
    (head,) = source.output_layers
    assert all(torch.equal(value, body[key]) for key, value in source.state_dict().items() if not key.startswith(head))
    assert target(torch.randn(1, 1, 28, 28)).shape == (1, 3)


def test_the_last_stage_of_a_whitened_network_follows_its_head():
    network: Any = build("nin_cifar", num_classes=5, in_channels=3, image_size=(32, 32), whitening=3)
    network.reset_classifier(7)
    assert network.stages["block3"] == ("network.classifier.0", 7, 4)
    assert network(torch.randn(1, 3, 32, 32)).shape == (1, 7)


def test_weights_of_a_whitened_network_keep_the_head_fresh(tmp_path):
    source, target = whitened(), whitened(num_classes=3)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    report = load_weights(target, tmp_path / "w.pth")
    assert set(report.fresh) == {f"{target.output_layers[0]}.weight", f"{target.output_layers[0]}.bias"}
    assert torch.equal(target.whitening.weight, source.whitening.weight)


def test_a_whitened_network_draws_all_but_its_components_anew():
    network = whitened()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network.initialize()
    weight = network.whitening.weight.flatten(1)
    half = weight[: len(weight) // 2]
    torch.testing.assert_close(half @ half.T, torch.eye(len(half)), atol=1e-5, rtol=0)
    assert not torch.equal(network.network.features.c1.weight, before["network.features.c1.weight"])
    assert isinstance(network.network, nn.Module)
