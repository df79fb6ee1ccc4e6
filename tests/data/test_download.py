"""Downloads against a server in this process; nothing leaves the machine."""

import errno
import gzip
import hashlib
import io
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from samples import idx_bytes, write_mnist

from convlens import data
from convlens.base.errors import InputError
from convlens.base.files import FolderLock
from convlens.data import Preprocess, catalogue, download
from convlens.data.download import Remote, fetch, md5_of_file, sha256_of_content
from typed import present, wrong

CONTENT = bytes(np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8))


class Server(ThreadingHTTPServer):
    """Serves `files`. `break_after`: so many bytes, then the connection drops; `ranges`: whether it can resume."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.break_after: list[int] = []
        self.ranges = True
        self.silent: threading.Event | None = None
        self.requests: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):  # a client that hangs up is part of the tests
        pass


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):  # the method's name is given by the standard library
        wanted = self.headers.get("Range")
        self.server.requests.append((self.path, wanted))
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = int(present(re.match(r"bytes=(\d+)-", wanted))[1]) if wanted and self.server.ranges else 0
        if start >= len(content) and start:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        if self.server.silent is not None:
            self.server.silent.wait(20)
        if self.server.break_after:
            body = body[: self.server.break_after.pop(0)]
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_):
        pass


def serve() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "CONVLENS_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download.time, "sleep", lambda _: None)
    yield from serve()


@pytest.fixture
def second() -> Iterator[Server]:
    yield from serve()


def remote(*urls: str, content: bytes = CONTENT) -> Remote:
    return Remote("file.bin", len(CONTENT), urls, md5_of_file(hashlib.md5(content).hexdigest()))


def leftovers(folder: Path) -> list[Path]:
    return list(folder.glob(".*.part"))


def test_a_file_is_fetched_once_and_put_in_place(server, tmp_path):
    server.files["/a"] = CONTENT
    seen = []
    path = fetch(remote(f"{server.url}/a"), tmp_path, lambda *now: seen.append(now))
    assert path == tmp_path / "file.bin"
    assert path.read_bytes() == CONTENT
    assert seen[-1] == ("file.bin", len(CONTENT), len(CONTENT))
    assert fetch(remote(f"{server.url}/a"), tmp_path) == path
    assert len(server.requests) == 1
    assert not leftovers(tmp_path)


def test_a_transfer_that_breaks_off_is_resumed(server, tmp_path):
    server.files["/a"] = CONTENT
    server.break_after = [100_000, 150_000]
    assert fetch(remote(f"{server.url}/a"), tmp_path).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.requests] == [None, "bytes=100000-", "bytes=250000-"]


def test_a_server_that_cannot_resume_sends_all_again(server, tmp_path):
    server.files["/a"] = CONTENT
    server.ranges = False
    server.break_after = [100_000]
    assert fetch(remote(f"{server.url}/a"), tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_what_has_come_serves_the_next_attempt_of_another_process(server, tmp_path):
    server.files["/a"] = CONTENT
    server.break_after = [100_000, 0, 0, 0, 0]
    with pytest.raises(InputError, match="broke off after"):
        fetch(remote(f"{server.url}/a"), tmp_path)
    assert [part.stat().st_size for part in leftovers(tmp_path)] == [100_000]
    server.break_after, server.requests = [], []
    assert fetch(remote(f"{server.url}/a"), tmp_path).read_bytes() == CONTENT
    assert server.requests == [("/a", "bytes=100000-")]
    assert not leftovers(tmp_path)


def test_a_leftover_of_another_file_is_thrown_away_and_the_file_fetched_as_a_whole(server, tmp_path):
    server.files["/a"] = CONTENT
    server.break_after = [50_000, 0, 0, 0, 0]
    with pytest.raises(InputError):
        fetch(remote(f"{server.url}/a"), tmp_path)
    (part,) = leftovers(tmp_path)
    for stale in (b"x" * 50_000, b"x" * (len(CONTENT) + 5)):
        part.write_bytes(stale)
        server.break_after = []
        path = fetch(remote(f"{server.url}/a"), tmp_path)
        assert path.read_bytes() == CONTENT
        path.unlink()


def test_the_next_mirror_is_tried_after_an_error_and_after_a_bad_hash(server, second, tmp_path):
    server.files["/bad"] = CONTENT[::-1]
    second.files["/good"] = CONTENT
    urls = (f"{server.url}/missing", f"{server.url}/bad", f"{second.url}/good")
    assert fetch(remote(*urls), tmp_path).read_bytes() == CONTENT
    assert [path for path, _ in server.requests] == ["/missing", "/bad"]
    assert not leftovers(tmp_path)


def test_a_bad_hash_everywhere_is_one_line_and_leaves_nothing(server, second, tmp_path):
    server.files["/a"] = second.files["/a"] = b"something else"
    with pytest.raises(InputError, match=r"cannot download file\.bin .*wrong md5.*wrong md5.*CONVLENS_DATA") as caught:
        fetch(remote(f"{server.url}/a", f"{second.url}/a"), tmp_path)
    assert "\n" not in str(caught.value)
    assert not leftovers(tmp_path)
    assert not (tmp_path / "file.bin").exists()


def test_without_a_network_one_line_says_what_to_do(tmp_path, monkeypatch, server):
    closed = server.url
    server.shutdown()
    server.server_close()
    with pytest.raises(InputError, match=r"refused.*connect to the internet.*put the file into") as caught:
        fetch(remote(f"{closed}/a"), tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_far_larger_than_expected_is_refused(server, tmp_path):
    server.files["/a"] = CONTENT * 4
    with pytest.raises(InputError, match="far more than"):
        fetch(remote(f"{server.url}/a"), tmp_path)


def test_only_http_is_spoken(tmp_path):
    (tmp_path / "secret").write_bytes(CONTENT)
    with pytest.raises(InputError, match="cannot download"):
        fetch(remote(f"file://{tmp_path}/secret"), tmp_path / "to")


def test_an_own_mirror_comes_first(server, second, tmp_path, monkeypatch):
    second.files["/mirror/file.bin"] = CONTENT
    monkeypatch.setenv("CONVLENS_MIRROR", f"{second.url}/mirror/")
    assert fetch(remote(f"{server.url}/a"), tmp_path).read_bytes() == CONTENT
    assert server.requests == []


def test_the_hash_of_the_content_does_not_depend_on_how_it_was_compressed(tmp_path):
    verify = sha256_of_content(hashlib.sha256(CONTENT).hexdigest())
    for level in (1, 9):
        (tmp_path / "f.gz").write_bytes(gzip.compress(CONTENT, level))
        verify(tmp_path / "f.gz")
    for bad in (gzip.compress(CONTENT)[:-9], b"plain", gzip.compress(CONTENT[1:])):
        (tmp_path / "f.gz").write_bytes(bad)
        with pytest.raises(ValueError, match=r"not a whole gzip file|wrong sha256"):
            verify(tmp_path / "f.gz")


@pytest.fixture
def little_mnist(server, tmp_path, monkeypatch):
    """The catalogue's MNIST, small and served from here."""
    arrays = write_mnist(tmp_path / "original", train=20)
    remotes = []
    for name, array in arrays.items():
        content = idx_bytes(array)
        server.files[f"/{name}.gz"] = gzip.compress(content)
        verify = sha256_of_content(hashlib.sha256(content).hexdigest())
        remotes.append(Remote(f"{name}.gz", len(content), (f"{server.url}/{name}.gz",), verify))
    entry = catalogue.SETS["mnist"]
    monkeypatch.setitem(catalogue.SETS, "mnist", replace(entry, remotes=tuple(remotes)))
    return server


