"""Drop-ins for the operations that take most of a network's time: tiled for the processor's cache, banded, threaded.

They are tested against the plain operations, and a reader does not need them to understand a convolution.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from convlens.ops._switch import replaced
from convlens.ops.fast import convolution, elementwise, linear, pooling

DROP_INS = {
    operation.__name__: operation
    for operation in (
        convolution.conv2d,
        convolution.conv2d_backward,
        convolution.conv_transpose2d,
        convolution.conv_transpose2d_backward,
        pooling.max_pool2d,
        pooling.max_pool2d_backward,
        pooling.avg_pool2d,
        pooling.avg_pool2d_backward,
        linear.linear,
        linear.linear_backward,
    )
} | elementwise.DROP_INS


@contextmanager
def fast() -> Iterator[None]:
    """Within this block the operations of `convlens.ops` run their fast forms: the same but for rounding.

    >>> with ops.fast():  # doctest: +SKIP
    ...     y = ops.conv2d(x, w)
    """
    with replaced(DROP_INS):
        yield
