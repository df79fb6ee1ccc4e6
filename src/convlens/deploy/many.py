"""Answers for very many pictures in one file: in order, in constant memory, and after a stop from where it was.

Answers are collected as lines of JSON in the folder FILE.unfinished, 256 pictures at a time. When all are there, the
file is written in its form at once. A batch is answered as a whole or not at all, so a work that was stopped and
taken up again gives the same bytes as one that was not.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from convlens.base.errors import InputError
from convlens.base.files import FolderLock, draft, explained, make_inner_folder
from convlens.base.progress import bar, say
from convlens.classify.classifier import BATCH, Classifier, Prediction
from convlens.deploy import tables
from convlens.deploy.inputs import Item, Say, pictures
from convlens.deploy.predictions import Failure, answers

_SYNC_EVERY = 16  # batches


@dataclass(frozen=True)
class Answered:
    """A finished file of answers.

    out: the file. count: its rows, one a picture. failed: those with an error. kept: rows that an earlier call made.
    """

    out: Path
    count: int
    failed: int
    kept: int = 0


def predict_into(
    classifier: Classifier,
    images: Any,
    out: Path | str,
    *,
    top: int = 5,
    on_note: Say = say,
    quiet: bool = True,
    on_rows: Callable[[Iterator[dict[str, Any]]], Any] | None = None,
) -> Answered:
    """Answers any number of pictures into a file .csv, .jsonl or .parquet, a row for each, in their order.

    Memory does not grow with their number. Called again after it was stopped, it goes on where it was, if network and
    pictures are the same; the file is the same, byte for byte.

    Args:
        images: see `predictions.stream`.
        top: how many classes a row ranks.
        on_rows: is handed all rows before the file is written: dicts with "path", and "label", "probability" and
            "top" (at least two classes) or "error".

    Raises:
        InputError: `out` exists, or has another ending; it was begun with another network or other pictures; another
            process writes it; the disk is full.
    """
    out = Path(out)
    write = tables.writer(out)
    folder = out.with_name(out.name + ".unfinished")
    if out.exists():
        raise InputError(f"{out} exists: remove it, or choose another file")
    found = pictures(images, classifier.preprocess.channels, on_note)[1]
    items = (replace(item, path=item.path or item.name) for item in found)
    make_inner_folder(folder)
    with FolderLock(folder, "another process is writing it"), explained("write", out):
        if out.exists():  # finished by another while we waited to begin
            raise InputError(f"{out} exists: remove it, or choose another file")
        with open(folder / "answers.jsonl", "ab+") as file:
            kept, failed = _taken_up(file, _header(classifier, images, top), items, folder)
            if kept:
                on_note(f"{out}: goes on after {kept:,} pictures")
            count = kept
            with bar("answering", None, quiet, unit="images") as advance, _told_to_go_on(folder, on_note):
                for rows in _batches(answers(classifier, items, max(2, top), ahead=True)):
                    _append(file, rows, sync=count // BATCH % _SYNC_EVERY == 0)
                    count += len(rows)
                    failed += sum("error" in row for row in rows)
                    advance(len(rows))
        if on_rows is not None:
            on_rows(_rows(folder))
        with draft(out) as path:
            write(path, _rows(folder), min(top, len(classifier.classes)))
        shutil.rmtree(folder)
    return Answered(out, count, failed, kept)


@contextlib.contextmanager
def _told_to_go_on(folder: Path, on_note: Say) -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, OSError):
        on_note(f"{folder} keeps the answers so far: the same call goes on from there")
        raise


def _header(classifier: Classifier, images: Any, top: int) -> bytes:
    """What must be the same for the work to be taken up, as a line."""
    given = images if isinstance(images, (list, tuple)) else [images]
    names = [os.path.abspath(one) if isinstance(one, (str, os.PathLike)) else type(one).__name__ for one in given]
    told = {
        "weights": classifier.facts.get("weights_sha256"),
        "preprocess": classifier.preprocess.to_dict(),
        "classes": list(classifier.classes),
        "pictures": names,
        "ranked": max(2, top),
    }
    return json.dumps(told).encode() + b"\n"


def _taken_up(file: IO[bytes], header: bytes, items: Iterator[Item], folder: Path) -> tuple[int, int]:
    """How many rows are there already, and how many of them have an error; `items` then stands behind them."""
    file.seek(0)
    begun = file.readline()
    if not begun.endswith(b"\n"):
        file.truncate(0)
        file.write(header)
        return 0, 0
    if begun != header:
        raise InputError(
            f"{folder} was begun with another network, other pictures or another --top: "
            "remove it, or choose another file"
        )
    kept, failed, end = 0, 0, file.tell()
    while len(lines := [line for line in islice(file, BATCH) if line.endswith(b"\n")]) == BATCH:
        rows = [_parsed(line, folder) for line in lines]
        if [row["path"] for row in rows] != [item.path for item in islice(items, BATCH)]:
            raise InputError(f"the pictures are not those that {folder} was begun with: remove it, or restore them")
        kept, failed, end = kept + BATCH, failed + sum("error" in row for row in rows), end + sum(map(len, lines))
    file.truncate(end)
    return kept, failed


def _parsed(line: bytes, folder: Path) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict) or "path" not in row:
        raise InputError(f"{folder / 'answers.jsonl'} is damaged: remove the folder and begin again")
    return row


def _batches(found: Iterator[Prediction | Failure]) -> Iterator[list[dict[str, Any]]]:
    while rows := [as_row(answer) for answer in islice(found, BATCH)]:
        yield rows


def as_row(answer: Prediction | Failure) -> dict[str, Any]:
    """An answer as JSON; probabilities have the digits that give the same float32 back."""
    if isinstance(answer, Failure):
        return {"path": answer.path, "error": answer.error}
    top = [{"label": label, "probability": float(str(np.float32(p)))} for label, p in answer.top]
    return {"path": answer.path, **top[0], "top": top}


def _append(file: IO[bytes], rows: Iterable[dict[str, Any]], *, sync: bool) -> None:
    file.write(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    file.flush()
    if sync:
        os.fsync(file.fileno())


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    with open(folder / "answers.jsonl", "rb") as file:
        file.readline()
        for line in file:
            yield json.loads(line)
