"""`convlens verify`: the network in NumPy, forward and backward, against PyTorch."""

from typing import Annotated

import typer

from convlens.cli.common import Json, UserInput, UserModel, console, emit, resolve_module

TOLERANCE = 1e-8


def verify(
    reference: Annotated[
        str,
        typer.Argument(
            metavar="MODEL_OR_RUN",
            help="A name of `convlens models`, path/to/file.py:Function, or a run folder.",
            show_default=False,
        ),
    ],
    input: UserInput = None,
    batch: Annotated[int, typer.Option(min=1, help="Images in the batch.")] = 4,
    seed: Annotated[int, typer.Option(help="Of the weights of an untrained network, the images and the masks.")] = 0,
    mode: Annotated[str | None, typer.Option(help="Only training or inference. (default: both)")] = None,
    model: UserModel = None,
    device: Annotated[str, typer.Option(help="Where PyTorch computes: auto, cpu or cuda.")] = "cpu",
    as_json: Json = False,
) -> None:
    """Run a network in NumPy, forward and backward, and compare it with PyTorch, both in float64."""
    import torch

    torch.manual_seed(seed)
    module, shape = resolve_module(reference, input=input, model=model)
    from convlens.inspection.verify import verify as compare

    found = compare(module, shape, batch=batch, seed=seed, mode=mode, device=device)
    if as_json:
        emit({**found.to_dict(), "tolerance": TOLERANCE, "agrees": found.agrees(TOLERANCE)})
    else:
        out = console()
        out.print(f"{found.nodes} operations in NumPy against PyTorch, float64, a batch of {found.batch}")
        out.print(f"  forward    {found.forward_max_error:.1e}  largest at {found.forward_worst}", markup=False)
        out.print(f"  gradients  {found.gradient_max_error:.1e}  largest at {found.gradient_worst}", markup=False)
        out.print("[green]the engines agree[/green]" if found.agrees(TOLERANCE) else "[red]the engines differ[/red]")
    if not found.agrees(TOLERANCE):
        raise typer.Exit(1)