def test_a_named_set_is_downloaded_into_the_cache_once(little_mnist, no_data, own_cache):
    parts = data.find("mnist").read(Preprocess((28, 28), 1)).parts
    assert len(parts["train"]) == 20
    assert (own_cache / "sets" / "mnist" / "train-images-idx3-ubyte.gz").exists()
    assert len(little_mnist.requests) == 4
    data.find("mnist")
    assert len(little_mnist.requests) == 4


def test_a_download_that_stopped_between_two_files_goes_on(little_mnist, no_data, own_cache):
    labels = little_mnist.files.pop("/t10k-labels-idx1-ubyte.gz")
    with pytest.raises(InputError, match="mnist: not found on this machine; cannot download t10k-labels"):
        data.find("mnist")
    little_mnist.files["/t10k-labels-idx1-ubyte.gz"] = labels
    little_mnist.requests.clear()
    assert len(data.find("mnist").read(Preprocess((28, 28), 1)).parts["test"]) == 10
    assert [path for path, _ in little_mnist.requests] == ["/t10k-labels-idx1-ubyte.gz"]


def test_the_users_folder_comes_before_the_cache(little_mnist, own_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("CONVLENS_DATA", str(tmp_path / "own"))
    write_mnist(tmp_path / "own" / "mnist", train=40)
    assert len(data.find("mnist").read(Preprocess((28, 28), 1)).parts["train"]) == 40
    assert little_mnist.requests == []


def test_every_set_to_download_has_at_least_two_mirrors_with_a_hash():
    for entry in catalogue.SETS.values():
        for item in entry.remotes:
            assert len(item.urls) >= 2, item.name
            assert all(url.rsplit("/", 1)[-1] for url in item.urls)


def test_two_processes_at_once_download_a_file_once(server, tmp_path):
    server.files["/a"] = CONTENT
    item = remote(f"{server.url}/a")
    threads = [threading.Thread(target=fetch, args=(item, tmp_path)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert len(server.requests) == 1


# ---- disks, links and servers that do not do what they should


class Full(io.FileIO):
    """A file on a disk with room for 1,000 bytes."""

    def write(self, content) -> int:
        room = 1000 - self.tell()
        if room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(content[:room])


@pytest.mark.parametrize("where", [".lock", ".part", "content", "sync"])
def test_a_disk_that_takes_nothing_is_one_line_at_once(server, tmp_path, monkeypatch, where):
    server.files["/a"] = CONTENT
    monkeypatch.setattr(download.time, "sleep", lambda _: pytest.fail("waited"))
    true_open = os.open

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # also where there are no more inodes

    if where == "content":
        monkeypatch.setattr(download.io, "FileIO", Full)
    elif where == "sync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(os, "open", lambda path, *a: full() if str(path).endswith(where) else true_open(path, *a))
    with pytest.raises(InputError, match=r"cannot (lock|write) .*the disk is full") as caught:
        fetch(remote(f"{server.url}/a"), tmp_path)
    assert "\n" not in str(caught.value)
    assert len(server.requests) <= 1
    assert not (tmp_path / "file.bin").exists()


def test_what_fits_on_the_disk_serves_the_next_attempt(server, tmp_path, monkeypatch):
    server.files["/a"] = CONTENT
    with monkeypatch.context() as patch:
        patch.setattr(download.io, "FileIO", Full)
        with pytest.raises(InputError, match="disk is full"):
            fetch(remote(f"{server.url}/a"), tmp_path)
    assert fetch(remote(f"{server.url}/a"), tmp_path).read_bytes() == CONTENT
    assert server.requests[-1] == ("/a", "bytes=1000-")


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_lies_in_the_place_of_the_draft_is_not_written_through(server, tmp_path, kind):
    server.files["/a"] = CONTENT
    item, folder = remote(f"{server.url}/a"), tmp_path / "sets"
    folder.mkdir()
    treasure = tmp_path / "treasure"
    treasure.write_bytes(b"mine")
    part = folder / f".file.bin.{hashlib.sha256(item.urls[0].encode()).hexdigest()[:8]}.part"
    part.symlink_to(treasure) if kind == "link" else os.mkfifo(part)
    assert fetch(item, folder).read_bytes() == CONTENT
    assert treasure.read_bytes() == b"mine"
    assert not (folder / "file.bin").is_symlink()


def test_a_server_that_falls_silent_is_given_up_for_the_next(server, second, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_TIMEOUT", 0.3)
    server.files["/a"], server.silent = CONTENT, threading.Event()
    second.files["/a"] = CONTENT
    try:
        assert fetch(remote(f"{server.url}/a", f"{second.url}/a"), tmp_path).read_bytes() == CONTENT
    finally:
        server.silent.set()


def test_a_server_that_only_drips_is_given_up(monkeypatch):
    monkeypatch.setattr(download, "_TIMEOUT", 0.05)

    class Drip:
        def read1(self, _: int) -> bytes:
            threading.Event().wait(0.02)
            return b"x"

    with pytest.raises(TimeoutError, match=r"only \d+ bytes"):
        list(download._chunks(wrong(Drip())))


def test_who_waits_for_another_download_is_told_so(tmp_path, server):
    server.files["/a"] = CONTENT
    told, lock = [], FolderLock(tmp_path)
    lock.__enter__()
    thread = threading.Thread(
        target=fetch, args=(remote(f"{server.url}/a"), tmp_path, lambda *now: told.append(now) or lock.__exit__())
    )
    thread.start()
    thread.join(20)
    assert "another process" in told[0][0]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
