"""The sliding window, cell by cell: convolution in all its settings as moving pictures."""

from typing import Any, Literal

import numpy as np
from pydantic import Field

from convlens import geometry, ops
from convlens.base.errors import InputError
from convlens.base.words import percent
from convlens.inspection import style
from convlens.studies.findings import Findings
from convlens.studies.moving import given
from convlens.studies.moving.film import film
from convlens.studies.moving.player import player
from convlens.studies.moving.scene import Array, Pair, Scene, Sides, matrix, sliding
from convlens.studies.registry import Options, register

X = np.array([[1, -1, 0, 2, 0], [-1, -2, 2, 3, 1], [1, 2, -2, 1, 0], [0, -1, -1, 1, 2], [1, 2, 0, -1, 1]], float)
"""The book's example; its rows 4 and 5 stand only in a picture and are chosen here."""
W = np.array([[-1, 1, 2], [1, -1, 3], [0, -1, -2]], float)
X2 = np.array([[-2, 3, -2, 3, -1], [-1, 2, 3, -1, 2], [3, 1, 3, 1, 0], [3, -1, 0, -1, 0], [0, 0, 3, 2, -1]])
X3 = np.array([[3, 3, -2, 3, 0], [1, 2, 2, 2, -2], [0, 3, 1, 2, -2], [3, -1, 1, 2, -2], [0, 3, 3, 2, -2]])
W2 = np.array([[2, 1, 2], [2, 2, 0], [-1, 1, -2]])
W3 = np.array([[2, 0, 2], [2, -1, 2], [2, -2, -1]])
RAMP = np.array([[-1, 2, -3], [4, -5, 6], [-7, 8, -9]], float)
MOST = 256  # cells of an output

Numbers = int | tuple[int, int]


class ConvolutionOptions(Options):
    """Any of these makes one scene of one's own in place of the gallery."""

    input: Any = Field(None, description='an image: "1 2; 3 4", a text file of numbers, or a picture')
    kernel: Any = Field(None, description="a name such as sharpen, rows of numbers, or a text file of numbers")
    mode: Literal["correlation", "convolution", "transposed", "matrix"] = "correlation"
    stride: Numbers = 1
    padding: Numbers | tuple[int, int, int, int] | Literal["same", "valid"] = 0
    dilation: Numbers = 1
    bias: float = 0.0
    size: int = Field(8, ge=2, le=16, description="rows and columns that a picture is reduced to")


@register(
    "convolution",
    title="The sliding window, cell by cell",
    texts=("book 10.2", "book 10.11", "slides convolution", "handbook convolution", "notes 13"),
    claims={
        "cells": "The sums that the frames show, cell by cell, are what conv2d and conv_transpose2d give.",
        "text": "The book's examples give the numbers that it prints.",
        "turned": "True convolution is cross-correlation with a kernel turned by 180 degrees.",
        "gridding": "Three layers of dilation 2 leave out pixels of their field; dilations 1, 2 and 3 leave out none.",
    },
    measures="every cell of every scene against the operation; the pixels that a stack of dilated layers sees",
    options=ConvolutionOptions,
)
def convolution(findings: Findings) -> None:
    """A kernel lies on a patch of the image. What lies on each other is multiplied, the products are added up, and the
    sum is one cell of the output. Then the kernel moves on by the stride. Padding puts zeros around the image, dilation
    spreads the kernel. A transposed convolution is one too: zeros are put between the pixels.
    """
    own = bool(findings.options.model_dump(exclude_defaults=True))
    if own:
        pairs = [scene_of(findings)]
        for claim in ("text", "turned", "gridding"):
            findings.leave_out(claim, "an input or setting of one's own")
    else:
        pairs = gallery()
        judge_gallery(findings, {scene.key: scene for scene, _ in pairs})
        findings.picture("gridding", draw_gridding(), "How often one output cell sees each pixel through three layers.")
    findings.set(scenes=[scene.title for scene, _ in pairs])
    page = player([scene for scene, _ in pairs], "Convolution, step by step")
    findings.file("steps.html", page, "All scenes as a page that steps and plays, with keys, mouse or touch.")
    for scene, _ in findings.steps("films", pairs):
        findings.file(f"{scene.key}.webp", film(scene, 4 if findings.quick else None), f"{scene.title}. {scene.about}")
    wrong = sum(not np.allclose(np.stack([scene.output(key) for key in scene.groups[-1]]), real)
                for scene, real in pairs)  # fmt: skip
    cells = sum(len(scene.frames) for scene, _ in pairs)
    findings.figure("cells", cells)
    findings.judge("cells", wrong == 0, f"{cells} cells in {len(pairs)} scenes; scenes with a difference: {wrong}")


