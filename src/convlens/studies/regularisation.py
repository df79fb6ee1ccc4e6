"""Two moons and a penalty on the weights: L2, L1, and L0 by its relaxation, at four strengths."""

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.datasets import make_moons
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from convlens import models
from convlens.base.seeds import derive
from convlens.base.words import percent
from convlens.inspection import style
from convlens.studies.drawing import panel
from convlens.studies.findings import Findings
from convlens.studies.registry import register
from convlens.training.updates import Adam

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STRENGTHS = (0.00001, 0.001, 0.1, 0.13)
PRINTED = {0.00001: (-1.6088, 1.1599, 0.0026), 0.001: (-0.1393, 0.3168, 0.0003), 0.1: (-0.0969, 0.0832, 0.0),
           0.13: (-0.1104, 0.0785, 0.0)}  # fmt: skip
PENALTIES = ("L2", "L1", "L0")
TRAIN, TEST, NOISE, WIDTH, RATE, GATE_RATE = 700, 300, 0.25, 64, 0.01, 0.1


@register(
    "regularisation",
    title="A penalty on the weights makes a network simpler",
    texts=("handbook regularisation",),
    claims={
        "spread": "The spread of the weights falls with the strength of the L2 penalty, at each of the four strengths.",
        "mean": "Their mean moves towards 0.",
        "overfitting": "With L2, training and test accuracy are closer at strength 0.1 than at 0.00001.",
        "zeros": "L0 makes weights exactly 0, and more of them the stronger it is; L2 makes none.",
    },
    measures="least, greatest, mean and deviation of the penalised weights; share that is exactly 0; accuracies",
)
def regularisation(findings: Findings) -> None:
    """Added to the loss, a penalty on the weights makes a network pay for its capacity. L2 adds up the squares, L1 the
    magnitudes, L0 counts the weights that are not 0. The count has no slope; here each weight gets a gate that is drawn
    between 0 and 1 and may be 0 exactly, and the expected number of open gates is the penalty (the hard concrete
    relaxation of Louizos, Welling and Kingma, 2018).
    """
    steps, seeds = (150, 1) if findings.quick else (500, 5)
    findings.set(data=f"two moons, noise {NOISE}: {TRAIN} points for training, {TEST} for the test",
                 network=f"2-{WIDTH}-{WIDTH}-{WIDTH}-2, ReLU", penalised="the weights between the hidden layers",
                 optimizer=f"Adam, rate {RATE} ({GATE_RATE} for gates), all points at once", steps=steps,
                 networks_per_setting=seeds,
                 not_given_in_the_text="network, samples, noise, epochs, which weights; only the trend can be "
                 "compared")  # fmt: skip
    found: dict[tuple[str, float], list[Fit]] = {}
    for kind, strength in findings.steps("networks", [(k, s) for k in PENALTIES for s in STRENGTHS]):
        found[kind, strength] = [fit(kind, strength, steps, findings.seed + k) for k in range(seeds)]
        findings.table(
            "The penalised weights", ["penalty", "strength", "least", "greatest", "mean", "deviation", "exactly 0",
                                      "training accuracy", "test accuracy"],
            [[*key, *np.mean([one.row() for one in fits], axis=0)] for key, fits in found.items()],
        )  # fmt: skip
    findings.table("As the text prints it (L2)", ["strength", "least", "greatest", "mean"],
                   [[strength, *row] for strength, row in PRINTED.items()],
                   "The least weight at 0.13 lies below that at 0.1: it is one network each.")  # fmt: skip
    findings.picture("boundaries", draw({key: fits[0] for key, fits in found.items()}, findings.seed),
                     "Where each network changes its answer, the test points, the test accuracy.")  # fmt: skip

    def mean(kind: str, strength: float, what: str) -> float:
        return float(np.mean([getattr(one, what) for one in found[kind, strength]]))

    spread = [mean("L2", strength, "deviation") for strength in STRENGTHS]
    falls = all(a > b for a, b in pairwise(spread))
    findings.judge("spread", falls, ", ".join(f"{one:.4f}" for one in spread))
    first, last = (abs(mean("L2", strength, "mean")) for strength in (STRENGTHS[0], STRENGTHS[-1]))
    findings.judge("mean", last < first, f"{first:.5f} away at {STRENGTHS[0]:.5f}, {last:.5f} at {STRENGTHS[-1]}")
    gaps = [mean("L2", s, "accuracy") - mean("L2", s, "test_accuracy") for s in (0.00001, 0.1)]
    findings.judge("overfitting", gaps[1] < gaps[0], f"{100 * gaps[0]:.2f} points apart, and {100 * gaps[1]:.2f}")
    zeros = [mean("L0", strength, "zeros") for strength in STRENGTHS]
    none = max(mean("L2", strength, "zeros") for strength in STRENGTHS)
    findings.judge("zeros", zeros == sorted(zeros) and zeros[1] > 0 and none == 0,
                   f"L0: {', '.join(percent(one, 0) for one in zeros)}; L2 at most {percent(none, 0)}")  # fmt: skip


@dataclass(frozen=True)
class Fit:
    """A trained network and what became of its penalised weights."""

    least: float
    greatest: float
    mean: float
    deviation: float
    zeros: float
    accuracy: float
    test_accuracy: float
    surface: np.ndarray = field(repr=False)

    def row(self) -> list[float]:
        return [self.least, self.greatest, self.mean, self.deviation, self.zeros, self.accuracy, self.test_accuracy]


