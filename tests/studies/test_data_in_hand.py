"""The data in hand: the tables against scikit-learn's own arrays, and claims that fail when they are wrong."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from convlens import data, studies
from convlens.data.loader import Loader


@pytest.fixture
def done(do):
    return do("data-in-hand", settings=["images=100", "seeds=2"])


def verdicts(done) -> dict[str, str]:
    keys = studies.find("data-in-hand").claims
    return dict(zip(keys, (one.verdict for one in done.record.claims), strict=True))


def test_the_tables_say_what_the_arrays_hold(done):
    assert verdicts(done) == dict.fromkeys(("bytes", "scales", "back", "batch"), "holds") | {"sooner": "not run"}
    rows = {row[0]: row for row in done.table("Arrays")}
    counts = [int(rows[part][1].strip("[]").split(",")[0]) for part in ("train", "val", "test")]
    assert sum(counts) == len(load_digits().data)  # type: ignore[attr-defined]
    pixels = data.split(data.find("digits").read(data.Preprocess((8, 8), 1)).parts, seed=0, val_fraction=0.1).train
    bytes_ = np.asarray(pixels.pixels, np.float64)
    assert rows["train"][5] == pytest.approx(bytes_.mean())
    for (_, _, *_, low, high, mean, deviation), x in zip(
        done.table("What the network sees: (pixel / 255 − shift) / divisor"),
        (bytes_ / 255, bytes_ / 127.5 - 1, (bytes_ - bytes_.mean()) / bytes_.std()),
        strict=True,
    ):
        assert (low, high) == pytest.approx((x.min(), x.max()), abs=1e-5)
        assert (mean, deviation) == pytest.approx((x.mean(), x.std()), abs=1e-5)


def test_the_steps_go_from_bytes_to_a_batch_of_numbers(done):
    rows = done.table("The pipeline, step by step")
    assert [row[2] for row in rows] == ["uint8", "int64", "uint8", "uint8", "float32", "int64", "int64"]
    assert [row[1] for row in rows[-3:]] == ["[128, 1, 8, 8]", "[128]", "[128, 10]"]
    assert [path.name for path in sorted(done.folder.glob("*.png"))] == ["samples.png", "scales.png", "values.png"]


def test_numbers_that_do_not_keep_their_promise_are_judged_so(do, monkeypatch):
    true = data.Preprocess.normalize
    monkeypatch.setattr(data.Preprocess, "normalize", lambda self, pixels: true(self, pixels) * np.float32(1.01))
    found = verdicts(do("data-in-hand", settings=["images=100", "seeds=2"]))
    assert [found[key] for key in ("scales", "back", "batch")] == ["does not hold"] * 3


def test_a_loader_with_another_order_is_judged_so(do, monkeypatch):
    true = Loader.epoch
    monkeypatch.setattr(Loader, "epoch", lambda self, epoch, start=0: true(self, epoch + 1, start))
    assert verdicts(do("data-in-hand", settings=["images=100", "seeds=2"]))["batch"] == "does not hold"


def test_the_scales_are_compared_beyond_the_deviation_between_seeds(tmp_path):
    settings = ["data=digits", "images=100", "epochs=1", "seeds=2"]
    record = studies.run("data-in-hand", out=tmp_path / "out", settings=settings)
    losses = record.figures["training loss"]
    less = np.mean(losses["unit"]) - np.mean(losses["standard"])
    sigma = (np.var(losses["unit"], ddof=1) + np.var(losses["standard"], ddof=1)) ** 0.5
    assert record.claims[-1].verdict == ("holds" if less > sigma else "does not hold")
    assert len(set(losses["unit"] + losses["symmetric"] + losses["standard"])) == 6
