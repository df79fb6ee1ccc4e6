"""The mean and variance by which a normalization normalizes, and its scale and shift, cell by cell."""

from typing import Any, NamedTuple

import numpy as np

from convlens.ops.arrays import channel_shape
from convlens.ops.normalization import moments
from convlens.scratch.operation import Call

Array = np.ndarray

NORMALIZATIONS = ("batch_norm", "running_instance_norm", "instance_norm", "group_norm", "layer_norm")


class Statistics(NamedTuple):
    """y = (x - mean) / sqrt(var + eps) * scale + shift; arrays that broadcast against x.

    Attributes:
        of_image: the statistics are those of this image; otherwise running ones, from training.
    """

    mean: Array
    var: Array
    scale: Array
    shift: Array
    eps: float
    of_image: bool

    @property
    def factor(self) -> Array:
        return self.scale / np.sqrt(self.var + self.eps)

    @property
    def whose(self) -> str:
        return "of this image" if self.of_image else "of training"


def statistics_of(op: str, call: Call) -> Statistics:
    """Of a call of one of the `NORMALIZATIONS`, in inference."""
    given: list[Any] = [*call.arrays, *[None] * 5]
    x, w, b, mean, var = given[:5]
    eps = call.options.get("eps", 1e-5)
    vector = np.shape(x)[-call.options.get("axes", 1) :] if op == "layer_norm" else channel_shape(x.ndim, x.shape[1])
    scale, shift = (
        np.full((1,) * len(vector), default) if v is None else v.reshape(vector) for v, default in ((w, 1.0), (b, 0.0))
    )
    if op in ("batch_norm", "running_instance_norm") and mean is not None:
        return Statistics(mean.reshape(vector), var.reshape(vector), scale, shift, eps, False)
    return Statistics(*_own(op, call, x), scale, shift, eps, True)


def _own(op: str, call: Call, x: Array) -> tuple[Any, Any]:
    """Mean and variance of the image itself, for each of its cells."""
    if op == "batch_norm":
        return moments(x, (0, *range(2, x.ndim)))
    if op == "layer_norm":
        return moments(x, tuple(range(x.ndim - call.options.get("axes", 1), x.ndim)))
    groups = x.shape[1] if op == "instance_norm" else call.options["groups"]
    rows = x.reshape(x.shape[0], groups, -1)
    return tuple(np.broadcast_to(s, rows.shape).reshape(x.shape) for s in moments(rows, (2,)))  # type: ignore[return-value]
