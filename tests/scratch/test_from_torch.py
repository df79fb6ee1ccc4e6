"""Every operation that a module may hold: converted, run forward and backward by both engines, compared."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convlens.inspection.verify import verify
from convlens.scratch.from_torch import from_torch, training_pair


class Lambda(nn.Module):
    """A module that applies a function, after one convolution so that there is a parameter behind everything."""

    def __init__(self, function, channels=6):
        super().__init__()
        self.function, self.stem = function, nn.Conv2d(3, channels, 1)

    def forward(self, x):
        return self.function(self.stem(x))


FUNCTIONS = {
    "relu": F.relu,
    "relu in place": lambda x: F.relu(x, inplace=True) + 1,
    "relu6": F.relu6,
    "hardtanh": F.hardtanh,
    "leaky relu": lambda x: F.leaky_relu(x, 0.2),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "softmax": lambda x: F.softmax(x, 1),
    "log softmax": lambda x: F.log_softmax(x.flatten(1), -1),
    "clamp": lambda x: x.clamp(-0.5, 0.7),
    "clamp below": lambda x: x.clamp(min=0.1),
    "clamp above": lambda x: torch.clamp_max(x, 0.1),
    "exp, log, abs": lambda x: torch.log(torch.exp(x) + x.abs()),
    "arithmetic": lambda x: (2 - x) * x / (1 + x.square()) - x * 3 + (-x) / 4 - 1,
    "scaled sum": lambda x: torch.add(x, x.tanh(), alpha=0.3) - torch.sub(x, x * x, alpha=2),
    "rsub": lambda x: torch.rsub(x, x * x, alpha=2) + torch.rsub(x, 3, alpha=2),
    "powers": lambda x: x**2 + (x * x + 1) ** 0.5 + (x * x + 1).sqrt() * (x * x + 1).rsqrt() + (x * x + 1).reciprocal(),
    "broadcasting": lambda x: x * x.mean((2, 3), keepdim=True) + x.sum(1, keepdim=True) / x.mean(),
    "mean": lambda x: x.mean((-2, -1)),
    "sum": lambda x: x.sum() + x.sum(1).mean((1, 2)),
    "cat": lambda x: torch.cat([x, x.relu(), x[:, :2]], 1),
    "stack": lambda x: torch.stack([x, x * 2], 2).flatten(1, 2),
    "pad": lambda x: F.pad(x, (1, 2, 0, 3)),
    "pad with a value": lambda x: F.pad(x, (1, 0), value=0.5),
    "negative pad": lambda x: F.pad(x, (-1, 2)),
    "reflect": lambda x: F.pad(x, (1, 2, 2, 0), mode="reflect"),
    "replicate": lambda x: F.pad(x, (1, 2, 2, 0), mode="replicate"),
    "circular": lambda x: F.pad(x, (1, 2, 2, 0), mode="circular"),
    "view": lambda x: x.view(x.shape[0], 2, 3, -1).transpose(1, 2).reshape(x.shape[0], -1),
    "channel shuffle": lambda x: x.view(x.size(0), 3, x.size(1) // 3, 8, 8).transpose(1, 2).flatten(1, 2).contiguous(),
    "flatten": lambda x: torch.flatten(x, 2).permute(0, 2, 1),
    "unflatten": lambda x: x.unflatten(1, (2, -1)).mean(2),
    "swapped axes": lambda x: x.swapaxes(1, -1).movedim(2, 1),
    "slices": lambda x: x[:, 1:5:2, ::3, -4:] * 2,
    "select": lambda x: x[:, 2] + x[:, -1, :] + x.select(1, 0),
    "chunk": lambda x: torch.cat(x.chunk(4, 1)[::-1], 1),
    "split": lambda x: torch.cat([a.relu() for a in x.split([1, 2, 3], 1)], 1),
    "even split": lambda x: x.split(4, 1)[1] - x.split(2, 1)[0],
    "squeeze and unsqueeze": lambda x: x[:, :1].squeeze(1).unsqueeze(-1) * x.mean((1, 2)).unsqueeze(1).unsqueeze(2),
    "expand": lambda x: x.mean((2, 3), keepdim=True).expand(-1, -1, 4, 5).relu(),
    "clone and detach": lambda x: x.clone() * x.detach(),
    "max pool": lambda x: F.max_pool2d(x, 3, 2, 1),
    "max pool with ceil and dilation": lambda x: F.max_pool2d(x, 2, 2, dilation=2, ceil_mode=True),
    "average pool": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "average pool without padding": lambda x: F.avg_pool2d(x, (3, 2), 2, 1, ceil_mode=True, count_include_pad=False),
    "adaptive average": lambda x: F.adaptive_avg_pool2d(x, (3, 5)),
    "adaptive average along one axis": lambda x: F.adaptive_avg_pool2d(x, (None, 2)),
    "adaptive maximum": lambda x: F.adaptive_max_pool2d(x, 3),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "nearest size": lambda x: F.interpolate(x, size=(5, 11)),
    "bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "bilinear corners": lambda x: F.interpolate(x, size=(5, 11), mode="bilinear", align_corners=True),
    "matmul": lambda x: x @ x.transpose(2, 3) + torch.bmm(x[:, 0], x[:, 1])[:, None],
    "local response norm": lambda x: F.local_response_norm(x, 3, 0.2, 0.75, 2.0),
    "dropout in inference too": lambda x: F.dropout(x, 0.4, training=True),
    "two outputs": lambda x: (x.relu(), x.mean((2, 3))),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_the_same_in_both_engines(name):
    torch.manual_seed(0)
    found = verify(Lambda(FUNCTIONS[name]), (3, 8, 8))
    assert found.agrees(1e-11), found


LAYERS = {
    "conv": lambda: nn.Conv2d(3, 4, (3, 2), stride=2, padding=(1, 2), dilation=(1, 2)),
    "conv same": lambda: nn.Conv2d(3, 4, 4, padding="same", bias=False),
    "conv valid": lambda: nn.Conv2d(3, 4, 3, padding="valid"),
    "grouped conv": lambda: nn.Conv2d(3, 6, 3, groups=3),
    "conv with reflection": lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
    "conv 1-D": lambda: nn.Sequential(nn.Flatten(2), nn.Conv1d(3, 4, 5, stride=2, padding=2)),
    "transposed conv": lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1),
    "grouped transposed conv": lambda: nn.ConvTranspose2d(3, 6, 3, groups=3, bias=False),
    "batch norm": lambda: nn.BatchNorm2d(3),
    "batch norm without scale": lambda: nn.BatchNorm2d(3, affine=False, momentum=0.3),
    "batch norm without statistics": lambda: nn.BatchNorm2d(3, track_running_stats=False),
    "batch norm 1-D": lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(192)),
    "layer norm": lambda: nn.LayerNorm([8, 8]),
    "layer norm without scale": lambda: nn.LayerNorm(8, elementwise_affine=False),
    "group norm": lambda: nn.GroupNorm(3, 3),
    "instance norm": lambda: nn.InstanceNorm2d(3, affine=True),
    "dropout": lambda: nn.Sequential(nn.Dropout(0.3), nn.ReLU(), nn.Dropout2d(0.5), nn.Dropout(0.0)),
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.Identity(), nn.Linear(5, 2, bias=False)),
    "pads": lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.ReflectionPad2d(1), nn.ConstantPad2d(1, 0.3)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_the_same_in_both_engines(name):
    torch.manual_seed(0)
    layer = LAYERS[name]()
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(0.1 * torch.randn_like(p))
    found = verify(layer, (3, 8, 8))
    assert found.agrees(1e-11), found


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 5)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x).relu())


def test_tied_parameters_are_one_parameter_with_one_gradient():
    module = Tied()
    graph = from_torch(module, (5,))
    assert sorted(graph.parameters) == ["first.bias", "first.weight", "second.bias"]
    assert verify(module, (5,)).agrees(1e-12)


class InPlace(nn.Module):
    """Writes through views: the array behind them changes with them."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        x = self.stem(x)
        kept = x * 2
        x[:, 0] = 0.5
        x[:, 1, 2:].mul_(3)
        flat = x.view(x.shape[0], -1)
        flat.add_(1)
        x[:, 2].copy_(kept[:, 3])
        x[:, 3].zero_()
        x += kept
        return x.relu_()


