"""Batch normalisation in training and at test time, its momentum, and a loop that never trains it."""

from dataclasses import dataclass, field

import numpy as np

from convlens import data, ops, scratch
from convlens.base.seeds import generator
from convlens.studies.drawing import lines
from convlens.studies.findings import Findings
from convlens.studies.registry import register

Array = np.ndarray
MOMENTA = (0.0, 0.9, 0.99, 1.0)
"""As Keras counts: how much of the old statistics is kept. PyTorch and `ops.update_statistics` count the new."""
RATES = (0.01, 0.05, 0.2)
MODES = {"statistics of the batch": "batch", "the text's loop": "text", "without": "none"}
EPS, BATCH = 1e-3, 64


@register(
    "batch-norm",
    title="Batch normalisation, and a loop that never trains it",
    texts=("book 10.8", "book 10.14", "slides BN", "handbook BatchNorm"),
    claims={
        "normalised": "In training every channel has mean 0 and variance 1 over all pixels of the batch: an array of "
        "[100, 32, 32, 3] has 3 means, each of 102,400 numbers.",
        "momentum": "Momentum 0 takes the statistics of the last batch, 1 keeps those of the start, and 0.99 follows "
        "the data.",
        "loop": "The text's loop calls the network without training=True: the running statistics stay 0 and 1, and the "
        "layer is only a scale and a shift.",
        "cost": "That costs speed: after the same number of steps the loss is higher than with the statistics of the "
        "batch, at each learning rate.",
    },
    measures="statistics of arrays; training loss after the same number of steps, and test accuracy",
)
def batch_norm(findings: Findings) -> None:
    """In training a layer of batch normalisation takes mean and variance from the batch itself, and keeps a running
    record of both; at test time it uses the record. Whoever forgets to say that it is training uses the record from the
    beginning on, and the record is never written.
    """
    rng = generator(findings.seed, "study", "batch-norm")
    x = rng.normal(3, 2, (100, 3, 32, 32))
    y = ops.batch_norm(x, eps=EPS)
    findings.table("An array of [100, 32, 32, 3]", ["channel", "mean before", "variance before", "mean", "variance"],
                   [[c, x[:, c].mean(), x[:, c].var(), y[:, c].mean(), y[:, c].var()] for c in range(3)],
                   f"Each over {x[:, 0].size:,} numbers; the variance is below 1 because of eps {EPS}.")  # fmt: skip
    off = max(np.abs(y.mean(axis=(0, 2, 3))).max(), np.abs(y.var(axis=(0, 2, 3)) - 1).max())
    findings.judge("normalised", bool(off < 1e-3 and len(ops.batch_statistics(x).mean) == 3), f"at most {off:.1g} away")
    follow(findings, rng)

    pixels, labels, test_pixels, test_labels = images(findings)
    steps = 40 if findings.quick else 200
    findings.set(images=f"{'digits' if findings.quick else 'mnist'}, pixels scaled to −1 to 1", steps=steps,
                 batch=BATCH, network="convolutions 8, 8, 16, 16 of 3×3, each with batch normalisation and ReLU; "
                 "pooling after the second and fourth; dense 64 and 10", optimizer="plain SGD", eps=EPS)  # fmt: skip
    found: dict[tuple[str, float], Outcome] = {}
    for name, rate in findings.steps("networks", [(name, rate) for rate in RATES for name in MODES]):
        found[name, rate] = train(MODES[name], rate, steps, pixels, labels, findings.seed)
    findings.table("After the same number of steps", ["batch normalisation", "rate", "training loss", "test accuracy"],
                   [[name, rate, one.said, one.accuracy(test_pixels, test_labels)]
                    for (name, rate), one in found.items()],
                   "Loss: mean of the last 20 steps. Test: the running statistics, as they are.")  # fmt: skip
    rate = RATES[0]
    findings.picture("losses", lines(range(1, steps + 1), {name: smooth(found[name, rate].losses) for name in MODES},
                     x="step", y="training loss", dots=False), f"Training loss at rate {rate}.")  # fmt: skip
    kept = max(float(np.abs(array - key.endswith("var")).max()) for one in RATES
               for key, array in found["the text's loop", one].network.buffers.items())  # fmt: skip
    findings.judge("loop", kept == 0, f"largest change of a running mean or variance: {kept:g}")
    pairs = [[found[name, one] for name in list(MODES)[:2]] for one in RATES]
    words = "; ".join(f"rate {one}: {a.said} against {b.said}" for one, (a, b) in zip(RATES, pairs, strict=True))
    findings.judge("cost", all(a.loss < b.loss for a, b in pairs), f"the batch's against the text's loop: {words}")

    rows = []
    for momentum in findings.steps("momenta", MOMENTA):
        one = train("batch", RATES[1], steps, pixels, labels, findings.seed, momentum)
        rows.append([momentum, one.accuracy(test_pixels, test_labels)])
    findings.table(f"Test accuracy after {steps} steps at rate {RATES[1]}", ["momentum", "test accuracy"], rows,
                   "The same weights: only the record differs. Soon after the start 0.99 is full of it.")  # fmt: skip


