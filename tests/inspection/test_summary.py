"""The summary against tables worked out by hand, and its promises: shared once, functions counted, idle layers not."""

import gc
import math
import random
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor

from convlens import models
from convlens.base.errors import InputError
from convlens.inspection.summary import Summary, summarize


def of(name: str) -> Summary:
    with torch.device("meta"):
        return summarize(models.create(name), models.get(name).input)


def work(summary: Summary) -> list[int]:
    """Multiply-accumulates of the layers that have any, in order."""
    return [layer.macs for layer in summary.layers if layer.macs]


def numbers(summary: Summary) -> list[int]:
    return [layer.parameters for layer in summary.layers if layer.parameters]


# Six networks by hand. Each line: outputs (channels, height, width) times what one output multiplies.


def test_lenet5_by_hand():
    summary = of("lenet5")
    assert work(summary) == [
        6 * 28 * 28 * (1 * 5 * 5),
        16 * 10 * 10 * (6 * 5 * 5),
        120 * (16 * 5 * 5),
        84 * 120,
        10 * 84,
    ]
    assert numbers(summary) == [6 * (25 + 1), 16 * (150 + 1), 120 * (400 + 1), 84 * (120 + 1), 10 * (84 + 1)]


def test_alexnet_by_hand():
    summary = of("alexnet")
    assert work(summary) == [
        64 * 55 * 55 * (3 * 11 * 11),
        192 * 27 * 27 * (64 * 5 * 5),
        384 * 13 * 13 * (192 * 3 * 3),
        256 * 13 * 13 * (384 * 3 * 3),
        256 * 13 * 13 * (256 * 3 * 3),
        4096 * (256 * 6 * 6),
        4096 * 4096,
        1000 * 4096,
    ]
    assert summary.macs == 714_188_480


def test_vgg11_by_hand():
    summary = of("vgg11")
    sides = [(64, 3, 224), (128, 64, 112), (256, 128, 56), (256, 256, 56)]
    sides += [(512, 256, 28), (512, 512, 28), (512, 512, 14), (512, 512, 14)]
    convolutions = [out * side * side * into * 9 for out, into, side in sides]
    assert work(summary) == [*convolutions, 4096 * 512 * 7 * 7, 4096 * 4096, 1000 * 4096]


def test_resnet18_by_hand():
    summary = of("resnet18")
    total = 64 * 112 * 112 * (3 * 49)
    total += 4 * 64 * 56 * 56 * (64 * 9)
    for channels, side in ((128, 28), (256, 14), (512, 7)):
        plane, half = channels * side * side, channels // 2
        total += plane * half * 9 + plane * half + 3 * plane * channels * 9  # entering, shortcut, the other three
    total += 1000 * 512
    assert summary.macs == total == 1_814_073_344


