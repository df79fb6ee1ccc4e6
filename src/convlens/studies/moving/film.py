"""A scene as an animated WebP file, drawn with Pillow."""

import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from convlens.studies.moving.scene import Frame, Grid, Scene, number, shown_values

_CELL, _GAP, _SIGN, _MARGIN, _HEAD, _LABEL = 40, 12, 34, 18, 66, 22  # pixels
_MILLISECONDS = 900
_INK, _PALE, _RULE, _PAGE = "#14181f", "#5a6472", "#c3c9d4", "#ffffff"
_FILL = {"": "#ffffff", "added": "#eceff3", "on": "#ffdcb2", "found": "#dbe7f8", "now": "#266cc9"}


def film(scene: Scene, most: int | None = None) -> bytes:
    """The bytes of an animated WebP file: a frame a moment, 0.9 s each, for ever. most: frames, at most."""
    pictures = [draw(scene, frame, state) for frame, state in zip(scene.frames, shown_values(scene), strict=True)]
    pictures = pictures[:most]
    durations = [_MILLISECONDS] * (len(pictures) - 1) + [3 * _MILLISECONDS]
    out = io.BytesIO()
    pictures[0].save(
        out, "WEBP", save_all=True, append_images=pictures[1:], duration=durations, loop=0, lossless=True, method=2
    )
    return out.getvalue()


def draw(scene: Scene, frame: Frame, state: dict[str, np.ndarray]) -> Any:
    """One moment as a Pillow image."""
    from PIL import Image, ImageDraw

    side = _cell(scene)
    sizes = {key: (grid.values.shape[1] * side, grid.values.shape[0] * side) for key, grid in scene.grids.items()}
    label = {key: max(sizes[key][0], _width(grid.name, 13)) for key, grid in scene.grids.items()}
    widths = [max(label[key] for key in group) for group in scene.groups]
    heights = [sum(sizes[key][1] + _LABEL + _GAP for key in group) for group in scene.groups]
    width = sum(widths) + _SIGN * len(scene.signs) + 2 * _MARGIN
    width = max(width, _width(frame.sum, 15) + 2 * _MARGIN, _width(scene.title, 17) + 2 * _MARGIN, *_sums(scene))
    image = Image.new("RGB", (int(width), _HEAD + max(heights) + _MARGIN), _PAGE)
    pen = ImageDraw.Draw(image)
    pen.text((_MARGIN, 14), scene.title, _INK, _font(17))
    pen.text((_MARGIN, 40), frame.sum, _PALE, _font(15))
    x = float(_MARGIN)
    for number_of, (group, group_width, height) in enumerate(zip(scene.groups, widths, heights, strict=True)):
        y = _HEAD + (max(heights) - height) / 2
        for key in group:
            pen.text((x + group_width / 2, y + 4), scene.grids[key].name, _PALE, _font(13), anchor="ma")
            left = x + (group_width - sizes[key][0]) / 2
            _draw_grid(pen, left, y + _LABEL, side, scene.grids[key], state[key], _looks(scene, frame, key))
            y += sizes[key][1] + _LABEL + _GAP
        x += group_width
        if number_of < len(scene.signs):
            middle = _HEAD + (max(heights) + _LABEL - _GAP) / 2
            pen.text((x + _SIGN / 2, middle), scene.signs[number_of], _PALE, _font(20), anchor="mm")
            x += _SIGN
    return image


def _draw_grid(pen: Any, left: float, top: float, side: int, grid: Grid, values: np.ndarray, looks: dict) -> None:
    for row, column in np.ndindex(grid.values.shape):
        x, y, value = left + column * side, top + row * side, values[row, column]
        added = grid.added is not None and grid.added[row, column]
        found = "found" if looks.get("is output") and np.isfinite(value) else ""
        look = looks.get((row, column)) or found or ("added" if added else "")
        pen.rectangle((x, y, x + side, y + side), _FILL[look], _RULE)
        if np.isfinite(value):
            ink = "#ffffff" if look == "now" else _PALE if added and look != "on" else _INK
            pen.text((x + side / 2, y + side / 2), number(float(value)), ink, _font(15), anchor="mm")


def _looks(scene: Scene, frame: Frame, key: str) -> dict[Any, str]:
    """How cells of a grid look in a frame."""
    looks: dict[Any, str] = dict.fromkeys(frame.on.get(key, []), "on")
    if any(key == other.output for other in scene.frames):
        looks["is output"] = "yes"
    if key == frame.output:
        looks[frame.cell] = "now"
    return looks


def _cell(scene: Scene) -> int:
    """The side of a cell, so that every number fits."""
    longest = max(len(number(float(v))) for s in shown_values(scene) for a in s.values() for v in a.ravel()
                  if np.isfinite(v))  # fmt: skip
    return max(_CELL, 12 + 10 * longest)


def _sums(scene: Scene) -> list[float]:
    """The widths of all sums: one width for the whole film."""
    return [_width(frame.sum, 15) + 2 * _MARGIN for frame in scene.frames]


def _width(text: str, size: int) -> float:
    return _font(size).getlength(text)


@cache
def _font(size: int) -> Any:
    import matplotlib as mpl
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)
