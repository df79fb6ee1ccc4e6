"""Whether a run that is to go on is the run that was begun: what differs is named."""

from typing import Any

from convlens.runs import RunFolder, RunRecord


def differences(new: RunRecord, stored: RunRecord) -> list[str]:
    """What makes the run that was asked for another than the stored one, in words."""
    found = []
    if (new.model.name, new.model.arguments) != (stored.model.name, stored.model.arguments):
        found.append(f"network: the run has {stored.model.name}, you asked for {new.model.name}")
    if new.model.input != stored.model.input:
        found.append(f"input size: the run has {stored.model.input}, you asked for {new.model.input}")
    if new.seed != stored.seed:
        found.append(f"seed: the run has {stored.seed}, you asked for {new.seed}")
    if new.engine != stored.engine:
        found.append(f"engine: the run has {stored.engine}, you asked for {new.engine}")
    if new.classes != stored.classes and new.data.named:
        found.append("classes: the run has others than those that you named")
    found += recipe_differences(new.recipe, stored.recipe)
    if not found and new.data.fingerprint != stored.data.fingerprint:
        found.append(f"data: the images are not those that the run began with ({stored.data.name})")
    if not found and new.model.parameters != stored.model.parameters:
        found.append(f"network: {new.model.parameters} parameters instead of {stored.model.parameters}")
    return found


def recipe_differences(new: dict[str, Any], stored: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key in {**stored, **new}:
        a, b = stored.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += recipe_differences(b, a, f"{prefix}{key}.")
        elif a != b and key != "checkpoint_seconds":  # how often to save does not change the outcome
            found.append(f"recipe: {prefix}{key} is {a!r} in the run, you asked for {b!r}")
    return found


def new_run_from(folder: RunFolder) -> str:
    """What to do instead of going on with a run in another way."""
    return f"start a new run with another --out, from what this one learned if you like: --weights {folder.path}"
