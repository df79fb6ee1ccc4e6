"""The service as a program: it ends, and takes a new file, without losing a request; and needs no PyTorch."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import CLASSES, Service, png
from torch import nn

from convlens.classify.classifier import Classifier
from convlens.data import Preprocess
from convlens.deploy.exporters import export

BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "scipy", "sklearn", "matplotlib", "jinja2"):
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocked())
from convlens.cli import run
run()
"""


def write(path: Path, favourite: int) -> Path:
    """An ONNX file that gives every picture the same class."""
    linear = nn.Linear(64, 3)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    linear.bias.data[favourite] = 5.0
    module = nn.Sequential(nn.Flatten(), linear)
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), np.uint8)
    export(Classifier(module, Preprocess((8, 8), 1), CLASSES), "onnx", path, images=images)
    return path


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("onnx") / "network.onnx", 0)


@contextlib.contextmanager
def program(path: Path, *options: str, stderr: Any = subprocess.PIPE, ready: int = 1):
    """`convlens serve` in a process of its own, without PyTorch; with its answers."""
    command = [sys.executable, "-c", BLOCKED, "serve", str(path), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "http://localhost:" in line, process.communicate()
        service = Service(int(line.rpartition(":")[2]))
        started = time.monotonic()
        while ready:
            with contextlib.suppress(OSError):
                ready -= service.ask("/readyz").status == 200
            assert time.monotonic() - started < 60
            time.sleep(0.01)
        yield process, service
    finally:
        process.kill()
        process.communicate()


class Load:
    """Clients that ask and ask; keeps each status, and what was answered."""

    def __init__(self, service: Service, clients: int = 4):
        self.service, self.answers, self.lost, self.ended = service, [], [], False
        self.threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def _ask(self) -> None:
        while not self.ended:
            try:
                self.answers.append(self.service.ask(body=png(), Connection="close"))
            except ConnectionRefusedError:
                return
            except OSError as error:
                self.lost.append(error)
                return

    def end(self) -> None:
        self.ended = True
        for thread in self.threads:
            thread.join()


def test_it_ends_on_sigterm_and_loses_no_request_that_it_took(network):
    with program(network, "--no-log") as (process, service):
        load = Load(service)
        time.sleep(0.7)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == -signal.SIGTERM
        load.end()
    assert {answer.status for answer in load.answers} == {200}
    assert len(load.answers) > 5
    assert all(isinstance(error, ConnectionError) for error in load.lost)  # never taken from the queue of the system


def test_a_changed_file_is_taken_without_a_lost_request_and_a_broken_one_is_not(tmp_path):
    path = write(tmp_path / "network.onnx", 0)
    with program(path, "--reload", "0.1") as (_, service):
        load = Load(service)
        time.sleep(0.3)
        new = write(tmp_path / "new.onnx", 2)
        os.replace(new, path)
        _until(lambda: service.ask(body=png()).labels == [CLASSES[2]])
        (tmp_path / "new.onnx").write_bytes(b"no network")
        os.replace(new, path)
        _until(lambda: b'convlens_reloads_total{result="refused"} 1.0' in service.ask("/metrics").content)
        time.sleep(0.2)
        load.end()
        assert service.ask(body=png()).labels == [CLASSES[2]]
    assert {answer.status for answer in load.answers} == {200}
    assert not load.lost
    labels = [answer.labels[0] for answer in load.answers]
    assert set(labels) == {CLASSES[0], CLASSES[2]}


def test_a_body_that_arrives_while_the_network_changes_is_answered_by_the_new_one(tmp_path):
    path = write(tmp_path / "network.onnx", 0)
    with program(path, "--reload", "0.1", "--no-log") as (_, service), service.raw() as connection:
        content = png()
        head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(content)
        connection.sendall(head + content[:20])
        time.sleep(0.1)
        os.replace(write(tmp_path / "new.onnx", 2), path)
        _until(lambda: service.ask(body=png()).labels == [CLASSES[2]])
        connection.sendall(content[20:])
        answer = HTTPResponse(connection)
        answer.begin()
        assert answer.status == 200
        assert CLASSES[2].encode() in answer.read()


def _until(there) -> None:
    started = time.monotonic()
    while not there():
        assert time.monotonic() - started < 20
        time.sleep(0.02)


def test_a_worker_that_is_killed_comes_back_and_numbers_are_those_of_all(network):
    with program(network, "--workers", "2", "--no-log") as (process, service):
        children = _until_children(process.pid)
        time.sleep(1.0)
        os.kill(children[0], signal.SIGKILL)
        _until(lambda: len(now := _children(process.pid)) >= 2 and children[0] not in now)
        for _ in range(10):
            assert service.ask(body=png()).status in (200, 503)
        counted = service.ask("/metrics").content.decode()
        assert (
            sum(
                float(line.split()[-1])
                for line in counted.splitlines()
                if 'path="/predict"' in line and "_total" in line
            )
            >= 10
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == -signal.SIGTERM
        assert not _children(process.pid)


def _children(pid: int) -> list[int]:
    """The workers: processes of this parent that run a service."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and b"spawn_main" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def _until_children(pid: int) -> list[int]:
    _until(lambda: len(_children(pid)) == 2)
    return _children(pid)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_disk_that_is_full_of_logs_costs_no_request(network):
    with open("/dev/full", "w") as full, program(network, stderr=full) as (_, service):
        assert [service.ask(body=png()).status for _ in range(20)] == [200] * 20


def test_requests_are_lines_of_json_with_their_ids_and_nothing_of_the_client(network):
    with program(network) as (process, service):
        answer = service.ask("/predict?secret=1", png(), X_Request_Id="mine")
        evil = service.ask("/healthz", X_Request_Id='evil"}{"a')
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    lines = [json.loads(line) for line in errors.splitlines() if line.startswith("{")]
    asked = [
        line for line in lines if line["event"] == "request" and line["id"] in ("mine", evil.headers["x-request-id"])
    ]
    assert [(line["id"] == "mine", line["path"], line["status"]) for line in asked] == [
        (True, "/predict", 200), (False, "/healthz", 200),
    ]  # fmt: skip
    assert answer.headers["x-request-id"] == "mine"
    assert "secret" not in errors
    assert "evil" not in errors
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["nothing.onnx"], "nothing.onnx"),
        (["network.onnx", "--port", "{used}"], "cannot listen on 127.0.0.1"),
        (["network.onnx", "--host", "203.0.113.7"], "cannot listen on 203.0.113.7"),
        (["network.onnx", "--device", "cuda"], "is an ONNX file"),
        (["network.onnx", "--api-key-file", "short"], "16 to 512"),
    ],
)
def test_what_cannot_be_served_is_one_line_and_exit_2(network, tmp_path, options, words):
    import socket

    (tmp_path / "short").write_text("short")
    (tmp_path / "network.onnx").symlink_to(network)
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        used.listen()
        options = [option.replace("{used}", str(used.getsockname()[1])) for option in options]
        done = subprocess.run(
            [sys.executable, "-c", BLOCKED, "serve", *options], capture_output=True, text=True, cwd=tmp_path, timeout=60
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
