"""Each key of a recipe against a step written out in plain PyTorch, which shares no code with the engine."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from convlens.data import Images, Preprocess
from convlens.data.augment.augmenter import Augmenter
from convlens.data.loader import Loader
from convlens.training import engines, settings
from convlens.training import recipe as recipes
from convlens.training.torch_engine import TorchEngine

PIXELS = np.random.default_rng(0).integers(0, 256, (21, 6, 6, 1), dtype=np.uint8)
IMAGES = Images(PIXELS, np.array([0, 0, 0, 1, 2, 1, 0] * 3), ("a", "b", "c"))
PREPROCESS = Preprocess((6, 6), 1, mean=(0.5,), std=(0.25,))
DECAYING = {"conv.weight", "middle.weight", "head.weight", "second.weight"}  # all but biases and normalization


class Network(nn.Module):
    """Two outputs, of which the second is auxiliary, normalization, and a layer that is not to be trained."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Conv2d(1, 2, 3).requires_grad_(False)
        self.conv = nn.Conv2d(2, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.middle = nn.Linear(16, 8)
        self.second = nn.Linear(16, 3)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(self.frozen(x)))).flatten(1)
        return self.head(torch.tanh(self.middle(x))), self.second(x)


def network() -> Network:
    torch.manual_seed(1)
    return Network()


