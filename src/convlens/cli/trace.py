"""`convlens trace`: where one number of a network comes from, down to the pixels."""

from pathlib import Path
from typing import Annotated, Any

import typer

from convlens.cli.common import Json, RunOrModel, UserInput, UserModel, console, emit, resolve_classifier


def trace(
    reference: RunOrModel,
    image: Annotated[Path, typer.Option(metavar="FILE", help="The picture.", show_default=False)],
    layer: Annotated[
        str | None,
        typer.Option(help="A module's path, whose last operation counts, or a node's name. (default: the output)"),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="C,Y,X", help="Which cell of the layer. (default: the one with the largest value)"),
    ] = None,
    to_pixels: Annotated[bool, typer.Option("--to-pixels", help="Go on level by level, down to the pixels.")] = False,
    backward: Annotated[
        bool, typer.Option("--backward", help="The gradient of one weight instead; --at says which one.")
    ] = False,
    target: Annotated[
        str | None, typer.Option("--class", help="With --backward: the class of the loss. (default: the predicted one)")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where to write pictures, one a level.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many terms to show, the largest ones.")] = 12,
    input: UserInput = None,
    seed: Annotated[int, typer.Option(help="Of the weights of a network that is not a run.")] = 0,
    model: UserModel = None,
    as_json: Json = False,
) -> None:
    """Show where one number of a network comes from: formula, terms, receptive field, shares of the pixels."""
    from convlens.base.errors import InputError

    if target is not None and not backward:
        raise InputError("--class goes with --backward: it is the class of the loss")
    if backward and (to_pixels or out is not None):
        raise InputError("--backward takes one gradient apart: it goes with neither --to-pixels nor --out")
    cell = None if at is None else _cell(at)
    classifier = resolve_classifier(reference, input=input, model=model, seed=seed, device="cpu")
    if backward:
        from convlens.inspection.trace.picture import trace_picture_gradient

        gradient = trace_picture_gradient(classifier, image, layer, cell, target=target)
        found: dict[str, Any] = {**gradient.to_dict(), "class_name": classifier.classes[gradient.target]}
        _answer(found, as_json, lambda: gradient.table(top=top))
        return
    from convlens.inspection.trace.picture import trace_picture

    traced = trace_picture(classifier, image, layer, cell)
    paths = [] if out is None else [str(path) for path in traced.draw(out, to_pixels=to_pixels, quiet=False)]
    found = {**traced.to_dict(to_pixels=to_pixels, top=top), "pictures": paths} if as_json else {}
    _answer(found, as_json, lambda: traced.table(to_pixels=to_pixels, top=top))
    for path in paths:
        console(as_json).print(path, markup=False, highlight=False, soft_wrap=True)


def _answer(found: dict[str, Any], as_json: bool, table: Any) -> None:
    if as_json:
        emit(found)
    else:
        console().print(table())


def _cell(text: str) -> list[int]:
    """ "3,4,5" as numbers."""
    from convlens.base.errors import InputError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise InputError(f"--at {text!r}: expected numbers from 0 with commas between them, such as 3,10,12")
    return [int(part) for part in parts]
