"""`convlens data`: which data sets there are, download one, examine one, decode one ahead."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convlens.cli.common import Classes, Json, Quiet, console, emit

if TYPE_CHECKING:
    from convlens.data import Source
    from convlens.data.check import Findings

app = typer.Typer(help="List, download, examine and decode data sets.", no_args_is_help=True)

_SHOWN = 10  # problems of a kind, on the screen; --json has all


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the data sets known by name and where they are on this machine."""
    from convlens.data import catalogue

    places = {name: catalogue.find_local(name) for name in catalogue.SETS}
    if as_json:
        emit({"sets": [_row(entry, places[entry.name]) for entry in catalogue.SETS.values()]})
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, justify in (("name", "left"), ("size", "right"), ("classes", "right"), ("train", "right")):
        table.add_column(heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("test", justify="right", no_wrap=True)
    table.add_column("where", overflow="fold")
    for entry in catalogue.SETS.values():
        train, test = entry.counts
        where = "built in" if entry.embedded else escape(str(places[entry.name] or "")) or "[dim]to download[/]"
        size = "x".join(map(str, entry.native))
        table.add_row(entry.name, size, str(entry.num_classes), f"{train:,}", f"{test:,}" if test else "-", where)
    out = console()
    out.print(table)
    out.print("\nAlso: the path of a folder, zip or tar of images in class folders.", style="dim")


def _row(entry: Any, place: Path | None) -> dict[str, Any]:
    return {
        "name": entry.name,
        "title": entry.title,
        "native": list(entry.native),
        "num_classes": entry.num_classes,
        "train": entry.counts[0],
        "test": entry.counts[1],
        "license": entry.license,
        "available": entry.embedded or place is not None,
        "path": str(place) if place else None,
        "mirrors": sorted({url for remote in entry.remotes for url in remote.urls}),
    }


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="A name from `convlens data list`.", show_default=False)],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Download a data set into the cache, unless it is on this machine already."""
    from convlens.base.errors import InputError, nearest
    from convlens.base.progress import bars
    from convlens.data import catalogue

    if name not in catalogue.SETS:
        known = ", ".join(catalogue.SETS)
        raise InputError(f"no data set '{name}' to download{nearest(name, catalogue.SETS)} (known: {known})")
    had = catalogue.find_local(name)
    with bars(quiet, unit="B") as progress:
        path = catalogue.obtain(name, on_progress=progress)
    if as_json:
        emit({"name": name, "path": str(path) if path else None, "downloaded": had is None and path is not None})
    elif path is None:
        console().print(f"{name} is built in; nothing to download")
    else:
        console().print(f"{name} is in {path}", soft_wrap=True, markup=False)


@app.command()
def check(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A name, folder, zip or tar.", show_default=False)],
    classes: Classes = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Decode every image, report damaged files, sizes and duplicates, and say whether training would take the set.

    The exit code is 2 where training would refuse the set as it is.
    """
    from convlens.base.errors import InputError
    from convlens.base.progress import bars
    from convlens.data.check import check as examine

    found = _find(source, classes, quiet)
    with bars(quiet, unit="images") as progress:
        findings = examine(found, lambda done, total: progress(f"checking {found.name}", done, total))
    if as_json:
        emit(_as_json(findings, found.native))
    else:
        _show(findings)
    if findings.reason is not None:
        raise InputError(f"training would refuse this set: {findings.reason}")


@app.command()
def cache(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A name, folder, zip or tar.", show_default=False)],
    model: Annotated[str | None, typer.Option(help="The network that will be trained. (default: lenet5)")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="N|HxW", help="As for `convlens train`. (default: as in training)")
    ] = None,
    classes: Classes = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Decode every image now, at the size that training will ask for, so that `convlens train` starts at once."""
    from convlens import models
    from convlens.base.errors import InputError
    from convlens.base.progress import bars
    from convlens.base.words import bytes_text
    from convlens.data.formats.folders import FolderSource
    from convlens.training.input_size import input_for
    from convlens.training.options import DEFAULT_MODEL, parse_size

    found = _find(source, classes, quiet)
    if not isinstance(found, FolderSource):
        raise InputError(f"{found.name} is no set of image files: there is nothing to decode")
    preprocess = input_for(
        found, models.get(model or DEFAULT_MODEL), None if size is None else parse_size("size", size)
    )
    with bars(quiet, unit="images") as progress:
        place, reading = found.decode_ahead(
            preprocess, lambda done, total: progress(f"decoding {found.name}", done, total)
        )
    height, width = preprocess.size
    images, stored = sum(map(len, reading.parts.values())), sum(file.stat().st_size for file in place.iterdir())
    if as_json:
        emit({
            "name": found.name, "path": str(place), "bytes": stored, "size": [preprocess.channels, height, width],
            "n": images, "skipped": [{"path": path, "error": why} for path, why in reading.skipped],
        })  # fmt: skip
        return
    out = console()
    where = f"{width} x {height} pixels are in {place} ({bytes_text(stored)})"
    out.print(f"{images:,} images of {found.name} at {where}", soft_wrap=True, markup=False)
    _list(out, "[red]cannot be decoded and were left out[/]", [f"{path}: {why}" for path, why in reading.skipped])


@app.command()
def shard(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A folder or zip of images.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="A new folder, or one that this command left unfinished.")],
    size: Annotated[str, typer.Option(metavar="BYTES", help="Of a shard, about: 256MB, 1GB.")] = "256MB",
    seed: Annotated[int, typer.Option(min=0, help="Names the order of the pictures, which is drawn.")] = 0,
    classes: Classes = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a set as tar shards of about one size, which training and prediction read without unpacking.

    The same command goes on after a stop. The same pictures give the same bytes.
    """
    from convlens.base.errors import InputError
    from convlens.base.progress import bars
    from convlens.base.words import bytes_text, parse_bytes
    from convlens.data.formats.folders import FolderSource
    from convlens.data.shards.writing import write_shards

    found = _find(source, classes, quiet)
    if not isinstance(found, FolderSource):
        raise InputError(f"{found.name} is no set of image files: there is nothing to put into shards")
    with bars(quiet, unit="images") as progress:
        written = write_shards(
            found.listing, out, parse_bytes("--size", size), seed,
            lambda done, total: progress(f"writing shards of {found.name}", done, total),
        )  # fmt: skip
    shards = written.manifest.shards
    images, stored = sum(one.images for one in shards), sum(one.bytes for one in shards)
    if as_json:
        emit({"out": str(out), "shards": len(shards), "images": images, "bytes": stored, "kept": written.kept})
        return
    text = f"{images:,} images of {found.name} are in {len(shards):,} shards in {out} ({bytes_text(stored)})"
    console().print(text, soft_wrap=True, markup=False)


