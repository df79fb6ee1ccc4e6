"""A classifier without any folder: its answers are PyTorch's, and the caller's module and process stay as they were."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from convlens.base.errors import InputError
from convlens.classify.classifier import Classifier
from convlens.data import Images, Preprocess
from convlens.models import create
from typed import wrong

CLASSES = ("ant", "bee", "cat")
PREPROCESS = Preprocess((8, 8), 3, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
PIXELS = np.random.default_rng(0).integers(0, 256, (300, 8, 8, 3), dtype=np.uint8)


class Net(nn.Module):
    def __init__(self, outputs: int = 3):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(6, outputs)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    net = Net()
    for _ in range(3):  # running figures of batch normalisation that are not 0 and 1
        net(torch.randn(16, 3, 8, 8) * 2 + 1)
    return net


def plainly(net: nn.Module, pixels: np.ndarray) -> torch.Tensor:
    """Logits as a PyTorch user would write it."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (PREPROCESS.mean, PREPROCESS.std))
    x = (torch.tensor(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
    training = net.training
    with torch.no_grad():
        logits = net.eval()(x)
    net.train(training)
    return logits


def test_the_answers_are_those_of_plain_pytorch_on_the_same_pixels(net):
    classifier = Classifier(net, PREPROCESS, CLASSES)
    expected = plainly(net, PIXELS)
    np.testing.assert_allclose(classifier.logits(PIXELS), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(classifier.probabilities(PIXELS), expected.softmax(1), rtol=1e-4, atol=1e-6)
    found = classifier.predict(PIXELS, top=2)
    likeliest = expected.softmax(1).topk(2)
    assert [one.label for one in found] == [CLASSES[k] for k in likeliest.indices[:, 0]]
    for one, indices, values in zip(found, likeliest.indices, likeliest.values, strict=True):
        assert [name for name, _ in one.top] == [CLASSES[k] for k in indices]
        assert [p for _, p in one.top] == pytest.approx(values.tolist(), rel=1e-4)
        assert one.top[0] == (one.label, one.probability)


def test_an_array_a_picture_and_its_file_get_one_answer(net, tmp_path):
    classifier = Classifier(net, PREPROCESS, CLASSES)
    picture = Image.fromarray(PIXELS[0])
    picture.save(tmp_path / "one.png")
    answers = classifier.predict([PIXELS[0], picture, tmp_path / "one.png", (tmp_path / "one.png").read_bytes()])
    assert len(set(answers)) == 1
    assert classifier.predict([]) == []
    assert classifier.logits(PIXELS[:0]).shape == (0, 3)


def test_judging_is_pytorchs_cross_entropy_and_a_count(net):
    labels = np.arange(len(PIXELS)) % 3
    judged = Classifier(net, PREPROCESS, CLASSES).evaluate(Images(PIXELS, labels, CLASSES, "drawn"))
    logits = plainly(net, PIXELS)
    assert judged.loss == pytest.approx(F.cross_entropy(logits, torch.tensor(labels)).item(), rel=1e-5)
    assert judged.correct == (logits.argmax(1) == torch.tensor(labels)).sum()
    with pytest.raises(InputError, match="other classes"):
        Classifier(net, PREPROCESS, ("a", "b", "c")).evaluate(Images(PIXELS, labels, CLASSES, "drawn"))


def test_views_are_averaged(net):
    mirrored = (plainly(net, PIXELS) + plainly(net, np.ascontiguousarray(PIXELS[:, :, ::-1]))) / 2
    found = Classifier(net, PREPROCESS, CLASSES, views="mirror").logits(PIXELS)
    np.testing.assert_allclose(found, mirrored, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["lenet5", "resnet18", "sprint", "densenet121"])
def test_stages_of_the_zoo_say_where_to_look_and_what_is_there(name):
    module = create(name, num_classes=3, in_channels=3, image_size=64)
    classifier = Classifier(module, Preprocess((64, 64), 3), CLASSES)
    sizes = {}
    for stage in classifier.stages.values():
        hook = lambda _, __, output, path=stage.path: sizes.__setitem__(path, output.shape)  # noqa: E731
        module.get_submodule(stage.path).register_forward_hook(hook)
    classifier.predict([np.zeros((64, 64, 3), np.uint8)])
    assert len(classifier.stages) >= 3
    for stage in classifier.stages.values():
        assert sizes[stage.path][1] == stage.channels
        if stage.stride is not None:
            assert 0 <= 64 / stage.stride - sizes[stage.path][3] < 8


def test_other_networks_have_no_stages_whatever_they_call_so(net):
    net.stages = nn.ModuleList()
    assert Classifier(net, PREPROCESS, CLASSES).stages == {}
    assert Classifier(lambda x: x.mean((2, 3)), PREPROCESS, CLASSES).stages == {}


def test_any_function_of_arrays_can_be_the_network():
    def means(x: np.ndarray) -> np.ndarray:
        assert x.dtype == np.float32
        return x.mean((2, 3))

    classifier = Classifier(means, PREPROCESS, CLASSES)
    expected = ((PIXELS / 255 - PREPROCESS.mean) / PREPROCESS.std).mean((1, 2))
    np.testing.assert_allclose(classifier.logits(PIXELS), expected, rtol=1e-4, atol=1e-5)
    assert [one.label for one in classifier.predict(PIXELS)] == [CLASSES[k] for k in expected.argmax(1)]
    with pytest.raises(InputError, match="no PyTorch module"):
        _ = classifier.module


def spoiled(net: Net, **changes) -> Classifier:
    return Classifier(**{"network": net, "preprocess": PREPROCESS, "classes": CLASSES, **changes})


@pytest.mark.parametrize(("use", "words"), [
    (lambda net: spoiled(net, classes="cat"), "classes must be a list of names"),
    (lambda net: spoiled(net, classes=()), "classes must be a list of names"),
    (lambda net: spoiled(net, views="miror"), "did you mean 'mirror'"),
    (lambda net: spoiled(wrong(lambda x: x), views="mirror"), "no PyTorch module"),
    (lambda net: spoiled(net).logits(PIXELS / 255), "expected prepared pixels uint8"),
    (lambda net: spoiled(net).logits(PIXELS[:, :4]), r"expected prepared pixels uint8 \[N, 8, 8, 3\], got uint8"),
    (lambda net: spoiled(net).logits(PIXELS[0]), "expected prepared pixels"),
    (lambda net: spoiled(net).predict(PIXELS[0]), "put one into a list"),
    (lambda net: spoiled(net).predict(PIXELS[..., 0]), "put one into a list"),
    (lambda net: spoiled(net).predict("seven.png"), "put one into a list"),
    (lambda net: spoiled(net).predict(wrong(Image.fromarray(PIXELS[0]))), "put one into a list"),
    (lambda net: spoiled(net).predict(PIXELS, top=0), "top: how many classes"),
    (lambda net: spoiled(net, classes=("a", "b")).predict(PIXELS), "its last layer needs 2 outputs"),
    (lambda net: spoiled(wrong(lambda x: x.mean((1, 2, 3)))).predict(PIXELS), "it gave shape"),
])  # fmt: skip
def test_what_cannot_be_meant_is_refused_in_one_line(net, use, words):
    with pytest.raises(InputError, match=words) as refused:
        use(net)
    assert "\n" not in str(refused.value)


@settings(max_examples=20, deadline=None)
@given(flags=st.lists(st.booleans(), min_size=7, max_size=7), threads=st.integers(1, 3), double=st.booleans())
def test_the_callers_module_and_process_stay_as_they_were(flags, threads, double):
    net = Net()
    for part, flag in zip(net.modules(), flags, strict=True):
        part.training = flag
    weights = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    before_threads = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.set_default_dtype(torch.float64 if double else torch.float32)
    try:
        states = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"].tolist(), random.getstate()  # noqa: NPY002
        Classifier(net, PREPROCESS, CLASSES).predict(PIXELS[:3])
        assert torch.get_num_threads() == threads
        assert torch.get_default_dtype() == (torch.float64 if double else torch.float32)
        assert torch.equal(torch.get_rng_state(), states[0])
        assert np.random.get_state(legacy=False)["state"]["key"].tolist() == states[1]  # noqa: NPY002
        assert random.getstate() == states[2]
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
    finally:
        torch.set_num_threads(before_threads)
        torch.set_default_dtype(torch.float32)
    assert [part.training for part in net.modules()] == flags
    assert all(torch.equal(tensor, weights[name]) for name, tensor in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_flags_are_put_back_after_an_error():
    class Broken(Net):
        def forward(self, x):
            raise ValueError("no")

    net = Broken()
    with pytest.raises(InputError, match=r"shape \(2, 3, 8, 8\): no"):
        Classifier(net, PREPROCESS, CLASSES).logits(PIXELS[:2])
    assert all(part.training for part in net.modules())


def test_threads_that_ask_at_once_get_the_answers_of_one_after_the_other(net):
    """The module is in training mode: a thread that put that back too early would give the others random answers."""
    classifier = Classifier(net, PREPROCESS, CLASSES)
    expected = [classifier.logits(PIXELS[k : k + 20]) for k in range(0, 300, 20)]
    barrier = threading.Barrier(4)

    def ask(_: int) -> list[np.ndarray]:
        barrier.wait()
        return [classifier.logits(PIXELS[k : k + 20]) for k in range(0, 300, 20)]

    threads = torch.get_num_threads()
    with ThreadPoolExecutor(4) as pool:
        for answers in pool.map(ask, range(4)):
            for one, other in zip(answers, expected, strict=True):
                np.testing.assert_array_equal(one, other)
    assert net.training
    assert torch.get_num_threads() == threads
    assert torch.get_default_dtype() == torch.float32


def test_answers_that_are_not_finite_are_refused(net):
    with torch.no_grad():
        net.head.weight.fill_(float("inf"))
    classifier = Classifier(net, PREPROCESS, CLASSES)
    with pytest.raises(InputError, match="not finite"):
        classifier.predict(PIXELS)
    with pytest.raises(InputError, match="not finite"):
        classifier.evaluate(Images(PIXELS[:1], np.array([0]), CLASSES, "drawn"))
