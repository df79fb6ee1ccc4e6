"""The engine that fits a new output layer on the features of a trained network, and leaves the rest as it is.

An epoch is one fit: multinomial logistic regression by L-BFGS, from a strong penalty on the weights to a weak one. What
validation likes best is kept, as in any other run.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from convlens.base.memory import keep_freed_memory
from convlens.base.progress import bars
from convlens.classify.evaluation import Evaluation, from_logits
from convlens.data import Images, Preprocess, Splits
from convlens.training.features import features, output_layer

STRONGEST, STEP = 1e-5, 10**0.5
"""The inverse of the penalty in the first epoch, and what it is multiplied by from one to the next."""


class HeadEngine:
    """See `loop.Engine`. Arithmetic in float64, on features of the training pictures and of their mirror images.

    module: with the trained weights; its output layer is written to.
    class_weights: float64 [K], or None.
    mirror: whether training pictures count turned left to right, too.
    """

    def __init__(
        self,
        module: nn.Module,
        splits: Splits,
        preprocess: Preprocess,
        *,
        device: str,
        mirror: bool,
        class_weights: np.ndarray | None = None,
        quiet: bool = True,
    ):
        self.module, self.splits, self.preprocess, self.device = module, splits, preprocess, device
        self.classes = splits.train.classes
        self.path, self.layer = output_layer(module, len(self.classes))
        self.mirror, self.class_weights, self.quiet = mirror, class_weights, quiet
        self.steps_per_epoch, self.loss_is_at_hand = 1, True
        self.on_note: Callable[[str], None] = lambda _: None
        self._raw: Any = None  # float64 [M, D], of the training pictures; _x: the same, standardized
        self._seen: list[tuple[Images, bool, np.ndarray]] = []  # pictures, whether mirrored, their features
        keep_freed_memory()
        self.reset_totals()

    def batches(self, epoch: int, start: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All of it at once."""
        if start == 0:
            yield self._training()

    def step(self, x: np.ndarray, y: np.ndarray, *, epoch: int, step: int, factor: float) -> float:
        """One fit. x: float64 [M, D], standardized. y: int64 [M]."""
        from sklearn.linear_model import LogisticRegression

        weights = None if self.class_weights is None else self.class_weights[y]
        fit = LogisticRegression(C=STRONGEST * STEP**epoch, max_iter=300)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # 300 steps suffice for what is kept
            fit.fit(x, y, sample_weight=weights)
        self._write(fit)
        judged = from_logits(self._logits(self._raw).astype(np.float32), y, self.classes)
        self._totals = {"loss": judged.loss * len(y), "correct": judged.accuracy * len(y), "seen": float(len(y))}
        return judged.loss

    def totals(self) -> dict[str, float]:
        return dict(self._totals)

    def reset_totals(self) -> None:
        self._totals = {"loss": 0.0, "correct": 0.0, "seen": 0.0}

    def validate(self) -> Evaluation | None:
        return self.evaluate(self.splits.val) if len(self.splits.val) else None

    def evaluate(self, images: Images) -> Evaluation:
        """Judges the layer as it is on other pictures, without their mirror images."""
        return from_logits(self._logits(self._of(images)).astype(np.float32), images.labels, self.classes)

    def weights(self) -> dict[str, np.ndarray]:
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in self.module.state_dict().items()}

    def parameters(self) -> Iterator[tuple[str, np.ndarray]]:
        for name, parameter in self.layer.named_parameters():
            yield f"{self.path}.{name}", parameter.detach().cpu().numpy()

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """An epoch depends on nothing that was before it."""
        return {f"model.{name}": array for name, array in self.weights().items()}, {"totals": self._totals}

    def load_state(self, arrays: dict[str, np.ndarray], plain: dict[str, Any]) -> None:
        self.load_weights({name.removeprefix("model."): array for name, array in arrays.items()})
        self._totals = {name: float(plain["totals"][name]) for name in self._totals}

    def load_weights(self, arrays: dict[str, np.ndarray]) -> None:
        self._seen.clear()  # the features of other weights are others; those of the same are in the cache
        self.module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})

    def _training(self) -> tuple[np.ndarray, np.ndarray]:
        """Features float64 [M, D] with mean 0 and deviation 1, and labels [M]."""
        if self._raw is None:
            train = self.splits.train
            several = [self._of(train)] + ([self._of(train, mirrored=True)] if self.mirror else [])
            self._raw = np.concatenate(several).astype(np.float64)
            self._mean, self._deviation = self._raw.mean(0), self._raw.std(0)
            self._deviation[self._deviation < 1e-6] = 1.0
            self._x = (self._raw - self._mean) / self._deviation
            self._y = np.concatenate([train.labels] * len(several))
        return self._x, self._y

    def _of(self, images: Images, mirrored: bool = False) -> np.ndarray:
        """Features float32 [N, D], computed once: every epoch asks for those of the validation images."""
        for seen, turned, found in self._seen:
            if seen is images and turned == mirrored:
                return found
        with bars(self.quiet, unit="images") as progress:
            found = features(
                self.module, self.path, images, self.preprocess, mirrored=mirrored, device=self.device,
                advance=lambda done, total: progress("features", done, total),
            )  # fmt: skip
        self._seen.append((images, mirrored, found))
        return found

    def _logits(self, raw: np.ndarray) -> np.ndarray:
        weight, bias = (t.detach().cpu().double().numpy() for t in (self.layer.weight, self.layer.bias))
        return raw @ weight.T + bias

    def _write(self, fit: Any) -> None:
        """The fitted layer, for features as they are: the standardization goes into its weights."""
        classes, width = len(self.classes), self._raw.shape[1]
        weight, bias = np.zeros((classes, width)), np.full(classes, -30.0)  # classes without a picture
        found = fit.coef_ if len(fit.classes_) > 2 else np.concatenate([-fit.coef_, fit.coef_]) / 2
        offset = fit.intercept_ if len(fit.classes_) > 2 else np.array([-fit.intercept_[0], fit.intercept_[0]]) / 2
        weight[fit.classes_] = found / self._deviation
        bias[fit.classes_] = offset - (found / self._deviation) @ self._mean
        with torch.no_grad():
            self.layer.weight.copy_(torch.from_numpy(weight))
            self.layer.bias.copy_(torch.from_numpy(bias))
