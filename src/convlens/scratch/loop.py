"""Training and evaluation of a graph: one loop, read in a sitting."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from convlens import ops
from convlens.base.errors import DivergedError, InputError
from convlens.base.memory import keep_freed_memory
from convlens.base.schedules import constant
from convlens.base.seeds import generator
from convlens.scratch.graph import Graph
from convlens.scratch.optimizers import SGD, Optimizer

Array = np.ndarray
Prepare = Callable[[Array], Array]
Schedule = Callable[[int, int], float]


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave. The training figures are running means over its batches, dropout included."""

    epoch: int
    loss: float
    accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    seconds: float
    lr: float


@dataclass
class History:
    """All epochs of a training run."""

    epochs: list[Epoch] = field(default_factory=list)

    @property
    def last(self) -> Epoch:
        return self.epochs[-1]


def fit(
    graph: Graph,
    x: Array,
    y: Array,
    *,
    epochs: int = 1,
    batch_size: int = 64,
    optimizer: Optimizer | None = None,
    schedule: Schedule = constant,
    smoothing: float = 0.0,
    auxiliary: float = 0.3,
    validation: tuple[Array, Array] | None = None,
    evaluator: Graph | None = None,
    prepare: Prepare | None = None,
    seed: int = 0,
    on_epoch: Callable[[Epoch], Any] | None = None,
    on_step: Callable[[int, int], Any] | None = None,
) -> History:
    """Trains a classifier by cross-entropy; the graph's arrays are changed in place.

    Args:
        graph: its first output is logits [N, K]; further ones (auxiliary heads) are logits as well.
        x: samples [N, ...], floating or whatever `prepare` takes.
        y: integer labels [N].
        optimizer: `SGD(0.05, momentum=0.9)` if left out.
        schedule: factor on the optimizer's learning rate, for the part of the training that is over (0 to 1).
        smoothing: label smoothing.
        auxiliary: weight of the loss of each further output.
        validation: samples and labels that are evaluated after each epoch.
        evaluator: the graph to evaluate with, if it is another one than `graph` (it shares its arrays).
        prepare: turns a batch of x into floats; x is only scaled by 1 / 255 if it holds uint8 and this is left out.
        seed: order of the samples and dropout masks derive from it and the step alone.
        on_epoch: called with each `Epoch`; training stops if it returns False.
        on_step: called with (step, total steps) after each step.

    Raises:
        InputError: samples and labels do not match.
        DivergedError: the loss is not finite.
    """
    _check(x, y, epochs, batch_size)
    keep_freed_memory()
    optimizer = SGD(0.05, momentum=0.9) if optimizer is None else optimizer
    base_lr, history = optimizer.lr, History()
    dtype = next(iter(graph.parameters.values())).dtype
    starts = range(0, len(x), batch_size)
    total, step = epochs * len(starts), 0
    for epoch in range(1, epochs + 1):
        began, losses, hits = time.perf_counter(), 0.0, 0
        order = generator(seed, "order", epoch).permutation(len(x))
        for start in starts:
            batch = np.sort(order[start : start + batch_size])  # ascending: kind to memory maps
            images, labels = _prepared(x[batch], prepare, dtype), y[batch]
            optimizer.lr = base_lr * schedule(step, total)
            loss, logits = train_step(
                graph, images, labels, optimizer, smoothing=smoothing, auxiliary=auxiliary, seed=seed, step=step
            )
            losses += loss * len(batch)
            hits += int((logits.argmax(axis=1) == labels).sum())
            step += 1
            if on_step is not None:
                on_step(step, total)
        val_loss, val_accuracy = None, None
        if validation is not None:
            val_loss, val_accuracy = evaluate(evaluator or graph, *validation, prepare=prepare)
        seconds = time.perf_counter() - began
        result = Epoch(epoch, losses / len(x), hits / len(x), val_loss, val_accuracy, seconds, optimizer.lr)
        history.epochs.append(result)
        if on_epoch is not None and on_epoch(result) is False:
            break
    optimizer.lr = base_lr
    return history


