"""Who may ask: Host, API key, request ids; and what every answer has, whatever went wrong behind the door."""

import asyncio
import hmac
import random
import re
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from convlens.base.errors import out_of_memory
from convlens.deploy.serve.log import Log
from convlens.deploy.serve.metrics import Metrics
from convlens.deploy.serve.refusals import RefusedError
from convlens.deploy.serve.settings import Settings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
Route = Callable[[Request], Awaitable[Response]]

OPEN = ("/healthz", "/readyz", "/", "/page.css", "/page.js")
"""Paths that need no key: whether it lives, and the page on which one types the key."""

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_random = random.Random()  # ids must differ, that is all: asking the system for each takes 70 us
CLOSED = 499
"""In logs: the client went away (nginx's number)."""


class Door:
    """An ASGI application around another one.

    known: the paths that metrics and log name; all others are one.
    direct: routes of the application, by method and path, that are called without it: it takes longer to find and to
        call a route than LeNet takes for a picture.
    """

    def __init__(
        self, app: App, settings: Settings, log: Log, metrics: Metrics,
        known: frozenset[str], direct: Mapping[tuple[str, str], Route],
    ):  # fmt: skip
        self.app, self.settings, self.log, self.metrics = app, settings, log, metrics
        self.known, self.direct = known, direct
        self._hosts: set[bytes] = set()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        scope["state"]["id"] = id = given if _ID.fullmatch(given) else f"{_random.getrandbits(64):016x}"
        answer = _Answer(send, id)
        try:
            self._check(scope, headers)
            if (route := self.direct.get((scope["method"], scope["path"]))) is None:
                await self.app(scope, receive, answer)
            else:
                await (await route(Request(scope, receive)))(scope, receive, answer)
        except asyncio.CancelledError:
            answer.status = answer.status or CLOSED
            raise
        except Exception as error:
            if not isinstance(error, RefusedError):
                self._tell(error, id)
            if not answer.status:
                await problem(error, id)(scope, receive, answer)
        finally:
            self._count(scope, id, answer.status, time.perf_counter() - started)

    def _check(self, scope: Message, headers: dict[bytes, bytes]) -> None:
        host = headers.get(b"host", b"")
        if host not in self._hosts:
            if not self.settings.may_be_called(host.decode("latin-1")):
                raise RefusedError(
                    421, "the service has another name (Host); start it with --allow-host NAME to allow this one"
                )
            if len(self._hosts) < 100:  # a Host of any address and port is allowed, and they are many
                self._hosts.add(host)
        key = self.settings.key
        if key is None or scope["path"] in OPEN:
            return
        given = headers.get(b"x-api-key", b"")
        if not given and headers.get(b"authorization", b"")[:7].lower() == b"bearer ":
            given = headers[b"authorization"][7:].strip()
        if not hmac.compare_digest(given, key.encode()):
            raise RefusedError(401, "an API key is needed: send it as Authorization: Bearer KEY, or as X-API-Key: KEY")

    def _tell(self, error: Exception, id: str) -> None:
        where = traceback.extract_tb(error.__traceback__)[-1]
        self.log.write(
            "fault", id=id, error=f"{type(error).__name__}: {error}"[:500], where=f"{where.filename}:{where.lineno}"
        )

    def _count(self, scope: Message, id: str, status: int, seconds: float) -> None:
        path = scope["path"] if scope["path"] in self.known else "other"
        self.metrics.request(path, status, seconds)
        if self.settings.log:
            self.log.write(
                "request", id=id, method=scope["method"], path=path, status=status, ms=round(1000 * seconds, 2)
            )


class _Answer:
    """`send`, with the request id added and the status remembered."""

    def __init__(self, send: Send, id: str):
        self._send, self.id, self.status = send, id, 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *_SAFE, (b"x-request-id", self.id.encode())]
        await self._send(message)


def problem(error: Exception, id: str) -> Response:
    """What a request gets that is refused, or that a fault of ours ended. id: of the request."""
    headers: dict[str, str] = {}
    if isinstance(error, RefusedError):
        status, message = error.status, error.message
    elif out_of_memory(error):
        status, message = 503, "out of memory: try again later, with fewer or smaller images"
    else:
        status, message = 500, "a fault of the service; its log has this request id"
    if status in (429, 503):
        headers["Retry-After"] = str(getattr(error, "retry", 2))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in (401, 413, 421, CLOSED):
        headers["Connection"] = "close"  # the rest of the body is not read
    return JSONResponse({"error": {"status": status, "message": message, "id": id}}, status, headers=headers)


_SAFE = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
