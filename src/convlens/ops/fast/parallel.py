"""Work on parts of a batch side by side. Results do not depend on how many threads there are.

NumPy releases the GIL in copies, sums and matrix products, so threads help. While parts run side by side each
matrix product is held to one thread: the parts already keep every core busy, with their copies too.
"""

import itertools
import math
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from functools import cache
from typing import TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

from convlens.base.hardware import usable_cores
from convlens.ops._switch import NONE, replaced

Result = TypeVar("Result")
WORTH_A_PART = 2_000_000  # multiply-accumulates; below that, starting a thread costs more than it saves
SMALL_PRODUCT = 32_000_000  # multiply-accumulates, about a millisecond of one thread
MOST_PARTS = 8
KEPT = 4 << 20  # bytes of one array that a thread keeps for the next operation


def split(n: int, macs: int, worth_a_part: int = WORTH_A_PART) -> list[slice]:
    """Cuts n images, together worth so many multiply-accumulates, into parts of about equal size.

    The cut depends on the shapes only, so sums over parts give the same bits on any number of threads.
    """
    parts = max(1, min(n, MOST_PARTS, macs // worth_a_part))
    parts = 1 << (parts.bit_length() - 1)  # a power of two cuts the usual batches evenly
    edges = [n * p // parts for p in range(parts + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


class Workspace:
    """Memory that one thread uses again and again, by name, instead of asking for it anew (which costs page faults)."""

    def __init__(self) -> None:
        self.dtype, self.memory = np.dtype(np.float64), {}

    def array(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """An array of this shape with arbitrary content, good until the next one of the same name."""
        size = math.prod(shape) * self.dtype.itemsize
        if name not in self.memory or len(self.memory[name]) < size:
            self.memory[name] = np.empty(size, np.uint8)
        return self.memory[name][:size].view(self.dtype).reshape(shape)

    def matrices(self, name: str, shape: tuple[int, int, int]) -> np.ndarray:
        """Matrices (count, rows, columns) whose rows do not lie a multiple of 1 KiB apart: those crowd into few lines
        of the processor's cache, and products take up to twice as long."""
        count, rows, columns = shape
        crowded = columns > 256 and columns % 256 == 0
        return self.array(name, (count, rows, columns + 16 * crowded))[:, :, :columns]

    def trim(self) -> None:
        """Gives back what is too large to keep for the next operation."""
        self.memory = {name: memory for name, memory in self.memory.items() if len(memory) <= KEPT}


_own = threading.local()  # each thread's workspace, kept from one operation to the next


def run(work: Callable[[slice, Workspace], Result], parts: list[slice], dtype: np.dtype) -> list[Result]:
    """`work(part, workspace)` of each part, in order. Within `work` the plain operations run, which know no threads."""

    def work_here(part: slice) -> Result:
        if not hasattr(_own, "workspace"):
            _own.workspace = Workspace()
        workspace: Workspace = _own.workspace
        workspace.dtype = dtype
        with replaced(NONE):
            try:
                return work(part, workspace)
            finally:
                workspace.trim()

    if _threads() == 1:
        return [work_here(part) for part in parts]
    if len(parts) == 1 and parts[0].stop - parts[0].start == 1:  # a single image: only its products can be shared out
        return [work_here(parts[0])]
    if len(parts) == 1:
        with _one_thread_a_product:
            return [work_here(parts[0])]
    with _one_thread_a_product:
        return _shared_out(work_here, parts)


def _shared_out(work: Callable[[slice], Result], parts: list[slice]) -> list[Result]:
    """`work(part)` of each part, in order. The calling thread takes parts too: it is awake and has a core already."""
    left = deque(enumerate(parts))
    results: dict[int, Result] = {}

    def take() -> None:
        while left:
            try:
                number, part = left.popleft()
            except IndexError:  # another thread was faster
                return
            results[number] = work(part)

    # In the caller's context, so that its `np.errstate` holds there too.
    helpers = [_pool().submit(copy_context().run, take) for _ in range(min(_threads(), len(parts)) - 1)]
    try:
        take()
    finally:
        started = [helper for helper in helpers if not helper.cancel()]
        wait(started)
    for helper in started:
        helper.result()  # raises what went wrong there
    return [results[number] for number in range(len(parts))]


def products_of(macs: int) -> AbstractContextManager:
    """For a matrix product of so many multiply-accumulates: one thread if it is small, since the threads of matrix
    products would wait longer than they work."""
    return nullcontext() if macs > SMALL_PRODUCT else _one_thread_a_product


_NAME = "convlens-ops"


@cache
def _blas() -> list:
    """The libraries behind NumPy's matrix products whose threads we can count and limit."""
    return [library for library in ThreadpoolController().lib_controllers if library.user_api == "blas"]


def _threads() -> int:
    """As many as the matrix products may use now (OMP_NUM_THREADS and limits are respected), 1 if that is unknown.

    No more than may run: those libraries do not know what a container grants.
    """
    return min(max(_one_thread_a_product.outside(), default=1), usable_cores())


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, min(MOST_PARTS, usable_cores()) - 1), thread_name_prefix=_NAME)


class _Limit:
    """Holds matrix products to one thread while at least one caller is inside."""

    def __init__(self) -> None:
        self.lock, self.inside, self.before = threading.Lock(), 0, list[int]()

    def outside(self) -> list[int]:
        """The threads of each library as they are while no caller is inside."""
        with self.lock:
            return self.before if self.inside else [library.get_num_threads() or 1 for library in _blas()]

    def __enter__(self) -> None:
        with self.lock:
            if self.inside == 0:
                self.before = [library.get_num_threads() for library in _blas()]
                for library in _blas():
                    library.set_num_threads(1)
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                for library, threads in zip(_blas(), self.before, strict=True):
                    library.set_num_threads(threads)


_one_thread_a_product = _Limit()


def _after_fork() -> None:
    """A forked child has none of its parent's threads."""
    global _one_thread_a_product
    _pool.cache_clear()
    _one_thread_a_product = _Limit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
