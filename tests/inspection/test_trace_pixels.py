"""A number shared out down to the pixels, what it sees of the image, and the gradient of one weight."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from traced_kinds import LAYERS, PIECEWISE_LINEAR, an_image, built

import convlens as cl
from convlens import data, models
from convlens.base.errors import InputError
from convlens.inspection.trace import trace
from convlens.inspection.trace.gradient import trace_gradient
from convlens.inspection.trace.observed import observe
from convlens.inspection.trace.picture import trace_picture
from convlens.inspection.trace.terms import terms_of
from typed import untyped


@pytest.mark.parametrize("name", LAYERS)
def test_at_every_level_shares_and_biases_are_the_number(name):
    found = trace(built(name), an_image())
    pixels = found.pixels
    assert pixels.value == found.exact
    assert float(pixels.shares.sum()) + pixels.bias == pytest.approx(found.exact, rel=1e-9, abs=1e-9)
    for level in pixels.levels:
        assert abs(level.total - found.exact) <= 1e-9 * max(level.magnitude + abs(level.biases), abs(found.exact))


@pytest.mark.parametrize("name", PIECEWISE_LINEAR)
def test_where_the_network_is_linear_around_the_image_shares_are_gradient_times_input(name):
    module, x = built(name), an_image().requires_grad_()
    found = trace(module, x)
    (gradient,) = torch.autograd.grad(module(x)[0][tuple(found.cell)], x)
    np.testing.assert_allclose(found.pixels.shares, (gradient * x)[0].detach().numpy(), atol=1e-10)


@pytest.mark.parametrize("name", [name for name in PIECEWISE_LINEAR if "pool" in name or "conv" in name])
def test_what_a_cell_sees_is_where_it_can_change(name):
    module, x = built(name), an_image()
    found = trace(module, x)
    for p in module.parameters():
        p.data.abs_()
    seen = torch.zeros(9, 9, dtype=torch.bool)
    for seed in range(40):  # of a maximum only the winner changes it: many pictures
        y = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype).abs().requires_grad_()
        (gradient,) = torch.autograd.grad(module(y)[0][tuple(found.cell)], y)
        seen |= (gradient != 0)[0].any(0)
    assert (found.field.mask | ~seen.numpy()).all()  # nothing outside
    if "max" not in name:
        np.testing.assert_array_equal(found.field.mask, seen.numpy())


@pytest.mark.parametrize("name", ["lenet5", "resnet20_cifar", "densenet_bc_40_12_cifar"])
def test_the_gradient_of_a_weight_is_the_sum_of_its_terms_and_that_of_pytorch(name):
    torch.manual_seed(1)
    module, shape = models.create(name).eval(), models.get(name).input
    x = torch.randn(1, *shape)
    theirs = copy.deepcopy(module).double()
    logits = theirs(x.double())
    F.cross_entropy(logits, logits.argmax(1)).backward()
    expected = {name: p.grad for name, p in theirs.named_parameters()}
    rng = np.random.default_rng(0)
    names = list(expected)
    for parameter in (names[0], names[1], names[len(names) // 2], names[-2], names[-1]):
        gradient = expected[parameter]
        assert gradient is not None
        at = [int(rng.integers(n)) for n in gradient.shape]
        found = trace_gradient(module, x, parameter, at)
        assert found.recomputed == pytest.approx(gradient[tuple(at)].item(), abs=1e-8 * max(found.magnitude, 1e-3))
        assert found.value == pytest.approx(found.recomputed, rel=1e-3, abs=1e-6)
        largest = trace_gradient(module, x, parameter)
        assert abs(largest.exact) == pytest.approx(gradient.abs().max().item(), rel=1e-6, abs=1e-9)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small LeNet on the handwritten digits that ship with scikit-learn."""
    return cl.train(
        "lenet5", "digits", epochs=2, quiet=True, tensorboard=False, out=tmp_path_factory.mktemp("run") / "r"
    )


def test_a_trained_network_is_traced_to_the_pixels_of_a_picture(run):
    picture = data.find("digits").read(run.classifier().preprocess).parts["train"].pixels[5]
    found = run.trace(picture, "features")
    logits = run.trace(picture)
    assert str(logits.cell[0]) == run.predict(picture).label
    for one in (found, logits):
        assert abs(one.value - one.recomputed) <= 1e-5 * one.sum.magnitude
        last = one.pixels.levels[-1]
        assert last.op == "pixels"
        assert last.values.shape[1:] == one.pixels.shares.shape
        assert one.pixels.error <= 1e-6
    gradient = run.trace_gradient(picture, "features.c1", target="3")
    assert gradient.target == 3
    assert gradient.parameter == "features.c1.weight"
    assert abs(gradient.value - gradient.recomputed) <= 1e-5 * gradient.magnitude


