"""Digits that nobody wrote: a DCGAN, with and without a class to draw, and its samples as labelled data."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from convlens import data
from convlens.base import files
from convlens.base.words import percent
from convlens.classify.classifier import Classifier
from convlens.inspection import pictures
from convlens.studies.adversarial import CHECKPOINT, CLASSES, Duel, train
from convlens.studies.drawing import lines
from convlens.studies.findings import Findings
from convlens.studies.registry import Options, register
from convlens.studies.trials import Trial

Array = np.ndarray
SHEET = np.tile(np.arange(CLASSES), 8)  # eight rows of the ten digits
LARGEST = 1 << 24  # bytes of a sheet


class Budget(Options):
    """How long."""

    epochs: int = Field(4, ge=1, le=100, description="of the conditional pair")
    unconditional: int = Field(2, ge=1, le=100, description="epochs of the pair without classes")
    samples: int = Field(10_000, ge=1000, le=60_000, description="made to train a LeNet with")


@register(
    "gan",
    title="Digits that nobody wrote",
    texts=("book 10.11", "handbook augmentation"),
    claims={
        "recognised": "Of 1,000 conditional samples, at least 97 % are recognised as their label by a LeNet that has "
        "99 % on real digits.",
        "hands": "They are in many hands: within each digit, two samples are on average at least 0.8 times as far from "
        "each other as two real digits.",
        "new": "They are no copies: the nearest training image is at least 0.8 times as far away as for real digits "
        "that were not trained on (medians), and none is equal.",
        "all": "Without classes, all ten digits come up, each in at least 3 % of 1,000 samples.",
        "labelled": "A LeNet that has seen samples only, and no real digit, recognises at least 90 % of the real ones.",
    },
    measures="share of samples that a LeNet takes for their label; distances between pixel values from 0 to 1; test "
    "accuracy of a LeNet trained on samples",
    options=Budget,
)
def gan(findings: Findings) -> None:
    """Two networks play against each other: a generator makes pictures of noise by transposed convolutions, a
    discriminator tells them from real ones, and each learns from what the other does. When both are told the class,
    the generator draws what is asked for: labelled data, where there is too little of it.
    """
    budget, quick = findings.options, findings.quick
    name = "digits" if quick else "mnist"
    parts = data.split(data.find(name).read(data.Preprocess((28, 28), 1)).parts, seed=findings.seed, val_fraction=0)
    real, unseen = ((np.asarray(one.pixels)[..., 0], one.labels) for one in (parts.train, parts.test))
    maps, epochs, bare = (64, 3, 1) if quick else (256, budget.epochs, budget.unconditional)
    batch = 16 if quick else 64
    if quick:
        findings.say("--quick: 3 epochs of small networks on the 8x8 digits, a share of the work; no claim is judged")
    findings.set(data=f"{name}, {len(real[0]):,} training images", batch=batch, noise=64, maps_at_4x4=maps // 2,
                 optimizer="Adam, rate 0.001, betas 0.5 and 0.999; constant for half of the steps, then to a tenth",
                 epochs=f"{epochs} with classes, {bare} without", threads=1, samples_drawn_with="mean of the weights, "
                 "0.995 a step")  # fmt: skip
    torch.set_num_threads(1)  # put back by whoever does the study; with more, small networks wait for each other
    made = fight(findings, "conditional", Duel(True, findings.seed, maps=maps, batch=batch), real, epochs)
    free = fight(findings, "unconditional", Duel(False, findings.seed, maps=maps, batch=batch), real, bare)
    labels = np.arange(1000) % CLASSES
    samples = made.sample(labels, "judged")
    if quick:
        for claim in findings.study.claims:
            findings.leave_out(claim, "a share of the work says nothing")
        return
    judge = lenet(findings, "judge", name, epochs=12)
    recognised(findings, judge, samples, labels)
    all_ten(findings, judge, free.sample(labels, "judged"))
    hands(findings, samples, labels, *unseen)
    copies(findings, samples, real[0], unseen[0])
    as_data(findings, made, unseen)


def fight(findings: Findings, name: str, duel: Duel, real: tuple[Array, Array], epochs: int) -> Duel:
    """Trains a pair in `runs/<name>`; a sheet of samples after every epoch, always of the same noise."""
    folder = findings.folder / "runs" / name

    def sheet(epoch: int) -> None:
        drawn = pictures.grid(enlarged(duel.sample(SHEET, "sheet")), CLASSES, gap=2)
        files.make_folder(folder)
        files.write_bytes(folder / f"epoch-{epoch}.png", pictures.png(drawn))

    seconds = train(duel, *real, epochs=epochs, folder=folder, at_epoch=sheet,
                    watch=lambda steps: findings.steps(name, steps))  # fmt: skip
    for epoch in range(1, epochs + 1):
        put(
            findings, folder / f"epoch-{epoch}.png", f"{name}-{epoch}.png", f"{name.capitalize()}, after epoch {epoch}."
        )
    losses = np.asarray(duel.losses)
    width = max(1, len(losses) // 100)
    means = losses[: len(losses) // width * width].reshape(-1, width, 2).mean(1)
    steps = (width * np.arange(1, len(means) + 1)).tolist()
    curves = {"discriminator": means[:, 0].tolist(), "generator": means[:, 1].tolist()}
    findings.picture(f"losses-{name}", lines(steps, curves, x="step", y="loss", dots=False, marks=[2 * np.log(2)]),
                     f"Losses of the {name} pair. Dotted: the discriminator's where it can tell nothing.")  # fmt: skip
    findings.figure(f"seconds of training, {name}", round(seconds, 1))
    findings.figure(f"checkpoint, {name}", files.sha256(folder / CHECKPOINT))
    return duel


def put(findings: Findings, source: Path, name: str, caption: str) -> None:
    findings.file(name, files.read_bytes(source, LARGEST), caption)


def enlarged(pixels: Array) -> Array:
    """uint8 [N, 28, 28] as [N, 56, 56, 1], dark on light as on paper."""
    return np.repeat(np.repeat(255 - pixels, 2, 1), 2, 2)[..., None]


def lenet(findings: Findings, name: str, images: Any, epochs: int) -> Classifier:
    """A LeNet-5 trained on these images."""
    options = {"epochs": epochs, "seed": findings.seed, "threads": 1, "tensorboard": False}
    ((_, trained),) = findings.train([Trial(name, "lenet5", images, options)])
    findings.figure(f"accuracy of the {name} on its own test images", trained.accuracy)
    return Classifier.from_run(trained.path)


def recognised(findings: Findings, judge: Classifier, samples: Array, labels: Array) -> None:
    seen = judge.logits(samples[..., None]).argmax(1)
    by_digit = [float((seen[labels == k] == k).mean()) for k in range(CLASSES)]
    share = float((seen == labels).mean())
    findings.figure("recognised as their label", share)
    findings.table("Of 100 samples of each digit, recognised", [str(k) for k in range(CLASSES)],
                   [[percent(one, 0) for one in by_digit]])  # fmt: skip
    own = findings.figures["accuracy of the judge on its own test images"]
    words = f"{percent(share, 1)} of 1,000; the LeNet has {percent(own)} on real test digits"
    findings.judge("recognised", share >= 0.97 and round(own, 2) >= 0.99, words)


def all_ten(findings: Findings, judge: Classifier, samples: Array) -> None:
    counts = np.bincount(judge.logits(samples[..., None]).argmax(1), minlength=CLASSES)
    findings.figure("digits among 1,000 unconditional samples", counts.tolist())
    findings.judge("all", int(counts.min()) >= 30, f"from {counts.min()} to {counts.max()} of each")


def hands(findings: Findings, samples: Array, labels: Array, real: Array, real_labels: Array) -> None:
    rows = []
    for k in range(CLASSES):
        ours, theirs = (mean_distance(one[which == k][:100]) for one, which in ((samples, labels), (real, real_labels)))
        rows.append([k, ours, theirs, ours / theirs])
    findings.table("Mean distance between two pictures of a digit", ["digit", "samples", "real", "ratio"], rows,
                   "Of 100 each; the root of the sum of squared differences of pixel values from 0 to 1.")  # fmt: skip
    least = min(rows, key=lambda row: row[3])
    findings.judge("hands", least[3] >= 0.8, f"least for the digit {least[0]}: {least[3]:.2f} times as far")


def mean_distance(pixels: Array) -> float:
    """Over all pairs of pictures uint8 [N, H, W]."""
    squared = distances(pixels, pixels)
    return float(np.sqrt(squared)[np.triu_indices(len(pixels), 1)].mean())


def distances(some: Array, others: Array) -> Array:
    """Squared distances float32 [N, M] of pixel values from 0 to 1; [..., H, W] uint8 both."""
    a, b = (one.reshape(len(one), -1).astype(np.float32) / 255 for one in (some, others))
    return np.maximum((a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * a @ b.T, 0)


def copies(findings: Findings, samples: Array, training: Array, unseen: Array) -> None:
    """The nearest training image of each sample, and of as many real digits that were not trained on."""
    squared = distances(samples, training)
    nearest = squared.argmin(1)
    ours, theirs = np.sqrt(squared.min(1)), np.sqrt(distances(unseen[: len(samples)], training).min(1))
    ratio = float(np.median(ours) / np.median(theirs))
    findings.figure("distance to the nearest training image", {
        "samples, median": float(np.median(ours)), "samples, least": float(ours.min()),
        "real test digits, median": float(np.median(theirs)), "real test digits, least": float(theirs.min()),
    })  # fmt: skip
    closest = np.argsort(ours, kind="stable")[:10]
    pairs = enlarged(np.concatenate([samples[closest], training[nearest[closest]]]))
    findings.picture("nearest", pictures.grid(pairs, 10, gap=2),
                     "Above: the ten samples that lie nearest to a training image. Below: that image.")  # fmt: skip
    equal = int((samples == training[nearest]).all((1, 2)).sum())
    words = f"{np.median(ours):.2f} against {np.median(theirs):.2f}, {ratio:.2f} times as far; equal: {equal}"
    findings.judge("new", ratio >= 0.8 and equal == 0, words)


def as_data(findings: Findings, made: Duel, unseen: tuple[Array, Array]) -> None:
    """The text's use: samples as labelled data."""
    labels = np.arange(findings.options.samples) % CLASSES
    student = lenet(findings, "student", (made.sample(labels, "data"), labels), epochs=12)
    right = float((student.logits(unseen[0][..., None]).argmax(1) == unseen[1]).mean())
    findings.figure("real test digits recognised by the student", right)
    findings.judge("labelled", right >= 0.9, f"{percent(right)} of {len(unseen[1]):,}")
