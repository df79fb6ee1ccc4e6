"""A finished run folder without a training: the report only reads files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from convlens.classify.evaluation import Evaluation, from_logits
from convlens.data.images import Images
from convlens.data.preprocess import Preprocess
from convlens.report import save_evaluation
from convlens.runs import DataRecord, ModelRecord, RunFolder, RunRecord
from convlens.training import recipe as recipes


def pretend(
    folder: Path,
    classes: tuple[str, ...] = tuple("0123456789"),
    *,
    n: int = 300,
    size: tuple[int, int] = (28, 28),
    channels: int = 1,
    epochs: int = 8,
    sharpness: float = 6.0,
    settings: tuple[str, ...] = (),
    finished: bool = True,
) -> tuple[RunFolder, Evaluation]:
    """Writes what training would have left in `folder`: random images, noisy predictions, smooth curves."""
    rng = np.random.default_rng(7)
    folder.mkdir(parents=True, exist_ok=True)
    run = RunFolder(folder)
    labels = np.arange(n) % len(classes)
    logits = rng.normal(size=(n, len(classes))) * 2
    logits[np.arange(n), labels] += sharpness
    judged = from_logits(logits, labels, classes)
    results = {
        "epochs": epochs,
        "best_epoch": epochs - 1,
        "val": {"accuracy": 0.97, "loss": 0.11},
        "test": {"accuracy": judged.accuracy, "loss": judged.loss, "n": n},
        "seconds": {"total": 75.2, "train": 61.9},
        "images_per_second": 12345.6,
    }
    run.write_record(
        RunRecord(
            created="2025-01-02T03:04:05+00:00",
            model=ModelRecord(source="zoo", name="lenet5", input=[channels, *size], parameters=61706),
            classes=list(classes),
            preprocess=Preprocess(size, channels).to_dict(),
            recipe=recipes.load("lenet", settings=settings).model_dump(mode="json"),
            seed=3,
            numeric={"device": "cpu", "dtype": "bfloat16", "channels_last": True, "threads": 2},
            data=DataRecord(
                source="digits",
                name="digits",
                fingerprint="0123abcd",
                counts={"train": 1300, "val": 140, "test": n},
                split="best weights chosen on a validation part",
            ),
            versions={"convlens": "0.1.0"},
            results=results if finished else None,
        )
    )
    run.write_metrics(
        [
            {
                "epoch": e + 1,
                "train_loss": 2.0 * 0.5**e,
                "train_accuracy": 1 - 0.5 ** (e + 1),
                "val_loss": 1.5 * 0.6**e,
                "val_accuracy": 1 - 0.6 ** (e + 1),
                "lr": 0.004 * (1 - e / epochs),
            }
            for e in range(epochs)
        ]
    )
    weights = rng.normal(size=(6, channels, 5, 5)).astype(np.float32)
    run.write_arrays(run.weights, {"conv1.weight": weights, "fc.weight": np.zeros((3, 8), np.float32)}, {})
    if finished:
        y, x = np.mgrid[0 : size[0], 0 : size[1]]
        smooth = 127 + 120 * np.sin(rng.random((n, 1, 1, channels)) * 9 + (x * 0.2 + y * 0.1)[None, :, :, None])
        save_evaluation(folder, judged, Images(smooth.astype(np.uint8), labels, classes))
    return run, judged


@pytest.fixture
def pretend_run() -> Callable[..., tuple[RunFolder, Evaluation]]:
    return pretend
