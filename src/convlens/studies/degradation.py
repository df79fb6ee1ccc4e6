"""Deeper and worse, on the training images themselves: plain networks of 20 and 56 layers, and residual ones."""

import numpy as np
import torch
from pydantic import Field
from torch import nn

from convlens import data, models
from convlens.base.seeds import derive, generator
from convlens.models.resnet_cifar import CifarBlock
from convlens.studies.drawing import lines
from convlens.studies.findings import Findings
from convlens.studies.registry import Options, register
from convlens.studies.trials import Trained, Trial

NETWORKS = {"plain-20": "plain20_cifar", "plain-56": "plain56_cifar", "resnet-20": "resnet20_cifar",
            "resnet-56": "resnet56_cifar"}  # fmt: skip
SETTINGS = ["val_fraction=0.0", "optimizer.name=sgd", "optimizer.lr=0.05", "optimizer.weight_decay=1e-4",
            "schedule.name=constant", "schedule.warmup=0.0", "label_smoothing=0.0", "augment.flip=true",
            "augment.shift=4"]  # fmt: skip


class Budget(Options):
    """The smallest that shows it; larger ones show it more clearly."""

    data: str = Field("cifar10-jpeg", description="images, as for `convlens train --data`")
    images: int = Field(4000, ge=100, le=1_000_000, description="training images")
    epochs: int = Field(2, ge=1, le=1000, description="passes over them")
    seeds: int = Field(3, ge=1, le=20, description="runs of each network")
    batch: int = Field(32, ge=2, le=1024, description="images per step")


@register(
    "degradation",
    title="Deeper is worse, unless there are shortcuts",
    texts=("book 10.14", "slides ResNet"),
    claims={
        "plain": "Of plain networks, the one of 56 layers has a higher training loss than that of 20.",
        "residual": "Of residual networks, the one of 56 layers has no higher training loss than that of 20, "
        "beyond the deviation between seeds.",
    },
    measures="mean training loss of the last epoch, over several seeds, with the standard deviation",
    options=Budget,
)
def degradation(findings: Findings) -> None:
    """A network of 56 layers contains one of 20: let the other 36 pass their input on, and both say the same. Still,
    training does not find it. The deeper plain network is worse on the very images that it is trained on, so that it
    is no overfitting. With shortcuts, passing on is what a block does when its weights are zero (He et al., 2015).
    """
    budget, seeds, epochs = findings.options, findings.options.seeds, findings.options.epochs
    count = budget.images
    if findings.quick:
        count, epochs, seeds = max(100, count // 20), 1, 1
        findings.say(
            f"--quick: {count} images, 1 epoch, 1 seed, a share of "
            f"{budget.images:,}, {budget.epochs} and {budget.seeds}; "
            "too little to judge by"
        )
    pictures = chosen(budget.data, count, findings.seed)
    findings.set(data=budget.data, training_images=count, epochs=epochs, batch=budget.batch,
                 images_seen=count * epochs, seeds=seeds, recipe=", ".join(SETTINGS),
                 residual_blocks="begin as the identity: the last scale of each is 0 (Goyal et al., 2017)")  # fmt: skip
    found: dict[str, list[Trained]] = {name: [] for name in NETWORKS}
    plans = {f"{name}-{seed}": (name, seed) for seed in range(seeds) for name in NETWORKS}
    for trial, trained in findings.train([
        Trial(key, network(name, findings.seed + seed), pictures,
              {"seed": findings.seed + seed, "epochs": epochs, "batch_size": budget.batch, "settings": SETTINGS,
               "threads": 1, "tensorboard": False})
        for key, (name, seed) in plans.items()
    ]):  # fmt: skip
        found[plans[trial.name][0]].append(trained)
        if all(found.values()):
            show(findings, found)
    if findings.quick or seeds < 2:
        why = "a share of the work says nothing" if findings.quick else "one seed has no spread"
        for claim in findings.study.claims:
            findings.leave_out(claim, why)
        return
    judge(findings, {name: [one.epochs[-1]["train_loss"] for one in runs] for name, runs in found.items()})


def network(name: str, seed: int) -> nn.Module:
    """One of `NETWORKS`. A residual block begins as the identity: the last scale of its branch is 0.

    Without that 56 layers start more slowly than 20 and need a larger budget to overtake them.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "study", "degradation", name))
        made = models.create(NETWORKS[name], num_classes=10, in_channels=3)
    for block in made.modules():
        if isinstance(block, CifarBlock) and block.shortcut is not None:
            nn.init.zeros_(block.bn2.weight)
    return made


def chosen(name: str, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 [N, 32, 32, 3] and labels: as many of each class; a fifth of them will be the test part."""
    parts = data.find(name).read(data.Preprocess((32, 32), 3)).parts
    train = data.split(parts, seed=seed, val_fraction=0).train
    each = -(-count * 5 // (4 * len(train.classes)))
    rng = generator(seed, "study", "degradation", "images")
    places = [rng.permutation(np.flatnonzero(train.labels == k))[:each] for k in range(len(train.classes))]
    picked = np.sort(np.concatenate(places))
    return np.asarray(train.pixels[picked]), np.asarray(train.labels[picked])


def show(findings: Findings, found: dict[str, list[Trained]]) -> None:
    """The table and the curves, as far as there are runs."""
    rows = []
    for name, runs in found.items():
        losses = [one.epochs[-1]["train_loss"] for one in runs]
        right = [one.epochs[-1]["train_accuracy"] for one in runs]
        seconds = [one.results["seconds"]["train"] for one in runs]
        spread = float(np.std(losses, ddof=1)) if len(losses) > 1 else None
        rows.append([name, len(runs), float(np.mean(losses)), spread, float(np.mean(right)), float(np.mean(seconds))])
    findings.table("The last epoch, on the training images",
                   ["network", "seeds", "training loss", "deviation", "accuracy", "seconds each"], rows)  # fmt: skip
    last = {name: [one.epochs[-1]["train_loss"] for one in runs] for name, runs in found.items()}
    findings.figure("training loss", last)
    curves = {
        name: np.mean([[line["train_loss"] for line in one.epochs] for one in runs], 0).tolist()
        for name, runs in found.items()
    }
    epochs = len(next(iter(curves.values())))
    findings.picture("losses", lines(list(range(1, epochs + 1)), curves, x="epoch", y="training loss"),
                     "Mean training loss of each epoch, over the seeds.")  # fmt: skip


def judge(findings: Findings, losses: dict[str, list[float]]) -> None:
    """Differences of means against the deviation between seeds: of the difference, sqrt(s1^2 + s2^2)."""
    for claim, kind, worse in (("plain", "plain", True), ("residual", "resnet", False)):
        shallow, deep = losses[f"{kind}-20"], losses[f"{kind}-56"]
        more = float(np.mean(deep) - np.mean(shallow))
        sigma = float(np.hypot(np.std(shallow, ddof=1), np.std(deep, ddof=1)))
        words = (
            f"56 layers {np.mean(deep):.3f}, 20 layers {np.mean(shallow):.3f}: {more:+.3f} at a sigma of {sigma:.3f}"
        )
        findings.judge(claim, more > sigma if worse else more <= sigma, words)
