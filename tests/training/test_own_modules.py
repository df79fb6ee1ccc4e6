"""What trains is the module that was handed over: its hooks fire, its state moves, reparametrized weights learn."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm

import convlens as cl
from typed import in_format, untyped


def pictures(n=24, side=12, classes=2):
    """Two kinds of pictures that are easily told apart: bright above, bright below."""
    labels = np.arange(n) % classes
    pixels = np.random.default_rng(0).integers(0, 60, (n, side, side), dtype=np.uint8)
    for i, label in enumerate(labels):
        pixels[i, label * side // classes : (label + 1) * side // classes] += 150
    return pixels, labels


def train(module, tmp_path, *, epochs=1, **more):
    return cl.train(
        module, {"train": pictures(), "test": pictures(8)}, out=tmp_path / "run", epochs=epochs, batch_size=8,
        size=12, precision="float32", device="cpu", quiet=True, **untyped({"settings": ["val_fraction=0"], **more}),
    )  # fmt: skip


def small(convolution):
    return nn.Sequential(convolution, nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.LazyLinear(2))


def ready(module):
    module(torch.zeros(2, 1, 12, 12))
    return module


def pruned():
    convolution = nn.Conv2d(1, 6, 5, padding=2)
    prune.random_unstructured(convolution, "weight", amount=0.5)
    return convolution


KINDS = {
    "spectral norm": (lambda: spectral_norm(nn.Conv2d(1, 6, 5, padding=2)), "0.weight_orig"),
    "spectral norm, parametrized": (
        lambda: parametrizations.spectral_norm(nn.Conv2d(1, 6, 5, padding=2)), "0.parametrizations.weight.original",
    ),
    "weight norm": (
        lambda: parametrizations.weight_norm(nn.Conv2d(1, 6, 5, padding=2)), "0.parametrizations.weight.original1",
    ),
    "pruned": (pruned, "0.weight_orig"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_reparametrized_convolutions_learn(kind, tmp_path):
    make, name = KINDS[kind]
    torch.manual_seed(0)
    module = ready(small(make()))
    before = {key: value.clone() for key, value in module.state_dict().items()}
    train(module, tmp_path)
    after = module.state_dict()
    assert not torch.equal(before[name], after[name])
    for key in before:
        if key.endswith("weight_mask"):
            assert torch.equal(before[key], after[key])
        if key.endswith("weight_u"):
            assert not torch.equal(before[key], after[key])


def test_a_pruned_network_trains_as_in_a_plain_loop(tmp_path):
    """One batch an epoch in the order of a plain loop: the same steps of SGD, so the same weights."""
    torch.manual_seed(0)
    module = ready(small(pruned()))
    torch.manual_seed(0)
    plain = ready(small(pruned()))
    seen = []
    handle = module.register_forward_pre_hook(lambda m, args: seen.append(args[0].clone()) if m.training else None)
    labels = []
    original = F.cross_entropy

    def spy(logits, y, **more):
        labels.append(y.clone())
        return original(logits, y, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "cross_entropy", spy)
        train(
            module, tmp_path, recipe={"schedule": {"name": "constant", "warmup": 0.0}, "optimizer": {
                "name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.0}, "val_fraction": 0.0},
        )  # fmt: skip
    handle.remove()
    optimizer = torch.optim.SGD(plain.parameters(), 0.1, momentum=0.9, nesterov=True)
    for x, y in zip(seen, labels, strict=False):
        optimizer.zero_grad()
        original(plain(x), y).backward()
        optimizer.step()
    assert len(seen) == 3
    for (name, trained), expected in zip(module.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(trained, expected, msg=name, rtol=1e-4, atol=1e-6)


def test_hooks_fire_and_counters_count_in_the_users_own_object(tmp_path):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = ready(small(nn.Conv2d(1, 6, 5, padding=2)))
            self.steps = 0

        def forward(self, x):
            self.steps += self.training
            return self.layers(x)

    module = Counting()
    shapes = []
    module.layers[1].register_forward_hook(lambda m, i, out: shapes.append(tuple(out.shape)) if m.training else None)
    train(module, tmp_path, epochs=2)
    assert module.steps == 6
    assert shapes == [(8, 6, 12, 12)] * 6


@pytest.mark.parametrize("engine", ["torch", "numpy"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("training", [True, False])
def test_a_network_is_given_back_in_the_order_and_the_modes_that_it_came_in(engine, layout, training, tmp_path):
    module = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(256, 2)
    )
    in_format(module, layout).train(training)
    module[1].eval()
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    places = {name: (t.stride(), t.device) for name, t in tensors.items()}
    first = module.get_parameter("3.weight").detach().clone()
    run = train(module, tmp_path, engine=engine, settings=[])
    assert [part.training for part in module] == [training, False, *[training] * 4]
    now = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    assert all(now[name] is tensors[name] for name in now)
    assert {name: (t.stride(), t.device) for name, t in now.items()} == places
    assert not torch.equal(module.get_parameter("3.weight"), first)
    saved, _ = run.folder.read_weights()
    for name, tensor in module.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), saved[name])
