"""Writing a network by hand. Each line adds a layer; sizes of weights follow from what goes in.

    from convlens import scratch

    x = scratch.image(1, 28, 28)
    x = x.conv2d(6, 5, padding=2).tanh().avg_pool2d(2)
    x = x.conv2d(16, 5).tanh().avg_pool2d(2)
    x = x.flatten().linear(120).tanh().linear(84).tanh().linear(10)
    lenet = scratch.network(x, seed=0)

A residual block is `x + block(x)`, an Inception module ends in `scratch.concat(a, b, c)`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from convlens.base.errors import InputError
from convlens.scratch import initial
from convlens.scratch.graph import Graph, Node
from convlens.scratch.layers import Padding, PlainLayers, Size
from convlens.scratch.operations import OPERATIONS, Call, Mode

Array = np.ndarray


@dataclass(eq=False)
class Value(PlainLayers):
    """What a line of a network gives: one array [N, ...] when the network runs.

    Attributes:
        op, inputs, options: as in `Node`.
        shape: of one sample, without the batch axis; for parameters the whole shape.
        name: given by the user, or made from the operation's name when the network is put together.
        scheme: for parameters and buffers, how they start.
    """

    op: str
    inputs: tuple["Value | None", ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    name: str = ""
    scheme: str = ""

    # --- layers with weights

    def linear(self, outputs: int, *, bias: bool = True, weights: str = "he_uniform", name: str = "") -> "Value":
        """Dense layer: [..., features] -> [..., outputs]."""
        w = _parameter("weight", (outputs, self.shape[-1]), weights)
        return _apply("linear", [self, w, _bias(bias, outputs)], {}, name)

    def conv2d(
        self,
        channels: int,
        kernel: Size,
        *,
        stride: Size = 1,
        padding: Padding = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        weights: str = "he_uniform",
        name: str = "",
    ) -> "Value":
        """Convolution with `channels` kernels; everything else as `ops.conv2d`."""
        self._expect_image("conv2d")
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        w = _parameter("weight", (channels, self.shape[0] // groups, height, width), weights)
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        return _apply("conv2d", [self, w, _bias(bias, channels)], options, name)

    def conv_transpose2d(
        self,
        channels: int,
        kernel: Size,
        *,
        stride: Size = 1,
        padding: Padding = 0,
        output_padding: Size = 0,
        bias: bool = True,
        weights: str = "he_uniform",
        name: str = "",
    ) -> "Value":
        """Transposed convolution to `channels` channels; everything else as `ops.conv_transpose2d`."""
        self._expect_image("conv_transpose2d")
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        w = _parameter("weight", (self.shape[0], channels, height, width), weights)
        options = {"stride": stride, "padding": padding, "output_padding": output_padding}
        return _apply("conv_transpose2d", [self, w, _bias(bias, channels)], options, name)

    def batch_norm(self, *, momentum: float = 0.1, eps: float = 1e-5, name: str = "") -> "Value":
        """Batch normalization with scale, shift and running statistics."""
        channels = (self.shape[0],)
        w, b = _parameter("weight", channels, "ones"), _parameter("bias", channels, "zeros")
        mean = Value("buffer", name="running_mean", shape=channels, scheme="zeros")
        var = Value("buffer", name="running_var", shape=channels, scheme="ones")
        return _apply("batch_norm", [self, w, b, mean, var], {"momentum": momentum, "eps": eps}, name)

    def group_norm(self, groups: int, *, eps: float = 1e-5, name: str = "") -> "Value":
        """Group normalization with scale and shift."""
        channels = (self.shape[0],)
        w, b = _parameter("weight", channels, "ones"), _parameter("bias", channels, "zeros")
        return _apply("group_norm", [self, w, b], {"groups": groups, "eps": eps}, name)

    def layer_norm(self, *, eps: float = 1e-5, name: str = "") -> "Value":
        """Layer normalization over the whole sample, with scale and shift."""
        w, b = _parameter("weight", self.shape, "ones"), _parameter("bias", self.shape, "zeros")
        return _apply("layer_norm", [self, w, b], {"axes": len(self.shape), "eps": eps}, name)

    def _then(self, op: str, name: str, **options: Any) -> "Value":
        return _apply(op, [self], options, name)

    # --- arithmetic

    def __add__(self, other: Any) -> "Value":
        return self._arithmetic("add", other, {"shift": other})

    def __sub__(self, other: Any) -> "Value":
        return self._arithmetic("subtract", other, {"shift": -other if _is_number(other) else 0})

    def __mul__(self, other: Any) -> "Value":
        return self._arithmetic("multiply", other, {"scale": other})

    def __truediv__(self, other: Any) -> "Value":
        return self._arithmetic("divide", other, {"scale": 1 / other if _is_number(other) else 1})

    __radd__, __rmul__ = __add__, __mul__

    def _arithmetic(self, op: str, other: Any, constant: dict[str, Any]) -> "Value":
        if _is_number(other):
            return _apply("scale_shift", [self], constant)
        return _apply(op, [self, other], {})

    def _expect_image(self, op: str) -> None:
        if len(self.shape) != 3:
            raise InputError(f"{op}: its input is {self.shape} a sample, expected (channels, height, width)")


def image(*shape: int, name: str = "input") -> Value:
    """The input of a network: samples of this shape, such as `image(3, 32, 32)`; the batch axis comes in front."""
    return Value("input", shape=shape, options={"shape": shape}, name=name)


def concat(*values: Value, axis: int = 1, name: str = "") -> Value:
    """Joins values along an axis (1 is the channels: axis 0 is the batch)."""
    return _apply("concat", list(values), {"axis": axis}, name)


def network(*outputs: Value, seed: int = 0, dtype: Any = np.float32) -> Graph:
    """Puts a network together from its outputs, and draws its weights.

    Layers are called after their operation and their number (`conv2d_1`), or as they were told; their arrays after
    them (`conv2d_1.weight`). Equal seeds give equal weights.
    """
    nodes: list[Node] = []
    position: dict[int, int] = {}
    parameters: dict[str, Array] = {}
    buffers: dict[str, Array] = {}
    names: set[str] = set()
    counts: dict[str, int] = {}
    dropouts = 0

    for value in _in_order(outputs):
        counts[value.op] = counts.get(value.op, 0) + 1
        name = value.name or f"{value.op}_{counts[value.op]}"
        if name in names:
            raise InputError(f"two layers are called {name!r}; give one of them another name")
        names.add(name)
        sources: list[int | None] = []
        for source in value.inputs:
            if source is not None and source.op in ("parameter", "buffer"):
                key = f"{name}.{source.name}"
                position[id(source)] = len(nodes)
                nodes.append(Node(key, source.op))
                arrays = parameters if source.op == "parameter" else buffers
                arrays[key] = initial.draw(source.scheme, source.shape, seed, key).astype(dtype)
            sources.append(None if source is None else position[id(source)])
        options = dict(value.options)
        if value.op == "dropout":
            options["which"] = dropouts
            dropouts += 1
        position[id(value)] = len(nodes)
        nodes.append(Node(name, value.op, tuple(sources), options))
    return Graph(nodes, [position[id(v)] for v in outputs], parameters, buffers)


def _in_order(outputs: Sequence[Value]) -> list[Value]:
    """All layers behind the outputs, every one after its inputs; parameters and buffers are left to their layer."""
    order: list[Value] = []
    seen: set[int] = set()
    waiting: list[tuple[Value, bool]] = [(value, False) for value in reversed(outputs)]
    while waiting:
        value, ready = waiting.pop()
        if ready:
            order.append(value)
        elif id(value) not in seen:
            seen.add(id(value))
            waiting.append((value, True))
            layers = [v for v in value.inputs if v is not None and v.op not in ("parameter", "buffer")]
            waiting.extend((v, False) for v in reversed(layers))
    return order


def _parameter(name: str, shape: tuple[int, ...], scheme: str) -> Value:
    return Value("parameter", name=name, shape=shape, scheme=scheme)


def _bias(wanted: bool, size: int) -> Value | None:
    return _parameter("bias", (size,), "zeros") if wanted else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _apply(op: str, inputs: list[Value | None], options: dict[str, Any], name: str = "") -> Value:
    """A new value. The operation is tried on one sample of zeros: that gives the shape, or an error on this line."""
    samples = []
    for value in inputs:
        if value is None:
            samples.append(None)
        elif value.op in ("parameter", "buffer"):
            samples.append(np.broadcast_to(np.float32(1), value.shape))
        else:
            samples.append(np.broadcast_to(np.float32(0), (1, *value.shape)))
    while inputs and inputs[-1] is None:
        inputs, samples = inputs[:-1], samples[:-1]
    try:
        with np.errstate(all="ignore"):  # a sample of zeros has no logarithm, but a shape
            output = OPERATIONS[op].forward(Call(tuple(samples), options, Mode()))
    except TypeError as error:  # a setting of another type
        raise InputError(f"{op}: {error}") from None
    return Value(op, tuple(inputs), options, output.shape[1:], name)
