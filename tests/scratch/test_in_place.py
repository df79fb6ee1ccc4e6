"""Operations in place, on arrays and on views of them, are what PyTorch does: values and gradients."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convlens.base.errors import InputError
from convlens.inspection.verify import verify
from convlens.scratch.from_torch import from_torch

SHAPE = (2, 4, 3)  # of one sample

VIEWS = {
    "flatten": lambda x: x.flatten(1),
    "transpose": lambda x: x.transpose(1, -1),
    "permute": lambda x: x.permute(0, *range(x.ndim - 1, 0, -1)),
    "slice": lambda x: x[:, 1:],
    "steps": lambda x: x[..., ::2],
    "select": lambda x: x[:, -1] if x.ndim > 2 else x,
    "reshape": lambda x: x.reshape(x.shape[0], -1, 1),
    "view": lambda x: x.view(x.shape),
    "chunk": lambda x: x.chunk(2, -1)[-1],
    "split": lambda x: x.split(1, 1)[0],
    "narrow": lambda x: x.narrow(1, 0, 1),
    "expand": lambda x: x.unsqueeze(1).expand(-1, 2, *[-1] * (x.ndim - 1)),
    "squeeze": lambda x: x.unsqueeze(2).squeeze(2),
    "contiguous": lambda x: x.contiguous(),
    "clone": lambda x: x.clone(),
    "detach": lambda x: x.detach(),
    "unbind": lambda x: x.unbind(1)[0] if x.ndim > 2 else x,
}
WRITES = {
    "relu_": lambda x, y: x.relu_(),
    "add_": lambda x, y: x.add_(0.5),
    "mul_": lambda x, y: x.mul_(-1.5),
    "clamp_": lambda x, y: x.clamp_(-0.4, 0.6),
    "sigmoid_": lambda x, y: x.sigmoid_(),
    "zero_": lambda x, y: x.zero_(),
    "set first": lambda x, y: x.__setitem__((slice(None), 0), 0.25),
    "set last from first": lambda x, y: x.__setitem__((slice(None), -1), x[:, 0] * 2),
    "copy_": lambda x, y: x.copy_(y.mean() + torch.ones_like(x)),
    "iadd": lambda x, y: x.__iadd__(y.mean()),
    "mask": lambda x, y: x.__setitem__(x > 0.5, 0.1),
    "indices": lambda x, y: x.__setitem__((slice(None), [0, -1]), y.mean()),
    "transpose_": lambda x, y: x.transpose_(1, -1),
    "unsqueeze_": lambda x, y: x.unsqueeze_(1),
    "fill_": lambda x, y: x.fill_(0.75),
}


class Chain(nn.Module):
    """Applies steps to a growing list of arrays, and returns all of them: whoever looks in sees every write."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps
        self.weight = nn.Parameter(torch.linspace(-1, 1.3, 24, dtype=torch.float64).reshape(SHAPE))

    def forward(self, x):
        arrays = [x * self.weight]
        for name, which, other in self.steps:
            target = arrays[which % len(arrays)]
            if name in VIEWS:
                arrays.append(VIEWS[name](target))
            else:
                WRITES[name](target, arrays[other % len(arrays)])
        return tuple(a + 0 for a in arrays)


def by_torch(module, x):
    """Outputs, and gradients of a sum that weighs every element differently; None where PyTorch refuses."""
    x = torch.from_numpy(x).requires_grad_()
    try:
        outputs = module(x)
        total = torch.stack([(y * weights(y.shape)).sum() for y in outputs]).sum()
        total.backward()
    except (RuntimeError, UserWarning):
        return None
    return [y.detach().numpy() for y in outputs], x.grad, module.weight.grad


def weights(shape):
    return torch.linspace(0.5, 2.0, max(int(np.prod(shape)), 1), dtype=torch.float64).reshape(shape)


