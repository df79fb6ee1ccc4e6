"""Muon against the singular value decomposition and a plain step by step computation."""

import pytest
import torch
from torch import nn

from convlens.base.errors import InputError
from convlens.training.muon import Muon, orthogonalized
from convlens.training.optimizers import export_state, import_state
from typed import in_format


@pytest.mark.parametrize("shape", [(8, 8), (16, 150), (150, 16), (64, 576)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_singular_values_become_nearly_one_and_vectors_stay(shape, dtype):
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(2, *shape, dtype=torch.float64), full_matrices=False)
    values = torch.linspace(1, 0.01, min(shape), dtype=torch.float64)
    out = orthogonalized((left * values) @ right, steps=6, dtype=torch.float64 if dtype == torch.float32 else dtype)
    inner = left.mT @ out @ right.mT  # diagonal if the vectors are the same
    diagonal = inner.diagonal(dim1=1, dim2=2)
    assert diagonal.min() > 0.6
    assert diagonal.max() < 1.3
    tolerance = 1e-9 if dtype == torch.float32 else 0.1
    assert (inner - torch.diag_embed(diagonal)).abs().max() < tolerance


def test_a_matrix_of_zeros_stays_zero():
    assert not orthogonalized(torch.zeros(1, 4, 6)).any()


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.Conv2d(8, 8, 3, bias=False), nn.Conv2d(8, 8, 3, bias=False),
        nn.Flatten(), nn.Linear(8 * 4, 5, bias=False),
    )  # fmt: skip


def reference(weight, gradients, *, lr, momentum, nesterov, weight_decay, normalize):
    """The rule for one weight, written out in float64 with explicit powers."""
    weight, buffer = weight.double().clone(), torch.zeros_like(weight, dtype=torch.float64)
    for gradient in gradients:
        gradient = gradient.double()
        buffer = momentum * buffer + gradient
        direction = gradient + momentum * buffer if nesterov else buffer
        x = direction.reshape(len(direction), -1)
        x = x / (x.norm() + 1e-7)
        for _ in range(5):
            x = 3.4445 * x - 4.7750 * x @ x.T @ x + 2.0315 * x @ x.T @ x @ x.T @ x
        rows, columns = x.shape
        if normalize:
            weight = weight * rows**0.5 / weight.norm() - lr * x.view_as(weight)
        else:
            weight = weight * (1 - lr * weight_decay) - lr * max(1, rows / columns) ** 0.5 * x.view_as(weight)
    return weight


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("extra", [{"weight_decay": 0.1, "normalize": False}, {"weight_decay": 0.0, "normalize": True}])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_steps_match_the_rule_written_out(nesterov, extra, memory_format):
    module = in_format(network(), memory_format)
    weights = list(module.parameters())
    before = [w.detach().clone() for w in weights]
    optimizer = Muon(weights, lr=0.05, momentum=0.9, nesterov=nesterov, **extra)
    gradients = [[torch.randn_like(w) for w in weights] for _ in range(3)]
    for step in gradients:
        for weight, gradient in zip(weights, step, strict=True):
            weight.grad = gradient.clone()
        optimizer.step()
    for i, weight in enumerate(weights):
        expected = reference(
            before[i], [step[i] for step in gradients], lr=0.05, momentum=0.9, nesterov=nesterov, **extra
        )
        torch.testing.assert_close(weight.detach().double(), expected, rtol=1e-4, atol=1e-5)


def test_state_round_trips_to_the_same_bits():
    def trained(steps, module, optimizer):
        for step in steps:
            torch.manual_seed(step)
            module(torch.randn(4, 3, 8, 8)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()

    straight, stopped, resumed = network(), network(), network()
    trained(range(6), straight, Muon(straight.parameters(), lr=0.05))
    first = Muon(stopped.parameters(), lr=0.05)
    trained(range(3), stopped, first)
    resumed.load_state_dict(stopped.state_dict())
    second = Muon(resumed.parameters(), lr=0.01)
    tensors, plain = export_state([first])
    import_state([second], tensors, plain)
    second.param_groups[0]["lr"] = 0.05
    trained(range(3, 6), resumed, second)
    for a, b in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_parameter_without_gradient_stays():
    module = network()
    weights = list(module.parameters())
    before = [w.detach().clone() for w in weights]
    weights[1].grad = torch.randn_like(weights[1])
    Muon(weights).step()
    assert [torch.equal(w, b) for w, b in zip(weights, before, strict=True)] == [True, False, True, True]


def test_it_lowers_a_loss():
    module = network()
    x = torch.randn(16, 3, 8, 8)
    y = torch.arange(16) % 5
    optimizer = Muon(module.parameters(), lr=0.02, momentum=0.9)
    losses = []

    for _ in range(30):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(module(x), y)
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize("bad", [{"lr": -1.0}, {"momentum": 1.0}, {"weight_decay": -0.1}, {"steps": 0}])
def test_senseless_settings_are_refused(bad):
    with pytest.raises(InputError, match="muon"):
        Muon([torch.zeros(2, 2, requires_grad=True)], **bad)


def test_a_bias_is_refused():
    with pytest.raises(InputError, match="is no filter"):
        Muon([torch.zeros(4, requires_grad=True)])
