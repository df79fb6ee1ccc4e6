"""The engine that explains: the same training in NumPy alone, each operation one that can be read in `convlens.ops`.

PyTorch only draws the first weights and names the operations; no arithmetic of a step is its own. Augmentation,
averaged weights, class weights, L1, clipping and mixed precision belong to the other engine.
"""

import contextlib
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController
from torch import nn

from convlens import data
from convlens.base.errors import InputError
from convlens.base.hardware import usable_cores
from convlens.base.seeds import generator
from convlens.classify.evaluation import Evaluation, from_logits
from convlens.classify.outputs import answering
from convlens.inspection.probe import refuse_scripted
from convlens.nn.private import uncompiled
from convlens.scratch import loop
from convlens.scratch import optimizers as scratch_optimizers
from convlens.scratch.from_torch import training_pair
from convlens.scratch.graph import Graph
from convlens.training import frozen, groups
from convlens.training.recipe import Recipe


class NumpyEngine:
    """See `loop.Engine`. Everything is float32."""

    loss_is_at_hand = True

    def __init__(
        self, module: nn.Module, splits: data.Splits, preprocess: data.Preprocess, *, recipe: Recipe, seed: int
    ):
        self.splits, self.preprocess, self.recipe, self.seed = splits, preprocess, recipe, seed
        self.batch_size = recipe.batch_size_for(len(splits.train))
        self.steps_per_epoch = len(splits.train) // self.batch_size  # the other engine drops a short last batch, too
        refuse_scripted(module)
        if uncompiled(module) is not module:
            raise InputError("the NumPy engine takes no compiled network: pass the one that it was made from")
        with answering(module, len(splits.train.classes)):
            self.trained, self.evaluator = training_pair(
                module, splits.train.shape, frozen=frozen.parts(module, recipe.frozen)
            )
        self._elsewhere = _not_in_graph(module, set(self.trained.state()))
        self._saved = tuple(module.state_dict())  # buffers may be none of it
        self._counters = _counters(self.trained)
        self._named = [name for name, _ in module.named_parameters()]
        vectors = groups.trainable(module).keys() - groups.weights(module).keys()
        self.optimizer = optimizer_of(recipe, vectors)
        self.reset_totals()

    def batches(self, epoch: int, start: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        images = self.splits.train
        order = generator(self.seed, "order", epoch).permutation(len(images))
        for first in range(start * self.batch_size, self.steps_per_epoch * self.batch_size, self.batch_size):
            chosen = np.sort(order[first : first + self.batch_size])  # ascending: kind to memory maps
            yield self.preprocess.normalize(images.pixels[chosen]), images.labels[chosen]

    def step(self, x: np.ndarray, y: np.ndarray, *, epoch: int, step: int, factor: float) -> float:
        self.optimizer.lr = self.recipe.optimizer.lr * factor
        counts = {name: self._array(name) + uses for name, uses in self._counters.items()}
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite shows in the loss
            loss, logits = loop.train_step(
                self.trained, x, y, self.optimizer, smoothing=self.recipe.label_smoothing,
                seed=self.seed, step=epoch * self.steps_per_epoch + step,
            )  # fmt: skip
        for name, count in counts.items():
            (self._elsewhere if name in self._elsewhere else self.trained.buffers)[name] = count
        self._totals["loss"] += loss * len(y)
        self._totals["correct"] += int((logits.argmax(1) == y).sum())
        self._totals["seen"] += len(y)
        return loss

    def totals(self) -> dict[str, float]:
        return dict(self._totals)

    def reset_totals(self) -> None:
        self._totals: dict[str, float] = {"loss": 0.0, "correct": 0, "seen": 0}

    def validate(self) -> Evaluation | None:
        return self.evaluate(self.splits.val) if len(self.splits.val) else None

    def evaluate(self, images: data.Images) -> Evaluation:
        """Judges the present weights on prepared images."""
        logits = loop.predict(
            self.evaluator, images.pixels, batch_size=self.recipe.eval_batch_size, prepare=self.preprocess.normalize
        )
        return from_logits(logits, images.labels, images.classes)

    def weights(self) -> dict[str, np.ndarray]:
        return {name: self._array(name).copy() for name in self._saved}

    def parameters(self) -> Iterator[tuple[str, np.ndarray]]:
        return ((name, self._array(name)) for name in self._named)

    def _array(self, name: str) -> np.ndarray:
        found = self._elsewhere.get(name, name)
        return self.trained.state()[found] if isinstance(found, str) else found

    def load_weights(self, arrays: dict[str, np.ndarray]) -> None:
        """Takes weights back, for training and for inference."""
        self.trained.load_state({name: arrays.get(name, array) for name, array in self.trained.state().items()})
        for name, found in self._elsewhere.items():
            if not isinstance(found, str):
                self._elsewhere[name] = np.array(arrays[name])
        self.evaluator.parameters, self.evaluator.buffers = self.trained.parameters, self.trained.buffers

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        arrays = {f"model.{name}": array for name, array in self.weights().items()}
        arrays |= {f"optimizer.{name}": array for name, array in self.optimizer.state().items()}
        return arrays, {"totals": self._totals}

    def load_state(self, arrays: dict[str, np.ndarray], plain: dict[str, Any]) -> None:
        self.load_weights(_part(arrays, "model"))
        self.optimizer.load_state(_part(arrays, "optimizer"))
        if not isinstance(plain["totals"], dict) or set(plain["totals"]) != set(self._totals):
            raise InputError("the sums over the epoch are not those that are counted")
        self._totals = dict(plain["totals"])


@contextlib.contextmanager
def limited_products() -> Iterator[None]:
    """Inside, NumPy's matrix products take no more threads than may run: they do not know what a container grants."""
    libraries = ThreadpoolController().select(user_api="blas")
    most = usable_cores()
    with libraries.limit(limits={found["filepath"]: min(found["num_threads"], most) for found in libraries.info()}):
        yield


SUPPORTED = {
    "epochs", "budget", "max_epochs", "batch_size", "eval_batch_size", "val_fraction", "test_fraction",
    "label_smoothing", "identity_start", "whitening", "frozen", "early_stopping", "checkpoint_seconds", "model",
    "schedule", "preprocess",
    "optimizer.name", "optimizer.lr", "optimizer.momentum", "optimizer.nesterov", "optimizer.betas", "optimizer.eps",
    "optimizer.alpha", "optimizer.centered",
    "optimizer.weight_decay", "optimizer.bias_lr", "optimizer.muon_lr", "optimizer.muon_normalize",
}  # fmt: skip
"""Recipe keys that this engine honors; `muon`, to which two of them belong, is refused. All others are named."""


def unsupported(recipe: Recipe, shape: tuple[int, int, int]) -> list[str]:
    """What a recipe asks for that this engine leaves out, as names of its keys."""
    off = type(recipe)()
    keys = [
        key
        for key in type(recipe).model_fields
        if key not in SUPPORTED | {"optimizer", "augment"} and getattr(recipe, key) != getattr(off, key)
    ]
    if recipe.precision == "float32":  # what everything is here
        keys = [key for key in keys if key != "precision"]
    keys += [
        f"optimizer.{key}"
        for key in type(recipe.optimizer).model_fields
        if f"optimizer.{key}" not in SUPPORTED and getattr(recipe.optimizer, key) != getattr(off.optimizer, key)
    ]
    settings, plain = recipe.augment.resolve(*shape).model_dump(), off.augment.model_dump()
    details = ("crop_ratio", "padding")  # of others: on by default
    asked = [key for key, value in settings.items() if (value != plain[key] if key in details else value)]
    return keys + [f"augment.{key}" for key in asked]


def optimizer_of(recipe: Recipe, vectors: Collection[str] = ()) -> scratch_optimizers.Optimizer:
    o = recipe.optimizer
    common: dict[str, Any] = {
        "weight_decay": o.weight_decay, "bias_lr": o.bias_lr, "decay_biases": False, "vectors": vectors
    }  # fmt: skip
    if o.name == "sgd":
        nesterov = o.nesterov and o.momentum > 0
        return scratch_optimizers.SGD(o.lr, momentum=o.momentum, nesterov=nesterov, **common)
    if o.name in ("adam", "adamw"):
        return scratch_optimizers.Adam(o.lr, betas=o.betas, eps=o.eps, decoupled=o.name == "adamw", **common)
    if o.name == "rmsprop":
        return scratch_optimizers.RMSprop(
            o.lr, alpha=o.alpha, eps=o.eps, momentum=o.momentum, centered=o.centered, **common
        )
    raise InputError(f"the NumPy engine has no optimizer {o.name!r}; choose sgd, adam, adamw or rmsprop")


def _not_in_graph(module: nn.Module, known: set[str]) -> dict[str, str | np.ndarray]:
    """Of a module's weights those that are not in its graph: the first names of those with several, frozen arrays."""
    tensors = module.state_dict(keep_vars=True)
    first = {id(tensor): name for name, tensor in tensors.items() if name in known}
    return {
        name: first[id(tensor)] if id(tensor) in first else tensor.detach().cpu().numpy().copy()
        for name, tensor in tensors.items()
        if name not in known
    }


def _counters(graph: Graph) -> Counter[str]:
    """Batch norm counts its batches, which no output depends on: the names of the counters, and uses in a step."""
    layers = [node for node in graph.nodes if node.op == "batch_norm" and not node.options["frozen"]]
    means = [graph.nodes[source].name for node in layers for source in node.inputs[3:4] if source is not None]
    return Counter(name.removesuffix("running_mean") + "num_batches_tracked" for name in means)


def _part(arrays: dict[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(f"{kind}."): a for name, a in arrays.items() if name.startswith(f"{kind}.")}
