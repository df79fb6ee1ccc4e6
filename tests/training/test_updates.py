"""The optimizers against those of PyTorch, step by step."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from convlens.training.updates import SGD, Adam

PAIRS = [
    (lambda p: SGD(p, 0.1), lambda p: torch.optim.SGD(p, 0.1)),
    (
        lambda p: SGD(p, 0.05, 0.8, weight_decay=0.01, nesterov=True),
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.8, weight_decay=0.01, nesterov=True),
    ),
    (lambda p: Adam(p, 0.01, weight_decay=0.1), lambda p: torch.optim.Adam(p, 0.01, weight_decay=0.1)),
    (
        lambda p: Adam(p, 0.01, (0.8, 0.95), 1e-6, 0.1, decoupled=True),
        lambda p: torch.optim.AdamW(p, 0.01, (0.8, 0.95), 1e-6, 0.1),
    ),
]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 36, 5))


@pytest.mark.parametrize("pair", PAIRS)
def test_steps_are_those_of_pytorch(pair):
    networks = network(), network()
    optimizers = [make(n.parameters()) for make, n in zip(pair, networks, strict=True)]
    for step in range(5):
        x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        for module, optimizer in zip(networks, optimizers, strict=True):
            optimizer.zero_grad()
            module(x).square().mean().backward()
            optimizer.step()
    for ours, theirs in zip(*(n.parameters() for n in networks), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def test_groups_have_settings_of_their_own_and_a_parameter_without_gradient_stays():
    slow, fast, idle = (nn.Parameter(torch.ones(3)) for _ in range(3))
    optimizer = SGD([{"params": [slow, idle]}, {"params": [fast], "lr": 1.0}], lr=0.1)
    slow.grad, fast.grad = torch.ones(3), torch.ones(3)
    optimizer.step()
    assert [p[0].item() for p in (slow, fast, idle)] == pytest.approx([0.9, 0.0, 1.0])


def test_a_training_step_does_not_import_the_compiler():
    code = (
        "import sys, torch\n"
        "from convlens.training import optimizers\n"
        "from convlens.training.recipe import Optimizer\n"
        "module = torch.nn.Linear(2, 2)\n"
        "for name in ('sgd', 'adam', 'adamw', 'rmsprop', 'muon'):\n"
        "    module(torch.ones(1, 2)).sum().backward()\n"
        "    [o.step() for o in optimizers.build(module, Optimizer(name=name))]\n"
        "sys.exit('torch._dynamo' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
