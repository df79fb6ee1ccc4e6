"""`convlens study`: the experiments of the teaching texts, done again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convlens.cli.common import Json, Quiet, console, emit

if TYPE_CHECKING:
    from convlens.studies.record import Record


def study(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Which one. (default: list them all)", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder to write. (default: studies/NAME)")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Do a small share of the work; the page says so.")] = False,
    seed: Annotated[int, typer.Option(help="Of whatever is drawn.")] = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the study; may be given several times."),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Do an experiment of the teaching texts again: claim, setting, result, verdict, as a page with pictures.

    The same command in the same folder goes on where it was stopped: networks that are trained are not trained again.
    """
    if name is None:
        _list(as_json)
        return
    from convlens import studies

    found = studies.run(name, out=out, quick=quick, seed=seed, settings=settings or [], quiet=quiet)
    folder = out if out is not None else studies.default_folder(name, quick)
    if as_json:
        emit({**found.model_dump(mode="json"), "folder": str(folder), "page": str(folder / studies.PAGE)})
    else:
        _show(found, folder / studies.PAGE)


def _list(as_json: bool) -> None:
    from convlens.studies import STUDIES

    if as_json:
        rows = [
            {"name": s.name, "title": s.title, "texts": s.sections, "claim": s.claim, "measures": s.measures,
             "options": {key: field.description or "" for key, field in s.options.model_fields.items()}}
            for s in STUDIES.values()
        ]  # fmt: skip
        emit({"studies": rows})
        return
    out = console()
    for one in STUDIES.values():
        out.print(f"{one.name:20} {one.title} ({'; '.join(one.sections)})", markup=False, soft_wrap=True)


def _show(found: "Record", page: Path) -> None:
    out = console()
    for one in found.claims:
        measured = f" ({one.measured})" if one.measured else ""
        out.print(f"{one.verdict}: {one.claim}{measured}", markup=False, soft_wrap=True)
    out.print(f"wrote {page}", markup=False, soft_wrap=True)
