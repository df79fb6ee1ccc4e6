"""Streams of compressed archives: what unpacks them, and how much of them has been read."""

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable
from typing import BinaryIO, cast


def unpacker(head: bytes) -> Callable[[BinaryIO], BinaryIO] | None:
    """What unpacks a stream that begins like this; None if it is not compressed."""
    for magic, unpack in (
        (b"\x1f\x8b", lambda raw: gzip.GzipFile(fileobj=raw)),
        (b"BZh", bz2.BZ2File),
        (b"\xfd7zXZ\0", lzma.LZMAFile),
    ):
        if head.startswith(magic):
            return cast(Callable[[BinaryIO], BinaryIO], unpack)
    return None


class Counted(io.RawIOBase):
    """A stream that reports how much has been read from it, before it hands it on.

    A read that failed fails again in every later one: what unpacks a damaged stream would go on with anything at all,
    or, in libbzip2, refuse to be asked.

    allowed: so many bytes may be read before somebody sets it anew; None: any number.
    """

    def __init__(self, stream: BinaryIO, check: Callable[[int], None]):
        self._stream, self._check, self._total = stream, check, 0
        self._failed: Exception | None = None
        self.allowed: int | None = None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._failed is not None:
            raise self._failed
        try:
            data = self._stream.read(size)
        except Exception as error:
            self._failed = error
            raise
        self._total += len(data)
        self._check(self._total)
        if self.allowed is not None:
            self.allowed -= len(data)
            if self.allowed < 0:
                raise tarfile.ReadError("the headers of a member are too long")
        return data