def test_a_generator_of_transposed_convolutions_by_hand():
    # Each input element meets every kernel element once, wherever the result falls.
    net = nn.Sequential(
        nn.ConvTranspose2d(100, 512, 4, bias=False),
        nn.BatchNorm2d(512),
        nn.ReLU(True),
        nn.ConvTranspose2d(512, 256, 4, 2, 1, groups=2, bias=False),
        nn.ConvTranspose2d(256, 3, (4, 2), (2, 1), dilation=(1, 2)),
        nn.Tanh(),
    )
    summary = summarize(net, (100, 1, 1))
    assert work(summary) == [100 * 1 * (512 * 16), 512 * 16 * (256 // 2 * 16), 256 * 64 * (3 * 8)]
    assert numbers(summary) == [100 * 512 * 16, 1024, 512 * 128 * 16, 256 * 3 * 8 + 3]
    assert [layer.output for layer in summary.layers if layer.macs] == [(512, 4, 4), (256, 8, 8), (3, 18, 10)]


class Mixed(nn.Module):
    """Groups, dilation, unequal strides, functional calls, a dense layer on planes, a product of activations."""

    def __init__(self):
        super().__init__()
        self.grouped = nn.Conv2d(4, 8, (3, 5), stride=(2, 1), groups=4)
        self.pointwise = nn.Parameter(torch.rand(6, 8, 1, 1))
        self.dense = nn.Linear(16, 5)

    def forward(self, x):
        y = F.conv2d(F.relu(self.grouped(x)), self.pointwise, dilation=2)
        rows = self.dense(y)
        return rows, y @ y.transpose(2, 3)


def test_groups_functions_planes_and_matrix_products_by_hand():
    summary = summarize(Mixed(), (4, 11, 20))
    assert [(layer.name, layer.macs) for layer in summary.layers if layer.macs] == [
        ("grouped", 8 * 5 * 16 * (4 // 4 * 15)),
        ("conv2d", 6 * 5 * 16 * 8),
        ("dense", 6 * 5 * 5 * 16),
        ("matmul", 6 * 5 * 5 * 16),
    ]
    assert numbers(summary) == [8 * 15 + 8, 48, 85]
    assert {layer.name: layer.kind for layer in summary.layers if layer.is_function} == {
        "relu": "relu", "conv2d": "conv2d", "matmul": "matmul",
    }  # fmt: skip


def test_attention_and_recurrence_by_hand():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.lstm = nn.LSTM(8, 6, batch_first=True)

        def forward(self, x):
            return self.lstm(self.attention(x, x, x, need_weights=False)[0])[0]

    summary = summarize(Net(), (5, 8))
    projections, scores, values = 4 * 5 * 8 * 8, 2 * 5 * 5 * 4, 2 * 5 * 5 * 4
    assert work(summary) == [projections + scores + values, 5 * (4 * 6) * (8 + 6)]
    assert summary.parameters == sum(p.numel() for p in Net().parameters())


# Promises


def test_a_shared_layer_works_at_each_use_and_has_its_parameters_once():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)
            self.twin = nn.Conv2d(3, 3, 3, padding=1)
            self.twin.weight = self.conv.weight

        def forward(self, x):
            return self.twin(self.conv(self.conv(x)))

    summary = summarize(Net(), (3, 4, 4))
    assert [layer.name for layer in summary.layers] == ["conv", "conv:2", "twin"]
    assert [layer.macs for layer in summary.layers] == [3 * 16 * 27] * 3
    assert [layer.parameters for layer in summary.layers] == [81 + 3, 0, 3]


def test_layers_that_do_not_run_are_named_and_not_counted():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Conv2d(1, 2, 3)
            self.aux = nn.Sequential(nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1))
            self.scale = nn.Parameter(torch.ones(7))

        def forward(self, x):
            y = self.body(x)
            return (y, self.aux(y)) if self.training else y

    net = Net().train()
    summary = summarize(net, (1, 5, 5))
    assert [layer.name for layer in summary.layers] == ["body"]
    assert summary.parameters == 20
    assert summary.unused == {"scale": 7, "aux": 12}
    assert net.training
    assert net.aux.training


def test_frozen_parameters_are_counted_but_not_as_trainable():
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    net[0].requires_grad_(False)
    summary = summarize(net, (4,))
    assert (summary.parameters, summary.trainable) == (15 + 8, 8)


def test_a_parameter_that_reaches_its_use_through_views_is_counted_there():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.flat = nn.Parameter(torch.rand(2 * 9))

        def forward(self, x):
            return F.conv2d(x, self.flat.view(2, 1, 3, 3)).relu()

    assert [(layer.name, layer.parameters) for layer in summarize(Net(), (1, 5, 5)).layers] == [
        ("conv2d", 18),
        ("relu", 0),
    ]


def test_control_flow_that_depends_on_values_is_followed_on_real_numbers():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.never = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)
            self.norm = nn.BatchNorm2d(1)

        def forward(self, x):
            y = self.norm(self.conv(x))
            return self.never(y) if y.abs().sum() < 0 else y

    net = Net()
    summary = summarize(net, (1, 6, 6))
    assert summary.depends_on_values
    assert [layer.name for layer in summary.layers][:2] == ["conv", "norm"]
    assert summary.unused == {"never": 10}
    assert net.norm.num_batches_tracked == 0


class Asking(nn.Module):
    """The same network, but it asks for values on the way."""

    def __init__(self, asks):
        super().__init__()
        self.asks = asks
        self.conv, self.norm, self.head = nn.Conv2d(1, 14, 3), nn.BatchNorm2d(14), nn.Linear(14, 7)

    def forward(self, x):
        y = self.norm(self.conv(x)).relu()
        self.asks(y)
        return self.head(y.mean((2, 3)))


ASKING = {
    "branch": lambda y: bool(y.sum() > 0), "number": lambda y: y.mean().item(),
    "array": lambda y: y.detach().numpy(), "list": lambda y: y.tolist(),
}  # fmt: skip


@pytest.mark.parametrize("kind", ASKING)
def test_numbers_counted_on_real_values_are_those_counted_on_shapes(kind):
    asking, plain = (summarize(Asking(asks), (1, 9, 9)) for asks in (ASKING[kind], lambda y: None))
    assert asking.depends_on_values
    values = "values decide" in asking.why_real
    assert values or kind == "array"
    assert asking.why_real.endswith("test_summary.py)")  # and the line
    assert not plain.why_real
    assert [(layer.macs, layer.kept) for layer in asking.layers if layer.macs] == [
        (layer.macs, layer.kept) for layer in plain.layers if layer.macs
    ]
    assert asking.memory.training == plain.memory.training


def test_what_grows_with_the_batch_is_told_by_two_batches():
    # sizes that are multiples of the batch, or of any other number, do not grow
    net = nn.Sequential(nn.Conv2d(1, 1009 * 2, 1), nn.BatchNorm2d(1009 * 2))
    pixel, channels = 4, 2018
    assert summarize(net, (1, 1, 1)).memory.training == pixel + channels * 4  # what convolution and norm took in


def test_memory_is_not_known_where_values_decide_what_runs():
    class Net(nn.Linear):
        def forward(self, x):
            y = super().forward(x)
            return y.sigmoid() if y.sum().item() > -1e9 and len(y) == 2 else y.exp().sigmoid()

    found = summarize(Net(3, 2), (3,))
    assert found.memory.training is None
    assert [layer.kept for layer in found.layers] == [None] * 5


def test_an_error_of_the_network_is_the_one_of_real_numbers():
    class Net(nn.Module):
        def forward(self, x):
            raise KeyError(f"no {type(x).__name__}")

    with pytest.raises(InputError, match=r"cannot run on an input of 3: KeyError: 'no Tensor' \(line \d+ of .*\)"):
        summarize(Net(), (3,))


class Keeping(nn.Module):
    """Keeps what passes, in each way that is seen in public."""

    def __init__(self):
        super().__init__()
        self.layer, self.last, self.count = nn.Linear(3, 2), None, 0
        self.maps, self.cache = [], {"first": 1}

    def forward(self, x):
        self.last = self.layer(x)
        self.count += 1
        self.shape = x.shape
        self.maps.append(self.last)
        self.cache["last"] = self.last
        if "mask" not in self._buffers:
            self.register_buffer("mask", torch.ones(2))
        return self.last * self.mask


def test_what_a_network_keeps_of_a_pass_is_that_of_before():
    net = Keeping()
    maps = net.maps
    summarize(net, (3,))
    assert (net.last, net.count, hasattr(net, "shape")) == (None, 0, False)
    assert (net.maps is maps, maps, net.cache) == (True, [], {"first": 1})
    assert list(net.state_dict()) == ["layer.weight", "layer.bias"]
    assert net(torch.zeros(1, 3)).shape == (1, 2)


@pytest.mark.parametrize("around", [torch.inference_mode, torch.no_grad, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_what_the_caller_has_switched_does_not_count(around):
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
    plain = summarize(net, (1, 8, 8), effective=True).to_dict()
    with around():
        assert summarize(net, (1, 8, 8), effective=True).to_dict() == plain


def test_random_numbers_of_python_and_numpy_stay_as_they_are():
    class Drawing(nn.Module):
        def forward(self, x):
            return x * random.random() + float(np.random.rand())  # noqa: NPY002

    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    summarize(Drawing(), (3,))
    drawn = random.random(), np.random.rand()  # noqa: NPY002
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    assert drawn == (random.random(), np.random.rand())  # noqa: NPY002


def test_a_summary_lets_all_of_its_tensors_go():
    net = nn.Sequential(nn.Linear(3, 2), nn.Sigmoid())

    def alive() -> int:
        gc.collect()
        return sum(type(o) in (FakeTensor, torch.Tensor) for o in gc.get_objects())

    summarize(net, (3,))
    before = alive()
    summarize(net, (3,))
    assert alive() == before


def test_totals_are_the_sums_of_their_columns():
    for name in ("googlenet_aux", "resnet18", "alexnet_2012", "lenet5_1998"):
        summary = of(name)
        values = summary.to_dict()
        for key in ("parameters", "trainable", "macs"):
            assert values[key] == sum(layer[key] for layer in values["layers"])
        held = sum(layer["memory"]["forward"] for layer in values["layers"])
        assert values["memory"]["forward_total"] == held + 4 * math.prod(summary.input)
        assert summary.parameters + sum(summary.unused.values()) == models.get(name).parameters


def test_nothing_of_the_network_changes():
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Flatten(), nn.Linear(2 * 9, 2)
    ).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    summarize(net, (1, 5, 5))
    assert all(part.training for part in net.modules())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


# Memory, bytes of one example


def test_memory_of_a_chain_by_hand():
    # 1x8x8 -> conv 4x6x6 -> relu 4x6x6 -> pool 4x3x3, float32; the last two of three live while each is computed.
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
    summary = summarize(net, (1, 8, 8))
    x, conv, relu, pool, indices = 4 * 64, 4 * 144, 4 * 144, 4 * 36, 8 * 36
    assert [layer.allocated for layer in summary.layers] == [conv, relu, pool + indices]
    assert summary.memory.total == x + conv + relu + pool + indices
    assert summary.memory.peak == max(x + conv, conv + relu, relu + pool + indices)
    # Backward needs the input (for the kernel), the result of ReLU (which pooling shares), and which cells won.
    assert summary.memory.training == x + relu + indices
    assert [layer.kept for layer in summary.layers] == [0, relu, indices]


def test_an_activation_in_place_takes_no_memory_and_a_skip_stays_alive():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)

        def forward(self, x):
            return x + self.b(self.a(x).relu_())

    summary = summarize(Block(), (2, 4, 4))
    assert {layer.name: layer.allocated for layer in summary.layers} == {"a": 128, "relu": 0, "b": 128, "add": 128}
    assert summary.memory.peak == 3 * 128


def test_half_precision_halves_the_memory():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    single = summarize(net, (1, 8, 8))
    half = summarize(net.to(torch.bfloat16), (1, 8, 8))
    assert (half.dtype, half.memory.total * 2, half.memory.peak * 2) == (
        "bfloat16",
        single.memory.total,
        single.memory.peak,
    )


# Refusals


def test_an_input_that_does_not_fit_is_one_clear_line():
    with pytest.raises(InputError, match=r"cannot run on an input of 3x8x8: .*channels"):
        summarize(nn.Sequential(nn.Conv2d(1, 2, 3)), (3, 8, 8))


@pytest.mark.parametrize("end", [lambda x: x, lambda x: x.log_softmax(1)])
def test_a_network_that_loses_the_batch_axis_of_one_picture_is_counted_as_others(end):
    class Squeezing(nn.Module):
        def __init__(self, squeeze):
            super().__init__()
            self.conv, self.pool, self.squeeze = nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), squeeze

        def forward(self, x):
            return end(self.squeeze(self.pool(self.conv(x))))

    lost = summarize(Squeezing(lambda x: x.squeeze()), (1, 6, 6))
    plain = summarize(Squeezing(lambda x: x.flatten(1)), (1, 6, 6))
    for a, b in zip(lost.layers, plain.layers, strict=True):
        assert (a.output, a.macs, a.allocated, a.parameters) == (b.output, b.macs, b.allocated, b.parameters)
    assert lost.memory == plain.memory


