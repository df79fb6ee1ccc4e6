"""Building blocks and functions that are free to use: shapes, names, one's own columns and norms, errors."""

import inspect

import pytest
import torch
from torch import nn

from convlens import models
from convlens.base.errors import InputError
from typed import present, untyped, wrong


@pytest.mark.parametrize(("block", "shape", "expected"), [
    (models.CBAPD(3, 8), (2, 3, 9, 9), (2, 8, 5, 5)),
    (models.CBAPD(3, 8, 5, pool=None, norm_layer=None, dropout=0), (2, 3, 9, 9), (2, 8, 9, 9)),
    (models.BasicBlock(4, 6, stride=2), (2, 4, 9, 7), (2, 6, 5, 4)),
    (models.Bottleneck(4, 6, stride=2), (2, 4, 8, 8), (2, 24, 4, 4)),
    (models.CifarBlock(4, 6, stride=2), (2, 4, 9, 7), (2, 6, 5, 4)),
    (models.PreActivationBlock(4, 6), (2, 4, 8, 8), (2, 6, 8, 8)),
    (models.PreActivationBlock(4, 6, 2, bottleneck=True), (2, 4, 8, 8), (2, 24, 4, 4)),
    (models.DenseBlock(4, 3, growth=5), (2, 4, 8, 8), (2, 19, 8, 8)),
    (models.Fire(4, 3, 5), (2, 4, 8, 8), (2, 10, 8, 8)),
    (models.Inception(4, 1, (2, 3), (4, 5), 6), (2, 4, 8, 8), (2, 15, 8, 8)),
    (models.Inception(4, 1, (2, 3), (4, 5), 6, wide=3, conv=lambda a, b, k, **g: nn.Conv2d(a, b, k, **g)),
     (2, 4, 8, 8), (2, 15, 8, 8)),
])  # fmt: skip
def test_a_block_gives_the_maps_that_its_docstring_promises(block, shape, expected):
    assert block(torch.randn(shape)).shape == expected


def test_the_block_of_five_layers_has_them_in_the_order_of_its_name():
    layers = models.CBAPD(3, 8, activation="tanh", pool="avg", norm_layer="keras", dropout=0.5)
    assert "".join(name for name, _ in layers.named_children()) == "cbapd"
    assert [type(layer).__name__ for layer in layers] == ["Conv2d", "KerasBatchNorm2d", "Tanh", "AvgPool2d", "Dropout"]
    assert isinstance(models.CBAPD(3, 8, activation=nn.GELU).a, nn.GELU)


@pytest.mark.parametrize(("arguments", "said"), [
    ({"activation": "rellu"}, "activation: unknown value 'rellu', did you mean 'relu'?; known are 'relu', 'sigmoid'"),
    ({"pool": "mean"}, "pool: unknown value 'mean'"), ({"norm_layer": "layer"}, "norm_layer: unknown value 'layer'"),
    ({"activation": 3}, "activation: unknown value 3"), ({"pool": ["max"]}, "pool: unknown value"),
])  # fmt: skip
def test_an_unknown_name_in_a_block_names_the_known(arguments, said):
    with pytest.raises(InputError) as refused:
        models.CBAPD(3, 8, **arguments)
    assert said in str(refused.value)


@pytest.mark.parametrize("column", ["8 8 M 1x16 L M", [8, 8, "M", "1x16", "L", "M"]])
def test_vgg_takes_a_column_of_ones_own(column):
    network = models.VGG(5, 3, (20, 12), column=column, side=None, hidden=(7, 6)).eval()
    assert network(torch.randn(2, 3, 20, 12)).shape == (2, 5)
    kernels = [layer.kernel_size for layer in network.features if isinstance(layer, nn.Conv2d)]
    assert kernels == [(3, 3), (3, 3), (1, 1)]
    assert network.stages["group2"][1:] == (16, 4)
    again = untyped(models.create("vgg16", column=column, image_size=32, num_classes=5, hidden=[7, 6]))
    assert again.stages["group1"].stride == 2


