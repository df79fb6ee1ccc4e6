"""`convlens summary`: what a network consists of, layer by layer, counted from what it executes."""

from typing import Annotated

import typer

from convlens.cli.common import Json, UserInput, UserModel, console, emit, resolve_module


def summary(
    reference: Annotated[
        str,
        typer.Argument(
            metavar="MODEL_OR_RUN",
            help="A name of `convlens models`, path/to/file.py:Function, or a run folder.",
            show_default=False,
        ),
    ],
    input: UserInput = None,
    depth: Annotated[int | None, typer.Option(min=1, help="Fold modules below this depth into one line.")] = None,
    effective: Annotated[bool, typer.Option("--effective", help="Measure effective receptive fields too.")] = False,
    seed: Annotated[int, typer.Option(help="Of fresh weights and of the noise for --effective.")] = 0,
    model: UserModel = None,
    as_json: Json = False,
) -> None:
    """Show a network layer by layer: shapes, parameters, multiply-accumulates, memory, receptive fields."""
    import torch

    from convlens.inspection.summary import summarize

    torch.manual_seed(seed)  # the weights of a network that is not a run
    module, shape = resolve_module(reference, input=input, model=model)
    found = summarize(module, shape, effective=effective, seed=seed)
    if as_json:
        emit(found.to_dict())
        return
    from convlens.inspection.summary.table import SummaryTable

    console().print(SummaryTable(found, depth))
