"""Attributions against oracles that share no code with them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from explaining import Written, pictures, subject_of, tensor
from torch import Tensor, nn

from convlens import models
from convlens.base.errors import InputError
from convlens.classify.classifier import Classifier
from convlens.data import Preprocess
from convlens.inspection.explain import Attribution, Explanations, Options, Pictures, Subject, explain

QUIET = Options(quiet=True)


def maps(module: nn.Module, method: str, options: Options = QUIET, given: Pictures | None = None) -> Attribution:
    found = explain(subject_of(module), given or pictures(), [method], options)[method]
    assert isinstance(found, Attribution)
    return found


def gradient(module: nn.Module, x: Tensor, weights: Tensor) -> Tensor:
    """Of sum(logits * weights), in float64."""
    x = x.double().requires_grad_()
    return torch.autograd.grad((module.double().eval()(x) * weights).sum(), x)[0]


def one_hot(module: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return F.one_hot(module.eval()(x).argmax(1), 3).double()


def close(a: np.ndarray, b: np.ndarray, tolerance: float) -> bool:
    return bool(np.abs(a - b).max() <= tolerance * np.abs(b).max())


# --- which number is explained --------------------------------------------------------------------------------------


def test_saliency_is_the_largest_magnitude_of_the_gradient_over_the_channels():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    given = pictures(channels=3)
    subject = subject_of(module, channels=3)
    found = explain(subject, given, ["saliency"], QUIET)["saliency"]
    x = tensor(subject, given)
    expected = gradient(module, x, one_hot(module, x)).abs().amax(1).numpy()
    assert close(found.arrays["maps"], expected, 1e-5)


def test_a_class_that_is_named_is_explained_and_against_another_the_difference():
    module, given = Written("modules"), pictures()
    x = tensor(subject_of(module), given)
    one, two = (gradient(Written("modules"), x, F.one_hot(torch.tensor([k] * 3), 3)) for k in (1, 2))
    options = Options(target="bee", quiet=True)
    assert close(maps(module, "saliency", options).arrays["gradient"], one.numpy(), 1e-5)
    against = Options(target="bee", against="cat", quiet=True)
    for method in ("saliency", "integrated-gradients", "occlusion", "lrp"):
        found = maps(module, method, against)
        if method == "saliency":
            assert close(found.arrays["gradient"], (one - two).numpy(), 1e-5)
        else:  # shares of both add up where they are linear in the logits
            parts = [maps(module, method, Options(target=name, quiet=True)).maps for name in ("bee", "cat")]
            assert close(found.maps, parts[0] - parts[1], 1e-4), method


def test_each_picture_may_have_a_class_of_its_own():
    module = Written("functions")
    found = maps(module, "saliency", Options(target=("cat", "ant", "bee"), quiet=True))
    x = tensor(subject_of(module), pictures())
    assert close(found.arrays["gradient"], gradient(module, x, F.one_hot(torch.tensor([2, 0, 1]), 3)).numpy(), 1e-5)
    with pytest.raises(InputError, match="2 classes for 3 pictures"):
        maps(Written("functions"), "saliency", Options(target=("cat", "ant"), quiet=True))


def test_the_class_that_is_explained_is_none_to_compare_it_with():
    with pytest.raises(InputError, match=r"--against 'bee' is the class that is explained$"):
        maps(Written("modules"), "saliency", Options(target="bee", against="bee", quiet=True))
    predicted = explain(subject_of(Written("modules")), pictures(1), ["saliency"], QUIET)
    assert predicted.comparison is not None
    name = predicted.comparison.to_dict()[0]["class"]
    with pytest.raises(InputError, match="which is the class predicted; say which class to explain by --class"):
        explain(subject_of(Written("modules")), pictures(1), ["saliency"], Options(against=name, quiet=True))


# --- every way of writing an activation -----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["guided-backprop", "deconvolution", "lrp"])
def test_modules_functions_in_place_and_a_shared_module_are_the_same_and_none_is_the_gradient(method):
    found = {way: maps(Written(way), method).arrays["maps"] for way in Written.WAYS}
    for way in Written.WAYS[1:]:
        assert close(found[way], found["modules"], 1e-6), way
    plain = maps(Written("modules"), "saliency").maps
    assert np.abs(found["modules"] - plain).max() > 0.05 * np.abs(plain).max()


def rectified(module: Written, x: Tensor, weights: Tensor, *, guided: bool) -> Tensor:
    """Guided backpropagation (or the deconvolution network), written once more by hand for this one network."""
    p = {name: value.detach().double() for name, value in module.named_parameters()}
    h1 = F.conv2d(x.double(), p["c1.weight"], p["c1.bias"], padding=1)
    m1, where = F.max_pool2d(h1.relu(), 2, return_indices=True)
    h2 = F.conv2d(m1, p["c2.weight"], p["c2.bias"])
    h3 = F.linear(h2.relu().flatten(1), p["f1.weight"], p["f1.bias"])

    def back(above: Tensor, before: Tensor) -> Tensor:
        return above.clamp(min=0) * ((before > 0) if guided else 1)

    r = back(weights @ p["f2.weight"], h3) @ p["f1.weight"]
    r = F.conv_transpose2d(back(r.reshape(h2.shape), h2), p["c2.weight"])
    r = F.max_unpool2d(r, where, [2, 2], output_size=list(h1.shape))
    return F.conv_transpose2d(back(r, h1), p["c1.weight"], padding=1)


@pytest.mark.parametrize("guided", [True, False])
def test_rectified_gradients_are_those_written_by_hand(guided):
    module = Written("functions")
    x = tensor(subject_of(module), pictures())
    expected = rectified(module, x, one_hot(module, x), guided=guided)
    found = maps(module, "guided-backprop" if guided else "deconvolution")
    assert close(found.arrays["gradient"], expected.numpy(), 1e-5)


def test_a_network_without_rectifiers_is_told_that_its_guided_map_is_the_gradient():
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(288, 3))
    found = maps(module, "guided-backprop")
    assert close(found.maps, maps(module, "saliency").maps, 1e-4)
    assert found.notes == ("the network has no rectifier: the map is that of the plain gradient",)


# --- relevance ------------------------------------------------------------------------------------------------------


def relevance(module: Written, x: Tensor, weights: Tensor) -> Tensor:
    """Relevance written once more by hand for this one network, with automatic differentiation for the sums."""
    p = {name: value.detach().double() for name, value in module.named_parameters()}
    x = x.double()
    h1 = F.conv2d(x, p["c1.weight"], p["c1.bias"], padding=1).relu()
    m1, where = F.max_pool2d(h1, 2, return_indices=True)
    h2 = F.conv2d(m1, p["c2.weight"], p["c2.bias"]).relu()
    h3 = F.linear(h2.flatten(1), p["f1.weight"], p["f1.bias"]).relu()

    def dense(a: Tensor, name: str, r: Tensor) -> Tensor:
        z = F.linear(a, p[f"{name}.weight"], p[f"{name}.bias"])
        return a * ((r / (z + 1e-6 * torch.where(z >= 0, 1.0, -1.0))) @ p[f"{name}.weight"])

    def convolution(a: Tensor, name: str, r: Tensor, padding: int) -> Tensor:
        """Term by term: every product of input and weight is an entry, the positive ones count."""
        w, b = p[f"{name}.weight"], p[f"{name}.bias"]
        columns = F.unfold(a, w.shape[2:], padding=padding)  # [N, C k k, L]
        terms = (columns[:, None] * w.flatten(1)[None, :, :, None]).clamp(min=0)  # [N, out, C k k, L]
        total = terms.sum(2) + b.clamp(min=0)[None, :, None]
        part = r.flatten(2) / total.where(total > 0, torch.ones(()).double()) * (total > 0)
        return F.fold((terms * part[:, :, None]).sum(1), a.shape[2:], w.shape[2:], padding=padding)

    logits = F.linear(h3, p["f2.weight"], p["f2.bias"])
    r = dense(h2.flatten(1), "f1", dense(h3, "f2", logits * weights)).reshape(h2.shape)
    r = F.max_unpool2d(convolution(m1, "c2", r, 0), where, [2, 2], output_size=list(h1.shape))
    return convolution(x, "c1", r, 1)


def test_relevance_is_that_written_by_hand():
    module = Written("modules")
    x = tensor(subject_of(module), pictures())
    assert close(maps(module, "lrp").arrays["relevance"], relevance(module, x, one_hot(module, x)).numpy(), 1e-5)


def zoo(name: str) -> tuple[Subject, Pictures]:
    """A network of the zoo with random weights, biases and statistics, as after some training, for small pictures."""
    torch.manual_seed(1)
    channels, size = (1, 28) if name == "lenet5" else (3, 32)
    module = models.create(name, num_classes=10, in_channels=channels, image_size=(size, size)).eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.5, 2)
            nn.init.uniform_(part.weight, 0.5, 1.5)
        if isinstance(bias := getattr(part, "bias", None), Tensor):
            nn.init.normal_(bias, 0, 0.1)
    preprocess = Preprocess((size, size), channels, (0.4,) * channels, (0.3,) * channels)
    classes = tuple("abcdefghij")
    return Subject(Classifier(module, preprocess, classes), name), pictures(2, channels, size)


SLOW = ("vgg11", "vgg16_bn", "densenet121", "googlenet", "xception")


@pytest.mark.parametrize(
    "name",
    [
        "lenet5",
        "vgg13_cifar",
        "resnet20",
        "resnet18_cifar",
        "squeezenet1_1",
        *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW),
    ],
)
def test_relevance_of_pixels_and_biases_adds_up_to_the_logit(name):
    subject, given = zoo(name)
    found = explain(subject, given, ["lrp"], QUIET)
    assert found.comparison is not None
    scores = found.comparison.aims.scores.astype(np.float64)
    lrp = found["lrp"].arrays
    total = lrp["maps"].sum((1, 2)) + lrp["biases"]
    assert np.abs(total - scores).max() <= 1e-4 * np.abs(scores).max()
    assert np.abs(lrp["maps"]).sum() > 0


def test_without_biases_the_pixels_alone_have_all_of_the_logit():
    module = Written("shared")
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    found = explain(subject_of(module), pictures(), ["lrp"], QUIET)
    assert found.comparison is not None
    assert close(found["lrp"].arrays["maps"].sum((1, 2)), found.comparison.aims.scores, 1e-4)


def test_attention_has_no_rule_and_is_refused_by_name():
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c, self.f = nn.Conv2d(1, 4, 3, stride=3), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.c(x).flatten(2).transpose(1, 2)
            return self.f((torch.softmax(x @ x.transpose(1, 2), -1) @ x).mean(1))

    torch.manual_seed(0)
    with pytest.raises(InputError, match=r"lrp has no rule for 'matmul' \(.*\): use another method"):
        maps(Attending(), "lrp")
    assert maps(Attending(), "guided-backprop").maps.any()


# --- captum's ------------------------------------------------------------------------------------------------------


def test_integrated_gradients_add_up_to_the_difference_to_the_black_picture():
    module = Written("in place")
    found = explain(subject_of(module), pictures(), ["integrated-gradients"], QUIET)
    assert found.comparison is not None
    black = Pictures(np.zeros((3, 14, 14, 1), np.uint8), ("a", "b", "c"))
    with torch.no_grad():
        dark = module(tensor(subject_of(module), black)).numpy()
    aims = found.comparison.aims
    expected = aims.scores - dark[np.arange(3), aims.target]
    arrays = found["integrated-gradients"].arrays
    assert close(arrays["maps"].sum((1, 2)), expected, 0.02)
    assert close(arrays["maps"].sum((1, 2)) - arrays["gaps"], expected, 1e-5)


@pytest.mark.parametrize("way", Written.WAYS)
def test_grad_cam_is_that_written_by_hand(way):
    module = Written(way)
    found = maps(module, "grad-cam", Options(layer="c2", quiet=True))
    reference = Written("functions").double()
    x = tensor(subject_of(module), pictures()).double()
    weights = one_hot(reference, x)
    first = F.max_pool2d(F.relu(reference.c1(x)), 2)
    a = reference.c2(first).detach().requires_grad_()
    logits = reference.f2(F.relu(reference.f1(F.relu(a).flatten(1))))
    (g,) = torch.autograd.grad((logits * weights).sum(), a)
    cells = (g.mean((2, 3), keepdim=True) * a).sum(1).relu().detach()
    assert close(found.arrays["cells"], cells.numpy(), 1e-5)
    large = F.interpolate(cells[:, None], (14, 14), mode="bilinear", align_corners=False)[:, 0]
    assert close(found.maps, large.numpy(), 1e-5)


def test_grad_cam_takes_the_last_layer_with_places_and_refuses_others():
    assert maps(Written("modules"), "grad-cam").notes == ("layer a2, 5x5 cells",)
    assert maps(Written("shared"), "grad-cam").notes == ("layer c2, 5x5 cells",)  # the shared module runs three times
    for layer, why in {"f1": "gives no maps", "a": "runs 3 times", "c3": "no module 'c3', did you mean 'c"}.items():
        with pytest.raises(InputError, match=why):
            maps(Written("shared"), "grad-cam", Options(layer=layer, quiet=True))


def test_occlusion_is_the_fall_of_the_logit_under_each_window():
    module, given = Written("functions"), pictures(2)
    found = maps(module, "occlusion", given=given)
    x = tensor(subject_of(module), given)
    target = one_hot(module, x).argmax(1)
    falls, windows = np.zeros((2, 14, 14)), np.zeros((14, 14))
    with torch.no_grad():
        whole = module(x).gather(1, target[:, None])[:, 0]
        for i in range(13):
            for j in range(13):
                covered = x.clone()
                covered[:, :, i : i + 2, j : j + 2] = 0
                fall = (whole - module(covered).gather(1, target[:, None])[:, 0]).numpy()
                falls[:, i : i + 2, j : j + 2] += fall[:, None, None]
                windows[i : i + 2, j : j + 2] += 1
    assert close(found.maps, falls / windows, 1e-4)


def test_without_captum_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "captum", None)
    with pytest.raises(InputError, match=r"need captum: pip install 'convlens\[explain\]'$"):
        maps(Written("modules"), "occlusion")


# --- the check ------------------------------------------------------------------------------------------------------


def compared(found: Explanations, method: str) -> tuple[float, str]:
    assert found.comparison is not None
    judged = found.comparison.judged[method]
    return judged.correlation, judged.verdict(0)


def test_a_map_that_does_not_look_at_the_weights_fails_and_is_marked(monkeypatch):
    """An edge detector looks convincing and knows nothing of the network."""
    from convlens.inspection.explain.registry import METHODS, Method

    def edges(subject: Subject, given: Pictures, options: Options) -> Attribution:
        gray = given.pixels.astype(float).mean(3)
        return Attribution(what="edges", arrays={"maps": np.abs(np.gradient(gray, axis=1))}, signed=False, unit="edge")

    monkeypatch.setitem(METHODS, "edges", Method("edges", "attribution", "", True, edges))
    found = explain(subject_of(Written("modules")), pictures(), ["edges", "saliency"], QUIET)
    assert compared(found, "edges") == (pytest.approx(1), "failed")
    row = found.to_dict()["pictures"][0]["maps"]["edges"]
    assert (row["randomization_check"], row["rank_correlation_random"]) == ("failed", pytest.approx(1))
    (figure, *_) = found.draw().values()
    titles = {axes.get_title(): axes.title.get_color() for axes in figure.axes}
    assert titles["rank correlation 1.00\nFAILS: looks the same"] == "#b3261e"


def test_the_random_network_is_another_one_each_seed_and_the_same_for_one():
    from convlens.inspection.explain.randomized import randomized

    module = Written("modules")
    before = {name: value.clone() for name, value in module.state_dict().items()}
    drawn = [randomized(subject_of(module), seed).module.state_dict() for seed in (0, 0, 1)]
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])
        assert torch.equal(drawn[0][name], drawn[1][name])
        assert not torch.equal(drawn[0][name], drawn[2][name])
        assert not torch.equal(drawn[0][name], value)


def test_a_parameter_of_the_users_own_is_shuffled():
    from convlens.inspection.explain.randomized import randomized

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.f = nn.Parameter(torch.arange(196.0)), nn.Linear(196, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.f(x.flatten(1) * self.scale)

    drawn = randomized(subject_of(Scaled())).module.get_parameter("scale").detach()
    assert not torch.equal(drawn, torch.arange(196.0))
    assert torch.equal(drawn.sort().values, torch.arange(196.0))


def test_the_rank_correlation_is_that_of_scipy():
    from scipy.stats import spearmanr

    from convlens.inspection.explain.randomized import rank_correlation

    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, (2, 6, 7)).astype(float)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a.ravel(), b.ravel())[0])
    assert np.isnan(rank_correlation(a, np.ones((6, 7))))
