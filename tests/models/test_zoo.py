"""Every entry of the registry gets these tests for free.

Counting and shapes run on PyTorch's `meta` device, for all. What needs numbers runs in the fast suite on one member a
family at a small size (`REPRESENTATIVES`), and in the slow suite on all at their default size.
"""

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from convlens import models
from convlens.base.errors import InputError
from convlens.models.init import SCHEMES
from convlens.models.network import count_parameters
from typed import present

BUILT_ELSEWHERE = json.loads(Path(__file__).with_name("built_elsewhere.json").read_text())

# one member a family, and the side of its images in the fast suite
REPRESENTATIVES = {
    "alexnet8_cifar": 32, "go_policy_small": 9, "dcgan64_generator": 16, "dcgan64_discriminator": 32,
    "densenet_bc_40_12_cifar": 12,
    "efficientnet_lite0": 32, "googlenet": 32, "inception10": 12, "lenet5": 28, "lenet5_1998": 32, "mlp": 14,
    "mobilenet_v1": 32, "nin_cifar": 16, "resnet18": 32, "resnet20_cifar": 16, "preresnet20_cifar": 12,
    "resnet18_cifar": 12, "baseline_cbapd": 16, "squeezenet": 64, "sprint": 8, "vgg_blocks_small_ratio8": 32,
    "xception": 32,
}  # fmt: skip

EVERY = [pytest.param(name, REPRESENTATIVES[name], id=f"{name}-small") for name in REPRESENTATIVES] + [
    pytest.param(name, None, marks=pytest.mark.slow, id=name) for name in models.names()
]
HUGE = {"resnet1202_cifar"}  # seconds even without numbers
LISTED = [pytest.param(name, marks=pytest.mark.slow) if name in HUGE else name for name in models.names()]
each = pytest.mark.parametrize(("name", "side"), EVERY)


@pytest.fixture(autouse=True)
def one_thread_of_randomness():
    torch.manual_seed(0)


def images(name, side=None, *, channels=None, n=2, width=None):
    """A batch that the network of that name takes."""
    entry = models.get(name)
    channels = channels or entry.input[0]
    if len(entry.input) == 1:
        return torch.randn(n, channels)
    height, default_width = entry.input[1:] if side is None else (side, side)
    return torch.randn(n, channels, height, width or default_width)


def built(name, side=None, **arguments) -> Any:
    return models.create(name, image_size=side, **arguments)


def ready(name, side=None, **arguments) -> Any:
    """In evaluation mode. Where hundreds of blocks add up, norms that have seen no batch yet let numbers overflow:
    there the running averages are those of one batch."""
    network = built(name, side, **arguments)
    if name in HUGE:
        norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0  # the average is that of the last batch alone
        with torch.no_grad():
            network.train()(images(name, side, channels=arguments.get("in_channels")))
    return network.eval()


def on_meta(name, **arguments) -> Any:
    with torch.device("meta"):
        return models.create(name, **arguments)


def digest(network):
    state = hashlib.blake2b()
    for key, value in network.state_dict().items():
        state.update(key.encode())
        state.update(value.contiguous().view(-1).view(torch.uint8).numpy())
    return state.hexdigest()


def first(outputs):
    return outputs[0] if isinstance(outputs, tuple) else outputs


# Counting and metadata: all entries, fast


@pytest.mark.parametrize("name", models.names())
def test_parameters_equal_the_pinned_count(name):
    assert count_parameters(on_meta(name)) == models.get(name).parameters


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in HUGE else n for n in BUILT_ELSEWHERE])
def test_counts_buffers_macs_and_shapes_equal_those_of_networks_built_in_another_framework(name):
    facts, entry = BUILT_ELSEWHERE[name], models.get(name)
    network = on_meta(name).eval()
    assert count_parameters(network) == facts["trainable"]
    buffers = {key: b for key, b in network.named_buffers() if not key.endswith("num_batches_tracked")}
    assert sum(b.numel() for b in buffers.values()) == facts["buffers"]
    macs = 0

    def count(layer, inputs, output):
        nonlocal macs
        if isinstance(layer, nn.Linear):
            macs += output[0].numel() * layer.in_features
        else:
            cells = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
            macs += cells[0].numel() * layer.weight[0].numel()

    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            layer.register_forward_hook(count)
    output = network(torch.empty(1, *entry.input, device="meta"))
    assert list(output.shape[1:]) == facts["output"]
    assert macs == facts["macs"]


