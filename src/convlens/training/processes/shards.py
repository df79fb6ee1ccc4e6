"""Which images of a batch are whose: a batch is cut into shards, whatever the number of processes, and shards are dealt
out in order. Imports no PyTorch.
"""

from convlens.base.errors import InputError

DEFAULT = 4
"""Shards of a batch where processes are asked for, and nobody says how many shards."""


def require_divisible(shards: int, processes: int) -> None:
    """Raises `InputError` where the processes cannot have the same number of shards each."""
    if shards % processes:
        fitting = ", ".join(str(n) for n in range(1, shards + 1) if shards % n == 0)
        raise InputError(
            f"{shards} shards of a batch cannot be dealt out to {processes} processes: take one of {fitting} "
            f"processes, or begin a run with --set shards={processes}"
        )


def require_enough(shards: int, batch: int) -> None:
    """Raises `InputError` for a batch that has fewer images than shards."""
    if batch < shards:
        raise InputError(f"a batch of {batch} images has no {shards} shards: take larger batches or fewer shards")


def bounds(shards: int, batch: int) -> list[int]:
    """Where the shards of a batch begin, and the end: shard v holds the images from bounds[v] up to bounds[v + 1]."""
    return [shard * batch // shards for shard in range(shards + 1)]


def halves(shards: int, processes: int) -> bool:
    """Whether each process holds a whole branch of the tree in which shards are added (see `exact.total`)."""
    while processes > 1 and shards % 2 == 0 and processes % 2 == 0:
        shards, processes = shards // 2, processes // 2
    return processes == 1