def _find(source: str, classes: str | None, quiet: bool) -> "Source":
    from convlens import data
    from convlens.base.progress import bars
    from convlens.data.layout.classes import names_of

    with bars(quiet, unit="B") as progress:
        return data.find(source, classes=names_of(classes) if classes else None, on_download=progress)


def _as_json(findings: "Findings", native: tuple[int, int, int] | None) -> dict[str, Any]:
    return {
        "name": findings.name,
        "classes": list(findings.classes),
        "native": list(native) if native else None,
        "counts": findings.counts,
        "sizes": [{"width": w, "height": h, "n": n} for (w, h), n in findings.sizes.most_common()],
        "modes": dict(findings.modes),
        "rotated": findings.rotated,
        "orientations": {str(tag): n for tag, n in sorted(findings.orientations.items())},
        "problems": [{"path": path, "error": why} for path, why in findings.problems],
        "duplicates": findings.duplicates,
        "leaks": findings.leaks,
        "conflicts": findings.conflicts,
        "near_leaks": findings.near_leaks,
        "near_conflicts": findings.near_conflicts,
        "notes": findings.notes,
        "trainable": findings.reason is None,
        "reason": findings.reason,
    }


def _show(findings: "Findings") -> None:
    from rich.markup import escape
    from rich.table import Table

    out = console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("class")
    for part in findings.counts:
        table.add_column(part, justify="right")
    for name in findings.classes:
        table.add_row(escape(name), *(f"{counts[name]:,}" for counts in findings.counts.values()))
    totals = (f"{sum(counts.values()):,}" for counts in findings.counts.values())
    table.add_row("[bold]all[/]", *totals)
    out.print(table)
    sizes = ", ".join(f"{w} x {h} ({n:,})" for (w, h), n in findings.sizes.most_common(5))
    more = f" and {len(findings.sizes) - 5} more" if len(findings.sizes) > 5 else ""
    out.print(
        f"\nsizes (width x height): {sizes}{more}; modes: {', '.join(findings.modes)}", markup=False, soft_wrap=True
    )
    for note in findings.notes:
        out.print(f"note: {note}", markup=False, soft_wrap=True)
    if findings.rotated:
        by_tag = ", ".join(f"orientation {tag}: {n:,}" for tag, n in sorted(findings.orientations.items()))
        out.print(f"{findings.rotated:,} images are turned by their EXIF tag ({by_tag})", markup=False)
    problems = [f"{path}: {why}" for path, why in findings.problems]
    _list(out, "[red]cannot be decoded and will be left out[/]", problems)
    _list(out, "[red]the same picture in different parts[/]", [" = ".join(group) for group in findings.leaks])
    _list(out, "[red]the same picture in different classes[/]", [" = ".join(group) for group in findings.conflicts])
    _list(out, "[red]look the same, in different parts[/]", [" ~ ".join(pair) for pair in findings.near_leaks])
    _list(out, "[red]look the same, in different classes[/]", [" ~ ".join(pair) for pair in findings.near_conflicts])
    within = len(findings.duplicates) - len(findings.leaks)
    if within:
        out.print(f"{within:,} pictures occur more than once within a part", markup=False)
    found = (findings.problems, findings.leaks, findings.conflicts, findings.near_leaks, findings.near_conflicts)
    if findings.reason is None and not any(found):
        out.print("[green]no problems found[/]")


def _list(out: Any, heading: str, lines: list[str]) -> None:
    if not lines:
        return
    out.print(f"{heading} ({len(lines):,}):")
    for line in lines[:_SHOWN]:
        out.print(f"  {line}", markup=False, soft_wrap=True)
    if len(lines) > _SHOWN:
        out.print(f"  ... and {len(lines) - _SHOWN:,} more (--json lists them all)")