@pytest.mark.parametrize("name", LISTED)
def test_metadata_is_complete(name):
    entry, network = models.get(name), on_meta(name)
    assert entry.build.__doc__
    assert isinstance(network, entry.network)
    assert f".{entry.family}" in entry.build.__module__
    assert entry.paper.authors
    assert entry.paper.title
    assert 1980 < entry.year < 2030
    assert all(isinstance(line, str) and line and not line.endswith(".") for line in entry.differences)
    assert len(set(entry.differences)) == len(entry.differences)
    assert all(0 < value < 100 for value in (entry.errors or {}).values())
    assert network.init in SCHEMES


@pytest.mark.parametrize("name", LISTED)
def test_the_contract_of_features_classifier_and_stages_holds(name):
    network, entry = on_meta(name).eval(), models.get(name)
    x = torch.empty(1, *entry.input, device="meta")
    seen = []
    for path, *_ in network.stages.values():
        network.get_submodule(path).register_forward_hook(lambda *_, path=path: seen.append(path))
    features = network.features(x[:, :, None, None] if len(entry.input) == 1 else x)
    assert features.dim() == (2 if entry.family == "mlp" else 4)
    seen.clear()
    network(x)
    # each stage runs once, in the order in which they are listed
    assert seen == [stage.path for stage in network.stages.values()]
    assert isinstance(network.classifier, nn.Module)
    for path in network.output_layers:
        network.get_submodule(path)


@pytest.mark.parametrize("name", LISTED)
def test_stages_say_their_channels_and_how_many_pixels_lie_between_two_cells(name):
    network, entry = on_meta(name).eval(), models.get(name)
    maps: dict[str, list[torch.Size]] = {}
    for stage, (path, *_) in network.stages.items():
        network.get_submodule(path).register_forward_hook(lambda m, x, y, stage=stage: maps[stage].append(y.shape))
    maps.update({stage: [] for stage in network.stages})
    network(torch.empty(1, *entry.input, device="meta"))
    for stage, (shape,) in maps.items():
        assert shape[1] == network.stages[stage].channels, stage
    if entry.name.endswith("_generator") or entry.family == "mlp":
        assert {stage.stride for stage in network.stages.values()} == {None}
        return
    channels, height, width = entry.input
    # 64 pixels more are 64 / stride cells more, whatever padding does at the border
    with contextlib.suppress(RuntimeError, ValueError):  # dense layers want one size, which is behind the maps
        network(torch.empty(1, channels, height + 64, width, device="meta"))
    for stage, shapes in maps.items():
        if network.stages[stage].stride is None:
            assert [len(shape) for shape in shapes] == [2] * len(shapes)
        else:
            assert shapes[1][2] - shapes[0][2] == 64 / network.stages[stage].stride, stage


def test_aliases_name_the_same_entry():
    assert models.get("keras_vgg16") is models.get("vgg16")
    assert models.get("mlp_784_256x3_10") is models.get("mlp")
    assert models.get("resnet20") is models.get("resnet20_cifar")


def test_every_family_has_a_representative_in_the_fast_suite():
    assert {models.get(name).family for name in REPRESENTATIVES} == {models.get(n).family for n in models.names()}


# Numbers


@each
def test_forward_gives_finite_numbers_of_one_output_a_class(name, side):
    network = ready(name, side)
    with torch.inference_mode():
        y = network(images(name, side, n=1))
    assert y.shape[1] == models.get(name).num_classes
    assert torch.isfinite(y).all()