@pytest.mark.parametrize(("column", "said"), [
    ("8 8 P", "'P' is neither"), ([8, 0, "M"], "'0' is neither"), ([8, "2x8", "M"], "'2x8' is neither"),
    ("8 8 M 16", "a pooling 'M' after it"), ("M 8 M", "a pooling 'M' after it"), ([], "a pooling 'M' after it"),
    ([8, -8, "M"], "'-8' is neither"), ("L M", "each group needs a convolution"),
])  # fmt: skip
def test_a_column_that_cannot_be_says_what_is_wrong(column, said):
    with pytest.raises(InputError, match="column: ") as refused:
        models.VGG(column=column)
    assert said in str(refused.value)


def test_a_norm_of_ones_own_is_built_in():
    network = models.resnet18(num_classes=3, norm_layer=lambda maps: nn.GroupNorm(8, maps))
    norms = [type(layer) for layer in network.modules() if "Norm" in type(layer).__name__]
    assert norms == [nn.GroupNorm] * 20
    vgg = models.vgg11(num_classes=3, hidden=(8, 8), norm_layer=nn.InstanceNorm2d)
    assert sum(isinstance(layer, nn.InstanceNorm2d) for layer in vgg.modules()) == 8
    assert isinstance(models.lenet5(norm_layer="keras").features.b1, nn.BatchNorm2d)


# The functions


PAGES = [models.get(name) for name in models.names()]


@pytest.mark.parametrize("entry", [e for e in PAGES if not e.textbook], ids=lambda entry: entry.name)
def test_every_network_of_the_zoo_is_a_function_of_that_name(entry):
    function = getattr(models, entry.name)
    assert entry.name in models.__all__
    assert function.__wrapped__ is entry.build
    assert f"def {entry.name}(" in inspect.getsource(present(inspect.getmodule(function)))


@pytest.mark.parametrize("entry", PAGES, ids=lambda entry: entry.name)
def test_the_signature_of_a_function_says_what_the_entry_says(entry):
    parameters = inspect.signature(entry.build).parameters
    assert list(parameters)[:2] == ["num_classes", "in_channels"]
    assert parameters["in_channels"].default == entry.input[0]
    assert issubclass(entry.network, models.Network)


def test_a_function_gives_what_create_gives_and_checks_as_much():
    torch.manual_seed(0)
    made = models.resnet20_cifar(7, depth=8)
    torch.manual_seed(0)
    expected = models.create("resnet20_cifar", num_classes=7, depth=8)
    assert type(made) is type(expected)
    assert all(torch.equal(a, b) for a, b in zip(made.parameters(), expected.parameters(), strict=True))
    with pytest.raises(InputError, match="smallest square that it works on is 12x12"):
        models.lenet5(image_size=5)
    with pytest.raises(InputError, match="did you mean 'dropout'"):
        models.lenet5(dropuot=0.1)
    with pytest.raises(InputError, match="num_classes must be at least 1"):
        models.resnet18(0)
    with pytest.raises(TypeError):
        wrong(models.resnet18)(3, 3, 224)


def test_the_size_of_an_image_reaches_those_alone_who_need_it():
    assert "image_size" not in models.get("resnet50").arguments
    assert "image_size" in models.get("lenet5").arguments
    with torch.device("meta"):
        assert untyped(models.create("resnet50", image_size=64)).fc.in_features == 2048
        assert untyped(models.create("lenet5", image_size=64)).classifier.f5.in_features == 16 * 14 * 14
    with pytest.raises(InputError, match="image_size must be at least 1"):
        models.create("resnet50", image_size=0)


def test_two_networks_cannot_have_one_name():
    with pytest.raises(ValueError, match="two networks are called 'resnet20'"):

        @models.register(parameters=1, input=(1, 2, 2), paper=models.Paper("nobody", 2000, "none"))
        def resnet20(num_classes: int = 1, in_channels: int = 1) -> nn.Linear:
            return nn.Linear(in_channels, num_classes)
