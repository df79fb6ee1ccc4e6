"""`convlens doctor`: what this machine has, what Convlens will use, and why."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from convlens.cli.common import Json, console, emit
from convlens.training import launch
from convlens.training.launched import launched, launched_size

_PACKAGES = ("torch", "numpy", "safetensors", "pillow", "scikit-learn", "tensorboard", "onnx", "onnxruntime")
_LITTLE = 2 << 30  # bytes of free disk below which a warning is due


def doctor(
    processes: Annotated[
        int | None,
        typer.Option(
            min=2, max=1024, metavar="N", help="Also connect so many processes, and measure what they exchange."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what this machine has, what Convlens will use and why, and which data sets are here."""
    if processes is not None and not launched():
        raise typer.Exit(launch.launch(sys.argv[1:], processes, restarts=0))
    together = None
    if launched_size() > 1:
        from convlens.training.processes import link

        together = link.look()
        if together is None:  # rank 0 says it
            return
    found = examine() | ({} if together is None else {"processes": together})
    if as_json:
        emit(found)
    else:
        _show(found)


def examine() -> dict[str, Any]:
    """Everything that the command shows, as JSON."""
    import platform

    from convlens import __version__
    from convlens.base import hardware
    from convlens.data.store.cache import cache_folder
    from convlens.training import settings

    machine = hardware.machine()
    numeric = settings.settle()
    packages = {name: _version(name) for name in _PACKAGES}
    chosen = os.environ.get("CONVLENS_DATA")
    data, problem = _data_sets()
    found = {
        "blas": _blas(),
        "machine": machine.to_dict() | {"usable_cores": hardware.usable_cores(), "gpus": _gpus()},
        "versions": {"convlens": __version__, "python": platform.python_version(), **packages},
        "python": sys.executable,
        "folders": {
            "here": {"path": str(Path.cwd()), "free": hardware.disk_free(Path.cwd())},
            "cache": {"path": str(cache_folder()), "free": hardware.disk_free(cache_folder())},
            "data": {"path": chosen, "free": hardware.disk_free(Path(chosen)) if chosen else None},
        },
        "data": data,
        "settings": numeric.to_dict() | {"reasons": numeric.reasons},
    }
    found["warnings"] = ([problem] if problem else []) + _warnings(found)
    return found


