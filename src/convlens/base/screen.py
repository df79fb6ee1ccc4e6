"""Text for screens: names that cannot do harm there, and streams that may be closed, full, or lack a character.

Names of files and classes, and what a run folder says, may come from strangers. An escape sequence in them would move
the cursor, rename the window or hide a line; so control characters and marks that turn the direction of writing are
shown as `\\x1b`. Letters of any script, joiners and emoji stay.
"""

import codecs
import contextlib
import functools
import io
import os
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, all but tab and newline
    "\u2028\u2029"  # further ends of line
    "\u202a-\u202e\u2066-\u206f"  # embeddings and overrides of direction
    "\ufeff\ufff9-\ufffb"  # invisible marks
    "\ud800-\udfff]"  # halves of characters: bytes of a file name that are not text
)
_UNSAFE_IN_LINE = re.compile(_UNSAFE.pattern[:-1] + "\t\n]")

_PLAIN = {"×": "x", "–": "-", "—": "-", "±": "+-", "…": "...", "→": "->", "≥": ">=", "≤": "<=", "“": '"', "”": '"'}


def printable(text: str, *, lines: bool = False) -> str:
    """The text as it may be shown on a terminal: one line, or with `lines` as it is, tabs and newlines kept."""
    return (_UNSAFE if lines else _UNSAFE_IN_LINE).sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", "surrogatepass").decode("ascii")


def console(*, stderr: bool = False, file: TextIO | None = None) -> "Console":
    """A Rich console that shows every text as `printable` says, whatever it is part of."""
    return _console_class()(stderr=stderr, file=file, highlight=False, emoji=False)


@functools.cache
def _console_class() -> Any:  # Rich takes 50 ms to import: only where something is shown
    from rich.console import Console
    from rich.segment import Segment

    class PrintableConsole(Console):
        def render(self, renderable: Any, options: Any = None) -> Iterator[Segment]:
            for segment in super().render(renderable, options):
                if segment.control or not _UNSAFE.search(segment.text):
                    yield segment
                else:
                    yield Segment(printable(segment.text, lines=True), segment.style)

    return PrintableConsole


class Forgiving:
    """A text stream that may fail: closed, full, its reader gone. Then nothing more is written, and nothing raised.

    Attributes:
        lost: why nothing more is written, in words, or None.
    """

    def __init__(self, stream: TextIO | None):
        self.lost: str | None = None if stream is not None else "it is closed"
        self._stream = stream if stream is not None else io.StringIO()
        if hasattr(self._stream, "reconfigure") and getattr(self._stream, "errors", "") == "strict":
            with contextlib.suppress(OSError, ValueError):
                self._stream.reconfigure(errors="convlens")  # pyright: ignore[reportAttributeAccessIssue]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        return self._tried(self._stream.write, text) or len(text)

    def flush(self) -> None:
        self._tried(self._stream.flush)

    def _tried(self, action: Any, *arguments: str) -> Any:
        if self.lost is not None:
            return None
        try:
            return action(*arguments)
        except OSError as error:
            self.lost = error.strerror or str(error)
        except ValueError as error:  # a closed stream
            self.lost = str(error)
        return None


def _in_its_characters(error: UnicodeError) -> tuple[str, int]:
    """For an encoding that lacks a character: `x` for `×`, and so on; an escape for what has no plain form."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    plain = "".join(_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in missing)
    return plain, error.end


codecs.register_error("convlens", _in_its_characters)


@contextlib.contextmanager
def forgiving_streams() -> Iterator[None]:
    """While the block runs, stdout and stderr are `Forgiving`: what a command did decides how it ends, not they."""
    _fill_closed()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Forgiving(before[0]), Forgiving(before[1])  # type: ignore[assignment]
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def _fill_closed() -> None:
    """Opens nothing in place of a closed stdin, stdout, stderr: a file of ours would get its number and its text."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
