"""Training on NumPy alone."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from convlens import scratch
from convlens.base.errors import DivergedError
from convlens.base.schedules import cosine, triangular
from convlens.scratch.from_torch import write_back
from convlens.scratch.loop import predict
from typed import present


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    x = (images * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    order = np.random.default_rng(0).permutation(len(x))
    return x[order[:1400]], labels[order[:1400]], x[order[1400:]], labels[order[1400:]]


def network(seed=0):
    x = scratch.image(1, 8, 8).conv2d(8, 3, padding=1).batch_norm().relu().max_pool2d(2).dropout(0.1)
    return scratch.network(x.flatten().linear(10), seed=seed)


def test_a_small_network_learns_digits(digits):
    x, y, x_val, y_val = digits
    graph = network()
    history = scratch.fit(graph, x, y, epochs=6, batch_size=32, schedule=cosine, validation=(x_val, y_val))
    assert present(history.last.val_accuracy) > 0.95
    assert history.last.loss < history.epochs[0].loss
    assert scratch.evaluate(graph, x_val, y_val) == (history.last.val_loss, history.last.val_accuracy)


def test_equal_seeds_give_equal_weights_and_others_do_not(digits):
    x, y = digits[0][:200], digits[1][:200]
    weights = []
    for seed in (3, 3, 4):
        graph = network()
        scratch.fit(graph, x, y, epochs=2, seed=seed)
        weights.append(graph.parameters["linear_1.weight"])
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_an_epoch_of_training_follows_pytorch_step_by_step(digits):
    """Same start, same batches, momentum SGD: after ten steps in float64 the weights are those of PyTorch."""
    x, y = digits[0][:160] / 255.0, digits[1][:160]
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 10)
    ).double()
    graph, _ = scratch.train_numpy(module, x, y, epochs=1, batch_size=16, lr=0.05, momentum=0.9, seed=5)
    optimizer = torch.optim.SGD(module.parameters(), 0.05, momentum=0.9)
    from convlens.base.seeds import generator

    order = generator(5, "order", 1).permutation(len(x))
    for start in range(0, len(x), 16):
        batch = np.sort(order[start : start + 16])
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(torch.tensor(x[batch])), torch.tensor(y[batch])).backward()
        optimizer.step()
    for name, tensor in module.state_dict().items():
        if not name.endswith("tracked"):
            np.testing.assert_allclose(graph.state()[name], tensor.numpy(), rtol=1e-9, atol=1e-12)


def test_what_numpy_trained_goes_back_into_the_module(digits):
    x, y, x_val, y_val = digits
    module = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10)).eval()
    seen = []
    graph, history = scratch.train_numpy(module, x, y, x_val, y_val, epochs=2, on_epoch=seen.append)
    assert seen == history.epochs
    assert present(history.last.val_accuracy) > 0.85
    assert not module.training
    write_back(graph, module)
    with torch.no_grad():
        theirs = module(torch.tensor(x_val / np.float32(255))).numpy()
    np.testing.assert_allclose(predict(graph, x_val), theirs, rtol=1e-3, atol=1e-4)


def test_a_network_with_another_path_in_inference_is_trained_with_its_auxiliary_head(digits):
    class TwoHeads(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.main, self.extra = nn.Conv2d(1, 4, 3), nn.Linear(144, 10), nn.Linear(144, 10)

        def forward(self, x):
            x = self.body(x).relu().flatten(1)
            return (self.main(x), self.extra(x)) if self.training else self.main(x)

    x, y, x_val, y_val = digits
    module = TwoHeads()
    before = module.extra.weight.detach().numpy().copy()
    graph, history = scratch.train_numpy(module, x, y, x_val, y_val, epochs=3)
    assert len(graph.outputs) == 1
    assert present(history.last.val_accuracy) > 0.8
    assert not np.array_equal(graph.parameters["extra.weight"], before)
    assert np.array_equal(module.extra.weight.detach().numpy(), before)


def test_training_stops_where_it_is_told_to(digits):
    history = scratch.fit(network(), *digits[:2], epochs=5, batch_size=500, on_epoch=lambda epoch: epoch.epoch < 2)
    assert len(history.epochs) == 2


def test_a_loss_that_is_not_finite_ends_training_and_keeps_the_weights(digits):
    graph = network()
    graph.parameters["linear_1.bias"][:] = np.nan
    before = graph.parameters["conv2d_1.weight"].copy()
    with pytest.raises(DivergedError, match="nan at step 1"):
        scratch.fit(graph, *digits[:2])
    assert np.array_equal(graph.parameters["conv2d_1.weight"], before)


def test_the_learning_rate_follows_the_schedule(digits):
    x, y, *_ = digits
    history = scratch.fit(
        network(), x[:64], y[:64], epochs=4, batch_size=64, optimizer=scratch.SGD(0.1),
        schedule=partial(triangular, warmup=0),
    )  # fmt: skip
    assert [epoch.lr for epoch in history.epochs] == pytest.approx([0.1, 0.075, 0.05, 0.025])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x, y: scratch.fit(network(), x, y[:-1]), "y: 1399 labels, expected 1400"),
        (lambda x, y: scratch.fit(network(), x[:0], y[:0]), "x: no samples"),
        (lambda x, y: scratch.fit(network(), x, y, epochs=0), "epochs: 0"),
        (lambda x, y: scratch.fit(network(), x, y + 5), "target: labels"),
    ],
)
def test_a_bad_argument_is_named(digits, call, words):
    with pytest.raises(ValueError, match=words):
        call(*digits[:2])
