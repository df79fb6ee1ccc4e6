"""The run folder's files and the rules about them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from convlens.base import files
from convlens.base.arrays import pack, unpack
from convlens.base.errors import InputError
from convlens.runs.record import RunRecord


class RunFolder:
    """Names and reads what a run leaves on disk."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.run_json = self.path / "run.json"
        self.weights = self.path / "weights.safetensors"
        self.last = self.path / "last.safetensors"
        self.metrics = self.path / "metrics.jsonl"
        self.report = self.path / "report.html"
        self.events = self.path / "events"

    def holds_a_run(self) -> bool:
        return self.run_json.exists()

    def require(self) -> "RunFolder":
        """Itself, or an `InputError` if it is not a run folder."""
        if not self.path.is_dir():
            raise InputError(f"there is no run folder {self.path}")
        if not self.holds_a_run():
            raise InputError(f"{self.path} is not a run folder: it has no run.json")
        return self

    def lock(self) -> files.FolderLock:
        return files.FolderLock(self.path)

    def read_record(self) -> RunRecord:
        self.require()
        try:
            text = self.run_json.read_text("utf-8")
        except UnicodeDecodeError:
            raise InputError(f"{self.run_json} is not UTF-8 text") from None
        return RunRecord.parse(text, str(self.run_json))

    def write_record(self, record: RunRecord) -> None:
        files.write_json(self.run_json, record.model_dump(mode="json"))

    def read_weights(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        if not self.weights.exists():
            raise InputError(f"the run {self.path} has no weights yet: continue it with `convlens train --resume`")
        return unpack(self.weights)

    def write_arrays(self, path: Path, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        files.write_bytes(path, pack(arrays, meta))

    def read_metrics(self, last_epoch: int | None = None) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`, up to and including epoch `last_epoch`; a line cut short ends them."""
        if not self.metrics.exists():
            return []
        records = []
        for line in self.metrics.read_text("utf-8", errors="replace").splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                break
            if last_epoch is not None and record["epoch"] > last_epoch:
                break
            records.append(record)
        return records

    def write_metrics(self, records: list[dict[str, Any]]) -> None:
        files.write_text(self.metrics, "".join(json.dumps(record) + "\n" for record in records))
