"""`convlens evaluate`: accuracy and per-class figures of a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convlens.cli.common import Device, Json, UserModel, console, emit

if TYPE_CHECKING:
    from convlens.classify.evaluation import Evaluation

_TABLE = 100  # classes that are shown
_MATRIX, _PAIRS = 1000, 10_000  # classes and pairs of classes in the JSON object


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.", show_default=False)],
    data: Annotated[
        str | None,
        typer.Option(help="Other images with classes of the same names: their test part, or all of them but those "
                     "that the run was trained on. "
                     "(default: the test part of the run's own)"),
    ] = None,
    model: UserModel = None,
    device: Device = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Judge a run on its test images, or on others.

    Exit code 4: some files could not be read and are not in the figures.
    """
    from convlens import api

    judged = api.load(run, model=model, device=device).evaluate(data)
    if as_json:
        emit(_object(judged))
    else:
        _show(judged)
    if judged.scope.unreadable:
        raise typer.Exit(4)


def _object(judged: "Evaluation") -> dict[str, Any]:
    scope, k = judged.scope, len(judged.classes)
    return {
        "accuracy": judged.accuracy, "loss": judged.loss, "per_class": judged.per_class, "n": judged.n,
        "confusion": judged.confusion.tolist() if k <= _MATRIX else None,
        "confused": [{"true": judged.classes[i], "predicted": judged.classes[j], "n": n}
                     for i, j, n in judged.confused(None if k <= _MATRIX else _PAIRS)],
        "left_out_as_trained": scope.trained,
        "left_out_other_classes": scope.other_classes,
        "classes_absent": list(scope.absent),
        "unreadable": [{"path": path, "error": why} for path, why in scope.unreadable],
        "calibration": _calibration(judged),
        "notes": list(scope.notes),
    }  # fmt: skip


def _calibration(judged: "Evaluation") -> dict[str, float | None] | None:
    """See `classify.calibration.Calibration`."""
    from convlens.classify.calibration import calibration

    found = calibration(judged)
    return found and {
        "error": found.error, "by_chance": found.chance,
        "temperature": found.temperature, "error_with_temperature": found.mended,
    }  # fmt: skip


def _show(judged: "Evaluation") -> None:
    from rich.markup import escape
    from rich.table import Table

    from convlens.base.words import percent

    out = console()
    low, high = judged.interval
    out.print(
        f"[bold]accuracy {percent(judged.accuracy)}[/] ({percent(low)} to {percent(high)}, 95 % interval), "
        f"loss {judged.loss:.4f}, {judged.n:,} images"
    )
    if found := _calibration(judged):
        mended, temperature = found["error_with_temperature"], found["temperature"]
        after = "" if mended is None else f", {percent(mended)} with the logits divided by {temperature:.3g}"
        out.print(
            f"calibration error {percent(found['error'])} ({percent(found['by_chance'])} by chance alone){after}",
            highlight=False,
            soft_wrap=True,
        )
    for note in judged.scope.notes:
        out.print(note, markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("class", "images", "precision", "recall", "F1"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    rows = [row for row in judged.per_class if row["n"]] if len(judged.classes) > _TABLE else judged.per_class
    if len(rows) > _TABLE:
        rows.sort(key=lambda row: -1.0 if row["f1"] != row["f1"] else row["f1"])
    for row in rows[:_TABLE]:
        figures = (percent(row[key], 1) for key in ("precision", "recall", "f1"))
        table.add_row(escape(row["class"]), f"{row['n']:,}", *figures)
    out.print(table)
    if len(rows) > _TABLE:
        out.print(f"the {_TABLE} classes with the lowest F1 of {len(rows):,}; --json gives all")
