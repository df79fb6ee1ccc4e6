"""`convlens train`: trains a network on images."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convlens.cli.common import Classes, Json, Quiet, console, emit

if TYPE_CHECKING:
    from convlens.api import Run


def train(
    model: Annotated[
        str | None, typer.Argument(help="A name of `convlens models`, or path/to/file.py:Function. (default: lenet5)")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="A name of `convlens data list`, a folder, zip or tar of images in class folders, or "
                     "a table of labels (CSV). (default: digits)"),
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="A recipe's name or TOML file. (default: the model's own)")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per step.")] = None,
    seed: Annotated[int | None, typer.Option(help="Names all random numbers, the split included. (default: 0)")] = None,
    seeds: Annotated[int | None, typer.Option(help="Train this many seeds; gives mean and standard deviation.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder. (default: runs/<model>-<data>-<time>)")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    size: Annotated[
        str | None, typer.Option(metavar="N|HxW", help="Side of the network's input in pixels, or height x width.")
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Decode pictures when needed. (default: if the disk cannot hold them all)")
    ] = False,
    classes: Classes = None,
    weights: Annotated[
        Path | None, typer.Option(help="Start from the weights of a file or run; another head is replaced.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A recipe setting, as in optimizer.lr=0.1.")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="torch, or numpy: readable arithmetic. (default: torch)")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps. (default: auto)")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, float32 or bfloat16. (default: auto)")] = None,
    threads: Annotated[int | None, typer.Option(help="Of the processor. (default: one per core)")] = None,
    deterministic: Annotated[bool, typer.Option("--deterministic", help="The same bits on a GPU too.")] = False,
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard events into the run folder.")] = True,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Train a network on images, judge it once on the test set, write a report."""
    started = time.perf_counter()
    from convlens import api

    arguments: dict[str, Any] = {
        "model": model, "data": data, "recipe": recipe, "epochs": epochs, "batch_size": batch_size, "resume": resume,
        "size": size, "stream": stream, "classes": classes, "weights": weights, "settings": settings or (),
        "engine": engine, "device": device, "precision": precision, "threads": threads, "deterministic": deterministic,
        "tensorboard": tensorboard, "quiet": quiet,
    }  # fmt: skip
    if seeds is None:
        run = api.train(seed=seed, out=out, started=started, **arguments)
        result = _result(run)
    else:
        runs = api.train_seeds(seeds, seed=seed, out=out, **arguments)
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
        f"[bold green]test accuracy {percent(test['accuracy'])}[/] on {test['n']:,} images, "
        f"in {duration(result['seconds']['total'], 1)}"
    )
    if result.get("stopped"):
        from convlens.runs import Stopped

        out.print(str(Stopped.model_validate(result["stopped"])), markup=False, soft_wrap=True)
    out.print(f"report  {result['report']}", markup=False, soft_wrap=True)
    out.print(f"next    convlens predict {result['run']} IMAGE...", markup=False, soft_wrap=True)
