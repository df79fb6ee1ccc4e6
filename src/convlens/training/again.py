"""The command that trains a run again, to the same weights: put together from what `run.json` says."""

import json
import shlex
from dataclasses import dataclass
from typing import Any

from convlens.base.errors import InputError
from convlens.runs import RunRecord
from convlens.training import recipe as recipes


@dataclass(frozen=True)
class Again:
    """How to train a run again.

    Attributes:
        command: one line for a POSIX shell; None where no command can.
        remarks: sentences: why there is no command, or what the same weights hang on.
    """

    command: str | None
    remarks: list[str]


def again(record: RunRecord) -> Again:
    """The complete command: every setting that is not a default, and what the machine decided as it was decided."""
    missing = _handed_over(record)
    if missing:
        return Again(None, missing)
    try:
        return Again(shlex.join(["convlens", "train", *_words(record)]), _remarks(record))
    except InputError as error:  # of another version, or changed by hand
        return Again(None, [f"No command can: {error}."])


def _handed_over(record: RunRecord) -> list[str]:
    """Why no command can train the run: what only a Python program could hand over."""
    reasons = []
    if record.model.source == "live":
        reasons.append(f"the network was handed over as an object, {record.model.name}")
    if record.data.source == "arrays":
        reasons.append("the images were handed over as arrays or objects, not as a name or a path")
    if not reasons:
        return []
    return [
        f"No command can: {', and '.join(reasons)}. Hand the same to cl.train, with the seed and the recipe below "
        "(in full in run.json)."
    ]


def _words(record: RunRecord) -> list[str]:
    height, width = record.model.input[1:]
    words = [_network(record), "--data", record.data.source]
    words += ["--size", str(height) if height == width else f"{height}x{width}", "--seed", str(record.seed)]
    if record.data.named:
        words += ["--classes", json.dumps(record.classes, ensure_ascii=False)]
    if record.data.streamed:
        words.append("--stream")
    if record.started_from is not None:
        words += ["--weights", record.started_from.path]
    words += _recipe(record.recipe)
    if record.engine == "numpy":
        return [*words, "--engine", "numpy"]
    numeric = record.numeric
    words += ["--device", numeric["device"], "--precision", numeric["dtype"]]
    if numeric["device"] == "cpu":
        words += ["--threads", str(numeric["threads"])]
    elif numeric.get("deterministic"):
        words.append("--deterministic")
    return words


def _network(record: RunRecord) -> str:
    if record.model.file is None:
        return record.model.name
    return f"{record.model.file}:{record.model.name.rpartition(':')[2]}"


def _recipe(wanted: dict[str, Any]) -> list[str]:
    """The shipped recipe that is nearest, and what differs from it. Precision stands among the numeric settings."""
    values = dict(recipes.leaves(recipes.parse(wanted, "the recipe in run.json").model_dump(mode="json")))
    differing = {}
    for name in recipes.shipped():
        known = dict(recipes.leaves(recipes.load(name).model_dump(mode="json")))
        differing[name] = [key for key, value in values.items() if key not in known or known[key] != value]
    nearest = min(differing, key=lambda name: len(differing[name]))
    words = ["--recipe", nearest]
    for key in differing[nearest]:
        if key != "precision":
            words += ["--set", f"{key}={_setting(values[key])}"]
    return words


def _setting(value: Any) -> str:
    """A value as `--set` reads it: a text as it is where it comes back as that text, all else as TOML."""
    if value is None:
        return "none"
    if isinstance(value, str) and recipes.assignment(f"key={value}") == {"key": value}:
        return value
    return json.dumps(value, ensure_ascii=False)


def _remarks(record: RunRecord) -> list[str]:
    remarks = []
    changed = [words for process in record.processes for words in process.changed]
    if changed:
        remarks.append(
            f"The weights will be close, not the same: the run did not go on as it had begun ({'; '.join(changed)})."
        )
    elif record.engine == "torch" and record.numeric["device"] != "cpu" and not record.numeric.get("deterministic"):
        remarks.append("The weights will be close, not the same: on a GPU the same bits need --deterministic.")
    else:
        remarks.append("On a processor of the same kind and with the versions below, the weights are the same bits.")
    if record.started_from is not None:
        remarks.append(f"The SHA-256 of the weights that it starts from is {record.started_from.sha256}.")
    return remarks
