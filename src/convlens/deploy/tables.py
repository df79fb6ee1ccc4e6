"""Rows of answers as a table in a file: CSV, lines of JSON, or Parquet. One row is in memory at a time, or a group."""

import csv
import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from convlens.base.errors import InputError
from convlens.base.optional import required

Rows = Iterator[dict[str, Any]]
Writer = Callable[[Path, Rows, int], None]

_GROUP = 65536  # rows of a row group


def writer(out: Path) -> Writer:
    """What writes (path, rows, how many classes are ranked) in the form that the ending names.

    Raises `InputError` for another ending, or where a library is missing.
    """
    form = _FORMS.get(out.suffix.lower())
    if form is None:
        raise InputError(f"{out}: answers are written as {', '.join(_FORMS)}; choose one of these endings")
    if form is _parquet:
        required("pyarrow.parquet", "parquet", "Parquet files need pyarrow")
    return form


def _jsonl(path: Path, rows: Rows, ranked: int) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            if "top" in row:
                row["top"] = row["top"][:ranked]
            file.write(json.dumps(row) + "\n")


def _csv(path: Path, rows: Rows, ranked: int) -> None:
    """Columns: path, label, probability, label_2, probability_2 and so on, error."""
    more = [f"{name}_{place}" for place in range(2, ranked + 1) for name in ("label", "probability")]
    # a name that is no UTF-8 keeps its bytes
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["path", "label", "probability", *more, "error"])
        for row in rows:
            best = [value for one in row.get("top", ())[:ranked] for value in (one["label"], one["probability"])]
            best += [""] * (2 * ranked - len(best))
            out.writerow([row["path"], *best, row.get("error", "")])


def _parquet(path: Path, rows: Rows, ranked: int) -> None:
    """Columns: path, label, probability (float32), top (a list of label and probability), error."""
    arrow: Any = required("pyarrow", "parquet")
    parquet: Any = required("pyarrow.parquet", "parquet")
    one = arrow.struct([("label", arrow.string()), ("probability", arrow.float32())])
    schema = arrow.schema(
        [
            ("path", arrow.string()), ("label", arrow.string()), ("probability", arrow.float32()),
            ("top", arrow.list_(one)), ("error", arrow.string()),
        ]
    )  # fmt: skip
    with parquet.ParquetWriter(path, schema, compression="zstd") as out:
        while group := list(islice(rows, _GROUP)):
            for row in group:
                row["path"] = row["path"].encode("utf-8", "replace").decode()
                row["top"] = row["top"][:ranked] if "top" in row else None
            out.write_table(arrow.Table.from_pylist(group, schema))


_FORMS: dict[str, Writer] = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