@ops.fast()
def train_step(
    graph: Graph,
    x: Array,
    y: Array,
    optimizer: Optimizer,
    *,
    smoothing: float = 0.0,
    auxiliary: float = 0.3,
    seed: int = 0,
    step: int = 0,
) -> tuple[float, Array]:
    """Forward, loss, backward and one step of the optimizer. Returns loss and logits of the first output.

    Raises:
        DivergedError: the loss is not finite; the weights are as they were.
    """
    tape = graph.run(x, training=True, seed=seed, step=step)
    weights = [1.0] + [auxiliary] * (len(tape.outputs) - 1)
    pairs = list(zip(tape.outputs, weights, strict=True))
    losses = [float(ops.cross_entropy(z, y, smoothing=smoothing)) for z in tape.outputs]
    if not all(map(math.isfinite, losses)):
        raise DivergedError(f"the loss became {sum(losses)} at step {step + 1}; try a smaller learning rate")
    grads = [ops.cross_entropy_backward(w, z, y, smoothing=smoothing).logits for z, w in pairs]
    used = graph.used()  # what no output depends on does not decay either
    optimizer.step({name: p for name, p in graph.parameters.items() if name in used}, tape.backward(*grads).parameters)
    return losses[0], tape.output


@ops.fast()
def predict(graph: Graph, x: Any, *, batch_size: int = 256, prepare: Prepare | None = None) -> Array:
    """Logits [N, K] in inference mode, a batch at a time; x is an array or whatever can be sliced like one."""
    dtype = next(iter(graph.parameters.values())).dtype
    parts = []
    for start in range(0, len(x), batch_size):
        output = graph(_prepared(x[start : start + batch_size], prepare, dtype))
        parts.append(output[0] if isinstance(output, tuple) else output)
    return np.concatenate(parts)


def evaluate(
    graph: Graph, x: Array, y: Array, *, batch_size: int = 256, prepare: Prepare | None = None
) -> tuple[float, float]:
    """Mean cross-entropy and accuracy in inference mode."""
    _check(x, y, 1, batch_size)
    logits = predict(graph, x, batch_size=batch_size, prepare=prepare)
    return float(ops.cross_entropy(logits, y)), float((logits.argmax(axis=1) == y).mean())


def train_numpy(
    module: Any,
    x_train: Array,
    y_train: Array,
    x_val: Array | None = None,
    y_val: Array | None = None,
    *,
    epochs: int = 1,
    batch_size: int = 64,
    lr: float = 0.05,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    schedule: Schedule = constant,
    smoothing: float = 0.0,
    prepare: Prepare | None = None,
    seed: int = 0,
    on_epoch: Callable[[Epoch], Any] | None = None,
    on_step: Callable[[int, int], Any] | None = None,
) -> tuple[Graph, History]:
    """Trains a graph, or the graph of an `nn.Module`, without PyTorch doing arithmetic.

    Args:
        module: a `Graph`, or an `nn.Module`, which is converted and not changed. `from_torch.write_back` puts the
            trained arrays into a module.
        x_train, y_train: as for `fit`.

    Returns:
        The graph for inference with the trained arrays (after the last epoch), and the history.
    """
    if isinstance(module, Graph):
        trained = evaluator = module
    else:
        from convlens.scratch.from_torch import training_pair

        sample = _prepared(x_train[:1], prepare, np.dtype(np.float32))
        trained, evaluator = training_pair(module, sample.shape[1:])
    history = fit(
        trained,
        x_train,
        y_train,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=SGD(lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov and momentum > 0),
        schedule=schedule,
        smoothing=smoothing,
        validation=None if x_val is None or y_val is None else (x_val, y_val),
        evaluator=evaluator,
        prepare=prepare,
        seed=seed,
        on_epoch=on_epoch,
        on_step=on_step,
    )
    return evaluator, history


def _prepared(x: Array, prepare: Prepare | None, dtype: np.dtype) -> Array:
    if prepare is not None:
        x = prepare(x)
    elif x.dtype == np.uint8:
        x = x * dtype.type(1 / 255)
    return np.ascontiguousarray(x, dtype)


def _check(x: Sequence[Any] | Array, y: Array, epochs: int, batch_size: int) -> None:
    if not len(x):
        raise InputError("x: no samples, expected at least one")
    if len(x) != len(y):
        raise InputError(f"y: {len(y)} labels, expected {len(x)}, one per sample")
    if epochs < 1 or batch_size < 1:
        raise InputError(f"epochs: {epochs} and batch_size: {batch_size}, expected at least 1")