def test_operations_in_place_change_what_they_are_views_of():
    assert verify(InPlace(), (3, 6, 6)).agrees(1e-12)


def test_a_frozen_parameter_is_a_constant():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3))
    module[0].weight.requires_grad_(False)
    assert "0.weight" not in from_torch(module, (3, 8, 8)).parameters
    assert verify(module, (3, 8, 8)).agrees(1e-12)


def test_a_graph_takes_batches_of_any_size():
    module = Lambda(FUNCTIONS["channel shuffle"]).eval()
    graph = from_torch(module, (3, 8, 8))
    for n in (1, 2, 7):
        x = torch.randn(n, 3, 8, 8)
        np.testing.assert_allclose(graph(x.numpy()), module(x).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_the_graph_owns_its_arrays_and_the_module_keeps_its_mode():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    module[1].eval()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    trained, evaluated = training_pair(module, (3, 8, 8))
    trained.run(np.ones((4, 3, 8, 8), np.float32), training=True)
    trained.parameters["0.weight"][:] = 0
    assert evaluated.parameters["0.weight"].any() == np.False_
    assert [m.training for m in module] == [True, False, True]
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())


def test_nodes_are_called_after_their_modules():
    module = nn.Sequential()
    module.add_module("body", nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    module.add_module("head", Lambda(lambda x: x + 1))
    module.get_submodule("head").add_module("stem", nn.Conv2d(4, 2, 1))
    names = [n.name for n in from_torch(module, (3, 8, 8)).nodes]
    assert {"body.0", "body.1", "head.stem", "body.0.weight"} <= set(names)
    assert any(name.startswith("head.add") for name in names)


class Branches(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Writes(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.zeros(()))

    def forward(self, x):
        self.get_buffer("total").add_(x.sum())
        return x * self.total


@pytest.mark.parametrize(
    ("module", "shape", "words"),
    [
        (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.RReLU())),
            (3, 8, 8),
            r"1\.0 \(RReLU\).*no operation 'rrelu'; this network runs in the PyTorch engine only",
        ),
        (Lambda(lambda x: x.sort(1)[0]), (3, 8, 8), "Lambda: the NumPy engine has no operation 'sort'"),
        (Branches(), (3, 8, 8), "Branches cannot be traced: its forward chooses its path by the values"),
        (nn.Conv2d(3, 4, 3), (5, 8, 8), r"Conv2d cannot be traced for an input of shape \(5, 8, 8\)"),
        (Writes(), (3, 8, 8), "overwrites 'total' in place"),
    ],
)
def test_what_cannot_be_converted_is_named_with_its_place(module, shape, words):
    with pytest.raises(ValueError, match=words):
        from_torch(module, shape)