def gallery() -> list[tuple[Scene, Array]]:
    """Each scene, and what the operation gives, [C_out, H_out, W_out]."""
    seven = np.arange(1.0, 50).reshape(7, 7)
    channels, kernels = np.stack([X, X2, X3]), np.array([[W, W2, W3], [W[::-1], W2, W3]])
    found = [
        plain("correlation", "Correlation, as layers mean convolution", X[None], W[None, None]),
        plain("true-convolution", "True convolution: the kernel is turned", X[None], W[None, None], turned=True),
        plain("channels", "Three channels, two kernels", channels, kernels),
        plain("stride", "Stride 2", X[None], W[None, None], stride=(2, 2)),
        plain("padding", "Padding 1", X[None], W[None, None], padding=((1, 1), (1, 1))),
        plain("uneven-padding", "One row above and below, two columns left and right", X[None], W[None, None],
              padding=((1, 1), (2, 2))),
        *(plain(f"dilation-{d}", f"Dilation {d}", seven[None], RAMP[None, None], dilation=(d, d)) for d in (1, 2, 3)),
        transposed("transposed", np.array([[-67.0, -77], [-117, -127]]), RAMP, 2, 0),
    ]  # fmt: skip
    return found + matrices(np.arange(1.0, 17).reshape(4, 4), RAMP)


def plain(
    key: str, title: str, x: Array, w: Array, *, bias: float = 0.0, stride: Pair = (1, 1),
    padding: Sides = ((0, 0), (0, 0)), dilation: Pair = (1, 1), turned: bool = False,
) -> tuple[Scene, Array]:  # fmt: skip
    """A kernel that slides. turned: true convolution."""
    real = ops.true_conv2d if turned else ops.conv2d
    sides = (*padding[0], *padding[1])
    found = real(x[None], w, np.full(len(w), bias), stride=stride, padding=sides, dilation=dilation)[0]
    laid = w[..., ::-1, ::-1] if turned else w
    about = f"Input {_shape(x)}, kernel {_shape(w[0])}, stride {stride[0]}, dilation {dilation[0]}: {_shape(found)}."
    return sliding(key, title, about, x, laid, bias=bias, stride=stride, padding=padding, dilation=dilation), found


def transposed(key: str, x: Array, w: Array, stride: int, padding: int) -> tuple[Scene, Array]:
    """Zeros between the pixels, zeros around them, and the turned kernel slides with stride 1."""
    around = len(w) - 1 - padding
    if w.shape[0] != w.shape[1] or around < 0:
        raise InputError("a transposed scene takes a square kernel, and a padding smaller than it")
    spread = np.zeros(((len(x) - 1) * stride + 1, (x.shape[1] - 1) * stride + 1))
    spread[::stride, ::stride] = x
    pixel = np.zeros(spread.shape, bool)
    pixel[::stride, ::stride] = True
    real = ops.conv_transpose2d(x[None, None], w[None, None], stride=stride, padding=padding)[0]
    about = (
        f"{len(x)}×{x.shape[1]} pixels with {stride - 1} zeros between them and {around} around; the kernel is turned "
        f"by 180 degrees: {_shape(real)}."
    )
    sides = ((around, around), (around, around))
    title = "Transposed convolution by zeros between the pixels"
    scene = sliding(key, title, about, spread[None], w[None, None, ::-1, ::-1], padding=sides, added=~pixel)
    return scene, real


def matrices(x: Array, w: Array) -> list[tuple[Scene, Array]]:
    """The convolution as one sparse matrix, and its transpose as the transposed convolution."""
    m = ops.conv2d_matrix(w[None, None], x.shape).toarray()
    y = ops.conv2d(x[None, None], w[None, None])[0]
    back = ops.conv_transpose2d(y[None], w[None, None])[0]
    zeros = f"{int((m == 0).sum())} of its {m.size} numbers are zero."
    return [
        (matrix("matrix", "The convolution as a sparse matrix",
                f"Each row of W holds the kernel where one output cell looks; {zeros}",
                m, x.ravel(), ("W", "image", "output")), y.reshape(1, -1, 1)),
        (matrix("matrix-transposed", "Its transpose: the transposed convolution",
                "The rows of W's transpose spread each output cell back over the image.",
                m.T, y.ravel(), ("W transposed", "output", "image")), back.reshape(1, -1, 1)),
    ]  # fmt: skip


def scene_of(findings: Findings) -> tuple[Scene, Array]:
    """The scene that the options ask for."""
    o = findings.options
    x, note = (X[None], "") if o.input is None else given.image(o.input, o.size)
    if note:
        findings.say(note)
    w = W if o.kernel is None else given.kernel(o.kernel)
    findings.set(mode=o.mode, stride=o.stride, padding=o.padding, dilation=o.dilation, bias=o.bias)
    if o.mode in ("transposed", "matrix"):
        if len(x) > 1 or w.ndim > 2 or not isinstance(o.stride, int) or not isinstance(o.padding, int):
            raise InputError(
                f"--set mode={o.mode} takes one channel, one kernel, and whole numbers as stride and padding"
            )
        if o.mode == "transposed":
            return _small(transposed("own", x[0], w, o.stride, o.padding))
        return _small(matrices(x[0], w)[0])
    w = np.broadcast_to(w, (len(x), *w.shape)) if w.ndim == 2 else w
    w = w[None] if w.ndim == 3 else w
    stride, dilation = _pair(o.stride), _pair(o.dilation)
    return _small(
        plain("own", "True convolution" if o.mode == "convolution" else "Correlation", x, w, bias=o.bias, stride=stride,
              padding=_sides(o.padding, x, w, stride, dilation), dilation=dilation, turned=o.mode == "convolution")
    )  # fmt: skip