def test_lazy_layers_get_their_shapes_in_a_copy():
    lazy = nn.Sequential(nn.LazyConv2d(3, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2))
    plain = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(27, 2))
    torch.manual_seed(0)
    state = torch.get_rng_state()
    assert summarize(lazy, (1, 5, 5)).to_dict() == summarize(plain, (1, 5, 5)).to_dict()
    assert isinstance(lazy[0].weight, nn.UninitializedParameter)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_lazy_layer_that_never_runs_is_named():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.LazyLinear(2), nn.LazyLinear(3)

        def forward(self, x):
            return self.used(x)

    with pytest.raises(InputError, match="lazy layer of 'idle"):
        summarize(Idle(), (4,))


def test_hooks_are_gone_after_a_network_that_fails():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(7, 2))
    with pytest.raises(InputError):
        summarize(net, (1, 5, 5))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())
    assert all(not p.grad_fn and not type(p).__name__.startswith("Fake") for p in net.parameters())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler's own imports
def test_a_compiled_network_is_looked_into():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    compiled: Any = torch.compile(net)
    assert summarize(compiled, (1, 5, 5)).to_dict() == summarize(net, (1, 5, 5)).to_dict()


def test_a_scripted_network_is_refused():
    with pytest.warns(DeprecationWarning, match="deprecated"):
        net = torch.jit.script(nn.Sequential(nn.Conv2d(1, 2, 3)))
    with pytest.raises(InputError, match="scripted"):
        summarize(net, (1, 5, 5))


