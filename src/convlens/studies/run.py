"""Doing a study: a folder is taken, the study's function runs, and what it found is written, however it ends."""

import re
import shlex
import time
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from convlens.base import files
from convlens.base.errors import ConvlensError, InputError, Interrupted, nearest
from convlens.base.files import FolderLock
from convlens.classify.caller import undisturbed
from convlens.studies import page
from convlens.studies.findings import Findings
from convlens.studies.record import FILE, PAGE, Record, earlier, record_of
from convlens.studies.registry import Options, Study, find
from convlens.training.recipe import assignment, merged

_PICTURE = re.compile(r"[a-z0-9][a-z0-9-]*\.(png|svg|webp|gif|html)")


def run(
    name: str,
    *,
    out: Path | str | None = None,
    quick: bool = False,
    seed: int = 0,
    settings: "list[str] | tuple[str, ...]" = (),
    quiet: bool = True,
) -> Record:
    """Does a study and writes its folder: `study.json`, pictures, `index.html`.

    Args:
        out: the folder; by default `studies/<name>`. What was trained there by the same study is not trained again.
        quick: a small share of the work; the page says so.
        settings: assignments such as "stride=2", for studies that have options.

    Raises:
        InputError: no such study, an option that it has not, a folder of something else.
        Interrupted: Ctrl-C; what there was is written.
    """
    study = find(name)
    options = options_of(study, settings)
    folder = Path(out) if out is not None else default_folder(name, quick)
    findings = Findings(study, folder, quick, seed, options, quiet)
    _check_same(findings, earlier(folder))
    files.make_folder(folder)
    with FolderLock(folder, "another process does a study in it"):
        files.remove_temporaries(folder)
        _clear(folder, earlier(folder))
        began = time.perf_counter()
        try:
            _write(findings, began, finished=False)
            with undisturbed():  # the caller's random states, threads and switches of PyTorch stay as they are
                study.function(findings)
        except (KeyboardInterrupt, Interrupted) as error:
            _write(findings, began, finished=False)
            raise Interrupted(_stopped(findings), getattr(error, "exit_code", 130) - 128) from None
        except ConvlensError:
            _write(findings, began, finished=False)
            raise
        return _write(findings, began, finished=True)


def default_folder(name: str, quick: bool) -> Path:
    """Where a study goes that was told nothing else."""
    return Path("studies") / (f"{name}-quick" if quick else name)


def options_of(study: Study, settings: "list[str] | tuple[str, ...]") -> Options:
    """The study's options with these assignments. Raises `InputError` that names the nearest right key."""
    values: dict[str, Any] = {}
    for text in settings:
        values = merged(values, assignment(text))
    known = list(study.options.model_fields)
    try:
        return study.options.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"][:1])
        if first["type"] == "extra_forbidden":
            has = f"; known here: {', '.join(known)}" if known else f"; the study {study.name} has no options"
            raise InputError(f"--set: unknown key {key!r}{nearest(key, known) or has}") from None
        reason = first["msg"].removeprefix("Value error, ")
        raise InputError(f"--set {key}: {reason} (got {str(first['input'])[:60]!r})") from None


def command(findings: Findings) -> str:
    """The line for a shell that does the study again."""
    words = ["convlens", "study", findings.study.name, "--out", str(findings.folder)]
    words += ["--quick"] if findings.quick else []
    words += ["--seed", str(findings.seed)] if findings.seed else []
    for key, value in findings.options.model_dump(mode="json", exclude_defaults=True).items():
        words += ["--set", f"{key}={value}"]
    return shlex.join(words)


def _check_same(findings: Findings, before: Record | None) -> None:
    """Refuses a folder of another study, and networks that were trained for another setting."""
    if before is None:
        return
    folder, name = findings.folder, findings.study.name
    if before.study != name:
        raise InputError(f"--out {folder} holds the study {before.study!r}; choose another folder")
    then = (before.quick, before.seed, before.options)
    now = (findings.quick, findings.seed, findings.options.model_dump(mode="json"))
    if then != now and (folder / "runs").exists():
        raise InputError(
            f"--out {folder} holds networks that this study trained with other settings (--quick, --seed or --set); "
            "choose another folder"
        )


def _clear(folder: Path, before: Record | None) -> None:
    """Removes the pictures of an earlier go; networks that were trained stay."""
    for name in before.pictures if before else []:
        if _PICTURE.fullmatch(name):
            (folder / name).unlink(missing_ok=True)


def _write(findings: Findings, began: float, *, finished: bool) -> Record:
    record = record_of(findings, finished=finished, seconds=time.perf_counter() - began)
    files.write_text(findings.folder / PAGE, page.render(record, findings, command(findings)))
    files.write_json(findings.folder / FILE, record.model_dump(mode="json"))
    return record


def _stopped(findings: Findings) -> str:
    return (
        f"stopped; what there was so far is in {findings.folder / PAGE}; the same command goes on: {command(findings)}"
    )
