"""Starting the service, in this process or in several."""

import logging
import os
import signal
import socket
import tempfile
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

from convlens.base.errors import InputError
from convlens.base.hardware import usable_cores
from convlens.base.optional import required
from convlens.classify.classifier import Classifier
from convlens.deploy.serve.metrics import FOLDER
from convlens.deploy.serve.settings import Settings

_NEED = "convlens serve needs fastapi, uvicorn, httptools, python-multipart and prometheus-client"
_DRAIN = 30  # seconds that requests in flight have to finish


def needed() -> None:
    """Raises `InputError` where a library is missing, before anything is loaded."""
    for module in ("uvicorn", "httptools", "fastapi", "starlette", "python_multipart", "prometheus_client"):
        required(module, "serve", _NEED)


def serve(settings: Settings, classifier: Classifier, listening: socket.socket, *, workers: int = 1) -> None:
    """Answers until SIGINT or SIGTERM; then takes no new connection, answers what it has, and ends.

    classifier: what `settings.what` names, loaded. listening: see `bound`. workers: processes; with more than one, each
        loads the classifier by itself, and one that dies is started again.
    """
    with closing(listening):
        if workers == 1:
            import uvicorn

            uvicorn.Server(configured(settings, classifier)).run([listening])
        else:
            _several(settings, workers, listening)


def _several(settings: Settings, workers: int, listening: socket.socket) -> None:
    threads = settings.threads or max(1, usable_cores() // workers)
    before = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)}
    with tempfile.TemporaryDirectory(prefix="convlens-serve-") as folder:
        os.environ[FOLDER] = folder
        try:
            from uvicorn.supervisors import Multiprocess

            supervisor = Multiprocess(configured(replace(settings, threads=threads), workers=workers), [listening])
            ends: list[int] = []
            for kind in before:
                signal.signal(kind, lambda kind, _: (ends.append(kind), supervisor.should_exit.set()))
            supervisor.run()
        finally:
            del os.environ[FOLDER]
    for kind, handler in before.items():
        signal.signal(kind, handler)
    if ends:
        signal.raise_signal(ends[0])  # it ends as a program does that knows nothing of signals


def configured(settings: Settings, classifier: Classifier | None = None, *, workers: int = 1) -> Any:
    """What uvicorn is told. The application is made in the process that runs it."""
    import uvicorn

    from convlens.deploy.serve.connections import PatientProtocol

    return uvicorn.Config(
        partial(_create, settings, classifier), factory=True, workers=workers,
        http=PatientProtocol, ws="none", lifespan="on", log_config=None, access_log=False, server_header=False,
        proxy_headers=False, timeout_graceful_shutdown=_DRAIN, timeout_keep_alive=30, backlog=1024,
    )  # fmt: skip


def _create(settings: Settings, classifier: Classifier | None) -> Any:
    from convlens.deploy.serve.app import create

    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    return create(settings, classifier)


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises `InputError`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)  # with TCP named, asyncio sends each answer at once (TCP_NODELAY)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(address)
            found.set_inheritable(True)
        except OSError:
            found.close()
            raise
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"cannot listen on {host}, port {port}: {why}; choose another with --host and --port"
        ) from None
    return found
