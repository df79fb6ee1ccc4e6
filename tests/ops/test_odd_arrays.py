"""What every operation does with odd arrays: empty batches, reversed memory, integers, foreign types."""

from inspect import signature

import numpy as np
import pytest
from checking import normal

from convlens import ops
from convlens.base.errors import InputError

X, W = (2, 4, 6, 6), (4, 4, 3, 3)
PROBABILITIES = np.full((2, 4), 0.25)
LABELS = np.array([1, 3])

# For each operation the shapes of its arrays, by argument name (an array: constants), and its settings.
CASES = {
    **dict.fromkeys(("add", "subtract", "multiply", "divide"), ({"a": X, "b": X}, {})),
    **dict.fromkeys(
        ("exp", "log", "absolute", "relu", "selu", "silu", "gelu", "mish", "sigmoid", "tanh"), ({"x": X}, {})
    ),
    **dict.fromkeys(("softplus", "log_sigmoid", "elu", "celu", "leaky_relu"), ({"x": X}, {})),
    **dict.fromkeys(("softmax", "log_softmax", "glu"), ({"x": X}, {"axis": 1})),
    **dict.fromkeys(("total", "mean"), ({"x": X}, {"axis": (2, 3)})),
    "power": ({"x": X}, {"exponent": 2}),
    "scale_shift": ({"x": X}, {"scale": 2.0, "shift": 1.0}),
    "threshold": ({"x": X}, {"threshold": 0.5, "value": -1.0}),
    "clamp": ({"x": X}, {"low": -0.5, "high": 0.5}),
    "prelu": ({"x": X, "w": (4,)}, {}),
    **dict.fromkeys(("conv2d", "true_conv2d"), ({"x": X, "w": W}, {"padding": 1})),
    "conv1d": ({"x": X[:3], "w": W[:3]}, {"padding": 1}),
    "conv1x1": ({"x": X, "w": W[:2]}, {}),
    "conv_transpose2d": ({"x": X, "w": W}, {"stride": 2}),
    "depthwise_conv2d": ({"x": X, "w": (4, 1, 3, 3)}, {}),
    "separable_conv2d": ({"x": X, "depthwise": (4, 1, 3, 3), "pointwise": (5, 4)}, {}),
    "locally_connected2d": ({"x": X, "w": (4, 4, 2, 4, 3, 3)}, {}),
    "linear": ({"x": (2, 4), "w": (3, 4)}, {}),
    "matmul": ({"a": (2, 4), "b": (4, 3)}, {}),
    **dict.fromkeys(("max_pool2d", "avg_pool2d"), ({"x": X}, {"kernel": 2})),
    **dict.fromkeys(("adaptive_avg_pool2d", "adaptive_max_pool2d"), ({"x": X}, {"size": (4, 2)})),
    **dict.fromkeys(("global_avg_pool2d", "global_max_pool2d"), ({"x": X}, {})),
    **dict.fromkeys(("batch_norm", "instance_norm"), ({"x": X, "w": (4,), "b": (4,)}, {})),
    "batch_norm_inference": ({"x": X, "mean": np.zeros(4), "var": np.ones(4), "w": (4,), "b": (4,)}, {}),
    "group_norm": ({"x": X, "w": (4,), "b": (4,)}, {"groups": 2}),
    "layer_norm": ({"x": X, "w": (6,), "b": (6,)}, {}),
    "local_response_norm": ({"x": X}, {}),
    "dropout": ({"x": X}, {"rate": 0.5, "seed": 1}),
    **dict.fromkeys(("upsample_nearest", "upsample_bilinear", "upsample_bicubic"), ({"x": X}, {"size": (7, 4)})),
    "flatten": ({"x": X}, {}),
    "reshape": ({"x": X}, {"shape": (-1, 144)}),
    "permute": ({"x": X}, {"axes": (0, 2, 3, 1)}),
    "broadcast": ({"x": X}, {"shape": (3, -1, -1, -1, -1)}),
    "take": ({"x": X}, {"index": (slice(None), 1)}),
    "put": ({"x": X, "value": ()}, {"index": (slice(None), 1)}),
    "pad": ({"x": X}, {"padding": ((1, 1), (2, 0)), "mode": "replicate"}),
    **dict.fromkeys(("pixel_shuffle", "pixel_unshuffle"), ({"x": X}, {"factor": 2})),
    **dict.fromkeys(("mse", "mae", "huber", "smooth_l1", "log_cosh", "mape"), ({"prediction": X, "target": X}, {})),
    **dict.fromkeys(("msle", "poisson", "hinge", "squared_hinge"), ({"prediction": X, "target": X}, {})),
    **dict.fromkeys(("categorical_hinge", "kl_divergence", "cosine"), ({"prediction": X, "target": X}, {})),
    "cross_entropy": ({"logits": (2, 4), "target": LABELS}, {}),
    "nll": ({"log_probabilities": (2, 4), "target": LABELS}, {}),
    "binary_cross_entropy": ({"logits": (2, 4), "target": PROBABILITIES}, {}),
    **dict.fromkeys(("l1_penalty", "l2_penalty"), ({"w": X}, {})),
}
LISTS = {"concat"}  # takes a list of arrays: see test_shape
OF_THE_BATCH = {"w", "b", "mean", "var", "depthwise", "pointwise", "value"}  # arrays that have no axis of images


