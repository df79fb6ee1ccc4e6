"""Times, accuracy, start-up and memory of the forms, in turn: whatever else the machine does meets all of them."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from convlens.base.hardware import machine, usable_cores
from convlens.base.seeds import generator
from convlens.classify.caller import undisturbed
from convlens.classify.classifier import Classifier
from convlens.data import Images
from convlens.data.splits import Splits
from convlens.deploy.bench.forms import EAGER, Call, Form, forms
from convlens.models.modes import evaluation_mode

BATCHES = (1, 8, 64)
_ROUNDS = 5
_JUDGED = 2000


@dataclass(frozen=True)
class Measured:
    """One form. why: why it is not to be had here; then the figures are None.

    p50, p99: seconds for one image, median and the time that 99 % stay below. rate: images a second by size of batch,
    from the median. start: seconds from the start of Python to the first answer. memory: most bytes of such a process.
    accuracy: of test images.
    """

    name: str
    why: str = ""
    p50: float | None = None
    p99: float | None = None
    rate: dict[int, float] | None = None
    start: float | None = None
    memory: int | None = None
    accuracy: float | None = None


@dataclass(frozen=True)
class Bench:
    """forms: in the order of `forms.forms`. n: test images of the accuracies. threads: of each form."""

    forms: tuple[Measured, ...]
    n: int
    threads: int
    processor: str | None

    def __getitem__(self, name: str) -> Measured:
        return next(form for form in self.forms if form.name == name)


def measure(
    classifier: Classifier,
    parts: Splits,
    *,
    run: Path | None = None,
    another: Callable[[], nn.Module] | None = None,
    seconds: float = 1.0,
    threads: int | None = None,
    compiled: bool = True,
    on_progress: Callable[[str, int, int], None] = lambda title, done, total: None,
) -> Bench:
    """Measures every form of a classifier.

    Args:
        parts: the images that it was trained, chosen and judged on.
        run: its folder, for start-up and memory of PyTorch; None leaves them out.
        another: opens the network once more, for the form that rearranges its weights; None leaves that out.
        seconds: of calls, for each form and size of batch.
        compiled: whether `torch.compile` is tried, which takes a while.
    """
    threads = threads or usable_cores()
    judged = _some(parts.test)
    with (
        tempfile.TemporaryDirectory() as folder, undisturbed(), torch.inference_mode(),
        evaluation_mode(classifier.module),
    ):  # fmt: skip
        torch.set_num_threads(threads)
        found = forms(classifier, another, parts, Path(folder), threads, compiled)
        able = [form for form in found if form.call is not None]
        pixels = np.asarray(judged.pixels[np.arange(max(BATCHES)) % len(judged)])
        x = classifier.preprocess.normalize(pixels)
        times = _times(able, x, seconds, on_progress)
        results = [_result(form, times, classifier, judged, run) for form in found]
    return Bench(tuple(results), len(judged), threads, machine().processor)


def _times(
    able: list[Form], x: np.ndarray, seconds: float, on_progress: Callable[[str, int, int], None]
) -> dict[tuple[str, int], list[float]]:
    """Seconds of each call, by form and size of batch."""
    found: dict[tuple[str, int], list[float]] = {(form.name, size): [] for form in able for size in BATCHES}
    for form in able:
        for size in BATCHES:
            _call(form)(x[:size])  # the first call allocates
    total, done = _ROUNDS * len(found), 0
    for turn in range(_ROUNDS):
        for size in BATCHES:
            for form in able[turn % len(able) :] + able[: turn % len(able)]:
                found[form.name, size] += _calls(_call(form), x[:size], seconds / _ROUNDS)
                done += 1
                on_progress("measuring", done, total)
    return found


def _calls(call: Call, x: np.ndarray, seconds: float) -> list[float]:
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < 3 or time.perf_counter() < end:
        begin = time.perf_counter()
        call(x)
        found.append(time.perf_counter() - begin)
    return found


def _result(
    form: Form, times: dict[tuple[str, int], list[float]], classifier: Classifier, judged: Images, run: Path | None
) -> Measured:
    if form.call is None:
        return Measured(form.name, form.why)
    path = form.file or (run if form.name == EAGER else None)
    start = _fresh(path) if path is not None else {}
    single = times[form.name, 1]
    right = 0
    for at in range(0, len(judged), 64):
        x = classifier.preprocess.normalize(np.asarray(judged.pixels[at : at + 64]))
        right += int((form.call(x).argmax(1) == judged.labels[at : at + 64]).sum())
    return Measured(
        form.name,
        p50=float(np.median(single)),
        p99=float(np.quantile(single, 0.99)),
        rate={size: size / float(np.median(times[form.name, size])) for size in BATCHES},
        start=start.get("seconds"),
        memory=start.get("bytes"),
        accuracy=right / len(judged),
    )


def _fresh(path: Path) -> dict[str, Any]:
    """See `fresh`. Nothing where such a process cannot open it, as a network of the user's own."""
    command = [sys.executable, "-m", "convlens.deploy.bench.fresh", str(path.resolve()), repr(time.time())]
    done = subprocess.run(command, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}


def _call(form: Form) -> Call:
    assert form.call is not None
    return form.call


def _some(images: Images) -> Images:
    chosen = np.sort(generator(0, "bench").permutation(len(images))[:_JUDGED])
    return images if len(chosen) == len(images) else images.select(chosen)