@each
def test_odd_sizes_work(name, side):
    entry = models.get(name)
    if entry.family == "dcgan" and len(entry.input) == 1:
        with pytest.raises(InputError, match="square of 8, 16, 32"):
            models.create(name, image_size=(21, 21))
        return
    height, width = (side, side) if side else entry.input[1:]
    size = ((height + 5) | 1, (width + 2) | 1)
    network = built(name, size).eval()
    with torch.inference_mode():
        y = network(images(name, size[0], width=size[1], n=1))
    assert y.shape == (1, entry.num_classes)


@each
def test_every_parameter_receives_a_gradient(name, side):
    network = built(name, side).train()
    outputs = network(images(name, side))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    torch.stack([(y * torch.randn_like(y)).sum() for y in outputs]).sum().backward()
    without = [key for key, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert without == []
    assert sum(p.grad.numel() for p in network.parameters()) == count_parameters(network)


@each
def test_any_head_size_comes_through(name, side):
    network = ready(name, side, num_classes=42)
    x = images(name, side, n=1)
    with torch.inference_mode():
        assert network(x).shape[1] == 42
    body = {key: v for key, v in network.state_dict().items() if not key.startswith(tuple(network.output_layers))}
    network.reset_classifier(7)
    with torch.inference_mode():
        y = network(x)
    assert y.shape[1] == 7
    assert torch.isfinite(y).all()
    state = network.state_dict()
    assert all(state[key] is v or torch.equal(state[key], v) for key, v in body.items())


@each
def test_one_channel_is_enough(name, side):
    network = ready(name, side, in_channels=1)
    with torch.inference_mode():
        assert torch.isfinite(network(images(name, side, channels=1, n=1))).all()


@each
def test_weights_survive_a_file(name, side, tmp_path):
    network = built(name, side)
    before = digest(network)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    with torch.no_grad():
        for value in network.state_dict().values():
            value.zero_()
    network.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert digest(network) == before


@each
def test_the_seed_alone_decides_the_first_weights(name, side):
    def at(seed):
        torch.manual_seed(seed)
        return digest(built(name, side))

    assert at(1) == at(1)
    assert at(1) != at(2)


@each
def test_every_weight_is_initialized(name, side):
    network = built(name, side)
    for key, value in network.state_dict().items():
        assert torch.isfinite(value).all(), key
        assert value.abs().max() < 10, key


@each
def test_export_gives_the_same_numbers(name, side):
    network = ready(name, side)
    x = images(name, side, n=2)
    program = torch.export.export(network, (x,))
    with torch.inference_mode():
        torch.testing.assert_close(program.module()(x), network(x), rtol=1e-4, atol=1e-5)


# Errors


@pytest.mark.parametrize(("name", "size", "smallest"), [
    ("lenet5", 5, 12), ("vgg16", 16, 32), ("alexnet", 32, 63), ("googlenet_2014_aux", 64, 79), ("lenet5_1998", 10, 16),
    ("conv_syntax_demo_64", 32, 36),
])  # fmt: skip
def test_too_small_an_image_names_the_smallest_that_works(name, size, smallest):
    with pytest.raises(InputError, match=f"{size}x{size} .* smallest square .* {smallest}x{smallest}$"):
        models.create(name, image_size=size)
    models.create(name, image_size=smallest)


def test_an_unknown_network_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'resnet18'"):
        models.create("resnet-18")


def test_an_unknown_argument_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'dropout'"):
        models.create("lenet5", dropuot=0.1)


@pytest.mark.parametrize(("name", "arguments"), [
    ("vgg16", {"column": "Z"}), ("mlp", {"hidden": 5}), ("resnet20_cifar", {"depth": 21}),
    ("densenet_bc_cifar", {"depth": 50}), ("lenet5", {"num_classes": 0}), ("lenet5", {"image_size": -3}),
])  # fmt: skip
def test_a_value_that_cannot_be_is_an_input_error(name, arguments):
    with pytest.raises(InputError):
        models.create(name, **arguments)


# Counts that no published table holds, summed layer by layer


@pytest.mark.parametrize(("name", "depth", "k"), [("densenet_bc_40_12_cifar", 40, 12), ("densenet_bc_cifar", 100, 12)])
def test_densenet_bc_count_follows_from_its_layers(name, depth, k):
    maps, total = 2 * k, 27 * 2 * k
    for block in range(3):
        for _ in range((depth - 4) // 6):
            total += 2 * maps + 4 * k * maps + 8 * k + 36 * k * k
            maps += k
        if block < 2:
            total += 2 * maps + maps * (maps // 2)
            maps //= 2
    assert models.get(name).parameters == total + 2 * maps + 10 * (maps + 1)


@pytest.mark.parametrize("depth", [8, 14, 20, 32, 44, 56, 110])
def test_cifar_resnets_of_any_6n_plus_2_follow_their_formula(depth):
    n = (depth - 2) // 6
    assert count_parameters(on_meta("resnet_cifar", depth=depth)) == 97_216 * n - 21_926


@pytest.mark.parametrize(("depth", "wide"), [(20, 1), (110, 1), (164, 4)])
def test_preactivation_counts_follow_from_their_layers(depth, wide):
    before, total = 16, 9 * 3 * 16
    for maps in (16, 32, 64):
        after = maps * wide
        for _ in range((depth - 2) // (9 if wide == 4 else 6)):
            if wide == 4:
                total += 2 * before + before * maps + 2 * maps + 9 * maps**2 + 2 * maps + maps * after
            else:
                total += 2 * before + 9 * before * maps + 2 * maps + 9 * maps**2
            total += before * after if before != after else 0
            before = after
    assert models.get(f"preresnet{depth}_cifar").parameters == total + 2 * before + 10 * before + 10


@pytest.mark.parametrize(("name", "m", "b"), [("go_policy_small", 64, 3), ("go_policy", 256, 19)])
def test_board_counts_follow_from_their_layers(name, m, b):
    stem, head = 9 * 17 * m + 2 * m, 2 * m + 4 + 722 * 362 + 362
    assert models.get(name).parameters == stem + b * (18 * m * m + 4 * m) + head


def test_lenet5_of_1998_has_the_papers_count_in_each_layer():
    network = on_meta("lenet5_1998")
    parts = {"c1": 156, "s2": 12, "c3": 1_516, "s4": 32}
    assert {key: count_parameters(network.features.get_submodule(key)) for key in parts} == parts
    parts = {"c5": 48_120, "f6": 10_164, "output": 0}
    assert {key: count_parameters(network.classifier.get_submodule(key)) for key in parts} == parts


def test_lenet5_of_1998_connects_c3_as_table_one_says():
    table = ["0 1 2", "1 2 3", "2 3 4", "3 4 5", "0 4 5", "0 1 5", "0 1 2 3", "1 2 3 4", "2 3 4 5", "0 3 4 5",
             "0 1 4 5", "0 1 2 5", "0 1 3 4", "1 2 4 5", "0 2 3 5", "0 1 2 3 4 5"]  # fmt: skip
    layer = built("lenet5_1998").features.c3
    for out, row in enumerate(table):
        x = torch.zeros(1, 6, 5, 5, requires_grad=True)
        layer(x)[0, out, 0, 0].backward()
        seen = [i for i in range(6) if present(x.grad)[0, i].abs().sum() > 0]
        assert seen == [int(i) for i in row.split()]


def test_two_towers_meet_only_in_the_third_convolution_of_alexnet():
    network = on_meta("alexnet_2012")
    assert [layer.groups for layer in network.features if isinstance(layer, nn.Conv2d)] == [1, 2, 1, 2, 2]


def test_auxiliary_heads_speak_in_training_only():
    network = models.create("googlenet_aux", num_classes=5)
    x = torch.randn(2, 3, 64, 64)
    outputs = network.train()(x)
    assert [tuple(y.shape) for y in outputs] == [(2, 5)] * 3
    assert network.eval()(x).shape == (2, 5)
