"""Optimizers: each remembers what it needs about every parameter and writes the new values into the arrays.

    optimizer = SGD(lr=0.05, momentum=0.9)
    optimizer.step(graph.parameters, gradients.parameters)

`lr` may be changed between steps; `fit` does so when it has a schedule. The formulas are PyTorch's, so that both
engines walk the same path.
"""

from collections.abc import Collection, Mapping
from typing import Any, Protocol

import numpy as np

from convlens.base.errors import InputError

Array = np.ndarray


class Optimizer(Protocol):
    """Anything with a learning rate that can take a step."""

    lr: float

    def step(self, parameters: Mapping[str, Array], gradients: Mapping[str, Array]) -> None:
        """Moves every parameter (in place) along its gradient."""
        ...

    def state(self) -> dict[str, Array]:
        """What it remembers, by name; `load_state` takes it back."""
        ...

    def load_state(self, state: Mapping[str, Array]) -> None: ...


def _not_negative(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < float("inf"):
            raise InputError(f"{name}: {value}, expected a number not below 0")


def _of_parameter(optimizer: Any, name: str, p: Array) -> tuple[float, float]:
    """The step size and the weight decay of one parameter: biases may have others than weights."""
    is_weight = p.ndim >= 2 and name not in optimizer.vectors
    lr = optimizer.lr if is_weight else optimizer.lr * optimizer.bias_lr
    return lr, optimizer.weight_decay if is_weight or optimizer.decay_biases else 0.0


class SGD:
    """Stochastic gradient descent: v = momentum * v + g,  p = p - lr * v.

    Args:
        lr: step size.
        momentum: how much of the last step is kept; 0 for none. Source: Polyak, 1964.
        nesterov: look ahead, p = p - lr * (g + momentum * v). Source: Nesterov, 1983; Sutskever et al., 2013.
        weight_decay: adds weight_decay * p to the gradient (an L2 penalty of half that strength).
        bias_lr: factor on lr for biases and scales of normalization: arrays of one dimension, and those in `vectors`.
        decay_biases: whether those decay as well.
        vectors: names of such arrays that have more dimensions.
    """

    def __init__(self, lr: float = 0.01, *, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0,
        bias_lr: float = 1.0, decay_biases: bool = True, vectors: Collection[str] = (),
    ):  # fmt: skip
        _not_negative(lr=lr, momentum=momentum, weight_decay=weight_decay)
        if nesterov and not momentum:
            raise InputError("nesterov: True with momentum 0, expected a momentum to look ahead along")
        self.bias_lr, self.decay_biases, self.vectors = bias_lr, decay_biases, frozenset(vectors)
        self.lr, self.momentum, self.nesterov, self.weight_decay = lr, momentum, nesterov, weight_decay
        self._velocity: dict[str, Array] = {}

    def step(self, parameters: Mapping[str, Array], gradients: Mapping[str, Array]) -> None:
        for name, p in parameters.items():
            g = gradients[name]
            lr, decay = _of_parameter(self, name, p)
            if decay:
                g = g + decay * p
            if self.momentum:
                if name not in self._velocity:
                    self._velocity[name] = v = np.array(g)
                else:
                    v = self._velocity[name]
                    v *= self.momentum
                    v += g
                g = g + self.momentum * v if self.nesterov else v
            p -= lr * g

    def state(self) -> dict[str, Array]:
        return {f"velocity.{name}": v for name, v in self._velocity.items()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        self._velocity = {key.removeprefix("velocity."): np.array(v) for key, v in state.items()}


class Adam:
    """Adam: steps scaled by running means of the gradient and of its square, both corrected for their start at 0.

        m = b1 m + (1 - b1) g,   v = b2 v + (1 - b2) g^2
        p = p - lr * m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)

    `decoupled` shrinks the weights directly instead of adding to the gradient (AdamW). Sources: Kingma and Ba, 2015;
    Loshchilov and Hutter, 2019.
    """

    def __init__(
        self,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        bias_lr: float = 1.0,
        decay_biases: bool = True,
        vectors: Collection[str] = (),
    ):
        _not_negative(lr=lr, eps=eps, weight_decay=weight_decay)
        if not all(0 <= beta < 1 for beta in betas):
            raise InputError(f"betas: {betas}, expected two numbers from 0 to below 1")
        self.bias_lr, self.decay_biases, self.vectors = bias_lr, decay_biases, frozenset(vectors)
        self.lr, self.betas, self.eps = lr, betas, eps
        self.weight_decay, self.decoupled = weight_decay, decoupled
        self._steps = 0
        self._moments: dict[str, tuple[Array, Array]] = {}

    def step(self, parameters: Mapping[str, Array], gradients: Mapping[str, Array]) -> None:
        self._steps += 1
        b1, b2 = self.betas
        correct1, correct2 = 1 - b1**self._steps, 1 - b2**self._steps
        for name, p in parameters.items():
            g = gradients[name]
            lr, decay = _of_parameter(self, name, p)
            if decay and self.decoupled:
                p *= 1 - lr * decay
            elif decay:
                g = g + decay * p
            m, v = self._moments.setdefault(name, (np.zeros_like(p), np.zeros_like(p)))
            m *= b1
            m += (1 - b1) * g
            v *= b2
            v += (1 - b2) * (g * g)
            p -= (lr / correct1) * m / (np.sqrt(v / correct2) + self.eps)

    def state(self) -> dict[str, Array]:
        arrays = {"steps": np.array(self._steps)}
        for name, (m, v) in self._moments.items():
            arrays |= {f"mean.{name}": m, f"square.{name}": v}
        return arrays

    def load_state(self, state: Mapping[str, Array]) -> None:
        self._steps = int(state["steps"])
        names = [key.removeprefix("mean.") for key in state if key.startswith("mean.")]
        self._moments = {name: (np.array(state[f"mean.{name}"]), np.array(state[f"square.{name}"])) for name in names}


class RMSprop:
    """RMSprop: each step is divided by the running size of the gradient.

        v = alpha v + (1 - alpha) g^2,   p = p - lr * g / (sqrt(v) + eps)

    Args:
        alpha: how much of v is kept; Keras calls it rho and begins with 0.9.
        momentum: above 0, b = momentum b + g / (sqrt(v) + eps) is what p moves along.
        centered: sqrt(v - m^2) in place of sqrt(v), with m the running mean of g: the deviation in place of the size.

    The others as for `SGD`. Sources: Tieleman and Hinton, lecture 6.5, 2012; Graves, 2013, for the centered form.
    """

    def __init__(self, lr: float = 1e-2, *, alpha: float = 0.99, eps: float = 1e-8, momentum: float = 0.0,
        centered: bool = False, weight_decay: float = 0.0, bias_lr: float = 1.0, decay_biases: bool = True,
        vectors: Collection[str] = (),
    ):  # fmt: skip
        _not_negative(lr=lr, eps=eps, momentum=momentum, weight_decay=weight_decay)
        if not 0 <= alpha < 1:
            raise InputError(f"alpha: {alpha}, expected a number from 0 to below 1")
        self.bias_lr, self.decay_biases, self.vectors = bias_lr, decay_biases, frozenset(vectors)
        self.lr, self.alpha, self.eps, self.momentum = lr, alpha, eps, momentum
        self.centered, self.weight_decay = centered, weight_decay
        self._squares: dict[str, Array] = {}
        self._means: dict[str, Array] = {}
        self._velocity: dict[str, Array] = {}

    def step(self, parameters: Mapping[str, Array], gradients: Mapping[str, Array]) -> None:
        for name, p in parameters.items():
            g = gradients[name]
            lr, decay = _of_parameter(self, name, p)
            if decay:
                g = g + decay * p
            v = self._squares.setdefault(name, np.zeros_like(p))
            v *= self.alpha
            v += (1 - self.alpha) * (g * g)
            size = v
            if self.centered:
                m = self._means.setdefault(name, np.zeros_like(p))
                m += (1 - self.alpha) * (g - m)
                size = np.maximum(v - m * m, 0)  # rounding must not make a NaN
            direction = g / (np.sqrt(size) + self.eps)
            if self.momentum:
                b = self._velocity.setdefault(name, np.zeros_like(p))
                b *= self.momentum
                b += direction
                direction = b
            p -= lr * direction

    def state(self) -> dict[str, Array]:
        kept = {"square": self._squares, "mean": self._means, "velocity": self._velocity}
        return {f"{kind}.{name}": array for kind, arrays in kept.items() for name, array in arrays.items()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        kept = {"square": self._squares, "mean": self._means, "velocity": self._velocity}
        for arrays in kept.values():
            arrays.clear()
        for key, array in state.items():
            kind, _, name = key.partition(".")
            kept[kind][name] = np.array(array)


def create(name: str, lr: float, **settings: Any) -> Optimizer:
    """`sgd`, `momentum`, `nesterov`, `adam`, `adamw` or `rmsprop` by name."""
    if name == "sgd":
        return SGD(lr, **settings)
    if name in ("momentum", "nesterov"):
        return SGD(lr, nesterov=name == "nesterov", **{"momentum": 0.9, **settings})
    if name in ("adam", "adamw"):
        return Adam(lr, decoupled=name == "adamw", **settings)
    if name == "rmsprop":
        return RMSprop(lr, **settings)
    raise InputError(f"unknown optimizer {name!r} (known: sgd, momentum, nesterov, adam, adamw, rmsprop)")
