"""The page of a study: claim, setting, result, verdict, in one file that opens offline."""

import base64
import io
from pathlib import Path
from typing import Any

from convlens.studies.findings import Findings, Shown
from convlens.studies.record import Record

_TYPES = {"png": "image/png", "webp": "image/webp", "gif": "image/gif"}


def render(record: Record, findings: Findings, command: str) -> str:
    """HTML of what was found so far."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from convlens import inspection

    styles = Path(inspection.__file__).parent  # where page.css lies, the look of all pages
    environment = Environment(
        loader=FileSystemLoader([Path(__file__).parent / "templates", styles]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = cell
    environment.tests["number"] = lambda value: isinstance(value, (int, float)) and not isinstance(value, bool)
    shown = [_shown(findings.folder, one) for one in findings.shown]
    return environment.get_template("study.html.j2").render(
        record=record, about=findings.study.about, shown=shown, command=command
    )


def cell(value: Any) -> str:
    """A value of a table or a setting in words: whole numbers in full, others with four digits."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "−")
    if isinstance(value, (list, tuple)):
        return ", ".join(map(cell, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}: {cell(one)}" for key, one in value.items())
    return str(value)


def _shown(folder: Path, shown: Shown) -> dict[str, Any]:
    """A picture with its bytes as a data URI; a page by its name alone.

    still: of a picture that moves, its last frame, for those who asked their system for less motion.
    """
    from PIL import Image

    kind = _TYPES.get(shown.file.rpartition(".")[2])
    found = {"file": shown.file, "caption": shown.caption, "uri": "", "still": "", "wide": False}
    if kind is None:
        return found
    content = (folder / shown.file).read_bytes()
    found["uri"] = _uri(kind, content)
    with Image.open(io.BytesIO(content)) as image:
        found["wide"] = image.width > 1.3 * image.height and image.width > 700  # to be scrolled on a phone
        if (frames := getattr(image, "n_frames", 1)) > 1:
            image.seek(frames - 1)
            out = io.BytesIO()
            image.convert("RGB").save(out, "PNG")
            found["still"] = _uri("image/png", out.getvalue())
    return found


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