class Gates(nn.Module):
    """A gate for each weight: log odds of being open, and the hard concrete distribution around them."""

    TEMPERATURE, LOW, HIGH = 2 / 3, -0.1, 1.1

    def __init__(self, weight: Tensor):
        super().__init__()
        self.odds = nn.Parameter(torch.full_like(weight, 2.0))

    def drawn(self) -> Tensor:
        """Gates for one step of training."""
        u = torch.rand_like(self.odds).clamp(1e-6, 1 - 1e-6)
        return self._stretched(torch.sigmoid((u.log() - (1 - u).log() + self.odds) / self.TEMPERATURE))

    def settled(self) -> Tensor:
        """Gates of the trained network."""
        return self._stretched(torch.sigmoid(self.odds))

    def expected(self) -> Tensor:
        """How many are open, on average."""
        return torch.sigmoid(self.odds - self.TEMPERATURE * math.log(-self.LOW / self.HIGH)).sum()

    def _stretched(self, s: Tensor) -> Tensor:
        return (s * (self.HIGH - self.LOW) + self.LOW).clamp(0, 1)


def moons(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training points [N, 2, 1, 1] and labels, test points and labels."""
    points, labels = make_moons(TRAIN + TEST, noise=NOISE, random_state=derive(seed, "moons") % 2**32)
    x, y = torch.tensor(points, dtype=torch.float32)[:, :, None, None], torch.tensor(labels)
    return x[:TRAIN], y[:TRAIN], x[TRAIN:], y[TRAIN:]


def fit(kind: str, strength: float, steps: int, seed: int) -> Fit:
    """Trains one network with one penalty."""
    x, y, x_test, y_test = moons(seed)
    torch.manual_seed(derive(seed, "regularisation"))
    network = models.create("mlp", num_classes=2, in_channels=2, image_size=(1, 1), hidden=(WIDTH,) * 3)
    weights = dict(network.named_parameters())
    penalised = ["features.fc2.weight", "features.fc3.weight"]
    gates = {name: Gates(weights[name]) for name in penalised} if kind == "L0" else {}
    groups = [{"params": list(weights.values())}]
    groups += [{"params": [gate.odds], "lr": GATE_RATE} for gate in gates.values()]
    optimizer = Adam(groups, RATE)
    for _ in range(steps):
        now = weights | {name: weights[name] * gate.drawn() for name, gate in gates.items()}
        loss = F.cross_entropy(functional_call(network, now, (x,)), y)
        if kind == "L0":
            penalty = sum((gate.expected() for gate in gates.values()), torch.zeros(()))
        else:
            penalty = sum((size(kind, weights[name]) for name in penalised), torch.zeros(()))
        optimizer.zero_grad()
        (loss + strength * penalty).backward()
        optimizer.step()
    with torch.no_grad():
        now = weights | {name: weights[name] * gate.settled() for name, gate in gates.items()}
        w = torch.cat([now[name].flatten() for name in penalised]).double()
        accuracy, test_accuracy = (
            float((functional_call(network, now, (points,)).argmax(1) == labels).double().mean())
            for points, labels in ((x, y), (x_test, y_test))
        )
        surface = functional_call(network, now, (grid(),)).softmax(1)[:, 1].reshape(SIDE, SIDE).numpy()
    zeros = float((w == 0).double().mean())
    return Fit(float(w.min()), float(w.max()), float(w.mean()), float(w.std()), zeros, accuracy, test_accuracy, surface)


def size(kind: str, w: Tensor) -> Tensor:
    """The sum of the squares, or of the magnitudes."""
    return w.square().sum() if kind == "L2" else w.abs().sum()


SIDE, ACROSS, UP = 120, (-1.8, 2.8), (-1.5, 2.0)


def grid() -> Tensor:
    """Points of the plane [SIDE * SIDE, 2, 1, 1], row by row."""
    down, across = torch.meshgrid(torch.linspace(*UP, SIDE), torch.linspace(*ACROSS, SIDE), indexing="ij")
    return torch.stack([across.flatten(), down.flatten()], 1)[:, :, None, None]


def draw(found: dict[tuple[str, float], Fit], seed: int) -> "Figure":
    _, _, points, labels = moons(seed)
    x = points.flatten(1).numpy()
    with style.styled():
        figure, axes = style.sheet(len(PENALTIES), len(STRENGTHS), cell=1.8, width=2.2)
        for (kind, strength), one in found.items():
            cell = panel(axes[PENALTIES.index(kind), STRENGTHS.index(strength)], f"{kind}, {strength:g}: "
                         f"{percent(one.test_accuracy, 1)}")  # fmt: skip
            cell.contourf(np.linspace(*ACROSS, SIDE), np.linspace(*UP, SIDE), one.surface,
                          levels=[0, 0.25, 0.5, 0.75, 1], cmap=style.DIVERGING, alpha=0.55)  # fmt: skip
            for label, color in ((0, "#0072B2"), (1, "#D55E00")):
                cell.plot(*x[labels.numpy() == label].T, ".", markersize=2, color=color)
            cell.set_xticks([])
            cell.set_yticks([])
        return figure
