"""Pictures that a class or a channel responds to most, found by climbing the gradient from noise.

The picture is written as its spectrum, each frequency divided by its size, and in colors that are not correlated in
natural pictures; otherwise noise of high frequency is found. It is moved by a few pixels at each step, so that it does
not depend on the grid. Source: Erhan et al., "Visualizing higher-layer features of a deep network", 2009; basis and
jitter: Olah, Mordvintsev and Schubert, "Feature visualization", 2017.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from convlens.base.errors import InputError
from convlens.base.progress import bar
from convlens.base.seeds import derive
from convlens.inspection import style
from convlens.inspection.explain.explanation import Explanation
from convlens.inspection.explain.layers import blank, channels_of, map_layer, maps_of
from convlens.inspection.explain.registry import register
from convlens.inspection.explain.subject import PAIR, Options, Pictures, Subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

STEPS, RATE = 256, 0.05
_MOST = 10
_COLORS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
"""Square root of the covariance of red, green and blue in natural pictures (Olah et al. 2017, from ImageNet)."""


@register("maximise", group="features", pictures=False)
def maximise(subject: Subject, pictures: Pictures, options: Options) -> Explanation:
    """Pictures that a class, or with --layer a channel, responds to most, found from noise (Erhan et al. 2009).

    Without --layer: the logit of each class (`--class` for one). With it: the mean of a channel's map.
    arrays["pictures"]: uint8 [K, H, W, C]; arrays["values"]: float64 [K, 2], of the noise at the start, at the end.
    """
    numbers, names, path, left_out = _aims(subject, options)
    with bar("climbing", STEPS, options.quiet) as advance:
        drawn, reached = _climb(subject, numbers, path, options, advance)
    what = "logits" if path is None else f"channels of {path}"
    facts = [{"name": name, "start": float(a), "end": float(b)} for name, (a, b) in zip(names, reached, strict=True)]
    return Explanation(
        what="maximise",
        arrays={"pictures": drawn, "values": reached},
        facts={"layer": path, "steps": STEPS, "found": facts},
        notes=tuple(filter(None, (f"{what}: {STEPS} steps from noise, seed {options.seed}", left_out))),
        figures=lambda: {"maximise" if path is None else f"maximise-{path}": _sheet(drawn, reached, names, what)},
    )


def _aims(subject: Subject, options: Options) -> tuple[list[int], list[str], str | None, str]:
    """Numbers of logits or channels, what to call them, the layer (None: logits), what was left out."""
    if options.layer is not None:
        path = map_layer(subject, None, options.layer)
        strength = np.zeros(maps_of(subject, blank(subject), path).shape[1])
        chosen, _ = channels_of(options, strength, _MOST)
        some = f"the first {len(chosen)} of {len(strength)} channels; --channel chooses others"
        left_out = "" if options.channels or len(chosen) == len(strength) else some
        return chosen, [f"channel {c}" for c in chosen], path, left_out
    if options.channels:
        raise InputError("--channel goes with --layer, whose channel it is")
    if options.target is not None:
        wanted = [options.target] if isinstance(options.target, str) else list(options.target)
        return [subject.class_number(name) for name in wanted], wanted, None, ""
    count = options.count or _MOST
    left_out = f"the first {count} of {len(subject.classes)} classes; --class names another"
    some = list(subject.classes[:count])
    return list(range(len(some))), some, None, left_out if len(some) < len(subject.classes) else ""


def _climb(
    subject: Subject, numbers: list[int], path: str | None, options: Options, advance: Any
) -> tuple[np.ndarray, np.ndarray]:
    """The pictures that were reached, uint8 [K, H, W, C], and the values of the noise and of them, [K, 2]."""
    import torch

    channels, height, width = subject.input_shape
    drawn = [torch.Generator().manual_seed(derive(options.seed, "maximise", path or "", k)) for k in numbers]
    shifts = torch.randint(-2, 3, (STEPS, 2), generator=drawn[0]).tolist()
    shape = (channels, height, width // 2 + 1, 2)
    spectrum = 0.01 * torch.stack([torch.randn(shape, generator=g) for g in drawn])
    noise = torch.stack([torch.rand(channels, height, width, generator=g) for g in drawn])
    mean, std = (torch.tensor(v)[:, None, None] for v in (subject.preprocess.mean, subject.preprocess.std))
    with subject.at_work() as device:
        spectrum, mean, std = spectrum.to(device).requires_grad_(), mean.to(device), std.to(device)
        optimizer = torch.optim.Adam([spectrum], RATE)
        for step in range(STEPS):
            with torch.enable_grad():
                x = torch.roll((_pictures(spectrum, width) - mean) / std, shifts[step], (2, 3))
                (spectrum.grad,) = torch.autograd.grad(-_values(subject, x, numbers, path).sum(), spectrum)
            optimizer.step()
            advance(1)
        with torch.no_grad():
            pixels = torch.round(_pictures(spectrum, width) * 255)
            both = (noise.to(device), pixels / 255)
            values = [_values(subject, (p - mean) / std, numbers, path).double().cpu().numpy() for p in both]
    return pixels.permute(0, 2, 3, 1).cpu().numpy().astype(np.uint8), np.stack(values, 1)


def _pictures(spectrum: "Tensor", width: int) -> "Tensor":
    """[K, C, H, W] from 0 to 1. spectrum: [K, C, H, W // 2 + 1, 2], real and imaginary parts, all of equal size."""
    import torch

    height = spectrum.shape[2]
    rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)
    size = torch.sqrt(rows**2 + columns**2).clamp(min=1 / max(height, width)).to(spectrum.device)
    scaled = torch.view_as_complex(spectrum) / size * (height * width) ** 0.5
    found = torch.fft.irfft2(scaled, s=(height, width))
    if found.shape[1] == 3:
        colors = torch.tensor(_COLORS, device=found.device)
        found = torch.einsum("oc,kchw->kohw", colors / colors.norm(dim=1).max(), found)
    return torch.sigmoid(found)


def _values(subject: Subject, x: "Tensor", numbers: list[int], path: str | None) -> "Tensor":
    """[K]: of each picture its own logit, or the mean of its own channel's map."""
    import torch

    from convlens.inspection.probe.probe import Probe

    batch = x if len(x) > 1 else x.expand(PAIR, *x.shape[1:])  # some networks cannot take a batch of one
    rows = torch.arange(len(numbers), device=x.device)
    if path is None:
        return subject.logits(batch)[rows, torch.tensor(numbers, device=x.device)]
    with Probe(subject.module, [path], inputs=False, keep=lambda _, tensor: tensor.clone()) as probe:
        subject.logits(batch)
    return probe.outputs[path][0][rows, torch.tensor(numbers, device=x.device)].mean((1, 2))


def _sheet(drawn: np.ndarray, values: np.ndarray, names: list[str], what: str) -> "Figure":
    columns = min(5, len(drawn))
    figure, axes = style.sheet(-(-len(drawn) // columns), columns)
    for cell, picture, (start, end), name in zip(axes.flat, drawn, values, names, strict=False):
        style.show_picture(cell, picture)
        style.title(cell, name)
        style.note(cell, f"{style.number(end)} (noise: {style.number(start)})")
    style.headline(
        figure,
        f"Pictures that {what} respond to most",
        f"Found from noise in {STEPS} steps. Below each the value reached.",
    )
    return figure