def test_pixels_go_through_the_preprocessing_of_the_run(run):
    classifier = run.classifier()
    picture = data.find("digits").read(classifier.preprocess).parts["train"].pixels[5]
    found = trace_picture(classifier, picture, "features.c1", (2, 4, 4))
    mean, std = classifier.preprocess.mean[0], classifier.preprocess.std[0]
    weight = dict(classifier.module.named_parameters())["features.c1.weight"]
    expected = sum(
        row["weight"] * (picture[row["cell"][1], row["cell"][2], 0] / 255 - mean) / std for row in found.terms()
    )
    assert found.recomputed - found.bias == pytest.approx(expected, rel=1e-5)
    assert {row["weight"] for row in found.terms()} <= set(weight[2].flatten().tolist())
    shares, last = found.pixels.shares, found.pixels.levels[-1]
    assert float(shares.sum()) + found.pixels.bias == pytest.approx(found.exact)
    np.testing.assert_array_equal(last.values[0, 0], picture[..., 0])


@pytest.mark.parametrize("target", ["nine", 10, "-1"])
def test_a_class_that_is_not_there_is_refused(run, target):
    picture = data.find("digits").read(run.classifier().preprocess).parts["train"].pixels[5]
    with pytest.raises(InputError, match="there is no class"):
        run.trace_gradient(picture, target=target)


@pytest.mark.parametrize(
    ("layer", "at", "said"),
    [
        ("features.c9", None, "no layer 'features.c9'"),
        ("features.c1", (0, 0), "3"),
        ("features.c1", (6, 0, 0), "out of range"),
        ("features.c1", (0, 0, -1), "out of range"),
    ],
)
def test_layers_and_cells_that_are_not_there_are_refused(run, layer, at, said):
    picture = data.find("digits").read(run.classifier().preprocess).parts["train"].pixels[5]
    with pytest.raises(InputError, match=said) as caught:
        run.trace(picture, layer, at)
    assert "\n" not in str(caught.value)


class Raises(nn.Module):
    """A network that breaks off in the middle."""

    def __init__(self, error: type[BaseException]):
        super().__init__()
        self.conv, self.norm, self.error = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), error

    def forward(self, x):
        self.norm(self.conv(x))
        raise self.error


def state(module: nn.Module) -> list:
    hooks = [
        (
            len(m._forward_hooks),
            len(m._forward_pre_hooks),
            len(m._backward_hooks),
            m.training,
            type(m).forward,
            vars(m).keys(),
        )
        for m in module.modules()
    ]
    tensors = [(t.clone(), t.requires_grad, None if t.grad is None else t.grad.clone()) for t in
               (*module.parameters(), *module.buffers())]  # fmt: skip
    return [hooks, tensors, torch.get_rng_state(), untyped(np.random.get_state())[1], torch.is_grad_enabled()]  # noqa: NPY002


def same(a, b) -> bool:
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool((a == b).all()) if isinstance(a, (torch.Tensor, np.ndarray)) else a == b


@pytest.mark.parametrize("use", ["trace", "pixels", "gradient", "no layer", "Ctrl-C", "an error"])
def test_nothing_is_left_behind(use):
    module = Raises(KeyboardInterrupt if use == "Ctrl-C" else ValueError) if use in ("Ctrl-C", "an error") else (
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3))
    )  # fmt: skip
    module.train()
    next(module.parameters()).grad = torch.ones_like(next(module.parameters()))
    next(module.parameters()).requires_grad_(False)
    x, before = torch.randn(1, 1, 8, 8), state(module)
    before = state(module)
    try:
        if use == "gradient":
            trace_gradient(module, x)
        else:
            found = trace(module, x, "nothing" if use == "no layer" else None)
            assert found.pixels.error < 1e-9
    except (InputError, ValueError, KeyboardInterrupt):
        assert use in ("no layer", "Ctrl-C", "an error")
    assert same(before, state(module))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "name"),
    [("lenet5", "mnist"), ("resnet20_cifar", "cifar10-jpeg"), ("densenet_bc_40_12_cifar", "cifar10-jpeg")],
)
def test_200_cells_of_each_operation_of_networks_trained_on_real_images(real_data, tmp_path, network, name):
    source = data.find(name, root=real_data)
    channels, height, width = models.get(network).input
    parts = source.read(data.Preprocess((height, width), channels)).parts
    run = cl.train(
        network,
        parts["train"].select(slice(None, None, 25)),
        epochs=1,
        quiet=True,
        tensorboard=False,
        out=tmp_path / "r",
    )
    classifier = run.classifier()
    picture = parts["test"].pixels[7]
    observed = observe(classifier.module, classifier.preprocess.normalize(picture[None]))
    rng = np.random.default_rng(0)
    for position, own in observed.torch.items():
        node, call = observed.nodes[position], observed.calls[position]
        takes = [i is not None and observed.from_image[i] for i in node.inputs]
        for _ in range(200):
            cell = tuple(int(rng.integers(n)) for n in own.shape)
            found = terms_of(node.op, call, cell, takes)
            assert abs(found.total - call.output[cell]) <= 1e-12 * max(found.magnitude, abs(found.total))
            # its own float32 has the rounding of all layers before, which is as large as the numbers there
            assert abs(found.total - own[cell]) <= 1e-5 * max(found.magnitude, np.abs(own).max())
    for layer in (None, *[path for path in observed.paths[1:40:6] if "dropout" not in path]):
        assert run.trace(picture, layer).pixels.error <= 1e-6
