"""The formula of each operation, and the same with the numbers put in."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from convlens.inspection.trace.statistics import NORMALIZATIONS, statistics_of
from convlens.inspection.trace.terms import Sum
from convlens.scratch.operation import Call

Cell = tuple[int, ...]
_FEW = 6  # terms that are written out one by one

FORMULAS = {
    "conv2d": "y[o,p,q] = b[o] + sum over c,i,j of w[o,c,i,j] x[c, p s + i d - top, q s + j d - left]",
    "conv1d": "y[o,p] = b[o] + sum over c,i of w[o,c,i] x[c, p s + i d - before]",
    "conv_transpose2d": "y[o,u,v] = b[o] + sum of w[c,o,i,j] x[c,p,q] where u = p s + i d - top, v = q s + j d - left",
    "linear": "y[o] = b[o] + sum over k of w[o,k] x[k]",
    "max_pool2d": "y = the largest x of the window",
    "adaptive_max_pool2d": "y = the largest x of the window",
    "avg_pool2d": "y = sum of x over the window / number of cells",
    "adaptive_avg_pool2d": "y = mean of x over the window",
    **dict.fromkeys(NORMALIZATIONS, "y = (x - mean) / sqrt(var + eps) * scale + shift"),
    "local_response_norm": "y = x / (k + alpha / size * sum over neighboring channels of x^2)^beta",
    "softmax": "y[i] = exp(x[i]) / sum over j of exp(x[j])",
    "log_softmax": "y[i] = x[i] - log(sum over j of exp(x[j]))",
    "add": "y = a + b",
    "subtract": "y = a - b",
    "multiply": "y = a * b",
    "divide": "y = a / b",
    "matmul": "y[i,j] = sum over k of a[i,k] b[k,j]",
    "maximum": "y = max(a, b)",
    "minimum": "y = min(a, b)",
    "mean": "y = mean of x",
    "total": "y = sum of x",
    "variance": "y = sum of (x - mean)^2 / (n - correction)",
    "glu": "y = a * sigmoid(b), a and b the halves of x",
}
# functions of one number, with {x} for it and the names of options
POINTWISE = {
    "relu": "max({x}, 0)",
    "leaky_relu": "{x} if {x} > 0 else {slope} * {x}",
    "prelu": "{x} if {x} > 0 else {w} * {x}",
    "elu": "{x} if {x} > 0 else {alpha} * (exp({x}) - 1)",
    "celu": "{x} if {x} > 0 else {alpha} * (exp({x} / {alpha}) - 1)",
    "selu": "1.0507 * ({x} if {x} > 0 else 1.6733 * (exp({x}) - 1))",
    "sigmoid": "1 / (1 + exp(-({x})))",
    "tanh": "tanh({x})",
    "silu": "{x} * sigmoid({x})",
    "gelu": "{x} * Phi({x}), Phi of the normal distribution",
    "mish": "{x} * tanh(log(1 + exp({x})))",
    "softplus": "log(1 + exp({beta} * {x})) / {beta}",
    "log_sigmoid": "log(sigmoid({x}))",
    "hardtanh": "min(max({x}, {low}), {high})",
    "clamp": "{x} kept within {low} and {high}",
    "hardsigmoid": "min(max({x} + 3, 0), 6) / 6",
    "threshold": "{x} if {x} > {threshold} else {value}",
    "absolute": "|{x}|",
    "exp": "exp({x})",
    "expm1": "exp({x}) - 1",
    "log": "log({x})",
    "log1p": "log(1 + {x})",
    "power": "({x})^{exponent}",
    "root": "sqrt({x})",
    "sin": "sin({x})",
    "cos": "cos({x})",
    "scale_shift": "{scale} * {x} + {shift}",
}


def number(value: float) -> str:
    """Five significant digits."""
    return f"{value:.5g}"


def formula(op: str) -> str:
    """In letters; operations that move cells say so."""
    if op in POINTWISE:
        letters = {k: k for k in ("x", "w", "slope", "alpha", "beta", "low", "high", "threshold", "value")}
        return "y = " + POINTWISE[op].format(**letters, exponent="exponent", scale="scale", shift="shift")
    return FORMULAS.get(op, f"y = {op.replace('_', ' ')} of x")


def with_numbers(op: str, call: Call, cell: Cell, found: Sum) -> str:
    """The formula of one cell with its numbers."""
    y = number(float(call.output[cell]))
    if op in POINTWISE:
        return f"{_pointwise(op, call, cell)} = {y}"
    if op in NORMALIZATIONS:
        return f"{_normalization(op, call, cell)} = {y}"
    if op in ("multiply", "divide", "add", "subtract", "maximum", "minimum") and len(call.arrays) == 2:
        a, b = (number(float(np.broadcast_to(x, call.output.shape)[cell])) for x in call.arrays)
        sign = {"multiply": "*", "divide": "/", "add": "+", "subtract": "-"}.get(op)
        return f"{a} {sign} {_signed(b)} = {y}" if sign else f"{op[:3]}({a}, {b}) = {y}"
    return f"{_of_terms(op, found)} = {y}"


def _signed(text: str) -> str:
    return f"({text})" if text.startswith("-") else text


def _pointwise(op: str, call: Call, cell: Cell) -> str:
    x = call.arrays[0]
    numbers: dict[str, Any] = {"x": number(float(np.broadcast_to(x, call.output.shape)[cell]))}
    for name in ("slope", "alpha", "beta", "low", "high", "threshold", "value", "exponent", "scale", "shift"):
        default = {"scale": 1.0, "shift": 0.0, "slope": 0.01, "threshold": 20.0}.get(name, 1.0)
        given = call.options.get(name, default)
        numbers[name] = "no limit" if given is None else number(float(given))
    w = call.arrays[1].ravel() if len(call.arrays) > 1 else np.ones(1)
    numbers["w"] = number(float(w[cell[1] if len(w) > 1 else 0]))
    return POINTWISE[op].format(**numbers)


def _normalization(op: str, call: Call, cell: Cell) -> str:
    found = statistics_of(op, call)
    x, shape = call.arrays[0], np.shape(call.arrays[0])
    mean, var, scale, shift = (
        number(float(np.broadcast_to(s, shape)[cell])) for s in (found.mean, found.var, found.scale, found.shift)
    )
    start = f"({number(float(x[cell]))} - {_signed(mean)}) / sqrt({var} + {found.eps:g})"
    return f"{start} * {_signed(scale)} + {_signed(shift)} (mean and variance {found.whose})"


def _of_terms(op: str, found: Sum) -> str:
    values = np.concatenate([t.values for t in found.terms]) if found.terms else np.zeros(0)
    products = np.concatenate([t.products for t in found.terms]) if found.terms else np.zeros(0)
    if "max" in op:
        return f"max({_listed(values)})"
    bias = f"{number(found.bias)} + " if found.bias or not len(products) else ""
    if len(products) > _FEW:
        return f"{bias}sum of {len(products)} products {number(float(products.sum()))}"
    pairs = [
        number(v) if w == 1 else f"{number(v)} * {_signed(number(w))}"
        for t in found.terms
        for v, w in zip(t.values.tolist(), t.weights.tolist(), strict=True)
    ]
    return bias + (" + ".join(pairs) or "0")


def _listed(values: Sequence[float] | np.ndarray) -> str:
    listed = [number(float(v)) for v in values[:_FEW]]
    return ", ".join(listed) + (f", and {len(values) - _FEW} more" if len(values) > _FEW else "")
