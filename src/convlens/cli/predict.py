"""`convlens predict`: labels for images."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convlens.base.errors import InputError
from convlens.cli.common import Device, Json, UserModel, console, emit, refuse_options_of_runs

if TYPE_CHECKING:
    from rich.console import Console

    from convlens.classify.classifier import Classifier, Prediction
    from convlens.deploy.predictions import Failure
    from convlens.deploy.sorting import Sorter


def predict(
    run: Annotated[Path, typer.Argument(help="A run folder, or an ONNX file that `export` wrote.", show_default=False)],
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE...", help="Image files, folders, zips or tars; - for stdin.", show_default=False),
    ],
    top: Annotated[int, typer.Option(min=1, help="How many classes to rank.")] = 5,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write a row for each picture to a .csv, .jsonl or .parquet; the same command goes on after a stop.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    sort_into: Annotated[
        Path | None, typer.Option(help="Copy each picture into DIR/its class/.", metavar="DIR", show_default=False)
    ] = None,
    link: Annotated[bool, typer.Option("--link", help="With --sort-into: symbolic links in place of copies.")] = False,
    uncertain: Annotated[
        int, typer.Option(min=0, help="List the N most uncertain pictures: what to label next.", show_default=False)
    ] = 0,
    model: UserModel = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Say what is in images, with exactly the preprocessing of training.

    Exit code 4: some files could not be read; 2: none could.
    """  # fmt: skip
    from convlens.deploy.sorting import Sorter

    if link and sort_into is None:
        raise InputError("--link goes with --sort-into DIR")
    given = [getattr(sys.stdin, "buffer", None) if image == "-" else image for image in images]
    classifier = _classifier(run, model, device)
    sorter = None if sort_into is None else Sorter(sort_into, link=link)
    if out is None:
        _one_by_one(classifier, given, top, sorter, uncertain, as_json)
    else:
        _into_file(classifier, given, out, top, sorter, uncertain, as_json)


def _classifier(run: Path, model: str | None, device: str | None) -> "Classifier":
    from convlens.classify.classifier import Classifier, is_onnx

    if not is_onnx(run):
        from convlens import api

        return api.load(run, model=model, device=device).classifier()
    refuse_options_of_runs(run, model, device)
    return Classifier.from_onnx(run)


def _one_by_one(
    classifier: "Classifier", given: list[Any], top: int, sorter: "Sorter | None", uncertain: int, as_json: bool
) -> None:
    from convlens.deploy import predictions, sorting
    from convlens.deploy.many import as_row

    out, rows, failures, count = console(), [], [], 0
    show = not as_json and sorter is None and not uncertain

    def each() -> Iterator[dict[str, Any]]:
        nonlocal count
        for answer in predictions.stream(classifier, given, top=max(2, top) if uncertain else top):
            count += 1
            if isinstance(answer, predictions.Failure):
                failures.append(answer)
            elif show:
                _show(out, answer)
            if as_json:
                rows.append(_row(answer))
            yield as_row(answer)

    doubtful = sorting.use(each(), sorter, uncertain)
    if len(failures) == count:
        more = f" (and {count - 1} more)" if count > 1 else ""
        raise InputError(f"{failures[0].error}{more}")
    if as_json:
        emit({"predictions": rows, "failed": len(failures), **_uses(sorter, uncertain, doubtful)})
    else:
        _show_uses(out, sorter, doubtful)
    if failures:
        _tell(failures, count)
        raise typer.Exit(4)


def _into_file(
    classifier: "Classifier",
    given: list[Any],
    file: Path,
    top: int,
    sorter: "Sorter | None",
    uncertain: int,
    as_json: bool,
) -> None:
    from convlens.deploy import sorting
    from convlens.deploy.many import predict_into

    doubtful: list[dict[str, Any]] = []

    def use(rows: Iterator[dict[str, Any]]) -> None:
        doubtful.extend(sorting.use(rows, sorter, uncertain))

    used = use if sorter is not None or uncertain else None
    done = predict_into(classifier, given, file, top=top, quiet=False, on_rows=used)
    if as_json:
        counts = {"out": str(done.out), "count": done.count, "failed": done.failed, "kept": done.kept}
        emit({**counts, **_uses(sorter, uncertain, doubtful)})
    else:
        out = console()
        out.print(f"{done.count - done.failed:,} answers  {done.out}", markup=False, soft_wrap=True)
        _show_uses(out, sorter, doubtful)
    if done.failed == done.count:
        raise InputError(f"none of the {done.count:,} files could be read; {done.out} says why")
    if done.failed:
        text = f"{done.failed:,} of {done.count:,} files could not be read; {done.out} says why"
        console(as_json=True).print(text, markup=False, soft_wrap=True)
        raise typer.Exit(4)


def _uses(sorter: "Sorter | None", uncertain: int, doubtful: list[dict[str, Any]]) -> dict[str, Any]:
    told: dict[str, Any] = {} if sorter is None else {"sorted": sorter.count}
    return {**told, "uncertain": doubtful} if uncertain else told


def _show_uses(out: "Console", sorter: "Sorter | None", doubtful: list[dict[str, Any]]) -> None:
    from rich.markup import escape

    from convlens.base.words import percent

    if sorter is not None:
        out.print(f"{sorter.count:,} pictures sorted into {sorter.folder}", markup=False, soft_wrap=True)
    for row in doubtful:
        said = " or ".join(f"{escape(one['label'])} {percent(one['probability'], 1)}" for one in row["top"][:2])
        out.print(f"uncertain  {escape(row['path'] or '-')}  [dim]({said})[/]", soft_wrap=True)


def _tell(failures: "list[Failure]", count: int) -> None:
    err = console(as_json=True)
    for failure in failures:
        err.print(f"error: {failure.error}", markup=False, soft_wrap=True)
    err.print(f"{len(failures):,} of {count:,} files could not be read", markup=False)


def _show(out: "Console", answer: "Prediction") -> None:
    from rich.markup import escape

    from convlens.base.words import percent

    others = ", ".join(f"{escape(label)} {percent(p, 1)}" for label, p in answer.top[1:3])
    out.print(
        f"[bold]{escape(answer.label)}[/]  {percent(answer.probability, 1):>7}  {escape(answer.path or '-')}"
        + (f"  [dim](then {others})[/]" if others else ""),
        soft_wrap=True,
    )


def _row(answer: "Prediction | Failure") -> dict[str, Any]:
    from convlens.deploy.predictions import Failure

    if isinstance(answer, Failure):
        return {"path": answer.path, "error": answer.error}
    return {"path": answer.path, **answer.to_dict()}
