"""Pictures that are decoded each time they are needed, for sets that do not fit on the disk decoded.

Workers are threads: Pillow's codecs and resampling let go of Python's lock, so threads decode as fast as processes and
need neither copies between processes nor shared memory.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from convlens.base.errors import InputError
from convlens.base.hardware import usable_cores
from convlens.data.naming import printable
from convlens.data.preprocess import Preprocess
from convlens.data.store.rows import Rows, digest

_SHARES = 4  # pieces of a batch a worker, so that all of them end at about the same time


class Examined(NamedTuple):
    """What is known of each of N pictures once it has been decoded, so that it need not be decoded again to ask.

    digests: uint8 [N, 32], see `rows.digest`. sums: int64 [N, 2, C], of the values and of their squares.
    """

    digests: np.ndarray
    sums: np.ndarray

    @classmethod
    def empty(cls, n: int, channels: int) -> "Examined":
        """Room for n pictures."""
        return cls(np.zeros((n, 32), np.uint8), np.zeros((n, 2, channels), np.int64))

    @classmethod
    def kept(cls, arrays: Mapping[str, np.ndarray], prefix: str, n: int, channels: int) -> "Examined | None":
        """From arrays of these names; None where there are none that are of n pictures."""
        found = cls(*(arrays.get(f"{prefix}{field}", np.empty(0)) for field in cls._fields))
        same = (a.shape == b.shape and a.dtype == b.dtype for a, b in zip(found, cls.empty(n, channels), strict=True))
        return found if all(same) else None

    def fill(self, row: int, picture: np.ndarray) -> None:
        """Looks at one prepared picture, uint8 [H, W, C]."""
        self.digests[row] = np.frombuffer(digest(picture), np.uint8)
        values = picture.astype(np.uint32)
        for power in (0, 1):  # down the columns first, in long runs of memory: at most 8192 * 255 ** 2 < 2 ** 32
            self.sums[row, power] = values.sum(0, dtype=np.uint32).sum(0, dtype=np.int64)
            values *= values

    def select(self, indices: Any) -> "Examined":
        """What is known of the pictures at `indices`."""
        return Examined(self.digests[indices], self.sums[indices])


class Decoder:
    """Decodes files by their paths, several at a time.

    content: gives the bytes or the location of a file; called from several threads.
    """

    def __init__(self, content: Callable[[str], bytes | Path], preprocess: Preprocess, title: str):
        self.content, self.preprocess, self.title = content, preprocess, title

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(usable_cores(), thread_name_prefix="convlens-decode")

    def fill(self, out: np.ndarray, paths: Sequence[str] | np.ndarray) -> None:
        """Decodes the files into `out` uint8 [n, H, W, C]. Raises `InputError` for one that is no longer readable."""

        def work(rows: range) -> None:
            for row in rows:
                out[row] = self._one(paths[row])

        share = max(1, -(-len(paths) // (_SHARES * usable_cores())))
        pieces = [range(len(paths))[start : start + share] for start in range(0, len(paths), share)]
        for done in [self._pool.submit(work, piece) for piece in pieces]:
            done.result()

    def _one(self, path: str) -> np.ndarray:
        name = printable(path)
        try:
            return self.preprocess.prepare(self.content(path), name)
        except InputError as error:
            why = str(error).removeprefix(f"{name}: ")
            raise InputError(
                f"{self.title}: {name} could be decoded at the start and no longer can ({why}); put it back and go on "
                "with --resume"
            ) from error


class EncodedRows(Rows):
    """Some of a decoder's files as rows of pixels.

    paths: [N], an array of str objects. examined: of the same N pictures; digests and moments are read from there.
    """

    def __init__(self, decoder: Decoder, paths: np.ndarray, examined: Examined):
        self.decoder, self.paths, self.examined = decoder, paths, examined
        self.shape = (len(paths), *decoder.preprocess.size, decoder.preprocess.channels)

    def read(self, indices: np.ndarray, out: np.ndarray) -> None:
        """See `Rows.read`."""
        self.decoder.fill(out, self.paths[indices])

    def select(self, indices: Any) -> "EncodedRows":
        """See `Rows.select`."""
        return EncodedRows(self.decoder, self.paths[indices], self.examined.select(indices))

    def digests(self) -> Any:
        """See `Rows.digests`."""
        return map(bytes, self.examined.digests)

    def moments(self) -> tuple[int, list[int], list[int]]:
        """See `Rows.moments`."""
        totals, squares = self.examined.sums.sum(0).tolist()
        return self.size // self.shape[3], totals, squares
