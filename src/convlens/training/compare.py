"""Whether a run that is to go on is the run that was begun: what differs is named, in one place."""

from pathlib import Path
from typing import Any

from convlens.runs import RunFolder, RunRecord
from convlens.training.plan import Plan


def differences(asked: Plan, began: Plan) -> list[str]:
    """What makes a plan another than the one that a run began with, in words. Device and threads may change."""
    found = []
    if (asked.network, asked.recipe.model) != (began.network, began.recipe.model):
        found.append(f"network: the run has {began.network}, you asked for {asked.network}")
    if asked.input != began.input:
        found.append(f"input size: the run has {list(began.input)}, you asked for {list(asked.input)}")
    if asked.seed != began.seed:
        found.append(f"seed: the run has {began.seed}, you asked for {asked.seed}")
    if asked.engine != began.engine:
        found.append(f"engine: the run has {began.engine}, you asked for {asked.engine}")
    found += _other_start(asked, began)
    return found + _other_recipe(asked.recipe.model_dump(mode="json"), began.recipe.model_dump(mode="json"))


def _other_start(asked: Plan, began: Plan) -> list[str]:
    new, old = asked.started_from, began.started_from
    if new is None or (old is not None and new.sha256 == old.sha256):
        return []
    if old is None:
        return [f"weights: the run began from fresh ones, you asked for {new.path}"]
    return [f"weights: the run began from {old.path} (SHA-256 {old.sha256[:12]}...), you asked for others: {new.path}"]


def _other_recipe(new: dict[str, Any], stored: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key in {**stored, **new}:
        a, b = stored.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _other_recipe(b, a, f"{prefix}{key}.")
        elif a != b and key != "checkpoint_seconds":  # how often to save does not change the outcome
            found.append(f"recipe: {prefix}{key} is {a!r} in the run, you asked for {b!r}")
    return found


def other_facts(found: RunRecord, stored: RunRecord) -> list[str]:
    """What was found out about a plan of the same words, and is another than when the run began."""
    if found.classes != stored.classes and found.data.named:
        return ["classes: the run has others than those that you named"]
    if found.data.fingerprint != stored.data.fingerprint:
        return [f"data: the images are not those that the run began with ({stored.data.name})"]
    if found.model.parameters != stored.model.parameters:
        return [f"network: {found.model.parameters} parameters instead of {stored.model.parameters}"]
    return []


def new_run_from(folder: RunFolder | Path) -> str:
    """What to do instead of going on with a run in another way."""
    path = folder.path if isinstance(folder, RunFolder) else folder
    return f"start a new run with another --out, from what this one learned if you like: --weights {path}"
