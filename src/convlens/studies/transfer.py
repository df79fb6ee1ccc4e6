"""Features learned on one task, used for another with few pictures."""

from typing import Any

import numpy as np
import torch
from pydantic import Field

from convlens import data, models
from convlens.base.seeds import derive, generator
from convlens.studies.drawing import lines
from convlens.studies.findings import Findings
from convlens.studies.registry import Options, register
from convlens.studies.trials import Trained, Trial, train

NETWORK = "sprint"
COUNTS, SEEDS = (4, 16, 64), 3
EPOCHS = 200  # from scratch: of few pictures an epoch is a step or two
HELD = 10  # pictures a class for validation, the same for all
WAYS = ("from scratch", "features of task A", "features of drawn weights")


class TransferOptions(Options):
    """Which images; their first half of classes is task A, the second half task B."""

    data: str = Field("", description="a name or path of images; by default cifar10, and digits with --quick")


@register(
    "transfer",
    title="Transfer: features of one task serve another",
    texts=("handbook transfer learning", "book 10.14"),
    claims={
        "few": "With the fewest pictures of task B, an output layer on the features of task A is better than a "
        "network trained from scratch.",
        "learned": "The features are better than those of drawn weights, with every number of pictures: what was "
        "learned counts, and not the layers alone.",
        "shrinks": "The advantage over training from scratch shrinks with the number of pictures.",
    },
    measures="test accuracy on task B, mean over seeds",
    options=TransferOptions,
)
def transfer(findings: Findings) -> None:
    """A network that tells some classes apart has learned edges, colors and shapes on the way, and these are of use for
    classes that it has never seen. Task A is one half of the classes of a set, task B the other half. A new output
    layer on the network of task A learns from a few pictures what would take a network of its own many more.
    """
    name = findings.options.data or ("digits" if findings.quick else "cifar10")
    counts, seeds, epochs = (COUNTS[:2], 1, EPOCHS // 4) if findings.quick else (COUNTS, SEEDS, EPOCHS)
    task_a, task_b = tasks(name, findings.seed)
    findings.set(images=task_a["train"].name, network=NETWORK, task_a=", ".join(task_a["train"].classes),
                 task_b=", ".join(task_b["train"].classes), pictures_a_class_of_task_b=", ".join(map(str, counts)),
                 validation_pictures_a_class=HELD, epochs_from_scratch=epochs, seeds=seeds,
                 features="all layers but the last, as they are; the new one by L-BFGS")  # fmt: skip
    quick: dict[str, Any] = {"epochs": 20} if findings.quick else {}
    lesson = Trial("task-a", NETWORK, task_a, {"recipe": "fast", "seed": findings.seed, **quick})
    ((_, teacher),) = train(findings, [lesson])
    findings.figure("test accuracy on task A", teacher.accuracy)
    trials = [
        trial(way, count, seed, task_b, teacher, epochs) for count in counts for way in WAYS for seed in range(seeds)
    ]  # fmt: skip
    found: dict[tuple[str, int], list[float]] = {(way, count): [] for way in WAYS for count in counts}
    for one, trained in train(findings, trials):
        found[key_of(one)].append(trained.accuracy)
    means = {key: float(np.mean(values)) for key, values in found.items()}
    findings.table("Test accuracy on task B", ["pictures a class", *WAYS],
                   [[count, *(means[way, count] for way in WAYS)] for count in counts])  # fmt: skip
    curves = {way: [means[way, count] for count in counts] for way in WAYS}
    findings.picture("accuracy", lines(counts, curves, x="pictures a class of task B", y="test accuracy", log="x"),
                     f"Mean of {seeds} seeds.")  # fmt: skip
    judge(findings, means, counts)


def judge(findings: Findings, means: dict[tuple[str, int], float], counts: tuple[int, ...]) -> None:
    scratch, taught, drawn = WAYS
    gains = [means[taught, count] - means[scratch, count] for count in counts]
    over_drawn = [means[taught, count] - means[drawn, count] for count in counts]
    few, many = counts[0], counts[-1]
    findings.judge("few", gains[0] > 0, f"{few} pictures a class: {means[taught, few]:.3f} against "
                   f"{means[scratch, few]:.3f}")  # fmt: skip
    findings.judge("learned", min(over_drawn) > 0, f"least advantage: {min(over_drawn):+.3f}")
    findings.judge("shrinks", gains[-1] < gains[0], f"{gains[0]:+.3f} with {few} pictures a class, {gains[-1]:+.3f} "
                   f"with {many}")  # fmt: skip


def tasks(name: str, seed: int) -> tuple[dict[str, data.Images], dict[str, data.Images]]:
    """The first half of the classes, and the second: parts by name."""
    source = data.find(name)
    native = source.native or (3, 32, 32)
    splits = data.split(source.read(data.Preprocess(native[1:], native[0])).parts, seed=seed, val_fraction=0.1)
    half = len(splits.train.classes) // 2
    first, second = range(half), range(half, len(splits.train.classes))
    return of_classes(splits, first), of_classes(splits, second)


def of_classes(splits: data.Splits, classes: range) -> dict[str, data.Images]:
    """The pictures of some classes, which follow each other; their labels begin at 0."""
    parts = {}
    for part, images in splits._asdict().items():
        chosen = images.select(np.flatnonzero(np.isin(images.labels, classes)))
        names = images.classes[classes.start : classes.stop]
        parts[part] = data.Images(np.asarray(chosen.pixels[:]), chosen.labels - classes.start, names, images.name)
    return parts


def few(task: dict[str, data.Images], count: int, seed: int) -> dict[str, data.Images]:
    """So many pictures of each class for training, drawn by the seed; others for validation; the whole test part."""
    train_part = task["train"]
    order = generator(seed, "study", "transfer").permutation(len(train_part))
    by_class = [order[train_part.labels[order] == label] for label in range(len(train_part.classes))]
    held = np.concatenate([members[:HELD] for members in by_class])
    taken = np.concatenate([members[HELD : HELD + count] for members in by_class])
    return {"train": train_part.select(taken), "val": train_part.select(held), "test": task["test"]}


def trial(
    way: str, count: int, seed: int, task: dict[str, data.Images], teacher: Trained, epochs: int = EPOCHS
) -> Trial:
    """One training on task B. The name says which: `taught-16-1`."""
    images, name = few(task, count, seed), f"{('scratch', 'taught', 'drawn')[WAYS.index(way)]}-{count}-{seed}"
    height, width = teacher.record.preprocess["size"]
    size = f"{height}x{width}"
    if way == WAYS[0]:
        return Trial(name, NETWORK, images, {"recipe": "fast", "epochs": epochs, "seed": seed, "size": size})
    if way == WAYS[1]:
        return Trial(name, None, images, {"from_": teacher.path, "seed": seed})
    channels = images["train"].shape[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "study", "transfer", "drawn"))
        network = models.create(NETWORK, num_classes=len(images["train"].classes), in_channels=channels,
                                image_size=(height, width))  # fmt: skip
    return Trial(name, network, images, {"recipe": "transfer", "seed": seed, "size": size})


def key_of(one: Trial) -> tuple[str, int]:
    kind, count, _ = one.name.split("-")
    return WAYS[("scratch", "taught", "drawn").index(kind)], int(count)
