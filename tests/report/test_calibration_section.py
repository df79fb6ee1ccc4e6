"""What the page says of calibration, on planted cases and on a run that learned by heart."""

import re

import numpy as np
import pytest

import convlens as cl
from convlens.classify.calibration import calibration
from convlens.classify.evaluation import Evaluation, from_logits
from convlens.data import Preprocess, find
from convlens.report import language, reliability
from typed import present


def _section(scale: float, n: int = 4000):
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(n, 6)) * 2
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    found = calibration(from_logits(logits * scale, labels, tuple("abcdef")))
    return present(reliability.section(found, language.english())), present(found)


def test_the_page_says_which_way_the_probabilities_err():
    over, found = _section(3)
    assert over["verdict"].startswith("The network is surer than it is right")
    assert f"Divide the logits by {found.temperature:.3g}" in over["advice"]
    assert _section(0.4)[0]["verdict"].startswith("The network is right more often than it says")
    right, _ = _section(1)
    assert right["verdict"].startswith("The network is right about as often as it says")
    assert right["advice"].startswith("Another temperature would not help")


def test_a_gap_that_chance_does_not_explain_is_named_though_the_error_by_chance_is_large():
    under, found = _section(0.7, 300)
    assert found.error < 2.5 * found.chance
    assert found.accuracy - found.confidence > 2 * found.spread
    assert under["verdict"].startswith("The network is right more often than it says")


def test_errors_that_cancel_out_on_average_are_named():
    sure = np.concatenate([np.full(500, 0.6), np.full(500, 0.9)])
    right = np.concatenate([np.arange(500) % 10 < 8, np.arange(500) % 10 < 7])
    judged = Evaluation(("a", "b"), np.where(right, 0, 1), np.stack([sure, 1 - sure], 1).astype(np.float32), 0.5)
    section = present(reliability.section(calibration(judged), language.english()))
    assert section["verdict"].startswith("On average the network is as sure as it is right")


def test_the_diagram_has_a_bar_as_high_as_its_share_for_each_bin_with_images():
    section, found = _section(3)
    heights = [float(h) for h in re.findall(r'class="bar[^>]*height="([\d.]+)"', section["svg"])]
    shares = np.array([one.accuracy for one in found.bins if one.n])
    assert len(heights) == len(shares)
    np.testing.assert_allclose(heights, shares * 230, atol=0.06)


def test_without_a_temperature_the_page_says_why():
    judged = from_logits(np.eye(3)[[0, 1, 2, 0]] * 4, np.array([0, 1, 2, 0]), tuple("abc"))
    section = present(reliability.section(calibration(judged), language.english()))
    assert section["advice"].startswith("No temperature can be found")
    assert len(section["rows"]) == 2


@pytest.mark.slow
def test_the_temperature_at_least_halves_the_error_of_a_network_that_learned_few_images_by_heart(tmp_path, real_data):
    parts = find("mnist", root=real_data).read(Preprocess((28, 28), 1)).parts
    data = {"train": parts["train"].select(slice(0, 600)), "test": parts["test"]}
    settings = ["epochs=60", "label_smoothing=0", "optimizer.weight_decay=0", "augment.shift=0"]
    run = cl.train("lenet5", data, recipe="fast", settings=settings, out=tmp_path / "run", seed=1, quiet=True)
    found = present(calibration(run.evaluate({"test": parts["test"]})))
    assert found.confidence > found.accuracy + 0.03
    assert present(found.mended) <= found.error / 2
    text = run.report().read_text("utf-8")
    assert f"Divide the logits by {found.temperature:.3g}" in text