def positive(shape, seed=0):
    """Values for which every operation is defined."""
    return np.abs(normal(*shape, seed=seed)) + 0.25


def arrays_of(name):
    shapes, settings = CASES[name]
    made = {key: s.copy() if isinstance(s, np.ndarray) else positive(s, i) for i, (key, s) in enumerate(shapes.items())}
    return made, settings


def run(name, arrays, settings):
    """The output, and the gradients by name, for a gradient of ones."""
    y = getattr(ops, name)(**arrays, **settings)
    backward = getattr(ops, f"{name}_backward")
    taken = {key: a for key, a in arrays.items() if key in signature(backward).parameters}
    return y, backward(np.ones_like(y), **taken, **settings)._asdict()


def test_every_operation_with_a_backward_is_here():
    pairs = {name for name in dir(ops) if hasattr(ops, f"{name}_backward")}
    assert pairs - LISTS == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_reversed_memory_gives_the_same_numbers(name):
    arrays, settings = arrays_of(name)
    flipped = {key: np.flip(np.flip(a).copy()) for key, a in arrays.items()}
    y, gradients = run(name, arrays, settings)
    again, others = run(name, flipped, settings)
    np.testing.assert_allclose(again, y, rtol=1e-12)
    for key, gradient in gradients.items():
        np.testing.assert_allclose(others[key], gradient, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_integers_are_calculated_with_as_float64(name):
    arrays, settings = arrays_of(name)
    whole = {key: np.round(a * 3).astype(int) + 1 if a.dtype.kind == "f" else a for key, a in arrays.items()}
    floats = {key: a.astype(np.float64) if arrays[key].dtype.kind == "f" else a for key, a in whole.items()}
    y, gradients = run(name, whole, settings)
    expected, others = run(name, floats, settings)
    assert y.dtype == np.float64
    np.testing.assert_array_equal(y, expected)
    for key, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, others[key])


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
@pytest.mark.parametrize("name", CASES)
def test_a_batch_of_no_images_gives_nothing_or_a_reason(name):
    arrays, settings = arrays_of(name)
    empty = {key: a if key in OF_THE_BATCH and name[1:] != "_penalty" else a[:0] for key, a in arrays.items()}
    if name in ("matmul", "l1_penalty", "l2_penalty"):
        empty = {**arrays, **{key: arrays[key][:0] for key in list(arrays)[:1]}}
    try:
        y, gradients = run(name, empty, settings)
    except InputError:
        return
    full, _ = run(name, arrays, settings)
    assert y.ndim == full.ndim
    for key, gradient in gradients.items():
        if key in empty:  # not a bias that was left out
            assert gradient.shape == empty[key].shape


FOREIGN = {
    "float16": lambda a: a.astype(np.float16),
    "complex": lambda a: a.astype(complex),
    "words": lambda a: a.astype(str),
    "objects": lambda a: a.astype(object),
    "a ragged list": lambda a: [[1.0], [1.0, 2.0]],
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("name", CASES)
def test_a_foreign_type_is_refused_by_name(name, kind):
    arrays, settings = arrays_of(name)
    first = next(iter(arrays))
    with pytest.raises(InputError, match=f"^{first}: "):
        getattr(ops, name)(**{**arrays, first: FOREIGN[kind](arrays[first])}, **settings)


@pytest.mark.parametrize("name", CASES)
def test_the_other_byte_order_is_read(name):
    arrays, settings = arrays_of(name)
    swapped = {key: a.astype(a.dtype.newbyteorder()) for key, a in arrays.items()}
    y, gradients = run(name, swapped, settings)
    np.testing.assert_array_equal(y, run(name, arrays, settings)[0])
    assert y.dtype == np.float64
    assert all(gradient.dtype == np.float64 for gradient in gradients.values())
