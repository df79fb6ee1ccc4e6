"""Looking at the data before anything is trained: pictures, numbers, the pipeline step by step, three scales."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import Field

from convlens import data
from convlens.base.seeds import generator
from convlens.data.augment.augmenter import Augmenter
from convlens.data.augment.settings import AugmentSettings
from convlens.data.loader import Loader
from convlens.inspection import style
from convlens.studies.drawing import panel
from convlens.studies.findings import Findings
from convlens.studies.registry import Options, register
from convlens.studies.trials import Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray
SCALES = {"unit": "0 to 1", "symmetric": "−1 to 1", "standard": "mean and deviation"}
SHOWN, PATCH, BATCH = 4, 6, 128
SETTINGS = ["optimizer.name=sgd", "optimizer.lr=0.02", "schedule.name=constant", "schedule.warmup=0.0",
            "label_smoothing=0.0", "val_fraction=0.0", "batch_size=32", "precision=float32"]  # fmt: skip


class Share(Options):
    """Which images, and how much is trained on them."""

    data: str = Field("", description="a name or path of images; by default cifar10-jpeg, and digits with --quick")
    images: int = Field(4000, ge=100, le=100_000, description="training images for the comparison of the scales")
    epochs: int = Field(3, ge=1, le=100)
    seeds: int = Field(3, ge=2, le=20)


@register(
    "data-in-hand",
    title="The data in hand",
    texts=("book 10.10", "book 10.14", "slides CIFAR-10", "handbook datasets"),
    claims={
        "bytes": "A pixel is stored as one byte, and both ends are used: 0 and 255 occur.",
        "scales": "What the scales promise holds over all training images: 0 to 1, −1 to 1, and in each channel mean 0 "
        "and deviation 1.",
        "back": "No scale loses anything: the bytes come back, every one, from the numbers that the network sees.",
        "batch": "The steps, one after the other, give the batch that training gets.",
        "sooner": "With the same rate and the same first weights, mean and deviation bring a lower training loss than "
        "0 to 1, beyond the deviation between seeds.",
    },
    measures="shapes, ranges, means and deviations of arrays; training loss of the last epoch, mean over seeds",
    options=Share,
)
def data_in_hand(findings: Findings) -> None:
    """Whoever trains on images has looked at them: how many there are, of what shape and type, from where to where
    their values go, and whether the label says what the picture shows. Then comes the pipeline: draw an order, take a
    batch, change it a little, scale it, move the channels to the front. The scale is the recipe's key
    preprocess.scale.
    """
    name = findings.options.data or ("digits" if findings.quick else "cifar10-jpeg")
    source = data.find(name)
    channels, height, width = source.native or (3, 32, 32)
    preprocess = data.Preprocess((height, width), channels)
    splits = data.split(source.read(preprocess).parts, seed=findings.seed, val_fraction=0.1)
    findings.set(images=source.name, classes=", ".join(splits.train.classes))
    look(findings, splits)
    values(findings, splits.train)
    scale(findings, splits.train, preprocess)
    pipeline(findings, splits.train, preprocess)
    compare(findings, splits)


def look(findings: Findings, splits: data.Splits) -> None:
    """Parts with their shapes and ranges, and a sheet of samples."""
    rows: list[list[Any]] = []
    for part, images in splits._asdict().items():
        pixels = images.pixels[:]
        ends = [int(pixels.min()), int(pixels.max())]
        counts = images.counts()
        labels = f"{images.labels.dtype} {list(images.labels.shape)}"
        rows.append([part, str(list(pixels.shape)), str(pixels.dtype), *ends, float(pixels.mean()), labels,
                     f"{counts.min():,} to {counts.max():,}"])  # fmt: skip
    findings.table("Arrays", ["part", "pixels [N, H, W, C]", "type", "min", "max", "mean", "labels", "of each class"],
                   rows)  # fmt: skip
    _, _, kind, low, high, *_ = rows[0]
    findings.judge("bytes", (kind, low, high) == ("uint8", 0, 255), f"{kind}, {low} to {high} in the training images")
    classes = splits.train.classes[:10]
    with style.styled():
        figure, axes = style.sheet(SHOWN, len(classes), cell=0.85, width=0.88)
        for label, name in enumerate(classes):
            for row, index in enumerate(np.flatnonzero(splits.train.labels == label)[:SHOWN]):
                style.show_picture(axes[row, label], np.asarray(splits.train.pixels[[index]])[0])
            style.title(axes[0, label], name, size=8)
    findings.picture("samples", figure, f"The first {SHOWN} training images of each class.")


def values(findings: Findings, images: data.Images) -> None:
    """The numbers of one picture, as print() shows them, beside the picture."""
    picture = np.asarray(images.pixels[[0]])[0]
    windows = np.lib.stride_tricks.sliding_window_view(picture, (PATCH, PATCH), (0, 1))
    contrast = windows.std((2, 3, 4))
    top, left = (int(at) for at in np.unravel_index(contrast.argmax(), contrast.shape))
    patch = picture[top : top + PATCH, left : left + PATCH]
    with style.styled():
        figure, axes = style.sheet(1, 1 + patch.shape[2], cell=2.3)
        style.show_picture(axes[0, 0], picture)
        style.title(axes[0, 0], images.classes[images.labels[0]])
        x, y = left - 0.5 + PATCH * np.array([0, 1, 1, 0, 0]), top - 0.5 + PATCH * np.array([0, 0, 1, 1, 0])
        axes[0, 0].plot(x, y, color="#D55E00", linewidth=1.2)
        names = ["red", "green", "blue"] if patch.shape[2] == 3 else ["gray"]
        for channel, (one, name) in enumerate(zip(axes[0, 1:], names, strict=True)):
            style.show_picture(one, patch[..., [channel]])
            style.title(one, name)
            for (row, column), value in np.ndenumerate(patch[..., channel]):
                color = "black" if value > 120 else "white"
                one.text(column, row, str(value), ha="center", va="center", fontsize=7, color=color)
    findings.picture("values", figure, f"The first training image, and the bytes of {PATCH}×{PATCH} of its pixels, "
                     "where the contrast is largest, channel by channel.")  # fmt: skip


def scale(findings: Findings, images: data.Images, preprocess: data.Preprocess) -> None:
    """What the network sees of all training images, on each scale."""
    rows, found, lost = [], {}, 0
    for name, words in findings.steps("scales", SCALES.items()):
        scaled = preprocess.scaled(name, images.pixels)
        found[name], wrong = described(images, scaled)
        lost += wrong
        rows += [[words, channel, scaled.mean[channel], scaled.std[channel], *numbers]
                 for channel, numbers in enumerate(found[name].T)]  # fmt: skip
    findings.table("What the network sees: (pixel / 255 − shift) / divisor",
                   ["scale", "channel", "shift", "divisor", "min", "max", "mean", "deviation"], rows,
                   "Over all training images, in float32.")  # fmt: skip
    low, high, mean, deviation = found["standard"]
    off = max(np.abs(mean).max(), np.abs(deviation - 1).max())
    ends = [(found[name][0].min(), found[name][1].max()) for name in ("unit", "symmetric")]
    right = ends == [(0, 1), (-1, 1)] and off < 1e-5
    findings.judge("scales", right, f"{ends[0][0]:g} to {ends[0][1]:g}; {ends[1][0]:g} to {ends[1][1]:g}; mean and "
                   f"deviation at most {off:.1g} away, values from {low.min():.2f} to {high.max():.2f}")  # fmt: skip
    total = 3 * len(images) * np.prod(images.shape)
    findings.judge("back", lost == 0, f"{lost:,} of {total:,} bytes differ")
    findings.picture("scales", histograms(images, preprocess), "How often each value occurs on each scale: the shape "
                     "stays, the axis changes.")  # fmt: skip


def described(images: data.Images, scaled: data.Preprocess) -> tuple[Array, int]:
    """(min, max, mean and deviation of each channel [4, C], how many bytes do not come back)."""
    parts, wrong = [], 0
    mean, std = np.array(scaled.mean, np.float32), np.array(scaled.std, np.float32)
    for start in range(0, len(images), 2000):
        pixels = np.asarray(images.pixels[start : start + 2000])
        x = scaled.normalize(pixels)
        back = np.rint((x.transpose(0, 2, 3, 1) * std + mean) * 255)
        wrong += int((back != pixels).sum())
        wide, axes = x.astype(np.float64), (0, 2, 3)
        parts.append([x.min(axes), x.max(axes), wide.sum(axes), (wide**2).sum(axes)])
    low, high, sums, squares = np.array(parts).transpose(1, 0, 2)
    n = len(images) * scaled.size[0] * scaled.size[1]
    average = sums.sum(0) / n
    return np.array([low.min(0), high.max(0), average, np.sqrt(squares.sum(0) / n - average**2)]), wrong


def histograms(images: data.Images, preprocess: data.Preprocess) -> "Figure":
    """One for each scale, of at most 2,000 images; a curve a channel."""
    pixels = np.asarray(images.pixels[:2000])
    colors = ["#c0392b", "#2e8b57", "#2f6ba8"] if pixels.shape[3] == 3 else ["#333333"]
    with style.styled():
        figure, axes = style.sheet(1, len(SCALES), cell=2.0, width=2.5)
        for one, (name, words) in zip(axes[0], SCALES.items(), strict=True):
            scaled = preprocess.scaled(name, images.pixels)
            panel(one, words, x="value", y="share" if name == "unit" else "")
            for channel, color in enumerate(colors):
                counts = np.bincount(pixels[..., channel].ravel() // 8, minlength=32) / pixels[..., 0].size
                at = ((np.arange(32) * 8 + 4) / 255 - scaled.mean[channel]) / scaled.std[channel]
                one.plot(at, counts, color=color)
            one.axvline(0, color=style.PALE, linewidth=0.8, linestyle=":")
        return figure


def pipeline(findings: Findings, images: data.Images, preprocess: data.Preprocess) -> None:
    """The first batch of training, step by step, against the one that the loader gives."""
    size = min(BATCH, len(images))
    settings = AugmentSettings().resolve(*images.shape)
    scaled = preprocess.scaled("standard", images.pixels)
    augmenter = Augmenter(settings, seed=findings.seed)
    loader = Loader(images, scaled, batch_size=size, seed=findings.seed, augmenter=augmenter)
    order = loader.order(0)
    taken = torch.from_numpy(np.asarray(images.pixels[order[:size].numpy()]))
    labels = torch.from_numpy(images.labels[order[:size].numpy()])
    augmenter = Augmenter(settings, findings.seed, scaled.mean, scaled.std)
    changed, _ = augmenter(taken.permute(0, 3, 1, 2), labels, epoch=0, step=0, indices=order[:size])
    x = torch.from_numpy(scaled.normalize(changed.permute(0, 2, 3, 1).numpy()))
    hot = torch.nn.functional.one_hot(labels, len(images.classes))
    steps = {"stored": images.pixels[:], "order of the epoch": order, "batch taken": taken,
             f"changed: shift {settings.shift}{', mirrored' if settings.flip else ''}": changed,
             "scaled, channels first": x, "labels": labels, "labels as one-hot": hot}  # fmt: skip
    rows = [[step, str(list(one.shape)), str(one.dtype).removeprefix("torch."), one.min().item(), one.max().item(),
             f"{np.asarray(one).nbytes / 1e6:.2f}"] for step, one in steps.items()]  # fmt: skip
    findings.table("The pipeline, step by step", ["step", "shape", "type", "min", "max", "MB"], rows,
                   "One-hot labels are only for reading: the loss takes the numbers of the classes.")  # fmt: skip
    given, own = next(loader.epoch(0))
    off = float((given - x).abs().max())
    findings.judge("batch", off < 1e-5 and torch.equal(own, labels), f"largest difference {off:.1g}, labels "
                   f"{'the same' if torch.equal(own, labels) else 'others'}")  # fmt: skip


def compare(findings: Findings, splits: data.Splits) -> None:
    """LeNet-5 on each scale, with several seeds."""
    chosen = findings.options
    count, epochs = (200, 1) if findings.quick else (chosen.images, chosen.epochs)
    rng = generator(findings.seed, "study", "data-in-hand")
    some = splits.train.select(np.sort(rng.permutation(len(splits.train))[:count]))
    findings.set(trained_on=f"{len(some):,} images, {epochs} epochs", network="lenet5", recipe=", ".join(SETTINGS),
                 seeds=chosen.seeds)  # fmt: skip
    parts, options = {"train": some, "test": splits.test}, {"epochs": epochs, "threads": 1, "tensorboard": False}
    trials = [Trial(f"{name}-{seed}", "lenet5", parts, {
        **options, "seed": findings.seed + seed, "settings": [*SETTINGS, f"preprocess.scale={name}"]})
        for name in SCALES for seed in range(chosen.seeds)]  # fmt: skip
    losses: dict[str, list[float]] = {name: [] for name in SCALES}
    right: dict[str, list[float]] = {name: [] for name in SCALES}
    for trial, trained in findings.train(trials):
        name = trial.name.partition("-")[0]
        losses[name].append(trained.epochs[-1]["train_loss"])
        right[name].append(trained.accuracy)
    findings.table("LeNet-5 after the last epoch", ["scale", "training loss", "deviation", "test accuracy"],
                   [[words, float(np.mean(losses[name])), float(np.std(losses[name], ddof=1)),
                     float(np.mean(right[name]))] for name, words in SCALES.items()])  # fmt: skip
    findings.figure("training loss", losses)
    if findings.quick:
        findings.leave_out("sooner", "a share of the work says nothing")
        return
    less = float(np.mean(losses["unit"]) - np.mean(losses["standard"]))
    sigma = float(np.hypot(np.std(losses["unit"], ddof=1), np.std(losses["standard"], ddof=1)))
    findings.judge("sooner", less > sigma, f"{np.mean(losses['standard']):.3f} against {np.mean(losses['unit']):.3f}: "
                   f"{less:.3f} less at a sigma of {sigma:.3f}")  # fmt: skip
