"""What a page shows of an evaluation and of the weights: tables, and pictures that stand inside the page."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from convlens.base.arrays import header
from convlens.base.errors import InputError
from convlens.classify.evaluation import Evaluation
from convlens.data.naming import natural
from convlens.data.preprocess import Preprocess
from convlens.inspection import pictures
from convlens.report.cells import MATRIX
from convlens.report.embed import data_uri
from convlens.report.language import Words
from convlens.report.store import StoredEvaluation
from convlens.runs import RunFolder

FOLDED = 30
"""Classes: longer tables are folded."""

_PICTURE = 1000  # classes: larger ones are not drawn, only their most frequent confusions are listed
_KERNELS = 96


Opens = Mapping[tuple[int, int], dict[str, Any]]
"""See `cells.cells`."""


def confusion(evaluation: Evaluation, opens: Opens, words: Words) -> dict[str, Any]:
    """Up to 30 classes a table of cells, up to 1,000 a picture of one pixel per cell, above that nothing.

    opens: the cells that open their images.
    """
    if len(evaluation.classes) > _PICTURE:
        return {"left_out": True, "classes": len(evaluation.classes)}
    counts = evaluation.confusion
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shade = np.sqrt(share)  # the eye should find a cell of 1 %
    if len(counts) > MATRIX:
        colors = np.zeros((*counts.shape, 4), np.uint8)
        colors[..., :3] = (217, 83, 25)
        colors[np.arange(len(counts)), np.arange(len(counts)), :3] = (38, 108, 201)
        colors[..., 3] = np.rint(255 * shade)
        return {"picture": data_uri(colors), "classes": len(counts)}
    rows = [
        {
            "name": name,
            "cells": [
                {
                    "n": int(counts[i, j]),
                    "opens": opens.get((i, j)),
                    "shade": round(float(shade[i, j]), 3),
                    "kind": ("hit" if i == j else "miss") + (" deep" if shade[i, j] > 0.6 else ""),
                    "title": words(
                        "confusion.cell", n=int(counts[i, j]), total=int(counts[i].sum()), true=name, said=other
                    ),
                }
                for j, other in enumerate(evaluation.classes)
            ],
        }
        for i, name in enumerate(evaluation.classes)
    ]
    return {"rows": rows, "classes": len(counts), "long": max(map(len, evaluation.classes)) > 3}


def confused_pairs(evaluation: Evaluation, k: int, opens: Opens, words: Words) -> list[dict[str, Any]]:
    """The k pairs (true, predicted) that occurred most often, with their share of the true class."""
    truth, _, _ = evaluation.counts
    return [
        {
            "true": evaluation.classes[i],
            "predicted": evaluation.classes[j],
            "n": n,
            "share": n / int(truth[i]),
            "opens": opens.get((i, j)),
            "title": words(
                "confusion.cell", n=n, total=int(truth[i]), true=evaluation.classes[i], said=evaluation.classes[j]
            ),
        }
        for i, j, n in evaluation.confused(k)
    ]


def per_class(evaluation: Evaluation) -> list[dict[str, Any]]:
    """In the order of the classes; of many classes the worst first, of very many only those that have images."""
    rows = evaluation.per_class
    if len(rows) > _PICTURE:
        rows = [row for row in rows if row["n"]]
    if len(rows) > FOLDED:
        rows.sort(key=lambda row: -1.0 if math.isnan(row["f1"]) else row["f1"])
    return rows


def mistakes(stored: StoredEvaluation) -> list[dict[str, Any]]:
    judged, kept = stored.evaluation, stored.mistakes
    return [
        {
            "index": int(i),
            "picture": data_uri(pixels),
            "true": judged.classes[judged.labels[i]],
            "predicted": judged.classes[judged.predicted[i]],
            "probability": float(judged.probabilities[i].max()),
            "true_probability": float(judged.probabilities[i, judged.labels[i]]),
            "small": max(pixels.shape[:2]) <= 64,
            "path": path,
            "file": path.rpartition("/")[2],
        }
        for i, pixels, path in zip(kept.index, kept.pixels, kept.names, strict=True)
    ]


def kernels(folder: RunFolder, preprocess: Preprocess) -> dict[str, Any] | None:
    """The filters that look at the image itself: of a convolution, else of a fully connected first layer."""
    if not folder.weights.exists():
        return None
    found = first_layer(folder.weights, preprocess)
    if found is None:
        return None
    name, weight = found
    sheet = pictures.kernels(weight)
    side = max(weight.shape[2:])
    return {
        "name": name,
        "shape": " × ".join(map(str, weight.shape)),
        "pictures": [data_uri(picture) for picture in sheet[:_KERNELS]],
        "total": len(sheet),
        "side": 48 if side <= 12 and len(sheet) > 16 else 72,
    }


def first_layer(path: Path, preprocess: Preprocess) -> tuple[str, np.ndarray] | None:
    """Name and weight [C_out, C_in, K_h, K_w] of the layer that sees the image, judged by shape and name.

    A weights file does not say in which order its layers run. A convolution whose kernels are as deep as the image
    (of several the one with the fewest kernels: depthwise layers further inside have more), else a matrix with a
    column per pixel. None where there is neither.
    """
    from safetensors import SafetensorError, safe_open

    shapes = header(path)
    height, width = preprocess.size
    pixels = preprocess.channels * height * width
    try:
        with safe_open(path, framework="numpy") as file:
            filters = [n for n, s in shapes.items() if len(s) == 4 and s[1] == preprocess.channels and 0 not in s]
            if filters:
                name = min(filters, key=lambda n: (shapes[n][0], -shapes[n][2] * shapes[n][3], natural(n)))
                return name, file.get_tensor(name).astype(np.float32)
            matrices = [n for n, s in shapes.items() if len(s) == 2 and s[1] == pixels and s[0]]
            if not matrices:
                return None
            name = min(matrices, key=natural)
            matrix = file.get_tensor(name).astype(np.float32)
            return name, matrix.reshape(-1, preprocess.channels, height, width)
    except (SafetensorError, TypeError, ValueError, OSError) as error:
        raise InputError(f"{path} is not a readable safetensors file: {error}") from None