def judge_gallery(findings: Findings, scenes: dict[str, Scene]) -> None:
    """The book's numbers, the turned kernel, and the gridding effect."""
    first = scenes["correlation"].output("output0")
    printed = {
        "first row, and first of the second": (first.ravel()[:4], [7, 10, 3, -1]),
        "sums of three channels": (scenes["channels"].output("output0")[0, :2], [-5, 50]),
        "padded": (scenes["padding"].output("output0")[0, :2], [1, 0]),
        "transposed, first and last": (scenes["transposed"].output("output0").ravel()[[0, -1]], [67, 1143]),
        "matrix": (scenes["matrix"].output("output").ravel(), [-56, -61, -76, -81]),
        "matrix transposed": (scenes["matrix-transposed"].output("output").ravel()[:4], [56, -51, 46, 183]),
    }
    findings.table("Numbers of the text", ["example", "text", "here"],
                   [[name, text, list(here)] for name, (here, text) in printed.items()])  # fmt: skip
    same = sum(np.array_equal(here, text) for here, text in printed.values())
    findings.judge("text", same == len(printed), f"{same} of {len(printed)} examples")
    turned = ops.conv2d(X[None, None], W[None, None, ::-1, ::-1])[0, 0]
    difference = float(np.abs(scenes["true-convolution"].output("output0") - turned).max())
    findings.judge("turned", difference == 0, f"largest difference {difference:g}")
    seen = {stack: share_seen(stack) for stack in ((2, 2, 2), (1, 2, 3))}
    findings.table("Pixels of the field that are seen", ["dilations", "field", "seen", "share"],
                   [[", ".join(map(str, stack)), *row] for stack, row in seen.items()])  # fmt: skip
    holds = seen[2, 2, 2][2] < 1 and seen[1, 2, 3][2] == 1
    findings.judge(
        "gridding", holds, f"{percent(seen[2, 2, 2][2], 0)} and {percent(seen[1, 2, 3][2], 0)} of the field are seen"
    )


def paths(dilations: tuple[int, ...]) -> Array:
    """How often the middle output cell of 3x3 layers with these dilations sees each pixel of its field, [H, W]."""
    grad, ones = np.ones((1, 1, 1, 1)), np.ones((1, 1, 3, 3))
    for d in reversed(dilations):
        side = len(grad[0, 0]) + 2 * d
        grad = ops.conv2d_backward(grad, np.zeros((1, 1, side, side)), ones, dilation=d).x
    return grad[0, 0]


def share_seen(dilations: tuple[int, ...]) -> tuple[str, int, float]:
    """(extent of the field, pixels that are seen, their share)."""
    counts = paths(dilations)
    return _shape(counts), int((counts > 0).sum()), float((counts > 0).mean())


def draw_gridding() -> Any:
    with style.styled():
        figure, axes = style.sheet(2, 3, cell=2.2, width=2.4)
        for one, d in zip(axes[0], (1, 2, 3), strict=True):
            style.show_map(one, np.pad(paths((d,)), 3 - d), signed=False, bar=False)
            style.title(one, f"one layer, dilation {d}")
        for one, stack in zip(axes[1], ((1, 1, 1), (2, 2, 2), (1, 2, 3)), strict=True):
            counts = paths(stack)
            style.show_map(one, np.pad(counts, (13 - len(counts)) // 2), signed=False)
            style.title(one, f"three layers, dilation {', '.join(map(str, stack))}")
        return figure


def _small(pair: tuple[Scene, Array]) -> tuple[Scene, Array]:
    if len(pair[0].frames) > MOST:
        raise InputError(f"the output has {len(pair[0].frames)} cells, more than the {MOST} that are shown one by one; "
                         "take a smaller input, a larger stride, or a smaller size")  # fmt: skip
    return pair


def _pair(value: Numbers) -> Pair:
    return (value, value) if isinstance(value, int) else value


def _sides(padding: Any, x: Array, w: Array, stride: Pair, dilation: Pair) -> Sides:
    """Any way of writing a padding, as ((top, bottom), (left, right))."""
    if isinstance(padding, tuple) and len(padding) == 4:
        return padding[:2], padding[2:]
    each = padding if isinstance(padding, tuple) else (padding, padding)
    axes = zip(each, x.shape[1:], w.shape[2:], stride, dilation, strict=True)
    top, left = (geometry.resolve_padding(p, n, k, s, d) for p, n, k, s, d in axes)
    return top, left


def _shape(values: Array) -> str:
    return "×".join(map(str, values.shape[-2:] if values.shape[0] == 1 else values.shape))
