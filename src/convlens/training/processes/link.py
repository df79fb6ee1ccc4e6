"""How fast processes exchange numbers: what `convlens doctor --processes N` measures."""

import socket
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from convlens.base.hardware import usable_cores
from convlens.base.memory import keep_freed_memory
from convlens.training.launch import end_with_launcher
from convlens.training.processes.exact import rooms_for, total
from convlens.training.processes.group import joined
from convlens.training.processes.world import World

DEADLINE = 60.0
_SIZES = (1 << 10, 1 << 20, 1 << 24)  # numbers of float32
_TIMES = 5
_FEW = 64  # numbers, as of a batch norm


def look() -> dict[str, Any] | None:
    """What the processes of this group measure together: to rank 0; None to the others.

    processes: how many. milliseconds: of a small exchange, as each batch norm makes two in a step. sums: for rows of
    several lengths, in bytes, the milliseconds of a sum in a fixed order and of PyTorch's all-reduce, and the bytes/s
    of the latter. limits: what will limit, in words.
    """
    end_with_launcher()
    torch.set_num_threads(1)
    keep_freed_memory()  # as training does
    with joined(DEADLINE) as world:
        found = _measured(world)
        hosts = world.collect(_host())
        return found | {"limits": _limits(found, hosts)} if world.leads else None


def _measured(world: World) -> dict[str, Any]:
    few = torch.zeros(_FEW)
    found: dict[str, Any] = {
        "processes": world.size,
        "milliseconds": _milliseconds(lambda: world.gather(few)),
        "sums": [],
    }
    for size in _SIZES:
        row = torch.zeros(-(-size // world.size) * world.size)
        fast = _milliseconds(lambda row=row: dist.all_reduce(row))
        rooms = rooms_for([row], world.size, world)
        exact = _milliseconds(lambda row=row, rooms=rooms: total([row], world.size, world, rooms))
        sizes = {"bytes": row.nbytes, "exact_milliseconds": exact, "fast_milliseconds": fast}
        found["sums"].append(sizes | {"bytes_per_second": round(row.nbytes / fast * 1000)})
    return found


def _milliseconds(exchange: Callable[[], Any]) -> float:
    times = []
    for _ in range(1 + _TIMES):  # the first makes the connections
        began = time.perf_counter()
        exchange()
        times.append(time.perf_counter() - began)
    return round(1000 * statistics.median(times[1:]), 3)


def _host() -> list[Any]:
    return [socket.gethostname(), usable_cores()]


def _limits(found: dict[str, Any], hosts: list[list[Any]]) -> list[str]:
    lines = []
    for name in sorted({host for host, _ in hosts}):
        here = [cores for host, cores in hosts if host == name]
        if len(here) > here[0]:
            lines.append(f"{len(here)} processes on {here[0]} cores of {name}: they will wait for each other's turn")
    largest = found["sums"][-1]
    million = largest["exact_milliseconds"] * 4e6 / largest["bytes"]
    lines.append(
        f"a step waits about {million:.1f} ms for each million parameters, and {2 * found['milliseconds']:.1f} ms for "
        "each batch norm: larger batches make it matter less"
    )
    return lines
