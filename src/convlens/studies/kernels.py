"""Named kernels and the two poolings on a real photograph."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from convlens import ops
from convlens.base.errors import InputError
from convlens.inspection import style
from convlens.studies.findings import Findings
from convlens.studies.registry import Options, register

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray
WINDOWS = (2, 4, 8)


class KernelsOptions(Options):
    photo: Literal["china", "flower"] = "china"
    image: str | None = Field(None, description="a picture of one's own, instead")


@register(
    "kernels",
    title="What kernels and poolings do to a photograph",
    texts=("book table 10-2", "handbook CNN", "slides pooling", "scratch pooling"),
    claims={
        "sum": "A kernel whose weights add up to 1 keeps the mean brightness; one whose weights add up to 0 takes it "
        "away (but for the border, within 5 of 255).",
        "blur": "Blurring lowers the local contrast, sharpening raises it.",
        "texture": "Max pooling keeps more of the texture than mean pooling.",
        "background": "Mean pooling keeps the brightness of the whole; max pooling does not.",
    },
    measures="mean brightness, and local contrast (the mean magnitude of the Laplacian), before and after",
    options=KernelsOptions,
)
def kernels(findings: Findings) -> None:
    """Long before networks learned their kernels, people wrote them by hand: to sharpen, to blur, to find edges. A
    convolution layer contains them all, as special cases of its weights. Pooling has none: it keeps the largest value
    of a window, or the mean.
    """
    photo = open_photo(findings)
    findings.set(height=photo.shape[0], width=photo.shape[1], border="the outermost pixels are repeated")
    mean, contrast = photo.mean(), texture(photo)

    rows, filtered = [], {}
    for name, kernel in findings.steps("kernels", ops.kernels.ALL.items()):
        filtered[name] = apply(photo, kernel)
        rows.append([name, float(kernel.sum()), filtered[name].mean(), texture(filtered[name])])
    findings.table("Kernels", ["kernel", "sum of weights", "mean brightness", "local contrast"],
                   [["(the photograph)", None, mean, contrast], *rows])  # fmt: skip
    findings.picture("kernels", draw_kernels(photo, filtered), "Each kernel's result. Kernels that add up to 0 are "
                     "shown on a scale from blue (negative) over white (0) to red.")  # fmt: skip
    off = max(abs(m - total * mean) for _, total, m, _ in rows)
    findings.judge("sum", off < 5, f"largest deviation {off:.2g} of a brightness of {mean:.0f}")
    by_name = {name: row for name, *row in rows}
    low, high = by_name["gaussian blur"][2], by_name["sharpen"][2]
    findings.judge("blur", low < contrast < high, f"contrast {low:.1f}, before {contrast:.1f}, {high:.1f}")

    pooled = {(kind, k): pool(photo, kind, k) for k in WINDOWS for kind in ("max", "mean")}
    findings.table("Pooling", ["pooling", "window", "mean brightness", "local contrast"],
                   [[kind, k, small.mean(), texture(small)] for (kind, k), small in pooled.items()])  # fmt: skip
    findings.picture("poolings", draw_pooled(pooled), "Max and mean pooling with windows of 2, 4 and 8 pixels.")
    sharper = [texture(pooled["max", k]) / texture(pooled["mean", k]) for k in WINDOWS]
    findings.judge(
        "texture", min(sharper) > 1, f"contrast {', '.join(f'{s:.2f}' for s in sharper)} times that of the mean"
    )
    covered = {k: photo[: photo.shape[0] // k * k, : photo.shape[1] // k * k].mean() for k in WINDOWS}
    brighter = {kind: [pooled[kind, k].mean() - covered[k] for k in WINDOWS] for kind in ("max", "mean")}
    findings.judge("background", max(map(abs, brighter["mean"])) < 0.01 < min(brighter["max"]),
                   f"brightness {max(map(abs, brighter['mean'])):.2f} away with the mean, "
                   f"{', '.join(f'{b:.0f}' for b in brighter['max'])} brighter with the largest")  # fmt: skip


def open_photo(findings: Findings) -> Array:
    """The photograph, gray, [H, W] from 0 to 255, its longer side at most 640 pixels."""
    from PIL import Image
    from sklearn.datasets import load_sample_image

    if findings.options.image is None:
        name = f"{findings.options.photo}.jpg"
        findings.set(photograph=f"{name} of scikit-learn")
        picture = Image.fromarray(load_sample_image(name))
    else:
        from convlens.data.decode import open_image

        findings.set(photograph=Path(findings.options.image).name)
        picture = open_image(findings.options.image)
    picture = picture.convert("L")
    picture.thumbnail((640, 640))
    if min(picture.size) < 64:
        raise InputError(f"--set image: {picture.width}×{picture.height} pixels are too few; at least 64 each way")
    return np.asarray(picture, np.float64)


def apply(photo: Array, kernel: Array) -> Array:
    """[H, W] -> [H, W]: the outermost pixels are repeated, so that the border is no edge."""
    around = len(kernel) // 2
    return ops.conv2d(np.pad(photo, around, "edge")[None, None], kernel[None, None])[0, 0]


def texture(photo: Array) -> float:
    """Local contrast: the mean magnitude of the Laplacian."""
    return float(np.abs(ops.conv2d(photo[None, None], ops.kernels.LAPLACIAN[None, None])).mean())


def pool(photo: Array, kind: str, k: int) -> Array:
    """[H, W] -> [H // k, W // k]."""
    pooling = {"max": ops.max_pool2d, "mean": ops.avg_pool2d}[kind]
    return pooling(photo[None, None], k)[0, 0]


def draw_kernels(photo: Array, filtered: dict[str, Array]) -> "Figure":
    with style.styled():
        figure, axes = style.sheet(3, 4, cell=1.75, width=2.2)
        for one, (name, result) in zip(axes.flat, {"the photograph": photo, **filtered}.items(), strict=False):
            signed = name in ops.kernels.ALL and abs(ops.kernels.ALL[name].sum()) < 1e-9
            if signed:
                style.show_map(one, result, signed=True, limit=float(np.percentile(np.abs(result), 99)), bar=False)
            else:
                style.show_picture(one, np.clip(np.rint(result), 0, 255).astype(np.uint8)[..., None])
            style.title(one, name)
        return figure


def draw_pooled(pooled: dict[tuple[str, int], Array]) -> "Figure":
    with style.styled():
        figure, axes = style.sheet(2, len(WINDOWS), cell=2.1, width=2.9)
        for (kind, k), small in pooled.items():
            one = axes[("max", "mean").index(kind), WINDOWS.index(k)]
            style.show_picture(one, np.rint(small).astype(np.uint8)[..., None])
            style.title(one, f"{kind}, {k}×{k}")
        return figure