def _version(package: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _blas() -> str:
    """What does NumPy's matrix products, such as 'openblas 0.3.31, SkylakeX, 2 threads'."""
    import numpy  # noqa: F401  so that its library is loaded
    from threadpoolctl import threadpool_info

    found = [library for library in threadpool_info() if library["user_api"] == "blas"]
    words = [
        f"{library['internal_api']} {library['version']}, {library.get('architecture', 'unknown kernels')}, "
        f"{library['num_threads']} threads"
        for library in found
    ]
    return "; ".join(words) or "unknown"


def _gpus() -> list[dict[str, Any]]:
    import torch

    if torch.cuda.is_available():
        every = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        return [
            {"name": gpu.name, "memory": gpu.total_memory, "capability": f"{gpu.major}.{gpu.minor}"} for gpu in every
        ]
    return [{"name": "Apple GPU", "memory": None, "capability": "Metal"}] if torch.backends.mps.is_available() else []


def _data_sets() -> tuple[dict[str, str | None], str | None]:
    """Name -> where it is ("built in", a path, or None: would be downloaded), and what is wrong with $CONVLENS_DATA."""
    from convlens.base.errors import InputError
    from convlens.data import catalogue

    places: dict[str, str | None] = {}
    problem = None
    for name, entry in catalogue.SETS.items():
        try:
            path = "built in" if entry.embedded else catalogue.find_local(name)
        except InputError as error:
            path, problem = None, str(error)
        places[name] = None if path is None else str(path)
    return places, problem


def _warnings(found: dict[str, Any]) -> list[str]:
    machine, settings = found["machine"], found["settings"]
    warnings = []
    if settings["device"] == "cpu" and settings["threads"] > machine["usable_cores"]:
        warnings.append(
            f"{settings['threads']} threads would share {machine['usable_cores']} processors: set OMP_NUM_THREADS="
            f"{machine['usable_cores']}"
        )
    if Path("/dev/nvidiactl").exists() and not machine["gpus"]:
        warnings.append(
            "there is an NVIDIA GPU, but this PyTorch cannot use it: install its CUDA build, or a newer driver"
        )
    if machine["compiler"] is None:
        warnings.append("no C++ compiler: torch.compile cannot be used (Convlens works without it)")
    if "Haswell" in found["blas"] and "avx512f" in machine["instructions"]:
        warnings.append(
            "NumPy's matrix products use AVX2 kernels on a processor with AVX-512, at about half its speed: "
            "unset OPENBLAS_CORETYPE, or set it to SkylakeX"
        )
    for what, folder in found["folders"].items():
        if folder["free"] is not None and folder["free"] < _LITTLE:
            warnings.append(f"little disk space is left in the {what} folder {folder['path']}")
    return warnings


# ---- for people


def _show(found: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    out = console()
    for title, rows in _sections(found):
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(style="dim", min_width=14, no_wrap=True)
        table.add_column(overflow="fold")
        table.add_column(style="dim")
        for key, value, *reason in rows:
            table.add_row(escape(key), escape(value), *map(escape, reason))
        out.print(f"[bold]{title}[/bold]")
        out.print(table)
        out.print()
    for warning in found["warnings"]:
        out.print(f"[yellow]warning:[/yellow] {escape(warning)}", soft_wrap=True)


def _sections(found: dict[str, Any]) -> list[tuple[str, list[tuple[str, ...]]]]:
    from convlens.base.words import bytes_text

    machine, settings = found["machine"], found["settings"]
    cores = f"{machine['physical'] or '?'} physical, {machine['logical']} logical, {machine['allowed']} allowed"
    if machine["quota"] is not None:
        cores += f", quota {machine['quota']:g}"
    memory = f"{bytes_text(machine['memory'])}, {bytes_text(machine['memory_available'])} available"
    if machine["memory_limit"] is not None:
        memory += f", limit {bytes_text(machine['memory_limit'])}"
    gpus = [f"{gpu['name']} ({bytes_text(gpu['memory'])}, {gpu['capability']})" for gpu in machine["gpus"]]
    words = {True: "yes", False: "no"}
    used = {
        key: words.get(value, str(value)) if isinstance(value, bool) else str(value) for key, value in settings.items()
    }
    reasons = settings["reasons"]
    together = found.get("processes")
    return [
        ("Machine", [
            ("system", f"{machine['system']}, {machine['architecture']}"),
            ("processor", machine["processor"] or "unknown"),
            ("cores", cores),
            ("instructions", " ".join(machine["instructions"]) or "none of note"),
            ("NumPy's products", found["blas"]),
            ("memory", memory),
            ("GPU", "; ".join(gpus) or "none"),
            ("C++ compiler", machine["compiler"] or "none"),
            *((f"disk, {what}", f"{bytes_text(folder['free'])} free, {folder['path']}")
              for what, folder in found["folders"].items() if folder["path"]),
        ]),
        ("Software", [(name, version or "not installed") for name, version in found["versions"].items()]),
        ("Data sets", [(name, place or "not here; would be downloaded") for name, place in found["data"].items()]),
        ("Convlens will use", [
            (key.replace("_", " "), value, reasons.get(key, "")) for key, value in used.items() if key != "reasons"
        ]),
        *([("Processes", _of_processes(together))] if together else []),
    ]  # fmt: skip


def _of_processes(found: dict[str, Any]) -> list[tuple[str, ...]]:
    from convlens.base.words import bytes_text

    rows: list[tuple[str, ...]] = [("together", f"{found['processes']}, over gloo")]
    rows += [("small exchange", f"{found['milliseconds']:.2f} ms")]
    for row in found["sums"]:
        said = f"{row['exact_milliseconds']:.2f} ms in a fixed order, {row['fast_milliseconds']:.2f} ms with --fast"
        rows.append((f"sum of {bytes_text(row['bytes'])}", said, f"{bytes_text(row['bytes_per_second'])}/s"))
    return rows + [("what limits", line) for line in found["limits"]]
