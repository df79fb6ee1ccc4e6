"""What Prometheus reads: requests, times, batches, what waits. The names are a contract with dashboards."""

import os
from typing import Any

import prometheus_client
from prometheus_client import multiprocess

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_SIZES = (1, 2, 4, 8, 16, 32, 64)
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable under which several workers put their numbers together. It must be set before
prometheus-client is imported."""


class Metrics:
    """The counters of one process; `text` adds up those of all workers."""

    def __init__(self) -> None:
        client = prometheus_client
        self.registry = own = client.CollectorRegistry()
        several: dict[str, Any] = {"multiprocess_mode": "livesum"} if FOLDER in os.environ else {}
        self.requests = client.Counter(
            "convlens_requests", "Requests, by path and status.", ["path", "status"], registry=own
        )
        self.seconds = client.Histogram(
            "convlens_request_seconds", "From the header of a request to its answer.", ["path"], buckets=_SECONDS,
            registry=own,
        )  # fmt: skip
        self.pictures = client.Counter(
            "convlens_pictures", "Pictures, by what became of them.", ["result"], registry=own
        )
        self.batches = client.Histogram("convlens_batch_size", "Pictures in a batch.", buckets=_SIZES, registry=own)
        self.batch_seconds = client.Histogram(
            "convlens_batch_seconds", "Time of the network for a batch.", buckets=_SECONDS, registry=own
        )
        self.waiting = client.Gauge("convlens_waiting", "Pictures that wait for the network.", registry=own, **several)
        self.reloads = client.Counter(
            "convlens_reloads", "Changed files that were loaded, or refused.", ["result"], registry=own
        )

        self._series: dict[tuple[str, int], tuple[Any, Any]] = {}

    def request(self, path: str, status: int, seconds: float) -> None:
        """Counts a request."""
        if (path, status) not in self._series:
            self._series[path, status] = self.requests.labels(path, str(status)), self.seconds.labels(path)
        count, times = self._series[path, status]
        count.inc()
        times.observe(seconds)

    def batch(self, n: int, seconds: float) -> None:
        """Counts a batch."""
        self.batches.observe(n)
        self.batch_seconds.observe(seconds)

    def text(self) -> tuple[bytes, str]:
        """(what Prometheus reads, its content type)."""
        registry = self.registry
        if FOLDER in os.environ:
            registry = prometheus_client.CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)
        return prometheus_client.generate_latest(registry), prometheus_client.CONTENT_TYPE_LATEST
