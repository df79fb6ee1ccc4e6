"""Progress of long jobs, on stderr: a live display on a terminal, plain lines elsewhere, nothing when quiet.

Counting a step costs an addition and a look at the clock; drawing happens at most ten times a second. Rich is
imported only where a terminal shows its display. Losses arrive when the caller has them anyway: asking a device
for a loss at every step would make it wait.
"""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO, cast

from convlens.base.screen import Forgiving, console, printable
from convlens.base.words import bytes_text, duration, percent

_REDRAW = 0.1  # seconds between two drawings of the live display
_REPORT = 60.0  # seconds between two lines of a long epoch where there is no terminal


def epoch_line(epoch: int, epochs: int, record: Mapping[str, Any]) -> str:
    """One epoch (counted from 1) as a line of about 80 columns, aligned from epoch to epoch.

    `record` may hold train_loss, val_loss, val_accuracy (a fraction), images_per_second, waiting (a fraction) and
    seconds; what is missing or None is left out. Without a validation the accuracy shown is train_accuracy.
    """
    width = len(str(epochs))
    validated = record.get("val_loss") is not None
    parts = [f"epoch {epoch:{width}d}/{epochs}"]
    if record.get("train_loss") is not None:
        parts.append(f"loss {record['train_loss']:.4f}")
    if validated:
        parts.append(f"val loss {record['val_loss']:.4f}")
    for key, title in (("val_accuracy", "val acc"), ("train_accuracy", "acc")):
        if record.get(key) is not None and validated == key.startswith("val"):
            parts.append(f"{title} {percent(record[key]):>8}")
    if record.get("images_per_second"):
        parts.append(f"{record['images_per_second']:,.0f} images/s")
    if record.get("waiting") is not None:
        parts.append(f"waiting {percent(record['waiting'], 0)}")
    if record.get("seconds") is not None:
        parts.append(duration(record["seconds"], 1))
    return "  ".join(parts)


def say(text: str, *, quiet: bool = False) -> None:
    """A line on stderr, for what is no part of a longer job."""
    if not quiet:
        print(printable(text), file=cast(Any, Forgiving(sys.stderr)), flush=True)


