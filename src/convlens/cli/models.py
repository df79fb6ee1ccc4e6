"""`convlens models`: the zoo."""

from typing import Annotated

import typer

from convlens.cli.common import Json, console, emit


def models(
    family: Annotated[str | None, typer.Option(help="Only this family, such as lenet or resnet.")] = None,
    as_json: Json = False,
) -> None:
    """List the networks that can be trained by name."""
    from convlens import models as zoo

    entries = [zoo.get(name) for name in zoo.names(family)]
    if as_json:
        emit(
            {
                "models": [
                    {
                        "name": e.name,
                        "family": e.family,
                        "year": e.year,
                        "parameters": e.parameters,
                        "input_size": list(e.input),
                        "num_classes": e.num_classes,
                        "aliases": list(e.aliases),
                        "differences": list(e.differences),
                    }
                    for e in entries
                ]
            }
        )
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, justify in [("name", "left"), ("family", "left"), ("year", "right"), ("parameters", "right")]:
        table.add_column(heading, justify=justify)
    table.add_column("input", justify="right")
    table.add_column("classes", justify="right")
    for e in entries:
        size = "x".join(map(str, e.input))
        table.add_row(e.name, e.family, str(e.year), f"{e.parameters:,}", size, str(e.num_classes))
    console().print(table)
