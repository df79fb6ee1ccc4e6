"""`convlens bench`: the forms of a run's network, measured on this machine."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convlens.cli.common import Json, OwnImages, Quiet, UserModel, console, emit

if TYPE_CHECKING:
    from convlens.deploy.bench.measure import Bench


def bench(
    run: Annotated[Path, typer.Argument(help="A run folder.", show_default=False)],
    seconds: Annotated[float, typer.Option(min=0, help="Of calls, for each form and size of batch.")] = 1.0,
    threads: Annotated[int | None, typer.Option(min=1, help="For each form. (default: all usable cores)")] = None,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="Try PyTorch's compiler, too.")] = True,
    data: OwnImages = None,
    model: UserModel = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure every form of a run's network here, in turn: speed, start-up, memory, accuracy; and say which wins."""
    from convlens import api
    from convlens.base.progress import bars
    from convlens.deploy.bench.verdict import best, sentence
    from convlens.deploy.of_run import bench_run

    opened = api.load(run, model=model, device="cpu")
    with bars(quiet) as report:
        found = bench_run(
            opened.classifier(), opened.folder, opened.record, data,
            seconds=seconds, threads=threads, compiled=compiled, on_progress=report,
        )  # fmt: skip
    if as_json:
        emit(
            {
                **asdict(found),
                "best": {str(size): best(found, size).name for size in (1, 8, 64)},
                "why": sentence(found),
            }
        )
    else:
        _show(found)
        console().print(sentence(found), markup=False)


def _show(found: "Bench") -> None:
    from rich.table import Table

    from convlens.base.words import bytes_text, percent
    from convlens.deploy.bench.verdict import times

    heads = ("form", "one image", "99 %", "8 at once", "64 at once", "faster", "start", "memory", "accuracy")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        table.add_column(head, justify="left" if head == "form" else "right", no_wrap=head == "form")
    for form in found.forms:
        if form.rate is None or form.p50 is None or form.p99 is None:
            continue
        faster = f"{times(found, form, 1):.1f}x, {times(found, form, 64):.1f}x"
        start = "-" if form.start is None else f"{form.start:.1f} s"
        table.add_row(
            form.name, f"{form.p50 * 1e3:.3g} ms", f"{form.p99 * 1e3:.3g} ms", f"{form.rate[8]:,.0f}/s",
            f"{form.rate[64]:,.0f}/s", faster, start, "-" if form.memory is None else bytes_text(form.memory),
            percent(form.accuracy),
        )  # fmt: skip
    out = console()
    out.print(table)
    for form in found.forms:
        if form.why:
            out.print(f"{form.name}: not measured, {form.why}", markup=False)
    threads = "1 thread" if found.threads == 1 else f"{found.threads} threads"
    out.print(
        f"{found.processor or 'this processor'}, {threads}; faster: than PyTorch, one image and 64 at once; "
        f"accuracy on {found.n:,} test images",
        markup=False,
    )