class SharedObjects(nn.Module):
    """One ReLU and one dropout object at several places, and a block that stands at two."""

    def __init__(self):
        super().__init__()
        relu, drop = nn.ReLU(), nn.Dropout(0.5)
        block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), relu)
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), relu, block, block, nn.MaxPool2d(2))
        self.classifier = nn.Sequential(nn.Linear(36, 8), relu, drop, nn.Linear(8, 8), relu, drop, nn.Linear(8, 2))

    def forward(self, x):
        return self.classifier(torch.flatten(self.features(x), 1))


def test_a_shared_object_is_called_by_the_name_of_each_place():
    names = [layer.name for layer in summarize(SharedObjects(), (3, 8, 8)).layers]
    classifier = [f"classifier.{i}" for i in range(7)]
    assert names == [
        "features.0", "features.1", "features.2.0", "features.2.1", "features.3.0", "features.3.1", "features.4",
        "flatten", *classifier,
    ]  # fmt: skip


class Looping(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()
        self.rounds = nn.ModuleList([nn.Sequential(self.act), nn.Sequential(self.act)])

    def forward(self, x):
        for _ in range(2):
            x = self.act(self.conv(x))
            for part in self.rounds:
                x = part(x)
        return x


def test_an_object_that_is_called_more_often_than_it_has_names_gets_numbers():
    names = [layer.name for layer in summarize(Looping(), (3, 4, 4)).layers]
    assert len(names) == len(set(names)) == 8
    assert [n for n in names if n.startswith("conv")] == ["conv", "conv:2"]
    assert [n for n in names if n.startswith("rounds")] == ["rounds.0.0", "rounds.1.0", "rounds.0.0:2", "rounds.1.0:2"]


class Flattening(nn.Module):
    def __init__(self, flatten):
        super().__init__()
        self.conv, self.fc, self.flatten = nn.Conv2d(3, 4, 3), nn.Linear(16, 2), flatten

    def forward(self, x):
        return self.fc(self.flatten(self.conv(x)))


@pytest.mark.parametrize(
    ("kind", "flatten"),
    [
        ("flatten", lambda x: torch.flatten(x, 1)),
        ("view", lambda x: x.view(x.shape[0], -1)),
        ("reshape", lambda x: x.reshape(-1, 16)),
    ],
)
def test_a_view_that_makes_vectors_of_maps_has_a_row(kind, flatten):
    layers = summarize(Flattening(flatten), (3, 4, 4)).layers
    assert [(layer.kind, layer.output, layer.allocated) for layer in layers][1] == (kind, (16,), 0)
    assert [layer.name for layer in layers] == ["conv", kind, "fc"]


def test_statistics_of_batch_normalization_are_counted_apart():
    bn = nn.BatchNorm2d(4)
    found = summarize(nn.Sequential(nn.Conv2d(3, 4, 3), bn, nn.ReLU(), nn.Conv2d(4, 4, 1), bn), (3, 6, 6))
    assert [layer.buffers for layer in found.layers] == [0, 8, 0, 0, 0]
    assert (found.parameters, found.trainable, found.buffers) == (112 + 8 + 20, 140, 8)
    assert found.to_dict()["buffers"] == 8
    assert found.to_dict()["layers"][1]["buffers"] == 8


def test_what_training_holds_besides_activations_is_four_numbers_a_weight_and_one_for_what_is_fixed():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    net[0].bias.requires_grad_(False)
    trained, frozen, statistics, counter = 108 + 8, 4, 8, 8
    state = 4 * (4 * trained + frozen + statistics) + counter
    assert summarize(net, (3, 6, 6)).memory.state == state
    assert summarize(net, (3, 6, 6)).to_dict()["memory"]["state"] == state
