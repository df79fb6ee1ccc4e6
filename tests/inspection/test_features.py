"""What channels look for: maps, kernels, patches, deconvolution, maximisation, embedding, receptive field."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from explaining import CLASSES, Written, images, pictures, subject_of, tensor
from sklearn.decomposition import PCA
from torch import nn

from convlens import data, models
from convlens.base.errors import InputError
from convlens.classify.classifier import Classifier
from convlens.data import Images, Preprocess
from convlens.inspection.explain import Explanation, Options, Subject, explain
from convlens.inspection.explain.layers import fields_of, map_layer
from typed import present, untyped


def found(subject: Subject, method: str, n: int = 3, **options) -> Explanation:
    given = pictures(n, subject.preprocess.channels, subject.preprocess.size[0])
    return explain(subject, given, [method], Options(quiet=True, **options))[method]


def hooked(module: nn.Module, path: str, x: torch.Tensor) -> np.ndarray:
    """What a layer gives, by a hook."""
    kept = []
    hook = module.get_submodule(path).register_forward_hook(lambda _m, _i, y: kept.append(untyped(y).clone()))
    with torch.no_grad():
        module.eval()(x)
    hook.remove()
    return kept[0].numpy()


def test_features_are_the_maps_of_the_layer():
    module = Written("modules")
    subject = subject_of(module)
    one = found(subject, "features", layer="c1")
    np.testing.assert_allclose(one.arrays["maps"], hooked(module, "c1", tensor(subject, pictures())), atol=1e-5)
    assert one.facts["channels"] == list(range(6))
    assert sorted(one.draw()) == ["p0-features", "p1-features", "p2-features"]
    assert found(subject, "features", layer="c1", channels=(4,)).facts["channels"] == [4]
    some = found(subject, "features", layer="c1", count=2)
    strongest = np.argsort(-np.abs(one.arrays["maps"]).mean(axis=(0, 2, 3)))[:2]
    assert some.facts["channels"] == sorted(strongest.tolist())
    assert any("the 2 strongest of 6 channels" in note for note in some.notes)


@pytest.mark.parametrize("method", ["features", "patches", "deconvnet"])
def test_a_channel_or_layer_that_is_not_there_is_refused(method):
    subject = subject_of(Written("modules"))
    with pytest.raises(InputError, match="--channel 6: the layer has 6 channels, 0 to 5"):
        found(subject, method, layer="c1", channels=(6,))
    with pytest.raises(InputError, match="no module 'c9'"):
        found(subject, method, layer="c9")
    with pytest.raises(InputError, match="it gives no maps"):
        found(subject, method, layer="f1")


def test_kernels_are_the_weights_of_the_layer_and_of_a_transposed_one_too():
    module = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.ConvTranspose2d(5, 4, 3, groups=1), nn.Conv2d(4, 4, 1), nn.Flatten(), nn.LazyLinear(3)
    )
    module(torch.zeros(1, 3, 14, 14))
    subject = subject_of(module, channels=3)
    first = found(subject, "kernels")
    assert first.facts["layer"] == "0"
    np.testing.assert_allclose(first.arrays["kernels"], present(untyped(module[0]).weight).detach().numpy())
    assert list(first.draw()) == ["kernels-0"]
    transposed = found(subject, "kernels", layer="1").arrays["kernels"]
    np.testing.assert_allclose(transposed, untyped(module[1]).weight.detach().numpy().transpose(1, 0, 2, 3))
    with pytest.raises(InputError, match=r"--layer 4: no layer with kernels.*known: 0, 1, 2"):
        found(subject, "kernels", layer="4")


class Detectors(nn.Module):
    """A channel for each digit: the least squares fit of that digit against the others."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray):
        super().__init__()
        self.conv = nn.Conv2d(1, 10, 8, bias=False)
        x, y = pixels.reshape(len(pixels), -1) / 255, np.eye(10)[labels]
        weights = np.linalg.solve(x.T @ x + np.eye(64), x.T @ y)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor(weights.T.reshape(10, 1, 8, 8)))

    def forward(self, x):
        return self.conv(x).amax((2, 3))


def test_the_strongest_patches_of_a_planted_digit_detector_are_that_digit():
    digits = data.find("digits").read(Preprocess((8, 8), 1)).parts["train"]
    module = Detectors(np.asarray(digits.pixels), digits.labels)
    classes = tuple(map(str, range(10)))
    subject = Subject(Classifier(module, Preprocess((8, 8), 1), classes), "detectors", lambda: digits)
    one = explain(subject, pictures(0, 1, 8), ["patches"], Options(layer="conv", count=10, quiet=True))["patches"]
    for channel, rows in one.facts["channels"].items():
        assert [row["class"] for row in rows] == [channel] * 9
    assert list(one.draw()) == ["patches-conv"]


