"""What is wrong with a run, from what its layers show: one line for each fault, none for a healthy run."""

import math
from collections.abc import Mapping
from typing import Any

from convlens.base.words import percent

ENOUGH = 10_000
"""Images that must have been trained on before a run is called stuck."""

_STUCK = 0.95  # of the loss of guessing
_MOSTLY_DEAD, _FEW = 0.9, 4
_VANISHED = 1e-4  # of the last layer's gradient
_FAST = 0.05  # of its size a weight changes in one step
_SPREAD = (0.02, 20.0)  # of inputs


def diagnose(
    record: Mapping[str, Any], *, images: int, classes: int, chance: tuple[float, int], lr: float
) -> list[str]:
    """Lines for the reader.

    Args:
        record: of an epoch with "layers", see `callbacks.layers`.
        images: trained on so far. classes: K. lr: the peak learning rate.
        chance: the share of the largest class, and the number of validation images.
    """
    layers: Mapping[str, Mapping[str, float]] = record["layers"]
    stuck = images >= ENOUGH and record["train_loss"] > _STUCK * math.log(classes)
    lower = f"try a lower learning rate, as in --set optimizer.lr={lr / 10:g}"
    found = [*_inputs(layers), *_dead(layers, lower)]
    if stuck and not found:
        found = [*_vanishing(layers), *_too_fast(layers, lower)]
    return found or _no_better_than_chance(record, images, chance)


def _inputs(layers: Mapping[str, Mapping[str, float]]) -> list[str]:
    for path, figures in layers.items():
        mean, std = figures.get("input_mean", 0.0), figures.get("input_std", 1.0)
        if not _SPREAD[0] <= std <= _SPREAD[1] or abs(mean) > _SPREAD[1]:
            return [
                f"{path or 'the first layer'} is given values with mean {mean:.3g} and deviation {std:.3g}: scale what "
                "the network is given to about 0 and 1"
            ]
    return []


def _dead(layers: Mapping[str, Mapping[str, float]], lower: str) -> list[str]:
    dead = {p: f for p, f in layers.items() if f.get("dead", 0) >= _MOSTLY_DEAD and f.get("units", 0) >= _FEW}
    if not dead:
        return []
    path = max(dead, key=lambda p: dead[p]["dead"])
    others = f" (and {len(dead) - 1} other layers)" if len(dead) > 1 else ""
    return [f"{path or 'a layer'}: {percent(dead[path]['dead'], 0)} of its channels never fire{others}; {lower}"]


def _vanishing(layers: Mapping[str, Mapping[str, float]]) -> list[str]:
    gradients = [(path, f["gradient"]) for path, f in layers.items() if "gradient" in f and "update" in f]
    if len(gradients) < 2 or not gradients[-1][1] > 0:
        return []
    (first, small), (last, large) = gradients[0], gradients[-1]
    if small >= _VANISHED * large:
        return []
    return [
        f"{first}: its gradient is {small / large:.0e} of that of {last}, so it hardly learns; try ReLU, normalization "
        "or skip connections"
    ]


def _too_fast(layers: Mapping[str, Mapping[str, float]], lower: str) -> list[str]:
    updates = {path: f["update"] for path, f in layers.items() if "update" in f}
    path = max(updates, key=updates.__getitem__, default=None)
    if path is None or updates[path] < _FAST:
        return []
    return [f"{path}: its weights change by {percent(updates[path], 0)} in one step, and nothing is learned; {lower}"]


def _no_better_than_chance(record: Mapping[str, Any], images: int, chance: tuple[float, int]) -> list[str]:
    share, n = chance
    if images < ENOUGH or not n or "val_accuracy" not in record:
        return []
    if record["val_accuracy"] > share + 3 * math.sqrt(share * (1 - share) / n):
        return []
    reached = percent(record["val_accuracy"])
    return [
        f"validation accuracy is {reached} after {images:,} images, no more than always answering the largest class "
        f"({percent(share)}): look whether the labels belong to the pictures"
    ]
