"""The run folder's files and the rules about them."""

import contextlib
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from convlens.base import files, strict_json
from convlens.base.arrays import header, pack, unpack
from convlens.base.errors import InputError
from convlens.runs.record import Checkpoint, Metrics, RunRecord, checked

_LARGEST = 256 << 20  # bytes of run.json and metrics.jsonl


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

    def holds_weights(self) -> bool:
        """Whether anything that was learned lies in it: the best weights, or a checkpoint."""
        return self.weights.exists() or self.holds_checkpoint()

    def holds_checkpoint(self) -> bool:
        return self.last.exists()

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
        return RunRecord.parse(files.read_text(self.run_json, _LARGEST), str(self.run_json))

    def write_record(self, record: RunRecord) -> None:
        files.write_json(self.run_json, record.model_dump(mode="json"))

    def unfinished(self, record: RunRecord) -> str | None:
        """A line about a run whose training has not ended: how far it is. None for a finished one."""
        if record.results is not None:
            return None
        metrics: list[dict[str, Any]] = []
        with contextlib.suppress(InputError):  # damaged: they are not what the run is used by
            metrics = self.read_metrics()
        done, planned = (metrics[-1]["epoch"] if metrics else 0), record.resolved.get("epochs")
        of = f" of {planned}" if planned is not None else ""
        return (
            f"the run {self.path} is not finished: {done}{of} epochs are done, and its weights are the best so far; "
            f"go on with: convlens train --resume --out {shlex.quote(str(self.path))}"
        )

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each array of the weights, by name; the arrays themselves are not read."""
        self._require_weights()
        return header(self.weights)

    def read_weights(self, record: RunRecord | None = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """The weights, and the JSON value beside them. With a `record`, they must be those that it was written for."""
        self._require_weights()
        if record is not None:
            self.compare_weights(record)
        return unpack(self.weights)

    def compare_weights(self, record: RunRecord) -> None:
        """Raises `InputError` where the weights file is not the one that the run ended with."""
        if record.weights_sha256 is not None and files.sha256(self.weights) != record.weights_sha256:
            raise InputError(
                f"{self.weights} is damaged or was replaced: its SHA-256 is not the one in run.json; restore it, or "
                "remove weights_sha256 from run.json if you changed it yourself"
            )

    def facts(self, record: RunRecord) -> dict[str, Any]:
        """What a file made of the run says of where it comes from, as JSON."""
        return {
            "model": record.model.name,
            "arguments": record.model.arguments,
            "parameters": record.model.parameters,
            "data": record.data.name,
            "recipe": record.recipe,
            "seed": record.seed,
            "test": None if record.results is None else {k: record.results["test"][k] for k in ("accuracy", "n")},
            "weights_sha256": record.weights_sha256 or files.sha256(self.weights),
            "versions": record.versions,
        }

    def _require_weights(self) -> None:
        if not self.weights.exists():
            raise InputError(f"the run {self.path} has no weights yet: continue it with `convlens train --resume`")

    def write_checkpoint(self, arrays: dict[str, np.ndarray], state: Checkpoint) -> None:
        self.write_arrays(self.last, arrays, state.model_dump(mode="json"))

    def read_checkpoint(self) -> tuple[dict[str, np.ndarray], Checkpoint]:
        """What `write_checkpoint` wrote. Raises `InputError`, which says how to go on without it."""
        try:
            arrays, meta = unpack(self.last)
            return arrays, checked(Checkpoint, meta, f"{self.last} is no checkpoint of ours")
        except InputError as error:
            raise InputError(f"{error}; {self.without_checkpoint}") from None

    @property
    def without_checkpoint(self) -> str:
        """What to do where the checkpoint is of no use."""
        return f"remove {self.last.name} and resume again: the run then starts from its beginning"

    def write_arrays(self, path: Path, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        files.write_bytes(path, pack(arrays, meta))

    def read_metrics(self, last_epoch: int | None = None) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`, up to and including epoch `last_epoch`; a line cut short ends them."""
        if not self.metrics.exists():
            return []
        records = []
        lines = files.read_bytes(self.metrics, _LARGEST).decode("utf-8", errors="replace").split("\n")
        for number, line in enumerate(lines, 1):
            where = f"line {number} of {self.metrics}"
            try:
                json.loads(line)
            except (ValueError, RecursionError):  # cut short, by a kill of an earlier version or by a full disk
                break
            found = checked(Metrics, strict_json.loads(line, where), f"{where} is no line of metrics")
            record = found.model_dump(exclude_unset=True)
            if last_epoch is not None and record["epoch"] > last_epoch:
                break
            records.append(record)
        return records

    def write_metrics(self, records: list[dict[str, Any]]) -> None:
        files.write_text(self.metrics, "".join(json.dumps(record) + "\n" for record in records))
