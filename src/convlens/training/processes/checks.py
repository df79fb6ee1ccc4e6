"""What is looked at before several processes train: that the plan can be shared, and that all mean the same."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import convlens
from convlens.base import hardware
from convlens.base.errors import InputError
from convlens.training.experiment import Experiment
from convlens.training.plan import Plan
from convlens.training.processes.shards import require_divisible
from convlens.training.processes.world import World
from convlens.training.recording import versions


def require_shareable(plan: Plan, world: World, *, fast: bool) -> None:
    """Raises `InputError` for what several processes, or shards, cannot do."""
    recipe, shards = plan.recipe, plan.recipe.shards
    several = f"{world.size} processes" if world.size > 1 else f"shards = {shards}"
    if world.size == 1 and shards is None:
        return
    if plan.engine == "numpy":
        if world.size == 1:
            return  # which says itself that it has none
        raise InputError(f"{several}: for --engine torch; the NumPy engine trains in one process")
    if plan.numeric.device != "cpu":
        raise InputError(f"{several}: on processors only so far; add --device cpu, or leave them away")
    if recipe.head == "features":
        raise InputError(f'{several}: head = "features" is fitted by one process; leave them away')
    if fast and shards is not None:
        raise InputError(f"the run has shards = {shards}, whose bits --fast would lose: leave --fast away")
    if shards is not None:
        require_divisible(shards, world.size)
    elif world.size > 1 and not fast:
        raise InputError(
            "the run was begun without shards: go on with --fast (equal to rounding), or without --processes"
        )


def require_equal(experiment: Experiment, world: World) -> list[str]:
    """Raises `InputError` where another process has other code, images or settings. Returns lines for people."""
    every = world.collect(_fingerprints(experiment))
    for rank, found in enumerate(every):
        for what, value in found.items():
            if value != every[0][what] and what != "processor":
                raise InputError(f"process {rank} has other {what} than process 0: {value} and {every[0][what]}")
    kinds = {found["processor"] for found in every}
    if len(kinds) > 1:
        return [f"warning: the processors differ ({'; '.join(sorted(kinds))}): so may the bits of what they compute"]
    return []


def same_start(experiment: Experiment, world: World) -> None:
    """All begin with the weights of rank 0."""
    state = experiment.module.state_dict()
    arrays = world.share_arrays({name: t.detach().cpu().numpy() for name, t in state.items()} if world.leads else None)
    experiment.module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})


def _fingerprints(experiment: Experiment) -> dict[str, Any]:
    plan = experiment.plan
    digest = hashlib.sha256()
    root = Path(convlens.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    if plan.source == "file" and plan.file is not None:
        digest.update(Path(plan.file).read_bytes())
    settings = replace(plan, file=None, data="", started_from=None).to_dict()
    return {
        "code": digest.hexdigest()[:16],
        "versions": versions(),
        "images": experiment.record.data.fingerprint,
        "classes": hashlib.sha256(repr(experiment.record.classes).encode()).hexdigest()[:16],
        "settings": {key: value for key, value in settings.items() if key != "started_from"},
        "processor": f"{hardware.machine().processor}, {torch.backends.cpu.get_cpu_capability()}",
    }
