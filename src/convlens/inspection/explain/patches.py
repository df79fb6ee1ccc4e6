"""What excites a channel most: the parts of real pictures that its strongest cells see (Zeiler and Fergus 2014)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convlens.base.errors import InputError
from convlens.base.progress import bar
from convlens.data.images import Images
from convlens.inspection import style
from convlens.inspection.explain.explanation import Explanation
from convlens.inspection.explain.layers import Box, box_of, channels_of, cut, fields_of, map_layer, outputs
from convlens.inspection.explain.registry import register
from convlens.inspection.explain.subject import Options, Pictures, Subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

_MOST, _BESIDE = 8, 9  # channels, patches of each


@dataclass(frozen=True, eq=False)
class _Strongest:
    """Of each channel the strongest cells, at most one a picture: values [C, k], pictures [C, k], cells [C, k]."""

    values: np.ndarray
    pictures: np.ndarray
    cells: np.ndarray

    def joined(self, other: "_Strongest", most: int) -> "_Strongest":
        values = np.concatenate([self.values, other.values], 1)
        order = np.argsort(-values, axis=1, kind="stable")[:, :most]
        both = zip((self.values, self.pictures, self.cells), (other.values, other.pictures, other.cells), strict=True)
        return _Strongest(*(np.take_along_axis(np.concatenate(pair, 1), order, 1) for pair in both))


@register("patches", group="features", pictures=False)
def patches(subject: Subject, pictures: Pictures, options: Options) -> Explanation:
    """What excites a channel most in a data set: the parts of real pictures that its strongest cells see.

    The layer is --layer, by default the last one with maps; the pictures are those of --data, by default the run's own
    test part. Of each picture the strongest cell of a channel counts, once.

    arrays["values"]: float32 [channels, k], arrays["pictures"]: int64 [channels, k], numbers in the data set.
    """
    if subject.images is None:
        raise InputError("--what patches searches a data set: name one by --data")
    path, images = map_layer(subject, None, options.layer), subject.images()
    found, size = _search(subject, images, path, options)
    chosen, left_out = channels_of(options, found.values[:, 0], _MOST)
    fields = fields_of(subject, path)
    rows = {c: _patches(found, c, images, size, fields, subject.preprocess.size) for c in chosen}
    notes = [f"layer {path}, the strongest cells in {len(images):,} pictures of {images.name}", left_out]
    if fields is None:
        notes.append("its cells have no receptive field of their own: the whole pictures are shown")
    return Explanation(
        what="patches",
        arrays={"values": found.values[chosen], "pictures": found.pictures[chosen]},
        facts={"layer": path, "searched": len(images), "channels": {str(c): row for c, row in rows.items()}},
        notes=tuple(filter(None, notes)),
        figures=lambda: {f"patches-{path}": _sheet(images, rows, path)},
    )


def _search(subject: Subject, images: Images, path: str, options: Options) -> tuple[_Strongest, tuple[int, int]]:
    """One pass over the data set."""
    most = min(_BESIDE, len(images))

    def strongest(maps: "Tensor") -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
        values, cells = maps.flatten(2).max(2)
        return values.float().cpu().numpy(), cells.cpu().numpy(), (int(maps.shape[2]), int(maps.shape[3]))

    found: _Strongest | None = None
    size, start = (1, 1), 0
    with bar("searching", len(images), options.quiet) as advance:
        for values, cells, shape in outputs(subject, images.pixels, path, strongest, advance):
            size = shape
            numbers = np.broadcast_to(np.arange(start, start + len(values)), values.T.shape)
            start += len(values)
            batch = _Strongest(values.T, numbers, cells.T)
            none = _Strongest(*(array[:, :0] for array in (batch.values, batch.pictures, batch.cells)))
            found = (found or none).joined(batch, most)
    if found is None:
        raise InputError(f"{images.name} has no pictures to search")
    return found, size


def _patches(
    found: _Strongest, channel: int, images: Images, size: tuple[int, int], fields: Any, pixels: tuple[int, int]
) -> list[dict[str, Any]]:
    """What to say of each patch, as JSON has it."""
    rows = []
    for value, number, cell in zip(found.values[channel], found.pictures[channel], found.cells[channel], strict=True):
        y, x = divmod(int(cell), size[1])
        rows.append({
            "picture": int(number), "path": None if images.paths is None else str(images.paths[number]),
            "class": images.classes[int(images.labels[number])], "value": float(value), "cell": [y, x],
            "box": list(box_of(fields, y, x, pixels)),
        })  # fmt: skip
    return rows


def _sheet(images: Images, rows: Mapping[int, Sequence[dict[str, Any]]], path: str) -> "Figure":
    figure, axes = style.sheet(len(rows), 1 + max(map(len, rows.values())), cell=1.2)
    for line, (channel, row) in zip(axes, rows.items(), strict=True):
        silent = "\nnever fires" if not any(entry["value"] > 0 for entry in row) else ""
        style.caption(line[0], f"channel {channel}{silent}")
        for cell, entry in zip(line[1:], row, strict=False):
            box: Box = tuple(entry["box"])
            style.show_picture(cell, cut(np.asarray(images.pixels[[entry["picture"]]])[0], box))
            style.title(cell, f"{entry['class']}: {style.number(entry['value'])}", size=7)
    style.headline(
        figure, f"What excites the channels of {path} most in {len(images):,} pictures of {images.name}",
        "Each patch is what the strongest cell of a picture sees; gray lies beyond the picture. Above it the picture's "
        "class and the cell's value.",
    )  # fmt: skip
    return figure
