"""A number as the sum of its terms, against PyTorch in float64 and against sums made by hand."""

import numpy as np
import pytest
import torch
from torch import nn
from traced_kinds import LAYERS, an_image, built

from convlens import models
from convlens.inspection.trace import trace
from convlens.inspection.trace.observed import Observed, observe
from convlens.inspection.trace.shares import RULES
from convlens.inspection.trace.terms import WINDOWS, Sum, terms_of
from convlens.scratch.from_torch import from_torch
from convlens.scratch.node import LEAVES
from convlens.scratch.operations import OPERATIONS
from typed import present, untyped


def sums(observed: Observed, position: int, count: int, seed: int = 0) -> list[tuple[tuple[int, ...], Sum]]:
    """The sums of random cells of one node."""
    node, call = observed.nodes[position], observed.calls[position]
    takes = [i is not None and observed.from_image[i] for i in node.inputs]
    rng = np.random.default_rng(seed)
    cells = [tuple(int(rng.integers(n)) for n in np.shape(call.output)) for _ in range(count)]
    return [(cell, terms_of(node.op, call, cell, takes)) for cell in cells]


def working(observed: Observed) -> list[int]:
    return [i for i, n in enumerate(observed.nodes) if n.op not in LEAVES and observed.from_image[i]]


@pytest.mark.parametrize("name", LAYERS)
def test_the_terms_of_200_random_cells_add_up_to_what_pytorch_gives(name):
    module, x = built(name), an_image()
    with torch.no_grad():
        expected = module(x).numpy()
    observed = observe(module, x)
    found = sums(observed, observed.graph.outputs[0], 200)
    assert expected.shape == np.shape(observed.calls[observed.graph.outputs[0]].output)
    for cell, total in found:
        assert abs(total.total - expected[cell]) <= 1e-10 * total.magnitude


@pytest.mark.parametrize("name", LAYERS)
def test_every_operation_on_the_way_is_the_sum_of_its_terms(name):
    observed = observe(built(name), an_image())
    for position in working(observed):
        for cell, total in sums(observed, position, 20):
            value = float(observed.calls[position].output[cell])
            assert abs(total.total - value) <= 1e-10 * max(total.magnitude, abs(value))


def test_every_operation_of_the_numpy_engine_has_a_rule():
    assert set(RULES) >= set(OPERATIONS)
    assert set(WINDOWS) <= set(OPERATIONS)


def test_the_kinds_that_are_tested_are_those_of_the_zoo_and_more():
    tested = {n.op for name in LAYERS for n in observe(built(name), an_image()).nodes}
    zoo = set()
    for name in ("lenet5_1998", "resnet20_cifar", "densenet_bc_40_12_cifar", "dcgan64_generator", "go_policy_small"):
        observed = observe(models.create(name).eval(), torch.randn(1, *models.get(name).input))
        zoo |= {observed.nodes[i].op for i in working(observed)}
    assert zoo <= tested


@pytest.mark.slow
@pytest.mark.parametrize("name", models.names())
def test_every_network_of_the_zoo_can_be_traced(name):
    torch.manual_seed(0)
    observed = observe(models.create(name).eval(), torch.randn(1, *models.get(name).input))
    for position in working(observed):
        for cell, total in sums(observed, position, 3):
            value = float(observed.calls[position].output[cell])
            assert abs(total.total - value) <= 1e-9 * max(total.magnitude, abs(value))


def test_terms_of_a_convolution_name_input_cells_and_weights():
    module, x = built("conv2d stride, dilation, groups"), an_image()
    found = trace(module, x, at=(4, 2, 3))
    weight = dict(module.named_parameters())["weight"]
    rows = found.terms()
    assert rows
    for row in rows:
        o, c, i, j = row["kernel"]
        channel, y, z = row["cell"]
        assert (o, channel) == (4, 2 + c)  # the second of two groups
        assert (y, z) == (2 * 2 - 2 + 2 * i, 3 - 1 + 2 * j)
        assert row["value"] == x[0, channel, y, z].item()
        assert row["weight"] == weight[o, c, i, j].item()
        assert row["product"] == row["value"] * row["weight"]
    assert found.bias == dict(module.named_parameters())["bias"][4].item()
    sums_by_channel = {row["channel"]: row["sum"] for row in found.partial_sums()}
    assert set(sums_by_channel) == {2, 3}
    assert sum(sums_by_channel.values()) + found.bias == pytest.approx(found.value, abs=1e-12)


