"""What reaches a terminal: names of strangers, streams that fail, encodings that lack a character."""

import errno
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convlens.base import screen
from convlens.base.progress import Progress, bar
from convlens.base.screen import Forgiving, printable
from convlens.cli.common import emit

HOSTILE = [
    "\x1b[2J",
    "\x1b]0;title\x07",
    "a\rb",
    "\x9b31m",
    "a\u202egnp.exe",
    "a\u2028b",
    "\udcff",
    "\x00",
    "\x7f",
    "\u2066",
]
FRIENDLY = [
    "黒　猫",
    "دمی\u200cسپ",
    "👩\u200d🔬",
    "क्\u200dष",
    "Größe",
    "🏴\U000e0067\U000e007f",
    "שלום\u200f",
    "\U0001fae9",
    "e\u0301",
]


class Failing(io.StringIO):
    """A stream that fails at each write."""

    def __init__(self, error: Exception):
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


FAILURES = [OSError(errno.ENOSPC, "No space left"), BrokenPipeError(errno.EPIPE, "Broken pipe"), ValueError("closed")]


@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_terminal_would_obey_is_escaped(name):
    shown = printable(f"a{name}b")
    assert shown.isascii()
    assert "\\" in shown
    assert shown.isprintable()


@pytest.mark.parametrize("name", FRIENDLY)
def test_letters_joiners_and_emoji_are_shown_as_they_are(name):
    assert printable(name) == name


@given(st.text())
def test_printable_is_one_line_that_is_printable_again_as_it_is(text):
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown
    assert printable(shown) == shown
    shown.encode()


@pytest.mark.parametrize("name", HOSTILE)
def test_no_part_of_a_table_or_a_progress_display_carries_it(name, monkeypatch):
    from rich.table import Table

    out = io.StringIO()
    table = Table(title=name)
    table.add_column(name)
    table.add_row(f"x{name}y")
    shown = screen.console(file=out)
    shown.print(table)
    shown.print(f"[bold]{name}[/]")
    terminal = Terminal()
    for stream in (out, terminal):
        with Progress(name, epochs=1, steps_per_epoch=1, stream=stream) as progress:
            progress.note(f"skipped {name}")
        with bar(name, 1, stream=stream) as advance:
            advance(1)
    evil = {c for c in name if not c.isascii() or not c.isprintable()} - {"\x1b", "\r"}
    assert not evil & set(out.getvalue() + terminal.getvalue())
    assert "\x1b" not in out.getvalue()
    assert "\x1b[2J" not in terminal.getvalue()
    assert "\x1b]0" not in terminal.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("failure", FAILURES, ids=lambda f: type(f).__name__)
def test_a_stream_that_fails_is_written_no_more_and_says_why(failure):
    stream = Forgiving(Failing(failure))
    print("a", file=stream, flush=True)
    print("b", file=stream, flush=True)
    assert stream.lost
    with Progress("a", epochs=1, steps_per_epoch=1, stream=Failing(failure)) as progress:
        progress.note("b")


def test_no_stream_at_all_is_a_stream_that_is_lost(monkeypatch):
    stream = Forgiving(None)
    print("a", file=stream, flush=True)
    assert stream.lost == "it is closed"
    monkeypatch.setattr("sys.stderr", None)
    with Progress("a", epochs=1, steps_per_epoch=1) as progress:
        progress.note("b")


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", b"1x28 \\u9ed2"), ("cp1252", b"1\xd728 \\u9ed2"), ("utf-8", "1×28 黒".encode())]
)
def test_what_an_encoding_lacks_is_written_otherwise(encoding, shown):
    raw = io.BytesIO()
    stream = Forgiving(io.TextIOWrapper(raw, encoding=encoding))
    print("1×28 黒", file=stream, end="", flush=True)
    assert raw.getvalue() == shown
    assert stream.lost is None


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("name", ["黒猫", "×", "\x1b[2J", "\udcff"])
def test_json_keeps_each_name_in_each_encoding(monkeypatch, encoding, name):
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", Forgiving(io.TextIOWrapper(raw, encoding=encoding)))
    emit({"name": name})
    assert json.loads(raw.getvalue().decode(encoding)) == {"name": name}
    assert b"\x1b" not in raw.getvalue()
