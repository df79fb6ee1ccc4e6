"""A service on a free port of this machine, in a thread of the test; and requests to it."""

import contextlib
import http.client
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import uvicorn
from PIL import Image

from convlens.classify.classifier import Classifier
from convlens.data import Preprocess
from convlens.deploy.serve.connections import PatientProtocol
from convlens.deploy.serve.run import bound, configured
from convlens.deploy.serve.settings import Settings

CLASSES = ("dark", "medium", "bright")


def by_brightness(x: np.ndarray) -> np.ndarray:
    """Logits float32 [N, 3] that depend on the mean brightness of each picture alone."""
    mean = x.mean((1, 2, 3))[:, None]
    return (-8 * (mean - np.array([-0.4, 0.0, 0.4])) ** 2).astype(np.float32)


def classifier(network: Any = by_brightness, size: tuple[int, int] = (8, 8)) -> Classifier:
    return Classifier(network, Preprocess(size, 1, mean=(0.5,), std=(0.5,)), CLASSES)


def png(value: int = 128, size: tuple[int, int] = (8, 8), kind: str = "PNG", seed: int | None = None) -> bytes:
    pixels = np.full(size, value, np.uint8)
    if seed is not None:
        pixels = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def message(self) -> str:
        return self.json["error"]["message"]

    @property
    def labels(self) -> list[str | None]:
        return [one.get("label") for one in self.json["predictions"]]


class Service(NamedTuple):
    port: int

    def ask(self, path: str = "/predict", body: Any = None, method: str | None = None, **headers: str) -> Answer:
        """One request on a connection of its own. Underscores in names of headers are hyphens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        chunked = hasattr(body, "__next__")
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, body, named, encode_chunked=chunked)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def form(self, *files: tuple[str, bytes], path: str = "/predict") -> Answer:
        parts = [
            b'--cut\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n%s\r\n'
            % (name.encode(), content)
            for name, content in files
        ]
        return self.ask(path, b"".join(parts) + b"--cut--\r\n", Content_Type="multipart/form-data; boundary=cut")

    def raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)


@contextlib.contextmanager
def served(subject: Classifier | None = None, *, ready: bool = True, **settings: Any) -> Iterator[Service]:
    """A running service. settings: of `Settings`."""
    chosen = replace(Settings(Path("network.onnx"), log=False, reload=0, cost=10.0), **settings)
    listening = bound("127.0.0.1", 0)
    server = uvicorn.Server(configured(chosen, subject or classifier()))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    service = Service(listening.getsockname()[1])
    try:
        while not server.started:
            time.sleep(0.005)
        while ready and service.ask("/readyz", Host="localhost").status != 200:
            time.sleep(0.005)
        yield service
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
        assert not thread.is_alive()


__all__ = ["CLASSES", "PatientProtocol", "by_brightness", "classifier", "png", "served"]