@dataclass
class Outcome:
    """A trained network and the losses of its steps."""

    network: scratch.Graph
    losses: list[float] = field(default_factory=list)

    @property
    def loss(self) -> float:
        """The mean of the last 20 steps; infinity where it diverged."""
        return float(np.mean(self.losses[-20:]))

    @property
    def said(self) -> str:
        return f"{self.loss:.3f}" if np.isfinite(self.loss) else "diverged"

    def accuracy(self, pixels: Array, labels: Array) -> float:
        return scratch.evaluate(self.network, pixels, labels)[1] if np.isfinite(self.loss) else float("nan")


def follow(findings: Findings, rng: np.random.Generator) -> None:
    """The running mean of one channel whose batches have mean 5, for each momentum."""
    batches = rng.normal(5, 2, (500, 32, 1))
    curves: dict[str, list[float]] = {}
    for momentum in MOMENTA:
        running = ops.Statistics(np.zeros(1), np.ones(1))
        curves[f"momentum {momentum:g}"] = means = []
        for batch in batches:
            running = ops.update_statistics(running, ops.batch_statistics(batch), len(batch), momentum=1 - momentum)
            means.append(float(running.mean[0]))
    findings.picture("momentum", lines(range(1, 501), curves, x="batch", y="running mean", dots=False, marks=[5]),
                     "The running mean of data with mean 5 (dotted), batch by batch.")  # fmt: skip
    last = {momentum: curves[f"momentum {momentum:g}"][-1] for momentum in MOMENTA}
    findings.figure("running mean after 500 batches", {f"{momentum:g}": mean for momentum, mean in last.items()})
    exact = last[0.0] == batches[-1].mean() and last[1.0] == 0
    words = f"{last[0.0]:.3f} (of the batch: {batches[-1].mean():.3f}), {last[1.0]:g}, {last[0.99]:.3f}"
    findings.judge("momentum", bool(exact and abs(last[0.99] - 5) < 0.15), words)


def images(findings: Findings) -> tuple[Array, Array, Array, Array]:
    """Training pixels float32 [N, 1, H, W] from -1 to 1 and labels, 1,000 test pixels and labels at most."""
    name, side = ("digits", 8) if findings.quick else ("mnist", 28)
    reading = data.find(name).read(data.Preprocess((side, side), 1))
    parts = data.split(reading.parts, seed=findings.seed, val_fraction=0)
    train, test = parts.train, parts.test.select(slice(0, 1000))
    pixels, test_pixels = (
        np.asarray(one.pixels).transpose(0, 3, 1, 2) / np.float32(127.5) - 1 for one in (train, test)
    )
    return pixels, train.labels, test_pixels, test.labels


def build(normalised: bool, side: int, seed: int, momentum: float) -> scratch.Graph:
    x = scratch.image(1, side, side)
    for layer, channels in enumerate((8, 8, 16, 16), start=1):
        x = x.conv2d(channels, 3, padding=1, weights="glorot_normal")
        x = (x.batch_norm(momentum=1 - momentum, eps=EPS) if normalised else x).relu()
        x = x if layer % 2 else x.max_pool2d(2)
    x = x.flatten().linear(64, weights="glorot_normal").relu()
    return scratch.network(x.linear(10, weights="glorot_normal"), seed=seed)


@ops.fast()
@np.errstate(all="ignore")  # a loss that diverges is a result here
def train(
    mode: str, rate: float, steps: int, pixels: Array, labels: Array, seed: int, momentum: float = 0.99
) -> Outcome:
    """Plain descent. mode: "batch", "text" (the network is never told that it is training), or "none"."""
    network, optimizer = build(mode != "none", pixels.shape[-1], seed, momentum), scratch.SGD(rate)
    outcome = Outcome(network)
    for step in range(steps):
        batch = generator(seed, "study", "batch-norm", step).integers(0, len(pixels), BATCH)
        tape = network.run(pixels[batch], training=mode == "batch")
        loss = float(ops.cross_entropy(tape.output, labels[batch]))
        outcome.losses.append(loss if np.isfinite(loss) else np.inf)
        if not np.isfinite(loss):
            break
        gradients = tape.backward(ops.cross_entropy_backward(1.0, tape.output, labels[batch]).logits)
        optimizer.step(network.parameters, gradients.parameters)
    return outcome


def smooth(values: list[float], width: int = 10) -> list[float]:
    """A running mean, so that curves can be told apart."""
    return np.convolve(values, np.ones(width) / width, "valid").tolist()
