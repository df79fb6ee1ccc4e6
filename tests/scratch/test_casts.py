"""Casts, numbers beside arrays and odd shapes: the type and the value that PyTorch gives, or one line."""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convlens.base.errors import InputError
from convlens.inspection.verify import verify
from convlens.scratch.from_torch import from_torch


class Applied(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function, self.scale = function, nn.Parameter(torch.tensor([0.5, -1.5, 2.0]))

    def forward(self, x):
        return self.function(x, self.scale)


HONORED = {
    "to float64": lambda x, w: x.to(torch.float64) * w,
    "double and back": lambda x, w: (x.double() / 3).float() + w,
    "to int and back": lambda x, w: (x * w * 3).int().float() + x,
    "int beside float32": lambda x, w: (x * 5).long() * w + x,
    "int divided": lambda x, w: (x * 7).int() / 2 + w,
    "int as output": lambda x, w: ((x * w * 9).to(torch.int64), x * w),
    "truth as output": lambda x, w: (x > 0, x * w),
    "truth as numbers": lambda x, w: (x > 0) * w + (x > w).float().mean(),
    "type of another": lambda x, w: (x > 0).type_as(w) * w + x.to(w),
    "a number": lambda x, w: x * 0.1 + 3 - w / 7 + 1e-3,
    "a large number": lambda x, w: x * 16777217 + w,
    "one number of float64": lambda x, w: x * torch.tensor(0.1, dtype=torch.float64) + w,
    "an array of float64": lambda x, w: x * torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64) + w,
    "a total of everything": lambda x, w: x.sum() * w + x.mean(),
    "no axes": lambda x, w: torch.sigmoid(x.sum()) + F.gelu(w.sum()) + F.hardswish(x.mean()).exp(),
    "t of one axis": lambda x, w: x * w.t() + x[0].t(),
    "t of two axes": lambda x, w: x.t() @ x * w,
    "T": lambda x, w: (x.T.T * w).mT,
    "half for a moment": lambda x, w: x * w.to(torch.float32),
    "numbers made": lambda x, w: x * w + torch.arange(3) * 0.5 + torch.ones(3, dtype=torch.int32),
    "written into another type": lambda x, w: into(x.new_zeros(x.shape, dtype=torch.float64), x * w),
}


def into(target, value):
    target[:, 1:] = value[:, 1:]
    return target * 2


def both(module, x):
    """What the engines give, as lists of arrays."""
    with torch.no_grad():
        theirs = module(torch.from_numpy(x.copy()))
    ours = from_torch(module, x.shape[1:])(x)
    theirs = theirs if isinstance(theirs, tuple) else (theirs,)
    return ours if isinstance(ours, tuple) else (ours,), [t.numpy() for t in theirs]


@pytest.mark.parametrize("name", HONORED)
def test_types_and_values_are_those_of_pytorch(name):
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    for ours, theirs in zip(*both(Applied(HONORED[name]), x), strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("name", HONORED)
def test_gradients_pass_casts_as_in_pytorch(name):
    module = Applied(HONORED[name])
    x = np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32)
    inputs = torch.from_numpy(x).requires_grad_()
    outputs = module(inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    total = torch.stack([o.sum() for o in outputs if o.is_floating_point()]).sum()
    total.backward()
    tape = from_torch(module, (3,)).run(x)
    grads = [np.ones(o.shape, o.dtype) if o.dtype.kind == "f" else None for o in tape.outputs]
    found = tape.backward(*grads, inputs=True)
    gx = np.zeros_like(x) if found.inputs[0] is None else found.inputs[0]
    assert gx.dtype == np.float32
    reference = np.zeros_like(x) if inputs.grad is None else inputs.grad.numpy()
    np.testing.assert_allclose(gx, reference, rtol=1e-5, atol=1e-5)
    gw = np.zeros(3) if module.scale.grad is None else module.scale.grad.numpy()
    np.testing.assert_allclose(found.parameters["scale"], gw, rtol=1e-5, atol=1e-5)


REFUSED = {
    "half": (lambda x, w: x.half().float() + w, "casts to float16"),
    "bfloat16": (lambda x, w: (x * w).to(torch.bfloat16), "casts to bfloat16"),
    "complex": (lambda x, w: (x * w).to(torch.complex64).real, "complex64"),
    "arithmetic of bytes": (lambda x, w: (x * 255).to(torch.uint8) + 1, "computes 'add' in uint8"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_types_that_the_numpy_engine_does_not_compute_in_are_refused(name):
    function, words = REFUSED[name]
    with pytest.raises(InputError, match=words) as caught:
        from_torch(Applied(function), (3,))
    assert "\n" not in str(caught.value)


CASTS = [
    lambda x, w: x.float() / 3,
    lambda x, w: x.to(torch.float32) / 3,
    lambda x, w: x.to(dtype=torch.float32) * torch.arange(3, dtype=torch.float32) / 3,
    lambda x, w: F.softmax(x, 1, dtype=torch.float32),
    lambda x, w: x.type(torch.float32) * torch.tensor(0.5) + torch.tensor([1.0, 2.0, 3.0]),
]


@pytest.mark.parametrize("cast", CASTS)
def test_a_network_that_casts_to_float32_is_compared_in_float64(cast):
    found = verify(nn.Sequential(nn.Linear(3, 3), Applied(cast), nn.Linear(3, 2)), (3,))
    assert found.agrees(1e-12), found


def test_numbers_of_float32_that_do_not_fit_are_explained_by_verify():
    module = nn.Sequential(Applied(lambda x, w: torch.ones(x.shape[0], 3)), nn.Linear(3, 2))
    with pytest.raises(InputError, match=r"compared in float64: numbers of float32") as caught:
        verify(module, (3,))
    assert "\n" not in str(caught.value)
    from_torch(module, (3,))


@pytest.mark.parametrize("n", [0, 1, 5])
def test_batches_of_any_size_and_inputs_without_axes(n):
    networks = {
        (3, 8, 8): nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).eval(), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 2)
        ).eval(),
        (): nn.Sequential(nn.Sigmoid(), nn.ELU()),
        (5,): nn.Sequential(nn.Linear(5, 4), nn.Softmax(1), nn.LayerNorm(4)),
    }
    for shape, module in networks.items():
        x = np.random.default_rng(0).standard_normal((n, *shape)).astype(np.float32)
        for ours, theirs in zip(*both(module, x), strict=True):
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(swish)


def swish(x):
    return x * torch.sigmoid(x)


class Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.fc, self.function = nn.Linear(3, 4), [function]

    def forward(self, x):
        return self.function[0](self.fc(x))


STRUCTURES = {
    "a dictionary": lambda x: {"second": x * 2, "first": (x, [x.exp()]), "nothing": None, "number": 3},
    "a tuple": lambda x: (x, x, x.tanh()),
    "the input of the function": lambda x: x,
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_every_tensor_of_a_structured_output_is_compared(name):
    found = verify(Calls(STRUCTURES[name]), (3,))
    assert found.agrees(1e-12)
    expected = {"a dictionary": 3, "a tuple": 3}.get(name, 1)
    assert sum(key.startswith("output") for key in found.modes["training"].forward) == expected


def test_scripted_functions_and_lazy_layers_are_compared():
    assert verify(Calls(scripted()), (3,)).agrees(1e-12)
    lazy = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2))
    assert verify(lazy, (3, 6, 6)).agrees(1e-10)
    assert isinstance(lazy[0], nn.LazyConv2d)
