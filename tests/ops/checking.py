"""The one check of an operation, forward and backward, against two independent oracles.

An operation is handed over as three functions of the same named arrays: ours, our backward, and PyTorch's. What is
checked: values and gradients in float64 against PyTorch to 1e-10, in float32 against PyTorch in float64 to 1e-5,
gradients against central differences to 1e-6; that float32 stays float32; that no input is written to; that the
memory layout of an input does not matter. Differences are relative to the largest magnitude of the tensor.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from convlens import ops

Array = np.ndarray
F64_TOLERANCE, F32_TOLERANCE, NUMERICAL_TOLERANCE = 1e-10, 1e-5, 1e-6


def relative(ours: Any, reference: Any) -> float:
    """max|a - b| / max|b|; where b is all zero, 0 if a is too and 1 otherwise. Shapes must agree."""
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    assert a.shape == b.shape, f"shape {a.shape}, expected {b.shape}"
    if b.size == 0:
        return 0.0
    assert np.isfinite(a).all() == np.isfinite(b).all()
    scale = np.abs(b).max()
    return float(np.abs(a - b).max() / scale) if scale else float(np.any(a))


def assert_close(ours: Any, reference: Any, tolerance: float = F64_TOLERANCE, what: str = "") -> None:
    """Fails with the relative difference in its message."""
    difference = relative(ours, reference)
    assert difference <= tolerance, f"{what}: relative difference {difference:.3g}, allowed {tolerance:g}"


def normal(*shape: int, seed: int = 0) -> Array:
    """Standard normal float64 values; another seed, other values."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def distinct(*shape: int, seed: int = 0) -> Array:
    """Values at least 0.01 apart in random order, none near 0: no ties and no kinks for maxima and rectifiers."""
    n = int(np.prod(shape))
    ranks = np.random.default_rng([seed, *shape]).permutation(n)
    return ((ranks - n // 2 + 0.5) * 0.02).reshape(shape)


def as_fields(gradients: Any, names: list[str]) -> dict[str, Array]:
    """The gradients of a backward function (named tuple, mapping, or one plain array) by argument name."""
    if isinstance(gradients, np.ndarray):
        assert len(names) == 1, f"one array came back for {names}"
        return {names[0]: gradients}
    fields = dict(gradients) if isinstance(gradients, Mapping) else gradients._asdict()
    missing = [name for name in names if fields.get(name) is None]
    assert not missing, f"no gradient for {missing}; there are {sorted(fields)}"
    return {name: fields[name] for name in names}


def check_operation(
    forward: Callable[..., Array],
    backward: Callable[..., Any],
    reference: Callable[..., torch.Tensor],
    arrays: Mapping[str, Array],
    *,
    numerical: bool = True,
    constant: tuple[str, ...] = (),
    f32_tolerance: float = F32_TOLERANCE,
) -> None:
    """Checks one operation for one set of float64 arrays (integer arrays, as labels, are passed through).

    Args:
        forward: `forward(**arrays)` is our result.
        backward: `backward(grad, **arrays)` gives the gradients with the names of the arrays; an operation with one
            differentiable argument may return that gradient alone.
        reference: `reference(**tensors)` is PyTorch's result.
        numerical: compare with central differences too (turn off where the arrays lie on a kink).
        constant: names of float arrays that get no gradient.
    """
    names = [name for name, a in arrays.items() if a.dtype.kind == "f" and name not in constant]
    output, grads, grad = _reference(reference, arrays, names)

    ours = _run(forward, backward, arrays, grad, names, np.float64)
    _compare(ours, (output, grads), F64_TOLERANCE, "float64")
    if numerical:
        _check_numerical(forward, arrays, grad, ours[1])

    # In float32 the reference sees the same rounded values, so that only our own rounding is measured.
    single = {name: _cast(a, np.float32) for name, a in arrays.items()}
    grad32 = grad.astype(np.float32)
    rounded = _reference(reference, {n: _cast(a, np.float64) for n, a in single.items()}, names, grad32)
    _compare(_run(forward, backward, single, grad32, names, np.float32), rounded[:2], f32_tolerance, "float32")

    with ops.fast():  # the drop-in, where the operation has one
        swift = [
            _run(forward, backward, a, g, names, t)
            for a, g, t in ((arrays, grad, np.float64), (single, grad32, np.float32))
        ]
    _compare(swift[0], (output, grads), F64_TOLERANCE, "float64, fast")
    _compare(swift[1], rounded[:2], f32_tolerance, "float32, fast")

    scattered = {name: _scattered(a) for name, a in arrays.items()}
    again = _run(forward, backward, scattered, _scattered(grad), names, np.float64)
    _compare(again, (output, grads), F64_TOLERANCE, "other memory layout")


def _reference(reference, arrays, names, grad=None):
    tensors = {name: torch.from_numpy(np.array(a)) for name, a in arrays.items()}
    for name in names:
        tensors[name].requires_grad_()
    output = reference(**tensors)
    if grad is None:
        grad = np.asarray(np.random.default_rng(1).standard_normal(tuple(output.shape)))
    output.backward(torch.from_numpy(np.array(grad, dtype=np.float64)))
    zero = {name: np.zeros(arrays[name].shape) for name in names}
    grads = {n: zero[n] if (g := tensors[n].grad) is None else g.numpy() for n in names}
    return output.detach().numpy(), grads, grad


def _run(forward, backward, arrays, grad, names, dtype):
    before = {name: a.copy() for name, a in arrays.items()}
    for a in (*arrays.values(), grad):
        a.setflags(write=False)
    output = forward(**arrays)
    grads = as_fields(backward(grad, **arrays), names)
    assert np.asarray(output).dtype == dtype, f"output is {output.dtype}, expected {np.dtype(dtype)}"
    for name, g in grads.items():
        assert g.dtype == dtype, f"gradient of {name} is {g.dtype}, expected {np.dtype(dtype)}"
    for name, a in arrays.items():
        assert np.array_equal(a, before[name]), f"{name} was modified"
    return output, grads


def _compare(ours, reference, tolerance, how):
    assert_close(ours[0], reference[0], tolerance, f"forward, {how}")
    for name, expected in reference[1].items():
        assert_close(ours[1][name], expected, tolerance, f"gradient of {name}, {how}")


def _check_numerical(forward, arrays, grad, grads, step=1e-5):
    """Central differences of sum(grad * forward): in each cell of small arrays, else in random directions."""
    for name, gradient in grads.items():
        a = arrays[name]
        if a.size <= 40:
            directions = np.eye(a.size).reshape(a.size, *a.shape)
        else:
            directions = np.random.default_rng(2).standard_normal((4, *a.shape))
        for direction in directions:
            up, down = (forward(**{**arrays, name: a + sign * step * direction}) for sign in (1, -1))
            slope = float((grad * ((up - down) / (2 * step))).sum())
            expected = float((gradient * direction).sum())
            scale = max(float(np.abs(gradient * direction).sum()), float(np.abs(gradient).max(initial=0)), 1e-3)
            assert abs(slope - expected) <= NUMERICAL_TOLERANCE * scale, (
                f"gradient of {name}: {expected} but central differences give {slope}"
            )


def _cast(a: Array, dtype: type) -> Array:
    return a.astype(dtype) if a.dtype.kind == "f" else a


def _scattered(a: Array) -> Array:
    """The same values at memory that is neither contiguous nor in row-major order."""
    if a.ndim == 0:
        return a.copy()
    wide = np.zeros(tuple(2 * n for n in reversed(a.shape)), dtype=a.dtype)
    view = wide.T[tuple(slice(None, None, 2) for _ in a.shape)]
    view[...] = a
    return view
