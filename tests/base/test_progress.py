"""Progress on a terminal, in a file, and not at all."""

import io
import re

import pytest

from convlens.base import progress
from convlens.base.progress import Progress, bar, epoch_line

_RECORD = {
    "train_loss": 0.5,
    "train_accuracy": 0.9,
    "val_loss": 0.25,
    "val_accuracy": 0.9512,
    "images_per_second": 25000.4,
    "seconds": 1.24,
}


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test turns."""

    class Clock:
        now = 100.0

    monkeypatch.setattr(progress.time, "perf_counter", lambda: Clock.now)
    return Clock


@pytest.fixture
def terminal(monkeypatch) -> _Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    return _Terminal()


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n")


def test_the_line_of_an_epoch_tells_its_figures():
    line = epoch_line(3, 10, _RECORD)
    assert line == "epoch  3/10  loss 0.5000  val loss 0.2500  val acc  95.12 %  25,000 images/s  1.2 s"


def test_without_a_validation_the_line_tells_the_training_accuracy():
    assert (
        epoch_line(1, 1, {"train_loss": 0.5, "train_accuracy": 1.0, "val_loss": None})
        == "epoch 1/1  loss 0.5000  acc 100.00 %"
    )


def test_a_file_gets_one_line_an_epoch(clock):
    out = io.StringIO()
    with Progress("lenet5 on digits", epochs=2, steps_per_epoch=3, stream=out) as shown:
        for epoch in range(2):
            for step in range(3):
                clock.now += 1
                shown.step(epoch, step, images=10, loss=1.0)
            shown.epoch_done(epoch, _RECORD)
        shown.note("saved")
    lines = out.getvalue().splitlines()
    assert lines == ["lenet5 on digits", epoch_line(1, 2, _RECORD), epoch_line(2, 2, _RECORD), "saved"]


def test_a_long_epoch_reports_once_a_minute_in_a_file(clock):
    out = io.StringIO()
    with Progress("a", epochs=1, steps_per_epoch=100, stream=out) as shown:
        for step in range(100):
            clock.now += 2
            shown.step(0, step, images=50)
    lines = out.getvalue().splitlines()[1:]
    assert len(lines) == 3
    assert lines[0] == "epoch 1/1  25 images/s  2 min 20 s left"


def test_a_terminal_shows_epoch_loss_accuracy_speed_and_time_left(clock, terminal):
    with Progress("lenet5", epochs=2, steps_per_epoch=10, stream=terminal) as shown:
        for step in range(10):
            clock.now += 1
            shown.step(0, step, images=64, loss=0.75)
        shown.epoch_done(0, _RECORD)
        clock.now += 1
        shown.step(1, 0, images=64)
    text = _plain(terminal.getvalue())
    assert "epoch 1/2  loss 0.7500  64 images/s  11 s left" in text
    assert epoch_line(1, 2, _RECORD) in text
    assert "epoch 2/2  loss 0.5000  acc 95.12 %  64 images/s  9 s left" in text


def test_a_terminal_is_drawn_at_most_ten_times_a_second(clock, terminal, monkeypatch):
    drawn = []
    monkeypatch.setattr(Progress, "_draw", lambda self: drawn.append(1))
    with Progress("a", epochs=1, steps_per_epoch=1000, stream=terminal) as shown:
        for step in range(1000):
            clock.now += 0.001
            shown.step(0, step, images=1)
    assert 8 <= len(drawn) <= 10


def test_a_resumed_run_measures_speed_and_time_left_from_where_it_went_on(clock, terminal):
    with Progress("a", epochs=4, steps_per_epoch=10, stream=terminal) as shown:
        for step in range(5, 10):
            clock.now += 2
            shown.step(2, step, images=100)
    assert "epoch 4/4  50 images/s  20 s left" in _plain(terminal.getvalue())


def test_quiet_says_nothing(terminal):
    with Progress("a", epochs=1, steps_per_epoch=1, quiet=True, stream=terminal) as shown:
        shown.step(0, 0, 1)
        shown.epoch_done(0, _RECORD)
        shown.note("b")
    with bar("c", 3, quiet=True, stream=terminal) as advance:
        advance(3)
    assert terminal.getvalue() == ""


def test_text_in_brackets_is_no_markup(terminal):
    with Progress("[bold]a", epochs=1, steps_per_epoch=1, stream=terminal) as shown:
        shown.note("[red]skipped[/red] {x}")
        shown.step(0, 0, 1)
    assert "[red]skipped[/red] {x}" in _plain(terminal.getvalue())


def test_a_dumb_terminal_gets_plain_lines(terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    with Progress("a", epochs=1, steps_per_epoch=1, stream=terminal):
        pass
    assert terminal.getvalue() == "a\n"


def test_an_error_inside_leaves_the_terminal_in_order(terminal):
    with pytest.raises(ZeroDivisionError), Progress("a", epochs=1, steps_per_epoch=1, stream=terminal):
        raise ZeroDivisionError
    text = terminal.getvalue()
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")  # the cursor is visible again


def test_a_bar_in_a_file_reports_now_and_then(clock):
    out = io.StringIO()
    with bar("downloading x", 4_000_000, unit="B", stream=out) as advance:
        for _ in range(4):
            clock.now += 6
            advance(1_000_000)
    assert out.getvalue().splitlines() == [
        "downloading x ...",
        "downloading x: 2.0 MB of 4.0 MB",
        "downloading x: 4.0 MB of 4.0 MB",
        "downloading x: 4.0 MB in 24 s",
    ]


def test_a_bar_on_a_terminal_shows_how_much_is_done(clock, terminal):
    with bar("decoding", 1000, unit="images", stream=terminal) as advance:
        for _ in range(10):
            clock.now += 1
            advance(100)
    text = _plain(terminal.getvalue())
    assert "500 images / 1,000 images" in text
    assert text.rstrip().endswith("decoding: 1,000 images")


def test_a_bar_of_unknown_length_counts(clock, terminal):
    with bar("reading", None, stream=terminal) as advance:
        clock.now += 1
        advance(70)
    assert "reading: 70" in _plain(terminal.getvalue())