STEPS = st.lists(
    st.tuples(st.sampled_from([*VIEWS, *WRITES]), st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=7
)


def check(steps):
    module = Chain(steps)
    x = np.random.default_rng(0).standard_normal((3, *SHAPE))
    expected = by_torch(module, x)
    if expected is None:
        return False
    outputs, gx, gw = expected
    try:
        graph = from_torch(module, SHAPE)
    except InputError as error:
        if "in place" not in str(error) and "cannot be traced" not in str(error):
            raise
        return False
    tape = graph.run(x)
    for ours, theirs in zip(tape.outputs, outputs, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)
    ours = tape.backward(*[weights(y.shape).numpy() for y in outputs], inputs=True)
    zero = np.zeros(())
    np.testing.assert_allclose(
        zero if ours.inputs[0] is None else ours.inputs[0], zero if gx is None else gx, atol=1e-12
    )
    np.testing.assert_allclose(ours.parameters["weight"], zero if gw is None else gw, atol=1e-12)
    return True


@settings(max_examples=30, deadline=None)
@given(STEPS)
def test_a_random_chain_of_views_and_writes_is_what_pytorch_computes(steps):
    check(steps)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(STEPS)
def test_many_random_chains_of_views_and_writes_are_what_pytorch_computes(steps):
    check(steps)


@pytest.mark.parametrize("write", [name for name in WRITES if name not in ("transpose_", "unsqueeze_")])
@pytest.mark.parametrize("view", ["flatten", "slice", "permute", "contiguous", "clone"])
def test_a_write_is_seen_by_the_view_made_before_and_a_write_into_a_view_by_its_array(view, write):
    assert check([(view, 0, 0), (write, 0, 0)])
    assert check([(view, 0, 0), (write, 1, 1)])


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function, self.stem = function, nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.function(self, self.stem(x))


def without_gradient(net, x):
    with torch.no_grad():
        scale = x.abs().mean()
    return x / scale


def written_zeros(net, x):
    out = torch.zeros(x.shape[0], 5, 6, 6, dtype=x.dtype)
    out[:, :4] = x
    out[:, 4] = x[:, 0] * 2
    return out


def table(net, x):
    weights = torch.arange(4.0, dtype=x.dtype)
    weights[1:] *= 2
    doubled = weights.clone()
    weights[0] = 7
    return x * weights[:, None, None] + doubled.view(1, 4, 1, 1)


def reshaped_in_place(net, x):
    shown = x.view(x.shape[0], 4, 6, 6)
    x.mul_(2)
    shown.transpose_(1, 3).unsqueeze_(1)
    x.add_(1)
    return shown, x


def swapped(net, x):
    y = x.clone()
    y[:, [0, 1]] = x[:, [1, 0]]
    y[y < -0.5] = 0.25
    return y


AGREE = {
    "another shape in place": reshaped_in_place,
    "swapped channels and a mask": swapped,
    "a running mix": lambda net, x: (x * 1).lerp_(x.detach() * 3, 0.3).addcmul_(x.tanh(), x.exp(), value=0.5),
    "canvas": lambda net, x: x.new_zeros(x.shape[0], 4, 12, 12).index_put_((torch.arange(2),), x.mean()),
    "a view made before relu_": lambda net, x: (x.flatten(1), x.relu_())[0],
    "statistics without gradient": without_gradient,
    "zeros that are written to": written_zeros,
    "a table of numbers": table,
    "detach_": lambda net, x: x.clone().detach_() * x,
    "masked_fill_": lambda net, x: x.masked_fill_(x < 0, 0.5),
    "infinite values filled": lambda net, x: (x.detach() / 0).fill_(1) + x,
}


@pytest.mark.parametrize("name", AGREE)
def test_what_is_written_in_a_forward_is_the_same_in_both_engines(name):
    torch.manual_seed(0)
    found = verify(Function(AGREE[name]), (3, 6, 6))
    assert found.agrees(1e-12), found


def scaled_weight(net, x):
    with torch.no_grad():
        net.stem.weight.mul_(0.5)
    return x


REFUSED = {
    "a parameter": (scaled_weight, "in place under torch.no_grad"),
    "through a strange view": (lambda net, x: (x.diagonal(0, 2, 3).zero_(), x)[1], "diagonal"),
    "a detached view": (lambda net, x: (x.detach().mul_(2), x)[1], "through a view that cannot be traced back"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_followed_is_refused_in_one_line(name):
    function, words = REFUSED[name]
    with pytest.raises(InputError, match=words) as caught:
        from_torch(Function(function), (3, 6, 6))
    assert "\n" not in str(caught.value)


def test_an_input_that_the_network_overwrites_is_the_callers_own_afterwards():
    module = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(4, 2))
    assert verify(module, (4,)).agrees(1e-12)
    x = -np.ones((2, 4), np.float32)
    from_torch(module, (4,))(x)
    assert (x == -1).all()
