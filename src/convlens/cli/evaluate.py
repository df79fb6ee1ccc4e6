"""`convlens evaluate`: accuracy and per-class figures of a run."""

from pathlib import Path
from typing import Annotated

import typer

from convlens.cli.common import Device, Json, UserModel, console, emit


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.", show_default=False)],
    data: Annotated[
        str | None,
        typer.Option(help="Other images with the same classes: their test part, or all of them. "
                     "(default: the test part of the run's own)"),
    ] = None,
    model: UserModel = None,
    device: Device = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Judge a run on its test images, or on others."""
    from convlens import api

    judged = api.load(run, model=model, device=device).evaluate(data)
    if as_json:
        emit({
            "accuracy": judged.accuracy, "loss": judged.loss, "per_class": judged.per_class, "n": judged.n,
            "confusion": judged.confusion.tolist(),
        })  # fmt: skip
        return
    from rich.markup import escape
    from rich.table import Table

    out = console()
    low, high = judged.interval
    out.print(
        f"[bold]accuracy {100 * judged.accuracy:.2f} %[/] ({100 * low:.2f} to {100 * high:.2f} %, 95 % interval), "
        f"loss {judged.loss:.4f}, {judged.n:,} images"
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("class", "images", "precision", "recall", "F1"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for row in judged.per_class:
        figures = (f"{100 * row[key]:.1f} %" if row[key] == row[key] else "-" for key in ("precision", "recall", "f1"))
        table.add_row(escape(row["class"]), f"{row['n']:,}", *figures)
    out.print(table)
