"""Every classifier of the zoo becomes an ONNX file that answers as PyTorch does, or is named here with the reason."""

import numpy as np
import pytest
import torch

from convlens import models
from convlens.classify.classifier import Classifier
from convlens.data import Preprocess
from convlens.deploy import exporters

LARGE = 40_000_000  # parameters; larger ones take minutes each
NO_PICTURES = {"go_policy", "go_policy_small", "dcgan_generator", "dcgan64_generator"}  # 17 planes of a board; noise
NOT_FINITE = {"resnet1202_cifar"}  # untrained, with these weights, PyTorch's own outputs are not numbers


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in models.names() if name not in NO_PICTURES | NOT_FINITE])
def test_networks_of_the_zoo_answer_alike_in_onnx(name, tmp_path):
    entry = models.get(name)
    if entry.parameters > LARGE:
        pytest.skip(f"{entry.parameters:,} parameters: takes minutes")
    channels, height, width = entry.input
    torch.manual_seed(0)
    network = models.create(name).eval()
    with torch.no_grad():
        classes = network(torch.zeros(2, *entry.input)).shape[1]
    classifier = Classifier(network, Preprocess((height, width), channels), tuple(map(str, range(classes))))
    images = np.random.default_rng(0).integers(0, 256, (32, height, width, channels), dtype=np.uint8)
    exported = exporters.export(classifier, "onnx", tmp_path / "m.onnx", images=images)
    assert exported.max_error < 1e-4
