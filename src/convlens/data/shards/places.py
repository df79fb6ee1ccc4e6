"""Where shards lie: on this machine, as files that are read where they are."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from convlens.base import files
from convlens.base.errors import InputError
from convlens.data.shards.names import Shard


class Mark(NamedTuple):
    """What tells that a shard has changed. version: the time of modification, or what the server calls the version."""

    size: int
    version: str


class Places(Protocol):
    """Gives shards as files."""

    def mark(self, shard: Shard) -> Mark:
        """Of the shard as it is now. Raises `InputError` for one that is not there."""
        ...

    def at(self, shard: Shard, mark: Mark | None = None) -> contextlib.AbstractContextManager[Path]:
        """Where it lies as a file as long as the block lasts. mark: as it was indexed; another is an `InputError`."""
        ...

    def forget(self, shard: Shard, mark: Mark) -> bool:
        """Throws away a copy that turned out to be damaged. False where there is none: the shard itself is."""
        ...


class OnDisk:
    """Shards that are files. They are read where they are."""

    def mark(self, shard: Shard) -> Mark:
        """See `Places.mark`."""
        try:
            with files.explained("read", shard.place):
                status = os.stat(shard.place)
        except InputError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise InputError(f"{shard.place} is missing: put it there, or name the shards that there are") from None
            raise
        return Mark(status.st_size, str(status.st_mtime_ns))

    @contextlib.contextmanager
    def at(self, shard: Shard, mark: Mark | None = None) -> Iterator[Path]:
        """See `Places.at`."""
        if mark is not None and self.mark(shard) != mark:
            raise changed(shard)
        yield Path(shard.place)

    def forget(self, shard: Shard, mark: Mark) -> bool:
        """See `Places.forget`."""
        return False


def changed(shard: Shard) -> InputError:
    """What to say of a shard that is not what was indexed."""
    return InputError(f"{shard.place} has changed since it was indexed: put the old one back, or start anew")