class Progress:
    """The progress of training: epochs of a known number of steps.

    >>> with Progress("lenet5 on mnist", epochs=10, steps_per_epoch=118) as progress:  # doctest: +SKIP
    ...     for epoch in range(10):
    ...         for step, (x, y) in enumerate(batches):
    ...             progress.step(epoch, step, images=len(x))
    ...         progress.epoch_done(epoch, record)

    Epochs and steps count from 0, as everywhere in the code, and are shown from 1. A resumed run starts at any
    epoch and step: speed and time left are measured from the first step seen here.
    """

    def __init__(
        self, title: str, *, epochs: int, steps_per_epoch: int, quiet: bool = False, stream: TextIO | None = None
    ):
        self.title, self.epochs, self.steps_per_epoch = printable(title), epochs, steps_per_epoch
        self._stream: Any = Forgiving(stream or sys.stderr)  # a screen that fails must not end a training
        self._quiet = quiet
        self._live = not quiet and is_terminal(self._stream)
        self._display: Any = None
        self._task: Any = None
        self._images = 0
        self._done = 0  # steps of the whole run that are behind us
        self._first: tuple[float, int] | None = None  # when the first step seen here ended, and which it was
        self._drawn = time.perf_counter()
        self._pause = _REDRAW if self._live else math.inf if quiet else _REPORT
        self._loss = self._accuracy = math.nan

    def __enter__(self) -> "Progress":
        if self._live:
            self._display = _display(self._stream)
            self._task = self._display.add_task(self.title, total=self.epochs * self.steps_per_epoch, status="")
            self._display.start()
        elif not self._quiet:
            print(self.title, file=self._stream, flush=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._display is not None:
            self._display.stop()
            self._display = None

    def step(self, epoch: int, step: int, images: int, loss: float | None = None) -> None:
        """A step of `images` images is done. `loss` only now and then, when it is on the host anyway."""
        now = time.perf_counter()
        self._done = epoch * self.steps_per_epoch + step + 1
        if self._first is None:
            self._first = (now, self._done)
        else:
            self._images += images
        if loss is not None:
            self._loss = loss
        if now - self._drawn >= self._pause:
            self._drawn = now
            self._draw() if self._display is not None else print(self._status(), file=self._stream, flush=True)

    def epoch_done(self, epoch: int, record: Mapping[str, Any]) -> None:
        """An epoch is over: prints its line. `record` as for `epoch_line`."""
        self._done = (epoch + 1) * self.steps_per_epoch
        self._loss = _number(record.get("train_loss"), self._loss)
        accuracy = _number(record.get("val_accuracy"), _number(record.get("train_accuracy"), math.nan))
        self._accuracy = _number(accuracy, self._accuracy)
        self._drawn = time.perf_counter()
        self.note(epoch_line(epoch + 1, self.epochs, record))

    def note(self, text: str) -> None:
        """Prints a line above the bar."""
        text = printable(text)
        if self._display is not None:
            self._draw()  # first, as printing also draws the bar
            self._display.console.print(text, markup=False, highlight=False, soft_wrap=True)
        elif not self._quiet:
            print(text, file=self._stream, flush=True)

    def _draw(self) -> None:
        self._display.update(self._task, completed=self._done, status=self._status(), refresh=True)

    def _status(self) -> str:
        epoch = min(self.epochs, self._done // max(1, self.steps_per_epoch) + 1)
        parts = [f"epoch {epoch}/{self.epochs}"]
        if math.isfinite(self._loss):
            parts.append(f"loss {self._loss:.4f}")
        if math.isfinite(self._accuracy):
            parts.append(f"acc {percent(self._accuracy)}")
        if self._first is not None:
            began, first = self._first
            elapsed = time.perf_counter() - began
            steps = self._done - first
            if steps > 0 and elapsed > 0:
                left = (self.epochs * self.steps_per_epoch - self._done) * elapsed / steps
                parts += [f"{self._images / elapsed:,.0f} images/s", f"{duration(left)} left"]
        return "  ".join(parts)


@contextlib.contextmanager
def bar(
    title: str, total: int | None, quiet: bool = False, *, unit: str = "", stream: TextIO | None = None
) -> Iterator[Callable[[int], None]]:
    """A bar for downloads and decoding. Yields `advance(n)`: n more of `total` are done (None: total unknown).

    `unit="B"` shows sizes in bytes. Without a terminal: one line at the start, one every ten seconds, one at the end.
    """
    out: Any = Forgiving(stream or sys.stderr)
    title = printable(title)
    if quiet:
        yield lambda n=1: None
    else:
        with (_live_bar if is_terminal(out) else _plain_bar)(title, total, unit, out) as advance:
            yield advance


@contextlib.contextmanager
def bars(quiet: bool = False, *, unit: str = "") -> Iterator[Callable[[str, int, int], None]]:
    """Bars that appear when there is something to tell. Yields `report(title, done, total)`; a new title, a new bar.

    `done` counts from the start; `total` is 0 where it is not known.
    """
    current: dict[str, Any] = {"title": None, "done": 0}
    with contextlib.ExitStack() as stack:

        def report(title: str, done: int, total: int) -> None:
            if current["title"] != title:
                stack.close()
                current["advance"] = stack.enter_context(bar(title, total or None, quiet, unit=unit))
                current.update(title=title, done=0)
            current["advance"](max(0, done - current["done"]))
            current["done"] = max(done, current["done"])

        yield report


def is_terminal(stream: TextIO) -> bool:
    """Whether a live display makes sense on `stream`."""
    import os

    return bool(getattr(stream, "isatty", lambda: False)()) and os.environ.get("TERM") != "dumb"


def _number(value: Any, otherwise: float) -> float:
    return float(value) if value is not None and math.isfinite(value) else otherwise


def _amount(n: int, unit: str) -> str:
    if unit != "B":
        return f"{n:,}{' ' + unit if unit else ''}"
    return bytes_text(n)


@contextlib.contextmanager
def _plain_bar(title: str, total: int | None, unit: str, stream: TextIO) -> Iterator[Callable[[int], None]]:
    done, began, said = 0, time.perf_counter(), time.perf_counter()
    of = f" of {_amount(total, unit)}" if total is not None else ""
    print(f"{title} ...", file=stream, flush=True)

    def advance(n: int = 1) -> None:
        nonlocal done, said
        done += n
        if time.perf_counter() - said >= 10:
            said = time.perf_counter()
            print(f"{title}: {_amount(done, unit)}{of}", file=stream, flush=True)

    yield advance
    print(f"{title}: {_amount(done, unit)} in {duration(time.perf_counter() - began)}", file=stream, flush=True)


@contextlib.contextmanager
def _live_bar(title: str, total: int | None, unit: str, stream: TextIO) -> Iterator[Callable[[int], None]]:
    done, drawn = 0, 0.0
    of = f" / {_amount(total, unit)}" if total is not None else ""
    with _display(stream) as display:
        task = display.add_task(title, total=total, status="")

        def advance(n: int = 1) -> None:
            nonlocal done, drawn
            done += n
            now = time.perf_counter()
            if now - drawn >= _REDRAW:
                drawn = now
                left = display.tasks[0].time_remaining
                status = f"{_amount(done, unit)}{of}" + (f"  {duration(left)} left" if left is not None else "")
                display.update(task, completed=done, status=status, refresh=True)

        yield advance
    print(f"{title}: {_amount(done, unit)}", file=stream, flush=True)


def _display(stream: TextIO) -> Any:
    """A live display of one bar that vanishes at its end."""
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    return Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[status]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
        console=console(file=stream),
        auto_refresh=False,  # no thread of its own: we draw
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # a stdout that a script reads stays untouched
    )
