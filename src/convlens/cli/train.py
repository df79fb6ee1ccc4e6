"""`convlens train`: trains a network on images."""

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convlens.base.errors import InputError
from convlens.cli.common import Json, console, emit, with_options
from convlens.training import launch
from convlens.training.fresh import fresh_path
from convlens.training.launched import launched, launched_rank
from convlens.training.options import OPTIONS, checked

if TYPE_CHECKING:
    from convlens.api import Run


Model = Annotated[
    str | None, typer.Argument(help="A name of `convlens models`, path/to/file.py:Function, or auto. (default: lenet5)")
]
Data = Annotated[
    str | None,
    typer.Option(
        help="A name of `convlens data list`, a folder, zip or tar of images in class folders, or a table of labels "
        "(CSV). (default: digits)"
    ),
]
Seeds = Annotated[int | None, typer.Option(help="Train this many seeds; gives mean and standard deviation.")]


def train(model: Model = None, data: Data = None, seeds: Seeds = None, as_json: Json = False, **options: Any) -> None:
    """Train a network on images, judge it once on the test set, write a report."""
    started = time.perf_counter()
    if (options["processes"] or 1) > 1 and not launched():
        raise typer.Exit(_in_processes(model, data, seeds, options))
    if launched_rank() > 0:  # rank 0 has the run folder and the screen
        from convlens.training import job
        from convlens.training.request import Request

        job.train(Request(model, data, started=started, **options))
        return
    from convlens import api

    if seeds is None:
        run = api.train(model, data, started=started, **options)
        result = _result(run)
    else:
        runs = api.train_seeds(seeds, model=model, data=data, **options)
        run = runs[-1]
        found = api.spread(runs)
        result = _result(run)
        result["runs"] = [_result(each) for each in runs]
        result["run"] = str(run.path.parent)
        result["test"] = {"accuracy": found["mean"], "loss": _mean([r["test"]["loss"] for r in result["runs"]])} | found
        result["seconds"] = {part: sum(r["seconds"][part] for r in result["runs"]) for part in ("total", "train")}
    if as_json:
        emit(result)
    else:
        _show(result)


train.__signature__ = with_options(train, OPTIONS)  # type: ignore[attr-defined] - what Typer reads


def _in_processes(model: str | None, data: str | None, seeds: int | None, options: dict[str, Any]) -> int:
    """The same command in several processes. Returns the exit code."""
    if seeds is not None:
        raise InputError("--seeds with --processes: train one seed after the other, each with --seed")
    chosen = checked(options)
    out = None if options["out"] is not None else str(fresh_path(model, data))
    return launch.launch(
        sys.argv[1:], chosen["processes"], out=out, restarts=chosen["max_restarts"], deadline=chosen["deadline"],
        quiet=chosen["quiet"],
    )  # fmt: skip


def _result(run: "Run") -> dict[str, Any]:
    record = run.record
    return {
        "run": str(run.path),
        "model": record.model.name,
        "data": record.data.name,
        "parameters": record.model.parameters,
        "seed": record.seed,
        **run.results,
        "report": str(run.folder.report),
    }


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _show(result: dict[str, Any]) -> None:
    from convlens.base.words import duration, percent

    out = console()
    test = result["test"]
    if "runs" in result:
        out.print(
            f"[bold green]test accuracy {percent(test['mean'])} ± {100 * test['std']:.2f}[/] "
            f"over {len(result['runs'])} seeds (lowest {percent(test['min'])})"
        )
        out.print(f"runs    {result['run']}", markup=False, soft_wrap=True)
        return
    out.print(
        f"[bold green]test accuracy {percent(test['accuracy'])}[/] (macro F1 {percent(test.get('macro_f1'))}) "
        f"on {test['n']:,} images, "
        f"in {duration(result['seconds']['total'], 1)}"
    )
    if result.get("stopped"):
        from convlens.runs import Stopped

        out.print(str(Stopped.model_validate(result["stopped"])), markup=False, soft_wrap=True)
    out.print(f"report  {result['report']}", markup=False, soft_wrap=True)
    out.print(f"next    convlens predict {result['run']} IMAGE...", markup=False, soft_wrap=True)
