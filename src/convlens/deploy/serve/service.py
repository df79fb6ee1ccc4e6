"""The network that a service answers with, and how another one takes its place without a lost request."""

import os
import threading
import time
from typing import Any

from convlens.base.errors import ConvlensError
from convlens.classify.classifier import Classifier, is_onnx
from convlens.deploy.serve.batching import Batcher
from convlens.deploy.serve.log import Log
from convlens.deploy.serve.metrics import Metrics
from convlens.deploy.serve.settings import Settings


def load(settings: Settings) -> Classifier:
    """The run, or the ONNX file. Raises `InputError` where it cannot be used."""
    if is_onnx(settings.what):
        return Classifier.from_onnx(settings.what, threads=settings.threads)
    return Classifier.from_run(
        settings.what, model=settings.user_model, device=settings.device, on_note=lambda note: None
    )


class Service:
    """Holds the network that is in use, and looks whether its file has changed.

    A request that has begun keeps the network that it began with; the old one ends when nobody waits for it.
    """

    def __init__(self, settings: Settings, log: Log, metrics: Metrics, classifier: Classifier | None = None):
        self.settings, self.log, self.metrics = settings, log, metrics
        self._first = classifier
        self._batcher: Batcher | None = None
        self._seen = self._state()
        self._ended = threading.Event()
        self.error: str | None = None

    @property
    def batcher(self) -> Batcher | None:
        """What answers; None as long as nothing is warm."""
        return self._batcher

    def start(self) -> None:
        """Warms up in the background, and then watches the file."""
        threading.Thread(target=self._begin, name="convlens service", daemon=True).start()

    def close(self) -> None:
        """Answers what waits, and stops watching."""
        self._ended.set()
        if self._batcher is not None:
            self._batcher.close()

    def about(self) -> dict[str, Any]:
        """What is served, in a few facts that give away no path."""
        batcher = self._batcher
        if batcher is None:
            return {}
        classifier = batcher.classifier
        facts = {key: classifier.facts[key] for key in ("model", "test_accuracy") if key in classifier.facts}
        return {
            **facts,
            "form": "onnx" if is_onnx(self.settings.what) else "pytorch",
            "classes": list(classifier.classes),
            "batch": batcher.size,
        }

    def _begin(self) -> None:
        try:
            self._use(self._first or load(self.settings))
        except Exception as error:
            self.error = _line(error)
            self.log.write("not started", error=self.error)
            return
        self._first = None
        while self.settings.reload and not self._ended.wait(self.settings.reload):
            self._look()

    def _use(self, classifier: Classifier) -> None:
        started = time.perf_counter()
        batcher = Batcher(classifier, queue=self.settings.queue, cost=self.settings.cost, on_batch=self.metrics.batch)
        batcher.warm_up()
        before, self._batcher = self._batcher, batcher
        self.log.write("ready", seconds=round(time.perf_counter() - started, 3), batch=batcher.size)
        if before is not None:
            before.close()

    def _look(self) -> None:
        state = self._state()
        if state in (self._seen, None):
            return
        if self._ended.wait(min(self.settings.reload, 0.5)) or self._state() != state:
            return  # it is still being written, or gone again: the next look tells
        self._seen = state
        try:
            self._use(load(self.settings))
        except Exception as error:  # whatever is wrong with the new file, the old network goes on
            self.metrics.reloads.labels("refused").inc()
            self.log.write("the changed file is not used", error=_line(error))
        else:
            self.metrics.reloads.labels("loaded").inc()

    def _state(self) -> tuple[int, ...] | None:
        path = self.settings.what
        try:
            found = os.stat(path if is_onnx(path) else path / "weights.safetensors")
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def _line(error: Exception) -> str:
    """For the log, which is the owner's: what was wrong; a fault of ours with its type."""
    text = " ".join(str(error).split())[:500]
    return text if isinstance(error, ConvlensError) else f"{type(error).__name__}: {text}"
