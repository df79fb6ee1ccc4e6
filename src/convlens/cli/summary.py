"""`convlens summary`: what a network consists of, layer by layer, counted from what it executes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convlens.cli.common import Json, UserInput, UserModel, console, emit, resolve_module

if TYPE_CHECKING:
    from torch import nn

    from convlens.inspection.summary import Summary

Drawing = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Draw the network as a graph into FILE.png, .svg or .pdf instead: blocks that repeat once, several "
        "networks side by side.",
        show_default=False,
    ),
]


def summary(
    references: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL_OR_RUN...",
            help="A name of `convlens models`, path/to/file.py:Function, or a run folder; or several of them.",
            show_default=False,
        ),
    ],
    input: UserInput = None,
    depth: Annotated[int | None, typer.Option(min=1, help="Fold modules below this depth into one line.")] = None,
    effective: Annotated[bool, typer.Option("--effective", help="Measure effective receptive fields too.")] = False,
    seed: Annotated[int, typer.Option(help="Of fresh weights and of the noise for --effective.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Images of the batch for which training memory is told.")] = 128,
    draw: Drawing = None,
    model: UserModel = None,
    as_json: Json = False,
) -> None:
    """Show a network layer by layer: shapes, parameters, multiply-accumulates, memory, receptive fields."""
    import torch

    named = []
    for reference in references:
        torch.manual_seed(seed)  # the weights of a network that is not a run
        named.append((reference, *resolve_module(reference, input=input, model=model)))
    if draw is not None:
        _draw(named, draw, as_json)
        return
    from convlens.inspection.summary import summarize

    found = [summarize(module, shape, effective=effective, seed=seed) for _, module, shape in named]
    if as_json:
        every = [one.to_dict(batch=batch) for one in found]
        emit(every[0] if len(every) == 1 else {"networks": every})
    else:
        _show(list(zip(references, found, strict=True)), depth, batch)


def _show(found: "list[tuple[str, Summary]]", depth: int | None, batch: int) -> None:
    from rich.markup import escape

    from convlens.inspection.summary.table import SummaryTable

    for reference, one in found:
        if len(found) > 1:
            console().print(f"\n[bold]{escape(reference)}[/]")
        console().print(SummaryTable(one, depth, batch))


def _draw(named: "list[tuple[str, nn.Module, tuple[int, ...]]]", path: Path, as_json: bool) -> None:
    from convlens.inspection.drawing import drawing, paint

    drawn = [drawing(module, shape, title=Path(reference).name) for reference, module, shape in named]
    paint(drawn, path)
    if as_json:
        emit({"drawing": str(path), "networks": [one.to_dict() for one in drawn]})
    else:
        console().print(f"drawn: {path}", markup=False)
