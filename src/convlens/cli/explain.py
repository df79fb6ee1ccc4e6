"""`convlens explain`: which pixels a decision comes from, and what the channels of a network look for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convlens.cli.common import Device, Json, Quiet, RunOrModel, UserInput, UserModel, console, emit, resolve_classifier

if TYPE_CHECKING:
    from convlens.inspection.explain import Explanations


def explain(
    reference: RunOrModel,
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="IMAGE...", help="Image files, folders, zips or tars.", show_default=False),
    ] = None,
    what: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD",
            help="saliency, ... or all attributions; several with commas. `--what list` names them. (default: all)",
        ),
    ] = None,
    class_: Annotated[
        str | None, typer.Option("--class", metavar="NAME", help="The class to explain. (default: the predicted one)")
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="NAME", help="Explain the difference to this class instead of the logit.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option(metavar="PATH", help="The layer, by its module path. (default: the method's choice)")
    ] = None,
    channel: Annotated[
        list[int] | None, typer.Option(metavar="C", min=0, help="A channel of that layer; may be given several times.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="How many patches or channels to show.")] = None,
    data: Annotated[
        str | None, typer.Option(metavar="SRC", help="Where to look for patches. (default: the run's test set)")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random weights, and of whatever else is drawn.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the pictures go. (default: explain/ in the run folder, or here)"),
    ] = None,
    input: UserInput = None,
    model: UserModel = None,
    device: Device = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Show why: the pixels that a class comes from, and what the channels of a network look for."""
    wanted = [name for given in what or ["all"] for name in given.replace(" ", "").split(",") if name]
    if wanted == ["list"]:
        _list(as_json)
        return
    from convlens.deploy.looking import look
    from convlens.inspection.explain import Options
    from convlens.runs import RunFolder

    folder = Path(reference) if Path(reference).is_dir() else None
    classifier = resolve_classifier(reference, input=input, model=model, seed=seed, device=device)
    found = look(
        classifier, folder.name if folder else reference, images or None, wanted,
        Options(class_, against, layer, tuple(channel or ()), count, seed, quiet),
        record=None if folder is None else RunFolder(folder).read_record(), data=data,
    )  # fmt: skip
    found.save(out or (folder or Path()) / "explain")
    if as_json:
        emit(found.to_dict())
    else:
        _show(found)


def _list(as_json: bool) -> None:
    from convlens.inspection.explain.registry import known

    if as_json:
        emit({"methods": [{"name": m.name, "group": m.group, "about": m.about} for m in known()]})
        return
    out = console()
    for method in known():
        out.print(f"{method.name:22} {method.about}", markup=False, soft_wrap=True)


def _show(found: "Explanations") -> None:
    from convlens.inspection.explain.table import attributions

    out = console()
    if found.comparison is not None:
        for table in attributions(found.comparison):
            out.print(table)
    for name, notes in found.notes.items():
        for note in notes:
            out.print(f"{name}: {note}", markup=False, soft_wrap=True)
    for path in found.paths:
        out.print(str(path), markup=False, soft_wrap=True)
