"""Several processes, over `torch.distributed`."""

import contextlib
import datetime
import json
import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore  # pyright: ignore[reportPrivateImportUsage] - documented
from torch.distributed.rendezvous import rendezvous

from convlens.base.errors import InputError, LostError
from convlens.training.launched import launched_rank, launched_size, meeting_place
from convlens.training.processes.arrival import common_word
from convlens.training.processes.world import World

_START = datetime.timedelta(hours=12)  # what one process prepares for all, such as decoding the images, may take long
_GRACE = 3.0  # seconds in which the others say that they wait too, before the one that is late is named


class Group(World):
    """One of several processes, over PyTorch's `gloo`.

    deadline: seconds; a process that the others wait for longer is given up, and named.
    """

    def __init__(self, store: Any, rank: int, size: int, deadline: float):
        self.rank, self.size, self.deadline, self._store = rank, size, deadline, store
        dist.init_process_group(
            "gloo", store=store, rank=rank, world_size=size, timeout=datetime.timedelta(seconds=deadline)
        )

    def gather(self, own: Tensor) -> Tensor:
        found = own.new_empty((self.size, *own.shape))
        with self._talking():
            dist.all_gather(list(found.unbind()), own.contiguous())
        return found

    def exchange(self, slices: Tensor, room: Tensor) -> Tensor:
        with self._talking():
            dist.all_to_all_single(room.view(-1), slices.view(-1))
        return room

    def share(self, value: Any = None) -> Any:
        said = _bytes(value) if self.leads else torch.zeros(0, dtype=torch.uint8)
        length = torch.tensor([len(said)])
        with self._talking():
            dist.broadcast(length, 0)
            content = said if self.leads else torch.zeros(int(length), dtype=torch.uint8)
            dist.broadcast(content, 0)
        return json.loads(content.numpy().tobytes())

    def collect(self, value: Any) -> list[Any]:
        said = _bytes(value)
        lengths = self.gather(torch.tensor([len(said)]))
        padded = torch.zeros(int(lengths.max()), dtype=torch.uint8)
        padded[: len(said)] = said
        rows = self.gather(padded).numpy()
        return [json.loads(row[: int(n)].tobytes()) for row, n in zip(rows, lengths, strict=True)]

    def share_arrays(self, arrays: dict[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        own = arrays if self.leads and arrays is not None else {}
        shapes = self.share([(name, array.dtype.str, array.shape) for name, array in own.items()])
        found = {}
        for name, kind, shape in shapes:
            array = np.array(own[name], order="C") if self.leads else np.empty(shape, kind)
            if array.size:
                with self._talking():
                    dist.broadcast(torch.from_numpy(array.reshape(-1).view(np.uint8)), 0)
            found[name] = array
        return found

    @contextlib.contextmanager
    def await_first(self, what: str) -> Iterator[None]:
        if not self.leads:
            with self._talking():
                self._store.wait([what], _START)
        yield
        if self.leads:
            self._store.set(what, "done")

    @contextlib.contextmanager
    def _talking(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        except (RuntimeError, dist.DistError) as error:
            raise LostError(self._what_happened(time.perf_counter() - began)) from error
        finally:
            self.waited += time.perf_counter() - began

    def _what_happened(self, seconds: float) -> str:
        """In words. A process that hangs answers nobody; one that is gone breaks its connections at once."""
        if seconds < 0.9 * self.deadline:
            return "another of the processes is gone; go on from the last checkpoint with --resume"
        silent: list[str] = []
        with contextlib.suppress(RuntimeError, dist.DistError):
            self._store.set(f"waits/{self.rank}", "yes")
            time.sleep(_GRACE)
            silent = [str(rank) for rank in range(self.size) if not self._store.check([f"waits/{rank}"])]
        who = f"process {' and '.join(silent)}" if silent else "another process"
        return f"{who} did not answer within {self.deadline:g} s; go on from the last checkpoint with --resume"


def _bytes(value: Any) -> Tensor:
    """The JSON value as uint8 [n]."""
    return torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)


@contextlib.contextmanager
def joined(deadline: float) -> Iterator[World]:
    """The group that a launcher named in the environment (see `launched`).

    Raises `InputError` where its processes cannot meet: a port in use, an address that cannot be reached.
    """
    if dist.is_initialized():
        raise InputError("this process is already part of a group of torch.distributed: leave that first")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # what matters of gloo's messages becomes one line of ours
    where = meeting_place()
    named = f"env://?rank={launched_rank()}&world_size={launched_size()}"
    try:
        store, rank, size = next(rendezvous(named, timeout=datetime.timedelta(seconds=deadline)))
        word = common_word(PrefixStore("convlens", store), rank, size, deadline)
        group = Group(PrefixStore(word, store), rank, size, deadline)
    except (RuntimeError, ValueError, OSError) as error:
        if "EADDRINUSE" in str(error) or "in use" in str(error):
            raise InputError(f"the port of {where} is in use: set MASTER_PORT to another one") from None
        reason = str(error).splitlines()[0][:200]
        raise InputError(f"the processes could not find each other at {where}: {reason}") from None
    lost = False
    try:
        yield group
    except LostError:
        lost = True  # a broken group cannot be taken apart in order
        raise
    finally:
        if not lost:
            dist.destroy_process_group()