def engine_of(module: nn.Module, changes: dict, images: Images = IMAGES) -> TorchEngine:
    """The engine on a recipe in which everything is off but for `changes`."""
    off = {"epochs": 2, "batch_size": 7, "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.0, "weight_decay": 0.0}}
    recipe = recipes.parse(recipes.merged({**off, "augment": {"flip": False, "shift": 0}}, changes), "test")
    augmentation = recipe.augment.resolve(1, 6, 6)
    loader = Loader(
        images, PREPROCESS, batch_size=7, seed=5, drop_last=True,
        augmenter=Augmenter(augmentation, seed=5) if augmentation.active else None,
    )  # fmt: skip
    return TorchEngine(
        module, loader, None, classes=images.classes, recipe=recipe, numeric=settings.settle("cpu", "float32"), seed=5,
        class_weights=engines.class_weights_of(recipe, images),
    )  # fmt: skip


def plain_loss(outputs, y, *, smoothing=0.0, weights=(1.0, 1.0, 1.0), auxiliary=0.3):
    """Cross-entropy written out: labels as shares of classes, softened, weighted; auxiliary outputs count less."""
    weights, losses = torch.tensor(weights), []
    for logits in outputs:
        shares = torch.eye(3)[y] if y.ndim == 1 else y
        soft = (1 - smoothing) * shares + smoothing / 3
        terms = -(weights * soft * logits.log_softmax(1)).sum()
        losses.append(terms / (weights[y].sum() if y.ndim == 1 else len(y)))
    return losses[0] + auxiliary * sum(losses[1:])


def sgd(module, lr, momentum=0.0, decay=0.0, bias_lr=1.0, nesterov=False):
    return torch.optim.SGD(groups(module, lr, decay, bias_lr), momentum=momentum, nesterov=nesterov)


def groups(module, lr, decay, bias_lr=1.0):
    trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    return [
        {"params": [p for name, p in trained if name in DECAYING], "lr": lr, "weight_decay": decay},
        {"params": [p for name, p in trained if name not in DECAYING], "lr": lr * bias_lr, "weight_decay": 0.0},
    ]


def adam(module, lr, decay=0.0, kind: type[torch.optim.Optimizer] = torch.optim.Adam, **more):
    return kind(groups(module, lr, decay), **more)


def plain_training(module, batches, *, optimizer=None, l1=0.0, clip=math.inf, rates=None, **loss):
    optimizer, module = optimizer(module) if optimizer else sgd(module, 0.1), module.train()
    peaks = [group["lr"] for group in optimizer.param_groups]
    for i, (x, y) in enumerate(batches):
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * (rates[i] if rates else 1.0)
        matrices = [p for name, p in module.named_parameters() if name in DECAYING]
        objective = plain_loss(module(x), y, **loss) + l1 * sum(p.abs().sum() for p in matrices)
        optimizer.zero_grad()
        objective.backward()
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        norm = torch.stack([(g**2).sum() for g in gradients]).sum().sqrt()
        for g in gradients:
            g.mul_(min(1.0, clip / (norm.item() + 1e-6)))
        optimizer.step()
    return module


CASES = {
    "nothing": ({}, {}),
    "lr": ({"optimizer": {"lr": 0.02}}, {"optimizer": lambda m: sgd(m, 0.02)}),
    "l1": ({"l1": 0.01}, {"l1": 0.01}),
    "weight decay": ({"optimizer": {"weight_decay": 0.2}}, {"optimizer": lambda m: sgd(m, 0.1, decay=0.2)}),
    "bias rate": ({"optimizer": {"bias_lr": 5.0}}, {"optimizer": lambda m: sgd(m, 0.1, bias_lr=5.0)}),
    "momentum": ({"optimizer": {"momentum": 0.8, "nesterov": False}}, {"optimizer": lambda m: sgd(m, 0.1, 0.8)}),
    "nesterov": ({"optimizer": {"momentum": 0.8}}, {"optimizer": lambda m: sgd(m, 0.1, 0.8, nesterov=True)}),
    "all of sgd": (
        {"optimizer": {"momentum": 0.8, "weight_decay": 0.1, "bias_lr": 3.0, "lr": 0.05}},
        {"optimizer": lambda m: sgd(m, 0.05, 0.8, 0.1, 3.0, nesterov=True)},
    ),
    "adam": ({"optimizer": {"name": "adam", "lr": 0.01}}, {"optimizer": lambda m: adam(m, 0.01)}),
    "adam decay": (
        {"optimizer": {"name": "adam", "lr": 0.01, "weight_decay": 0.3}},
        {"optimizer": lambda m: adam(m, 0.01, 0.3)},
    ),
    "betas and eps": (
        {"optimizer": {"name": "adam", "lr": 0.01, "betas": (0.5, 0.7), "eps": 1e-3}},
        {"optimizer": lambda m: adam(m, 0.01, betas=(0.5, 0.7), eps=1e-3)},
    ),
    "adamw": (
        {"optimizer": {"name": "adamw", "lr": 0.01, "weight_decay": 0.3}},
        {"optimizer": lambda m: adam(m, 0.01, 0.3, torch.optim.AdamW)},
    ),
    "rmsprop": (
        {"optimizer": {"name": "rmsprop", "lr": 0.001, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.3}},
        {"optimizer": lambda m: adam(m, 0.001, 0.3, torch.optim.RMSprop, alpha=0.9, eps=1e-3)},
    ),
    "all of rmsprop": (
        {"optimizer": {"name": "rmsprop", "lr": 0.001, "eps": 1e-2, "momentum": 0.8, "centered": True}},
        {"optimizer": lambda m: adam(m, 0.001, 0.0, torch.optim.RMSprop, eps=1e-2, momentum=0.8, centered=True)},
    ),
    "clip": ({"gradient_clip": 0.05}, {"clip": 0.05}),
    "clip that is never reached": ({"gradient_clip": 100.0}, {}),
    "smoothing": ({"label_smoothing": 0.2}, {"smoothing": 0.2}),
    "class weights": ({"class_weights": [0.5, 1.0, 4.0]}, {"weights": (0.5, 1.0, 4.0)}),
    "balanced": ({"class_weights": "balanced"}, {"weights": (21 / 36, 21 / 18, 21 / 9)}),
    "class weights and smoothing": (
        {"class_weights": [0.5, 1.0, 4.0], "label_smoothing": 0.3},
        {"weights": (0.5, 1.0, 4.0), "smoothing": 0.3},
    ),
    "mixup": ({"augment": {"mixup": 0.4}}, {}),
    "cutmix": ({"augment": {"cutmix": 1.0}}, {}),
    "mixup, smoothing and class weights": (
        {"augment": {"mixup": 0.4}, "label_smoothing": 0.2, "class_weights": [0.5, 1.0, 4.0]},
        {"smoothing": 0.2, "weights": (0.5, 1.0, 4.0)},
    ),
    "rates": ({}, {"rates": [1.0, 0.5, 0.25, 0.0, 0.1, 0.2]}),
}


@pytest.mark.parametrize("case", CASES)
def test_six_steps_are_those_of_plain_pytorch(case):
    changes, plainly = CASES[case]
    trained, expected = network(), network()
    engine = engine_of(trained, changes)
    batches = [batch for epoch in range(2) for batch in engine.batches(epoch, 0)]
    rates = plainly.get("rates", [1.0] * 6)
    for i, (x, y) in enumerate(batches):
        engine.step(x, y, epoch=i // 3, step=i % 3, factor=rates[i])
    plain_training(expected, batches, **plainly)
    start, wanted = network().state_dict(), expected.state_dict()
    for name, tensor in trained.state_dict().items():
        torch.testing.assert_close(tensor, wanted[name], rtol=2e-5, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}")
        moved = not torch.equal(tensor, start[name])
        assert moved != name.startswith("frozen"), name


@pytest.mark.parametrize("case", [name for name in CASES if name not in ("nothing", "clip that is never reached")])
def test_the_plain_steps_of_each_case_are_others_than_with_nothing(case):
    """That the test above can fail: were the key ignored, it would find the steps of "nothing"."""
    changes, plainly = CASES[case]
    batches = [batch for epoch in range(2) for batch in engine_of(network(), changes).batches(epoch, 0)]
    without = [batch for epoch in range(2) for batch in engine_of(network(), {}).batches(epoch, 0)]
    ours, nothing = plain_training(network(), batches, **plainly), plain_training(network(), without)
    assert (ours.head.bias - nothing.head.bias).abs().max() > 1e-4


def test_the_loss_and_the_counts_of_a_step_are_those_of_the_first_output():
    engine = engine_of(network(), {"l1": 0.1, "class_weights": "balanced"})
    expected, sums = network().train(), [0.0, 0, 0]
    for x, y in engine.batches(0, 0):
        logits, _ = expected(x)
        expected.load_state_dict(engine.module.state_dict())
        logits, _ = expected(x)
        loss = plain_loss([logits], y, weights=(21 / 36, 21 / 18, 21 / 9)).item()
        assert engine.step(x, y, epoch=0, step=0, factor=0.1).item() == pytest.approx(loss, rel=1e-5)
        sums = [sums[0] + loss * len(y), sums[1] + int((logits.argmax(1) == y).sum()), sums[2] + len(y)]
    totals = engine.totals()
    assert [totals["loss"], totals["correct"], totals["seen"]] == pytest.approx(sums, rel=1e-5)


def test_gradients_from_before_the_run_do_not_count():
    trained, expected = network(), network()
    for p in trained.parameters():
        p.grad = torch.full_like(p, 100.0)
    engine = engine_of(trained, {})
    batches = list(engine.batches(0, 0))
    for i, (x, y) in enumerate(batches):
        engine.step(x, y, epoch=0, step=i, factor=1.0)
    plain_training(expected, batches)
    torch.testing.assert_close(trained.head.weight, expected.head.weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ema", [0.3, 0.9])
def test_the_average_is_what_is_judged_and_kept(ema):
    engine, expected = engine_of(network(), {"ema": ema}), network()
    average = {name: t.clone() for name, t in expected.state_dict().items()}
    batches = list(engine.batches(0, 0)) + list(engine.batches(1, 0))
    for i, batch in enumerate(batches):
        engine.step(*batch, epoch=0, step=i, factor=1.0)
        for each in engine.averages:
            each.update(engine.module)
        plain_training(expected, [batch])
        decay = min(ema, (1 + i) / (10 + i))
        for name, t in expected.state_dict().items():
            average[name] = decay * average[name] + (1 - decay) * t if t.is_floating_point() else t.clone()
    for name, array in engine.weights().items():
        np.testing.assert_allclose(array, average[name].numpy(), rtol=2e-5, atol=2e-6, err_msg=name)
    torch.testing.assert_close(
        engine.module.get_parameter("head.weight"), expected.get_parameter("head.weight"), rtol=2e-5, atol=2e-6
    )


def test_lookahead_leads_the_steps_back():
    engine, expected = engine_of(network(), {"lookahead": 0.8}), network()  # 6 steps in all, led back at 5 and 6
    slow = {name: t.clone() for name, t in expected.state_dict().items()}
    batches = list(engine.batches(0, 0)) + list(engine.batches(1, 0))
    for i, batch in enumerate(batches, 1):
        engine.step(*batch, epoch=0, step=i, factor=1.0)
        for each in engine.averages:
            each.update(engine.module)
        plain_training(expected, [batch])
        if i == 5:
            decay = 0.8**5 * (5 / 6) ** 3
            slow = {n: decay * slow[n] + (1 - decay) * t for n, t in expected.state_dict().items()}
        if i >= 5:
            expected.load_state_dict(slow)
    for name, t in engine.module.state_dict().items():
        if t.is_floating_point():
            torch.testing.assert_close(t, slow[name], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_labels_are_mixed_in_the_shares_of_the_pixels(kind):
    """Pictures of class "a" are black, of class "b" white: the mean of a mixed picture is its share of "b"."""
    labels = np.arange(14) % 2
    pixels = np.broadcast_to((255 * labels).astype(np.uint8)[:, None, None, None], (14, 6, 6, 1)).copy()
    engine = engine_of(network(), {"augment": {kind: 1.0}}, Images(pixels, labels, ("a", "b", "c")))
    shares = set()
    for epoch in range(6):
        for x, y in engine.batches(epoch, 0):
            white = (x * 0.25 + 0.5).mean((1, 2, 3))
            torch.testing.assert_close(y[:, 1], white, atol=0.01, rtol=0)
            torch.testing.assert_close(y.sum(1), torch.ones(7))
            shares |= set(y[:, 1].tolist())
    assert any(0.05 < share < 0.95 for share in shares)
