"""What a launcher says of the processes that it started: torchrun, SLURM's `srun`, or `launch`. Imports no PyTorch."""

import os

from convlens.base.errors import InputError

OURS = "CONVLENS_LAUNCHED"
"""The variable by which `launch` marks its processes."""
_RANK, _SIZE = ("RANK", "SLURM_PROCID"), ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")
_OF_A_STEP = ("SLURM_STEP_ID", "MASTER_ADDR")  # a batch script has rank and size too, and is no process of many


def launched() -> bool:
    """Whether a launcher started this process as one of a group."""
    if all(name in os.environ for name in ("RANK", "WORLD_SIZE")):
        return True
    found = any(name in os.environ for name in _OF_A_STEP)
    return found and all(any(name in os.environ for name in names) for names in (_RANK, _SIZE))


def launched_size() -> int:
    """How many processes the launcher started; 1 without one. Raises `InputError` for variables that are no numbers."""
    return _number(_SIZE) if launched() else 1


def launched_rank() -> int:
    """Which of them this process is."""
    return _number(_RANK) if launched() else 0


def by_us() -> bool:
    """Whether `launch` started this process, and says itself what becomes of the others."""
    return OURS in os.environ


def restarts() -> tuple[int, int]:
    """How often torchrun has started this group again, and how often it may."""
    return _number(("TORCHELASTIC_RESTART_COUNT",), "0"), _number(("TORCHELASTIC_MAX_RESTARTS",), "0")


def meeting_place() -> str:
    """Where the processes find each other, as 'host:port'. Raises `InputError` where the launcher named none."""
    place = {name: os.environ.get(name, "") for name in ("MASTER_ADDR", "MASTER_PORT")}
    if missing := " and ".join(name for name, value in place.items() if not value):
        raise InputError(
            f"{launched_size()} processes were started, but not where they meet: set {missing} (under SLURM: export "
            'MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1) MASTER_PORT=29500), or '
            "WORLD_SIZE=1 to let each train by itself"
        )
    return ":".join(place.values())


def _number(names: tuple[str, ...], otherwise: str | None = None) -> int:
    name = next((name for name in names if name in os.environ), names[0])
    said = os.environ.get(name, otherwise)
    try:
        return int(said or "")
    except ValueError:
        raise InputError(f"the environment variable {name} is no number: {said!r}") from None
