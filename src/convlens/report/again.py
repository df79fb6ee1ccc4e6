"""How to train a run again, to the same weights: for its report."""

from dataclasses import dataclass

from convlens.base.errors import InputError
from convlens.report.language import Words, english
from convlens.runs import RunRecord
from convlens.training.plan import ARRAYS, LIVE, Plan


@dataclass(frozen=True)
class Again:
    """How to train a run again.

    Attributes:
        command: one line for a POSIX shell; None where no command can.
        remarks: sentences: why there is no command, or what the same weights hang on.
    """

    command: str | None
    remarks: list[str]


def again(record: RunRecord, words: Words | None = None) -> Again:
    """The complete command: every setting that is not a default, and what the machine decided as it was decided."""
    words = words or english()
    missing = _handed_over(record, words)
    if missing:
        return Again(None, missing)
    try:
        return Again(Plan.of(record).command(), _remarks(record, words))
    except InputError as error:  # of another version, or changed by hand
        return Again(None, [words("again.cannot", error=error)])


def _handed_over(record: RunRecord, words: Words) -> list[str]:
    """Why no command can train the run: what only a Python program could hand over."""
    reasons = []
    if record.model.source == LIVE:
        reasons.append(words("again.network", name=record.model.name))
    if record.data.source == ARRAYS:
        reasons.append(words("again.images"))
    return [words("again.handed_over", reasons=words("again.and").join(reasons))] if reasons else []


def _remarks(record: RunRecord, words: Words) -> list[str]:
    stopped = (record.results or {}).get("stopped") or {}
    changed = [said for process in record.processes for said in process.changed]
    if stopped.get("reason") == "budget":
        remarks = [words("again.budget", epoch=stopped["epoch"], planned=stopped["planned"])]
    elif changed:
        remarks = [words("again.changed", changed="; ".join(changed))]
    elif record.engine == "torch" and record.numeric["device"] != "cpu" and not record.numeric.get("deterministic"):
        remarks = [words("again.gpu")]
    else:
        remarks = [words("again.same")]
    if record.started_from is not None:
        remarks.append(words("again.started_from", sha256=record.started_from.sha256))
    return remarks