def test_cells_in_the_padding_are_no_terms():
    module, x = nn.Conv2d(1, 1, 3, padding=1), torch.ones(1, 1, 4, 4)
    assert len(trace(module, x, at=(0, 0, 0)).terms()) == 4
    assert len(trace(module, x, at=(0, 1, 1)).terms()) == 9


def test_the_winner_of_max_pooling_is_named_and_so_are_ties():
    x = torch.tensor([[1.0, 5.0], [5.0, 2.0]])[None, None]
    found = trace(nn.MaxPool2d(2), x)
    assert [row["won"] for row in found.terms()] == [False, True, False, False]
    assert "2 are equal" in found.sum.how
    assert found.numbers == "max(1, 5, 5, 2) = 5"


class Ramp(nn.Module):
    """A 4 x 4 ramp through convolution, ReLU, max pooling and a dense layer, with numbers that are made by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool, self.dense = nn.Conv2d(1, 1, 2), nn.MaxPool2d(3), nn.Linear(1, 2)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([[[[1.0, -0.5], [0.25, 0.5]]]]))
            present(self.conv.bias).fill_(-2.0)
            self.dense.weight.copy_(torch.tensor([[3.0], [-1.0]]))
            self.dense.bias.copy_(torch.tensor([0.5, 1.0]))

    def forward(self, x):
        return self.dense(torch.relu(self.pool(torch.relu(self.conv(x)))).flatten(1))


def test_a_ramp_by_hand_to_the_last_digit():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    # y[p, q] = a - (a + 1) / 2 + (a + 4) / 4 + (a + 5) / 2 - 2 with a = 4 p + q, which is 1.25 a + 1
    convolved = trace(Ramp(), x, "conv", (0, 2, 1))
    assert [row["product"] for row in convolved.terms()] == [9.0, -5.0, 3.25, 7.0]
    assert (convolved.bias, convolved.recomputed, convolved.value) == (-2.0, 12.25, 12.25)
    assert [(a.op, a.value) for a in convolved.after] == [("relu", 12.25)]
    assert convolved.field.to_dict() == {"box": [[2, 3], [1, 2]], "pixels": 4, "image": [4, 4]}

    pooled = trace(Ramp(), x, "pool")
    assert pooled.value == pooled.recomputed == 1.25 * 10 + 1
    assert [row["won"] for row in pooled.terms()] == [False] * 8 + [True]

    out = trace(Ramp(), x)
    assert (out.cell, out.value, out.recomputed) == ([0], 41.0, 41.0)  # 3 * 13.5 + 0.5
    pixels = out.pixels
    expected = torch.zeros(4, 4)
    expected[2:, 2:] = 3 * torch.tensor([[1.0, -0.5], [0.25, 0.5]]) * x[0, 0, 2:, 2:]
    assert pixels.shares[0].tolist() == expected.tolist()
    assert pixels.bias == 0.5 + 3 * -2.0
    assert all(level.total == 41.0 for level in pixels.levels)


@pytest.mark.parametrize(
    "name", ["lenet5", "lenet5_1998", "resnet20_cifar", "densenet_bc_40_12_cifar", "dcgan64_generator"]
)
def test_the_graph_of_a_pass_is_that_of_the_exported_program(name):
    torch.manual_seed(0)
    module, shape = models.create(name).eval(), models.get(name).input
    x = torch.randn(1, *shape)
    observed, exported = observe(module, x), from_torch(module, shape, batch=1, dynamic=False).astype(np.float64)
    calls = exported.run(x.double().numpy()).calls
    theirs = {n.name: call.output for n, call in zip(exported.nodes, calls, strict=True) if n.op not in LEAVES}
    ours = {observed.nodes[i].name: observed.calls[i].output for i in working(observed)}
    assert set(ours) <= set(theirs)
    assert observed.nodes[observed.graph.outputs[0]].name == exported.nodes[exported.outputs[0]].name
    for layer, value in ours.items():
        np.testing.assert_array_equal(value, theirs[layer])


def test_beside_each_number_stands_the_networks_own():
    torch.manual_seed(0)
    module = models.create("resnet20_cifar").eval()
    x = torch.randn(1, 3, 32, 32)
    outputs = {}
    for path in ("conv1", "layer2.0.bn1", "layer3.2", "fc"):
        layer = module.get_submodule(path)
        hook = layer.register_forward_hook(lambda _m, _i, y, path=path: outputs.update({path: untyped(y).clone()}))
        with torch.no_grad():
            module(x)
        hook.remove()
        found = trace(module, x, path)
        assert found.value == outputs[path].reshape(found.shape)[tuple(found.cell)].item()
        assert found.value == outputs[path].max().item()
        assert 0 < abs(found.value - found.recomputed) < 1e-4
