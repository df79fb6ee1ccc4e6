"""The pictures of a data set as points: what the last layer before the logits makes of them, in two dimensions."""

from typing import TYPE_CHECKING

import numpy as np

from convlens.base.errors import InputError
from convlens.base.progress import bar, say
from convlens.base.seeds import derive, generator
from convlens.base.words import percent
from convlens.data.images import Images
from convlens.inspection import style
from convlens.inspection.explain.explanation import Explanation
from convlens.inspection.explain.layers import blank, outputs
from convlens.inspection.explain.registry import register
from convlens.inspection.explain.subject import Options, Pictures, Subject

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST, _PICTURED = 2_000, 120


@register("embedding", group="features", pictures=False)
def embedding(subject: Subject, pictures: Pictures, options: Options) -> Explanation:
    """The test set as points, by PCA and t-SNE of the features before the logits (van der Maaten and Hinton 2008).

    The features are what --layer gives (maps are averaged over their cells), by default what the last dense layer is
    given. At most --count pictures, by default 2,000, drawn by --seed. arrays: "features" [N, F], "pca" and "tsne"
    [N, 2], "labels" [N], "pictures" [N], their numbers in the data set.
    """
    if subject.images is None:
        raise InputError("--what embedding shows a data set: name one by --data")
    images = subject.images()
    most = options.count or _MOST
    rows = np.sort(generator(options.seed, "embedding").permutation(len(images))[:most])
    some = images.select(rows)
    if len(some) < 4:
        raise InputError(f"{images.name} has {len(some)} pictures: an embedding needs four or more")
    path, features = _features(subject, some, options)
    pca, explained = _pca(features)
    say("t-SNE ...", quiet=options.quiet)
    tsne = _tsne(features, options.seed)
    left_out = f"{len(some):,} of {len(images):,} pictures, drawn by seed {options.seed}; --count for more"
    notes = [f"features: {path}, {features.shape[1]} numbers a picture", left_out if len(some) < len(images) else ""]
    return Explanation(
        what="embedding",
        arrays={"features": features, "pca": pca, "tsne": tsne, "labels": some.labels, "pictures": rows},
        facts={"layer": path, "explained_variance": [float(v) for v in explained], "n": len(some)},
        notes=tuple(filter(None, notes)),
        figures=lambda: {"embedding": _sheet(some, pca, explained, tsne, path)},
    )


def _features(subject: Subject, images: Images, options: Options) -> tuple[str, np.ndarray]:
    """What they are called, and float64 [N, F]."""
    named = options.layer is not None
    path = options.layer if options.layer is not None else _last_dense(subject)
    with bar("features", len(images), options.quiet) as advance:
        found = list(outputs(subject, images.pixels, path, _flat, advance, given=not named))
    return f"{'outputs' if named else 'inputs'} of {path}", np.concatenate(found).astype(np.float64)


def _flat(tensor: "object") -> np.ndarray:
    """Maps are averaged over their cells."""
    import torch

    assert isinstance(tensor, torch.Tensor)
    found = tensor.float()
    found = found.flatten(2).mean(2) if found.ndim > 2 else found.reshape(len(found), -1)
    return found.cpu().numpy()


def _last_dense(subject: Subject) -> str:
    """The module with a weight, run last and once: it gives the logits."""
    import torch

    from convlens.inspection.probe.probe import Probe

    probe = Probe(subject.module, inputs=False, keep=lambda path, tensor: None)
    with subject.at_work() as device, torch.no_grad(), probe:
        subject.logits(subject.inputs(blank(subject), device))
    for call in reversed(probe.calls):
        own = dict(subject.module.get_submodule(call.path).named_parameters(recurse=False)) if call.path else {}
        if "weight" in own and own["weight"].ndim >= 2 and len(probe.outputs[call.path]) == 1:
            return call.path
    raise InputError("the network has no last layer with weights of its own; name a layer by --layer")


def _pca(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[N, 2] along the two directions of largest variance, and their shares of the variance."""
    centered = features - features.mean(0)
    u, s, _ = np.linalg.svd(centered, full_matrices=False)
    found = np.zeros((len(features), 2))
    found[:, : min(2, len(s))] = u[:, :2] * s[:2]
    total = float((s**2).sum())
    return found, (s[:2] ** 2 / total if total else np.zeros(2))


def _tsne(features: np.ndarray, seed: int) -> np.ndarray:
    from convlens.classify.caller import undisturbed

    with undisturbed():  # importing scikit-learn draws random numbers of Python
        from sklearn.manifold import TSNE

        perplexity = min(30.0, (len(features) - 1) / 3)
        state = derive(seed, "t-SNE") % 2**32
        found = TSNE(perplexity=perplexity, init="pca", random_state=state).fit_transform(features)
    return found.astype(np.float64)


def _sheet(images: Images, pca: np.ndarray, explained: np.ndarray, tsne: np.ndarray, path: str) -> "Figure":
    figure, axes = style.sheet(1, 3, cell=4.2)
    titles = ("PCA", "t-SNE", "t-SNE, the pictures")
    for cell, points, title in zip(axes[0], (pca, tsne, tsne), titles, strict=True):
        cell.set_axis_on()
        cell.set_xticks([])
        cell.set_yticks([])
        style.title(cell, title)
        (_pictured if title.endswith("pictures") else _points)(cell, images, points)
    style.note(axes[0, 0], f"{percent(float(explained.sum()))} of the variance")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=7, frameon=False, markerscale=3)
    rest = f"Features: {path}. t-SNE keeps neighbors, not distances."
    style.headline(figure, f"{len(images):,} pictures of {images.name}", rest)
    return figure


def _points(axes: "Axes", images: Images, points: np.ndarray) -> None:
    marks = "osv^Dph*PX"
    for k in np.unique(images.labels).tolist()[:20]:
        of_class = images.labels == k
        style_of = {"s": 6, "marker": marks[k // 7 % len(marks)], "color": f"C{k % 7}", "linewidths": 0, "alpha": 0.7}
        axes.scatter(*points[of_class].T, label=style.printable(images.classes[k]), **style_of)


def _pictured(axes: "Axes", images: Images, points: np.ndarray) -> None:
    """Pictures in their places, those that would lie upon others left out."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    low, high = points.min(0), points.max(0)
    places = (points - low) / np.maximum(high - low, 1e-12)
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    shown: list[int] = []
    for i in range(len(points)):
        if len(shown) < _PICTURED and all(np.abs(places[i] - places[j]).max() > 0.05 for j in shown):
            shown.append(i)
    zoom = 17 / max(images.shape[1:])
    for i in shown:
        pixels = np.asarray(images.pixels[[i]])[0]
        gray = pixels.shape[-1] == 1
        picture = OffsetImage(pixels[..., 0] if gray else pixels, zoom=zoom, cmap="gray" if gray else None)
        frame = {"edgecolor": f"C{int(images.labels[i]) % 7}", "linewidth": 0.8, "boxstyle": "square,pad=0"}
        axes.add_artist(AnnotationBbox(picture, tuple(points[i]), pad=0.05, bboxprops=frame))
