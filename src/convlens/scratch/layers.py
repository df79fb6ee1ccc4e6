"""The layers without weights, as methods of a value: `x.relu()`, `x.max_pool2d(2)`, `x.flatten()`.

Each is the function of the same name in `convlens.ops`, where its formula and its options are explained. Axes count
with the batch: axis 0 is the batch, axis 1 the channels. `name` is the layer's name in the network.
"""

from collections.abc import Sequence
from typing import Any, Self

from convlens.base.errors import InputError

Size = int | Sequence[int]
Padding = int | Sequence[Any] | str
Axes = int | tuple[int, ...] | None


class PlainLayers:
    """What `Value` can do without weights. Each method returns a new value."""

    def _then(self, op: str, name: str, **options: Any) -> Self:
        """A layer with this one as its only input."""
        raise NotImplementedError

    # --- activations

    def relu(self, *, name: str = "") -> Self:
        """max(x, 0)."""
        return self._then("relu", name)

    def leaky_relu(self, slope: float = 0.01, *, name: str = "") -> Self:
        """x where x > 0, else slope * x."""
        return self._then("leaky_relu", name, slope=slope)

    def threshold(self, *, threshold: float, value: float, name: str = "") -> Self:
        """x where x > threshold, else `value`."""
        return self._then("threshold", name, threshold=threshold, value=value)

    def clamp(self, *, low: float | None = None, high: float | None = None, name: str = "") -> Self:
        """x limited to low .. high; None is no limit. `clamp(low=0, high=6)` is ReLU6."""
        return self._then("clamp", name, low=low, high=high)

    def elu(self, *, alpha: float = 1.0, name: str = "") -> Self:
        """x where x > 0, else alpha * (exp(x) - 1)."""
        return self._then("elu", name, alpha=alpha)

    def selu(self, *, name: str = "") -> Self:
        """ELU scaled so that mean 0 and variance 1 are kept from layer to layer."""
        return self._then("selu", name)

    def celu(self, *, alpha: float = 1.0, name: str = "") -> Self:
        """x where x > 0, else alpha * (exp(x / alpha) - 1)."""
        return self._then("celu", name, alpha=alpha, inverse=1 / alpha if alpha else 0.0)

    def sigmoid(self, *, name: str = "") -> Self:
        """1 / (1 + exp(-x))."""
        return self._then("sigmoid", name)

    def log_sigmoid(self, *, name: str = "") -> Self:
        """log(1 / (1 + exp(-x)))."""
        return self._then("log_sigmoid", name)

    def tanh(self, *, name: str = "") -> Self:
        """Hyperbolic tangent."""
        return self._then("tanh", name)

    def silu(self, *, name: str = "") -> Self:
        """x * sigmoid(x), also called swish."""
        return self._then("silu", name)

    def gelu(self, *, approximate: str = "none", name: str = "") -> Self:
        """x * Phi(x), Phi the normal distribution's; `approximate="tanh"` for the form with tanh."""
        return self._then("gelu", name, approximate=approximate)

    def mish(self, *, name: str = "") -> Self:
        """x * tanh(softplus(x))."""
        return self._then("mish", name)

    def softplus(self, *, beta: float = 1.0, threshold: float = 20.0, name: str = "") -> Self:
        """log(1 + exp(beta x)) / beta, a smooth ReLU; x itself where beta x > threshold."""
        return self._then("softplus", name, beta=beta, threshold=threshold)

    def glu(self, *, axis: int = -1, name: str = "") -> Self:
        """a * sigmoid(b), a and b the two halves of x along `axis`."""
        return self._then("glu", name, axis=axis)

    def softmax(self, *, axis: int = -1, name: str = "") -> Self:
        """exp(x_i) / sum_j exp(x_j) along `axis`."""
        return self._then("softmax", name, axis=axis)

    def log_softmax(self, *, axis: int = -1, name: str = "") -> Self:
        """The logarithm of the softmax."""
        return self._then("log_softmax", name, axis=axis)

    def dropout(self, rate: float = 0.5, *, channels: bool = False, name: str = "") -> Self:
        """Drops values (or whole channels) with probability `rate` in training."""
        if not 0 <= rate <= 1:
            raise InputError(f"rate: {rate}, expected a probability between 0 and 1")
        return self._then("dropout", name, rate=rate, channels=channels, which=0)

    # --- pooling: (channels, height, width) of a sample

    def max_pool2d(
        self,
        kernel: Size,
        *,
        stride: Size | None = None,
        padding: Padding = 0,
        dilation: Size = 1,
        ceil: bool = False,
        name: str = "",
    ) -> Self:
        """The largest of each window; the stride is the kernel if left out."""
        options = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation, "ceil": ceil}
        return self._then("max_pool2d", name, **options)

    def avg_pool2d(
        self,
        kernel: Size,
        *,
        stride: Size | None = None,
        padding: Padding = 0,
        ceil: bool = False,
        count_padding: bool = True,
        divisor: int | None = None,
        name: str = "",
    ) -> Self:
        """The mean of each window; the stride is the kernel if left out."""
        counted = {"count_padding": count_padding, "divisor": divisor}
        return self._then("avg_pool2d", name, kernel=kernel, stride=stride, padding=padding, ceil=ceil, **counted)

    def adaptive_avg_pool2d(self, size: Size, *, name: str = "") -> Self:
        """Means over a grid of `size` windows that covers the image."""
        return self._then("adaptive_avg_pool2d", name, size=size)

    def adaptive_max_pool2d(self, size: Size, *, name: str = "") -> Self:
        """The largest of each window of a grid of `size` windows that covers the image."""
        return self._then("adaptive_max_pool2d", name, size=size)

    def global_avg_pool2d(self, *, name: str = "") -> Self:
        """The mean of each channel: (channels, height, width) -> (channels,)."""
        return self._then("global_avg_pool2d", name)

    def global_max_pool2d(self, *, name: str = "") -> Self:
        """The largest of each channel: (channels, height, width) -> (channels,)."""
        return self._then("global_max_pool2d", name)

    # --- normalization

    def instance_norm(self, *, eps: float = 1e-5, name: str = "") -> Self:
        """Each channel of each image to mean 0 and variance 1."""
        return self._then("instance_norm", name, eps=eps)

    def local_response_norm(
        self, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, name: str = ""
    ) -> Self:
        """Divides each channel by what its `size` neighbors hold, as in AlexNet."""
        return self._then("local_response_norm", name, size=size, alpha=alpha, beta=beta, k=k)

    # --- size and shape

    def upsample_nearest(
        self,
        scale: float | tuple[float, ...] | None = None,
        *,
        size: int | tuple[int, ...] | None = None,
        exact: bool = False,
        name: str = "",
    ) -> Self:
        """Each output cell copies one input cell; give `scale` or `size`."""
        return self._then("upsample_nearest", name, scale=scale, size=size, exact=exact)

    def upsample_bilinear(
        self,
        scale: float | tuple[float, ...] | None = None,
        *,
        size: int | tuple[int, ...] | None = None,
        align_corners: bool = False,
        name: str = "",
    ) -> Self:
        """Each output cell is a weighted mean of its two neighbors along each axis; give `scale` or `size`."""
        return self._then("upsample_bilinear", name, scale=scale, size=size, align_corners=align_corners)

    def upsample_bicubic(
        self,
        scale: float | tuple[float, ...] | None = None,
        *,
        size: int | tuple[int, ...] | None = None,
        align_corners: bool = False,
        name: str = "",
    ) -> Self:
        """Each output cell is a weighted sum of its four neighbors along each axis; give `scale` or `size`."""
        return self._then("upsample_bicubic", name, scale=scale, size=size, align_corners=align_corners)

    def pixel_shuffle(self, *, factor: int, name: str = "") -> Self:
        """Channels become pixels: (C * factor^2, H, W) -> (C, H * factor, W * factor)."""
        return self._then("pixel_shuffle", name, factor=factor)

    def pixel_unshuffle(self, *, factor: int, name: str = "") -> Self:
        """Pixels become channels: (C, H * factor, W * factor) -> (C * factor^2, H, W)."""
        return self._then("pixel_unshuffle", name, factor=factor)

    def flatten(self, *, start: int = 1, end: int = -1, name: str = "") -> Self:
        """Joins the axes `start` to `end` into one: (C, H, W) -> (C * H * W,)."""
        return self._then("flatten", name, start=start, end=end)

    def reshape(self, *, shape: Sequence[int], name: str = "") -> Self:
        """The same numbers in row-major order in another shape, the batch with it: (-1, C, H, W)."""
        return self._then("reshape", name, shape=shape)

    def permute(self, *, axes: Sequence[int], name: str = "") -> Self:
        """Axis i of the result is axis axes[i]."""
        return self._then("permute", name, axes=axes)

    def broadcast(self, *, shape: Sequence[int], name: str = "") -> Self:
        """Repeated to `shape` by NumPy's rules; -1 keeps the size of that axis."""
        return self._then("broadcast", name, shape=shape)

    def take(self, *, index: tuple[int | slice, ...], name: str = "") -> Self:
        """x[index] with integers and slices; the first is of the batch."""
        return self._then("take", name, index=index)

    def pad(
        self, *, padding: Sequence[tuple[int, int]], value: float = 0.0, mode: str = "constant", name: str = ""
    ) -> Self:
        """Adds cells before and after along the last axes: `padding=((1, 1), (2, 2))` for height and width."""
        return self._then("pad", name, padding=padding, value=value, mode=mode)

    # --- arithmetic on each number, and sums

    def exp(self, *, name: str = "") -> Self:
        """e to the power of x."""
        return self._then("exp", name)

    def log(self, *, name: str = "") -> Self:
        """Natural logarithm."""
        return self._then("log", name)

    def absolute(self, *, name: str = "") -> Self:
        """|x|."""
        return self._then("absolute", name)

    def power(self, exponent: float, *, name: str = "") -> Self:
        """x to a constant power; 0.5 is the square root."""
        return self._then("power", name, exponent=exponent)

    def scale_shift(self, *, scale: float = 1.0, shift: float = 0.0, name: str = "") -> Self:
        """scale * x + shift with constants."""
        return self._then("scale_shift", name, scale=scale, shift=shift)

    def total(self, *, axis: Axes, keepdims: bool = False, name: str = "") -> Self:
        """The sum along `axis`."""
        return self._then("total", name, axis=axis, keepdims=keepdims)

    def mean(self, *, axis: Axes, keepdims: bool = False, name: str = "") -> Self:
        """The mean along `axis`."""
        return self._then("mean", name, axis=axis, keepdims=keepdims)