def test_patches_are_the_strongest_cells_of_all_pictures_and_what_those_see():
    module = Written("functions")
    subject = subject_of(module)
    pixels = np.asarray(images(1, 14, CLASSES).pixels)
    maps = hooked(module, "c1", torch.from_numpy(subject.preprocess.normalize(pixels)))
    one = found(subject, "patches", layer="c1")
    for channel in range(6):
        of_picture = maps[:, channel].max(axis=(1, 2))
        np.testing.assert_allclose(one.arrays["values"][channel], np.sort(of_picture)[::-1][:9], rtol=1e-5)
        for row in one.facts["channels"][str(channel)]:
            y, x = row["cell"]
            assert maps[row["picture"], channel, y, x] == pytest.approx(row["value"], rel=1e-5)
            assert row["box"] == [y - 1, y + 1, x - 1, x + 1]


def test_patches_need_a_data_set():
    subject = subject_of(Written("modules"))
    with pytest.raises(InputError, match="searches a data set: name one by --data"):
        found(Subject(subject.classifier), "patches")


def test_the_deconvolution_of_an_edge_detector_shows_the_edge():
    module = nn.Sequential(nn.Conv2d(1, 1, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    with torch.no_grad():
        untyped(module[0]).weight.copy_(kernel[None, None])
    subject = subject_of(module)
    given = pictures(1)
    given.pixels[:] = 0
    given.pixels[0, :, 9:] = 255  # dark to bright between columns 8 and 9
    one = explain(subject, given, ["deconvnet"], Options(layer="0", quiet=True))["deconvnet"]
    (row,) = one.facts["pictures"]["p0.png"]
    y, x = row["cell"]
    assert x in (7, 8)  # the kernel stands across the edge
    assert row["box"] == [y, y + 2, x, x + 2]
    projection = one.arrays["projections"][0, 0, 0]
    expected = np.zeros((14, 14))
    expected[y : y + 3, x : x + 3] = row["value"] * kernel.numpy()
    np.testing.assert_allclose(projection, expected, rtol=1e-5)
    assert list(one.draw()) == ["p0-deconvnet"]


@pytest.mark.parametrize("way", Written.WAYS)
def test_a_channel_is_sent_back_through_switches_and_rectifiers_however_they_are_written(way):
    module = Written(way)
    subject = subject_of(module)
    one = found(subject, "deconvnet", n=1, layer="c2", channels=(3,))
    x = tensor(subject, pictures(1))
    first = F.relu(module.c1(x))
    pooled, switches = F.max_pool2d(first, 2, return_indices=True)
    second = module.c2(pooled)
    cell = int(second[0, 3].argmax())
    seed = torch.zeros_like(second)
    seed[0, 3].view(-1)[cell] = second[0, 3].max()
    back = F.conv_transpose2d(seed, module.c2.weight)
    back = F.relu(F.max_unpool2d(back, switches, [2, 2], output_size=list(first.shape[2:])))
    back = F.conv_transpose2d(back, module.c1.weight, padding=1)
    np.testing.assert_allclose(one.arrays["projections"][0, 0], back[0].detach().numpy(), atol=1e-4)


def test_maximising_climbs_far_above_noise_and_above_the_data_and_is_the_same_for_a_seed():
    subject = subject_of(Written("functions"))
    one = found(subject, "maximise")
    start, end = one.arrays["values"].T
    logits = subject.classifier.logits(images(1, 14, CLASSES).pixels)
    assert (end > start).all()
    assert (end > logits.max(0)).all()
    reached = subject.classifier.logits(one.arrays["pictures"])
    np.testing.assert_allclose(np.diag(reached), end, rtol=1e-3)
    np.testing.assert_array_equal(found(subject, "maximise").arrays["pictures"], one.arrays["pictures"])
    assert (found(subject, "maximise", seed=1).arrays["pictures"] != one.arrays["pictures"]).any()
    alone = found(subject, "maximise", target="bee")
    assert alone.facts["found"][0]["name"] == "bee"
    with pytest.raises(InputError, match="--channel goes with --layer"):
        found(subject, "maximise", channels=(1,))


@pytest.mark.parametrize("way", Written.WAYS)
def test_a_channel_is_maximised_before_what_is_written_over_it(way):
    module = Written(way)
    one = found(subject_of(module), "maximise", layer="c1", channels=(2, 5))
    x = torch.from_numpy(subject_of(module).preprocess.normalize(one.arrays["pictures"]))
    with torch.no_grad():
        expected = module.c1(x).mean((2, 3))
    assert one.arrays["values"][:, 1] == pytest.approx([expected[0, 2].item(), expected[1, 5].item()], rel=1e-3)


def test_an_embedding_is_of_what_the_last_layer_is_given():
    module = Written("functions")
    subject = subject_of(module)
    one = found(subject, "embedding")
    kept = []
    hook = module.f2.register_forward_pre_hook(lambda _m, args: kept.append(args[0].clone()))
    x = torch.from_numpy(subject.preprocess.normalize(np.asarray(images(1, 14, CLASSES).pixels)))
    with torch.no_grad():
        module(x)
    hook.remove()
    features = one.arrays["features"]
    np.testing.assert_allclose(features, kept[0].numpy(), atol=1e-5)
    theirs = PCA(2, svd_solver="full").fit(features)
    np.testing.assert_allclose(np.abs(one.arrays["pca"]), np.abs(theirs.transform(features)), atol=1e-8)
    np.testing.assert_allclose(one.facts["explained_variance"], theirs.explained_variance_ratio_)
    assert one.arrays["tsne"].shape == (24, 2)
    np.testing.assert_array_equal(found(subject, "embedding").arrays["tsne"], one.arrays["tsne"])
    some = found(subject, "embedding", count=10)
    assert len(some.arrays["pictures"]) == 10
    assert any("10 of 24 pictures" in note for note in some.notes)
    maps = found(subject, "embedding", layer="c2")
    np.testing.assert_allclose(maps.arrays["features"], hooked(module, "c2", x).mean((2, 3)), atol=1e-5)
    assert list(one.draw()) == ["embedding"]


def test_the_receptive_field_is_the_gradient_of_the_middle_cell_within_its_box():
    module = Written("in place")
    subject = subject_of(module)
    one = found(subject, "receptive-field", layer="c2")
    x = tensor(subject, pictures()).requires_grad_()
    y = module.c2(F.max_pool2d(F.relu(module.c1(x)), 2))
    (gradient,) = torch.autograd.grad(y[:, :, 2, 2].sum(), x)
    np.testing.assert_allclose(one.arrays["maps"], gradient.abs().sum(1).numpy(), rtol=1e-4, atol=1e-6)
    top, bottom, left, right = one.facts["box"]
    assert (bottom - top + 1, right - left + 1) == (8, 8)  # 3 x 3 of cells of 2 x 2, and one more on each side
    outside = one.arrays["maps"].copy()
    outside[:, max(top, 0) : bottom + 1, max(left, 0) : right + 1] = 0
    assert not outside.any()


@pytest.mark.parametrize(
    ("name", "expected"),
    [("resnet20_cifar", "layer3.2"), ("lenet5", "features.s4"), ("densenet_bc_40_12_cifar", "features")],
)
def test_the_layer_that_is_chosen_is_what_the_network_goes_on_with(name, expected):
    shape = channels, height, width = models.get(name).input
    module = models.create(name).eval()
    preprocess = Preprocess((height, width), channels)
    subject = Subject(Classifier(module, preprocess, tuple(map(str, range(10)))))
    path = map_layer(subject)
    assert path == expected or path.startswith(f"{expected}.")
    assert fields_of(subject, path) is not None
    assert hooked(module, path, torch.zeros(2, *shape)).ndim == 4


def test_pictures_in_color_are_shown_as_pictures():
    module = nn.Sequential(nn.Conv2d(3, 4, 5, stride=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3))
    subject = subject_of(module, channels=3)
    for method in ("features", "kernels", "patches", "deconvnet", "receptive-field", "maximise"):
        drawn = found(subject, method, n=1, **({"layer": "0"} if method != "maximise" else {})).draw()
        assert drawn


def test_a_data_set_of_one_picture_is_searched():
    subject = subject_of(Written("modules"))
    single = Images(images(1, 14, CLASSES).pixels[:1], np.zeros(1, np.int64), CLASSES, "one")
    alone = Subject(subject.classifier, "one", lambda: single)
    assert found(alone, "patches", layer="c1").arrays["values"].shape == (6, 1)
    with pytest.raises(InputError, match="an embedding needs four or more"):
        found(alone, "embedding")
