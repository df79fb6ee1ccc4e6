"""PyTorch's own samples of every operator that can be converted: values, types and gradients, or one line."""

import operator
import warnings
from functools import reduce

import numpy as np
import pytest
import torch
from torch import nn

from convlens.base.errors import InputError
from convlens.inspection.verify.draws import SharedDraws
from convlens.scratch.from_torch import from_torch
from convlens.scratch.from_torch.aten import HANDLERS
from convlens.scratch.operation import Mode
from torch_samples import operator_samples

# Whose values mean nothing, whose samples PyTorch cannot trace, and whose constants PyTorch holds in float32.
LEFT_OUT = {"empty_like", "new_empty", "empty", "nn.functional.hardsigmoid", "nn.functional.celu"}
FAST = {"nn.functional.conv2d", "amax", "einsum", "transpose"}


def is_claimed(info):
    names = {info.name.split(".")[-1], info.aten_name or ""}
    return torch.float64 in info.dtypes and info.name not in LEFT_OUT and bool(names & HANDLERS.keys())


CLAIMED = {f"{info.name} {info.variant_test_name}".strip(): info for info in operator_samples() if is_claimed(info)}


class Sample(nn.Module):
    def __init__(self, op, sample):
        super().__init__()
        self.op, self.sample = op, sample

    def forward(self, x):
        return self.op(x, *self.sample.args, **self.sample.kwargs)


def tensors(value):
    values = value if isinstance(value, (tuple, list)) else [value]
    return [v for v in values if isinstance(v, torch.Tensor)]


def weights(tensor):
    return torch.linspace(0.5, 2, tensor.numel(), dtype=torch.float64).reshape(tensor.shape)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in FAST else pytest.mark.slow) for n in CLAIMED])
@pytest.mark.filterwarnings("ignore")
def test_an_operator_gives_on_pytorchs_samples_what_pytorch_gives(name):
    for sample in list(CLAIMED[name].sample_inputs("cpu", torch.float64, requires_grad=False))[:20]:
        x = sample.input
        if isinstance(x, torch.Tensor) and x.ndim and x.numel() and x.is_floating_point():
            check(Sample(CLAIMED[name].op, sample), x.detach())


def check(module, x):
    inputs = x.clone().requires_grad_()
    try:
        with SharedDraws(Mode(True, 0)):
            theirs = tensors(module(inputs.clone()))
    except RuntimeError:
        return
    try:
        graph = from_torch(module, x.shape[1:], batch=len(x), dynamic=False, dtype=torch.float64)
        tape = graph.run(x.numpy(), training=True)
    except InputError:
        return
    for ours, tensor in zip(tape.outputs, theirs, strict=True):
        expected = tensor.detach().numpy()
        assert (ours.shape, ours.dtype) == (expected.shape, expected.dtype), module.sample
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-11, err_msg=str(module.sample))
    floats = [t for t in theirs if t.is_floating_point() and t.requires_grad]
    if not floats:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reduce(operator.add, [(t * weights(t)).sum() for t in floats]).backward()
    grads = [weights(t).numpy() if t.is_floating_point() else None for t in theirs]
    (ours,) = tape.backward(*grads, inputs=True).inputs
    ours = np.zeros(x.shape) if ours is None else ours
    reference = np.zeros(x.shape) if inputs.grad is None else inputs.grad.numpy()
    np.testing.assert_allclose(ours, reference, rtol=1e-8, atol=1e-10, err_msg=str(module.sample))
