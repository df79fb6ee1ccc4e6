"""The Python face: `cl.train`, `cl.load`, live modules and arrays."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import convlens as cl
from convlens.base.errors import InputError
from convlens.data import Images


def test_importing_convlens_imports_no_pytorch():
    program = "import convlens, sys; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def stripes(count: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of horizontal (0) and vertical (1) stripes with noise."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    wave = np.where(np.arange(16) % 4 < 2, 200, 40)
    pixels = np.stack([np.tile(wave, (16, 1)).T if label == 0 else np.tile(wave, (16, 1)) for label in labels])
    return (pixels + rng.integers(-30, 30, pixels.shape)).astype(np.uint8), labels


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))


def test_a_live_module_trains_on_arrays_and_predicts_after_loading(tmp_path):
    module = small_network()
    run = cl.train(module, stripes(), epochs=10, out=tmp_path / "run", quiet=True, size=16)
    assert run.results["test"]["accuracy"] > 0.9
    pixels, labels = stripes(2)
    assert [run.predict(picture).label for picture in pixels] == [str(label) for label in labels]
    with pytest.raises(InputError, match="author"):
        cl.load(tmp_path / "run").predict(pixels[0])
    again = cl.load(tmp_path / "run", model=small_network())
    assert [again.predict(picture).label for picture in pixels] == [str(label) for label in labels]


def test_images_and_parts_are_taken_as_they_are(tmp_path):
    pixels, labels = stripes(200)
    images = Images(pixels[..., None], labels, ("across", "down"), "stripes")
    parts = {"train": images.select(slice(0, 150)), "test": images.select(slice(150, 200))}
    run = cl.train("mlp", parts, epochs=3, out=tmp_path / "run", quiet=True)
    assert run.results["test"]["n"] == 50
    assert run.record.classes == ["across", "down"]
    assert run.evaluate(parts["test"]).accuracy == run.results["test"]["accuracy"]


def test_a_fixed_budget_trains_on_everything_and_keeps_the_last_weights(tmp_path):
    run = cl.train(data="digits", epochs=2, settings=["val_fraction=0"], out=tmp_path / "run", quiet=True)
    assert run.results["val"] is None
    assert run.results["best_epoch"] == 2
    assert run.record.data.counts["val"] == 0
    assert "fixed budget" in run.record.data.split


def test_early_stopping_ends_a_run_that_no_longer_improves(tmp_path):
    settings = ["early_stopping=2", "optimizer.lr=1e-12"]
    run = cl.train(data="digits", epochs=30, settings=settings, out=tmp_path / "run", quiet=True)
    assert run.results["epochs"] <= 6
