"""How to train a run again, to the same weights: for its report."""

from dataclasses import dataclass

from convlens.base.errors import InputError
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


def again(record: RunRecord) -> Again:
    """The complete command: every setting that is not a default, and what the machine decided as it was decided."""
    missing = _handed_over(record)
    if missing:
        return Again(None, missing)
    try:
        return Again(Plan.of(record).command(), _remarks(record))
    except InputError as error:  # of another version, or changed by hand
        return Again(None, [f"No command can: {error}."])


def _handed_over(record: RunRecord) -> list[str]:
    """Why no command can train the run: what only a Python program could hand over."""
    reasons = []
    if record.model.source == LIVE:
        reasons.append(f"the network was handed over as an object, {record.model.name}")
    if record.data.source == ARRAYS:
        reasons.append("the images were handed over as arrays or objects, not as a name or a path")
    if not reasons:
        return []
    return [
        f"No command can: {', and '.join(reasons)}. Hand the same to cl.train, with the seed and the recipe below "
        "(in full in run.json)."
    ]


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
