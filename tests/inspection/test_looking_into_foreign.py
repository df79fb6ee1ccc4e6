"""Networks in the usual shapes of public repositories can be traced and explained, or are refused in one line."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from convlens.base.errors import InputError
from convlens.classify.classifier import Classifier
from convlens.data import Preprocess
from convlens.inspection.explain import Options, Pictures, Subject, explain
from convlens.inspection.trace import trace

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from foreign import NETWORKS

PREPROCESS = Preprocess((16, 16), 1, mean=(0.4,), std=(0.3,))
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 1), np.uint8)
FAST = {"MobileNetV2", "SE-ResNet", "U-Net", "loop"}
EACH = [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS]
REFUSED = {
    ("patch transformer", "lrp"): "lrp has no rule for 'matmul'",
    ("attention by hand", "lrp"): "lrp has no rule for 'matmul'",
    ("stem alone", "features"): "needs a layer that gives maps of more than one cell",
    ("stem alone", "grad-cam"): "needs a layer that gives maps of more than one cell",
}


@pytest.mark.parametrize("name", EACH)
def test_a_network_of_a_public_shape_is_traced_to_its_pixels(name):
    torch.manual_seed(0)
    module = NETWORKS[name]()
    found = trace(module, PREPROCESS.normalize(PIXELS[:1]))
    assert abs(found.value - found.recomputed) <= 1e-5 * max(found.sum.magnitude, abs(found.exact))
    assert found.pixels.error <= 1e-9
    assert float(found.pixels.shares.sum()) + found.pixels.bias == pytest.approx(found.exact, abs=1e-9)


@pytest.mark.parametrize("method", ["features", "grad-cam", "guided-backprop", "lrp"])
@pytest.mark.parametrize("name", EACH)
def test_a_network_of_a_public_shape_is_explained_or_refused_in_one_line(name, method):
    torch.manual_seed(0)
    module = NETWORKS[name]()
    with torch.no_grad():
        module(torch.zeros(2, 1, 16, 16))  # a network of a run is never lazy
    subject = Subject(Classifier(module, PREPROCESS, ("a", "b")), on_note=lambda note: None)
    given = Pictures(PIXELS, ("p", "q"))
    if (name, method) in REFUSED:
        with pytest.raises(InputError, match=REFUSED[name, method]) as refused:
            explain(subject, given, [method], Options(quiet=True))
        assert "\n" not in str(refused.value)
        return
    found = explain(subject, given, [method], Options(quiet=True))[method]
    assert np.isfinite(found.arrays["maps"]).all()
    assert found.arrays["maps"].any()
    if method == "lrp":  # nothing is lost
        logits = subject.classifier.logits(PIXELS).max(1)
        total = found.arrays["relevance"].reshape(2, -1).sum(1) + found.arrays["biases"]
        np.testing.assert_allclose(total, logits, rtol=1e-3, atol=1e-3)
