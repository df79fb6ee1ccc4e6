"""Scenes as one HTML file that steps, plays, and is operated by mouse, touch and keyboard."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convlens.studies.moving.scene import Scene, number


def player(scenes: Sequence[Scene], title: str) -> str:
    """The page, complete: it loads nothing."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from convlens import inspection

    places = [Path(__file__).parents[1] / "templates", Path(inspection.__file__).parent]
    environment = Environment(
        loader=FileSystemLoader(places),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = json.dumps([_plain(scene) for scene in scenes], ensure_ascii=False)
    data = text.replace("<", "\\u003c")  # nothing in it can end the script element
    return environment.get_template("player.html.j2").render(title=title, scenes=scenes, data=data)


def _plain(scene: Scene) -> dict[str, Any]:
    """What the page's script reads: numbers are texts already."""
    outputs = sorted({frame.output for frame in scene.frames})
    grids = {
        key: {
            "name": grid.name,
            "rows": _texts(np.full(grid.values.shape, np.nan) if key in outputs else grid.values),
            "added": [] if grid.added is None else np.argwhere(grid.added).tolist(),
        }
        for key, grid in scene.grids.items()
    }
    frames = [
        {
            "on": frame.on,
            "values": {key: _texts(values) for key, values in frame.values.items()},
            "output": frame.output,
            "cell": list(frame.cell),
            "value": number(frame.value),
            "sum": frame.sum,
        }
        for frame in scene.frames
    ]
    return {"title": scene.title, "about": scene.about, "groups": scene.groups, "signs": scene.signs,
            "grids": grids, "frames": frames}  # fmt: skip


def _texts(values: np.ndarray) -> list[list[str]]:
    return [["" if np.isnan(value) else number(float(value)) for value in row] for row in values]
