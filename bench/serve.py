"""The HTTP service beside what it is made of, and under more load than it can carry.

    python bench/serve.py [--seconds 60] [--network resnet18_cifar] [--file model.onnx]

Three questions, each with the service on one core and the clients on another:

- **load**: 32 clients send three times as many images as it answers, for `--seconds`. Counted: statuses, times of the
  accepted, memory before and after. Its queue holds 16, so that it has to refuse.
- **throughput**: images per second over HTTP, as a share of the same file in this process, picture by picture in
  batches of the same size; turns of both.
- **overhead**: CPU time of the service for one MNIST-sized PNG through LeNet-5, as a ratio to a bare Starlette route
  that decodes the same PNG, under the same server; turns of both.

Writes the log `serve`.
"""

import argparse
import asyncio
import contextlib
import io
import json
import os
import pickle
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

import logs

BARE = """
import io, sys, socket
import numpy as np, uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
async def predict(request):
    pixels = np.asarray(Image.open(io.BytesIO(await request.body())))
    return JSONResponse({"predictions": [{"label": "7", "probability": float(pixels.mean() / 255), "top": []}]})
listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
listening.bind(("127.0.0.1", 0))
print("http://localhost:%d" % listening.getsockname()[1], flush=True)
app = Starlette(routes=[Route("/predict", predict, methods=["POST"]), Route("/readyz", lambda r: JSONResponse({}))])
uvicorn.Server(uvicorn.Config(app, http="httptools", ws="none", log_config=None, access_log=False)).run([listening])
"""


class Load(NamedTuple):
    """statuses: how often each. seconds: of the accepted requests. took: of all."""

    statuses: Counter
    seconds: list[float]
    took: float


def exported(name: str, folder: Path) -> Path:
    """A network of the zoo with random weights as an ONNX file: its speed is that of a trained one."""
    from convlens import models
    from convlens.classify.classifier import Classifier
    from convlens.data import Preprocess
    from convlens.deploy.exporters import export
    from convlens.models import registry

    channels, *size = registry.get(name).input
    module = models.create(name).eval()
    preprocess = Preprocess((size[0], size[1]), channels)
    pixels = np.random.default_rng(0).integers(0, 256, (32, *size, channels), np.uint8)
    export(Classifier(module, preprocess, tuple(map(str, range(10)))), "onnx", folder / f"{name}.onnx", images=pixels)
    return folder / f"{name}.onnx"


@contextlib.contextmanager
def program(*command: str, core: int) -> Iterator[tuple[subprocess.Popen, int]]:
    """A service on one core: its process and port."""
    process = subprocess.Popen(
        ["taskset", "-c", str(core), sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://localhost:(\d+)", process.stdout.readline())
        assert found, "it did not start"
        port = int(found[1])
        asyncio.run(_ready(port))
        yield process, port
    finally:
        process.terminate()
        process.wait()


async def _ready(port: int) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            status, _ = await _answer(reader)
            writer.close()
            if status == 200:
                return
        await asyncio.sleep(0.1)
    raise SystemExit("the service was not ready in a minute")


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return int(head[9:12]), await reader.readexactly(int(length[1]) if length else 0)


async def load(port: int, bodies: list[bytes], *, clients: int, seconds: float, rate: float = float("inf")) -> Load:
    """So many clients on connections that they keep. rate: requests per second of all together."""
    found = Load(Counter(), [], seconds)
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        due, k = time.perf_counter(), number
        while (now := time.perf_counter()) < end:
            if now < due:
                await asyncio.sleep(due - now)
            due += clients / rate
            body = bodies[k % len(bodies)]
            k += clients
            started = time.perf_counter()
            writer.write(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            status, _ = await _answer(reader)
            found.statuses[status] += 1
            if status == 200:
                found.seconds.append(time.perf_counter() - started)
        writer.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    return found


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """Its resident memory, in MiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024  # type: ignore[index]


def pngs(count: int, size: tuple[int, int], channels: int) -> list[bytes]:
    rng, found = np.random.default_rng(0), []
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
        out = io.BytesIO()
        coarse.resize(size, Image.Resampling.BICUBIC).convert("RGB" if channels == 3 else "L").save(out, "PNG")
        found.append(out.getvalue())
    return found


def in_process(file: Path, core: int) -> float:
    """Images per second of the same file in a process of its own on that core, in batches of 16, decoding included."""
    code = f"""
import sys, time, pickle
from convlens.classify.classifier import Classifier
bodies = pickle.load(sys.stdin.buffer)
c = Classifier.from_onnx({str(file)!r}, threads=1)
c.predict(bodies[:16])
n, started = 0, time.perf_counter()
while time.perf_counter() - started < 5:
    c.predict(bodies[:16]); n += 16
print(n / (time.perf_counter() - started))
"""
    done = subprocess.run(
        ["taskset", "-c", str(core), sys.executable, "-c", code], input=pickle.dumps(pngs(16, (32, 32), 3)),
        stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    return float(done.stdout)


def loaded(file: Path, seconds: float) -> dict:
    """The first two questions."""
    bodies = pngs(64, (32, 32), 3)
    serve = ("-c", RUN, "serve", str(file), "--port", "0", "--no-log", "--queue", "16")
    shares, rates = [], []
    with program(*serve, core=0) as (process, port):
        for _ in range(3):
            closed = asyncio.run(load(port, bodies, clients=16, seconds=5))
            os.kill(process.pid, 19)  # the core is free for the other side
            alone = in_process(file, 0)
            os.kill(process.pid, 18)
            rates.append(closed.statuses[200] / closed.took)
            shares.append(rates[-1] / alone)
        before = memory(process.pid)
        much = asyncio.run(load(port, bodies, clients=32, seconds=seconds, rate=3 * statistics.median(rates)))
        after = memory(process.pid)
    times = sorted(much.seconds)
    return {
        "images_per_second": statistics.median(rates),
        "share_of_in_process": statistics.median(shares),
        "statuses": {str(k): v for k, v in sorted(much.statuses.items())},
        "p50_ms": 1e3 * times[len(times) // 2],
        "p99_ms": 1e3 * times[int(0.99 * len(times))],
        "slowest_ms": 1e3 * times[-1],
        "memory_mib": [before, after],
    }


def overhead(file: Path, rounds: int = 5) -> dict:
    """The third question."""
    bodies = pngs(64, (28, 28), 1)
    ratios, ours = [], []
    serve = ("-c", RUN, "serve", str(file), "--port", "0", "--no-log")
    with program(*serve, core=0) as (service, port), program("-c", BARE, core=0) as (bare, other):
        for _ in range(rounds):
            used = []
            for process, where in ((service, port), (bare, other)):
                started = cpu(process.pid)
                done = asyncio.run(load(where, bodies, clients=8, seconds=4))
                assert set(done.statuses) == {200}
                used.append((cpu(process.pid) - started) / done.statuses[200])
            ours.append(1e3 * used[0])
            ratios.append(used[0] / used[1])
    return {"cpu_ms_a_request": statistics.median(ours), "ratio_to_bare_route": statistics.median(ratios)}


RUN = "from convlens.cli import run; run()"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--network", default="resnet18_cifar")
    parser.add_argument("--file", type=Path, help="an ONNX file for 32x32 pictures, instead of the network")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = arguments.file or exported(arguments.network, Path(folder))
        found = {"load": loaded(file, arguments.seconds), "overhead": overhead(exported("lenet5", Path(folder)))}
    print(json.dumps(found, indent=2))
    logs.write("serve", found, arguments.out)


if __name__ == "__main__":
    main()
