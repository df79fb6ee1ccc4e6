"""The routes of the service."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from convlens import __version__
from convlens.base.errors import InputError
from convlens.base.hardware import usable_cores
from convlens.classify.classifier import Classifier
from convlens.deploy.serve import answers, explaining
from convlens.deploy.serve.batching import Batcher, ClosedError, LateError, QueueFullError, Result
from convlens.deploy.serve.bodies import opened, pictures, top_of
from convlens.deploy.serve.door import Door, problem
from convlens.deploy.serve.forms import Sent
from convlens.deploy.serve.log import Log
from convlens.deploy.serve.metrics import Metrics
from convlens.deploy.serve.refusals import BusyError, RefusedError
from convlens.deploy.serve.service import Service
from convlens.deploy.serve.settings import Settings

_SMALL = 64 * 64
"""Pixels up to which a picture is decoded by the thread of the network: handing it over twice would take longer."""

_PAGE = Path(__file__).with_name("page")
_STATUSES = {
    400: "no HTTP",
    401: "no API key",
    413: "too large",
    415: "another type",
    422: "no image",
    429: "too many",
    503: "busy",
}


def create(settings: Settings, classifier: Classifier | None = None) -> Door:
    """The service as an ASGI application. classifier: instead of what `settings.what` names, until that changes."""
    log, metrics = Log(), Metrics()
    service = Service(settings, log, metrics, classifier)
    decoders = ThreadPoolExecutor(usable_cores(), "convlens decode")

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await asyncio.to_thread(service.close)
        decoders.shutdown()
        log.close()

    app = FastAPI(
        title="Convlens", version=__version__, docs_url=None, redoc_url=None, lifespan=life,
        description="Says what is in images, with exactly the preprocessing of training.",
    )  # fmt: skip
    routes = _Routes(service, decoders)
    _enter(app, routes)
    for kind in (RefusedError, HTTPException, Exception):
        app.add_exception_handler(kind, _problem)
    known = frozenset(["/predict", "/explain", "/healthz", "/readyz", "/metrics", "/", "/openapi.json"])
    return Door(app, settings, log, metrics, known, {("POST", "/predict"): routes.predict})


def _enter(app: FastAPI, routes: "_Routes") -> None:
    failures: dict[int | str, dict[str, Any]] = {
        status: {"model": answers.Failed, "description": about} for status, about in _STATUSES.items()
    }
    app.add_api_route(
        "/predict", routes.predict, methods=["POST"], summary="What is in one or many images",
        responses={200: {"model": answers.Answers}, **failures},
        openapi_extra={"parameters": [answers.TOP], **answers.BODY},
    )  # fmt: skip
    app.add_api_route(
        "/explain", routes.explain, methods=["POST"], summary="Which pixels a class comes from (Grad-CAM)",
        responses={200: answers.PNG, **failures, 501: {"model": answers.Failed, "description": "an ONNX file cannot"}},
        openapi_extra={"parameters": [answers.CLASS], **answers.BODY}, response_class=Response,
    )  # fmt: skip
    for path, route in (("/healthz", routes.alive), ("/readyz", routes.ready), ("/metrics", routes.metrics)):
        app.add_api_route(path, route, methods=["GET"])
    for path, name, kind in (
        ("/", "page.html", "text/html"),
        ("/page.css", "page.css", "text/css"),
        ("/page.js", "page.js", "text/javascript"),
    ):
        app.add_api_route(path, partial(_file, name, kind), methods=["GET"], include_in_schema=False)


class _Routes:
    def __init__(self, service: Service, decoders: ThreadPoolExecutor):
        self.service, self.settings, self.decoders = service, service.settings, decoders
        self._answered_pictures = service.metrics.pictures.labels("answered")

    async def predict(self, request: Request) -> Response:
        top = top_of(request, self.settings.top)
        batcher, sent = await self._received(request)
        results = await self._answered(batcher, sent, top)
        rows = [answers.row(one.name, result) for one, result in zip(sent, results, strict=True)]
        failed = sum(isinstance(one, InputError) for one in results)
        self._answered_pictures.inc(len(rows) - failed)
        if failed:
            self.service.metrics.pictures.labels("unreadable").inc(failed)
        if failed == len(rows):
            raise RefusedError(422, rows[0]["error"])
        return _json({"predictions": rows, "failed": failed})

    async def explain(self, request: Request) -> Response:
        batcher, sent = await self._received(request)
        if len(sent) != 1:
            raise RefusedError(422, f"one image can be explained at a time, not {len(sent)}")
        if not hasattr(batcher.classifier.network, "named_modules"):
            raise RefusedError(501, "an ONNX file cannot be explained: serve the run itself")
        work = partial(
            explaining.grad_cam, batcher.classifier, sent[0], self.settings, request.query_params.get("class")
        )
        try:
            content = await asyncio.get_running_loop().run_in_executor(self.decoders, work)
        except InputError as error:
            raise RefusedError(422, " ".join(str(error).split())) from None
        return Response(content, media_type="image/png")

    async def alive(self) -> Response:
        """Whether the process answers at all."""
        return _json({"status": "ok"})

    async def ready(self) -> Response:
        """Whether the network is loaded and warm: until then, 503."""
        if self.service.batcher is None:
            return _json({"status": "failed" if self.service.error else "warming up"}, 503)
        return _json({"status": "ready", **self.service.about()})

    async def metrics(self) -> Response:
        """For Prometheus."""
        batcher = self.service.batcher
        self.service.metrics.waiting.set(batcher.depth if batcher else 0)
        content, kind = self.service.metrics.text()
        return Response(content, headers={"Content-Type": kind})

    async def _received(self, request: Request) -> tuple[Batcher, list[Sent]]:
        self._batcher()  # where there is none, the body need not come
        sent = await pictures(request, self.settings)
        return self._batcher(), sent  # while the body came, another network may have taken its place

    def _batcher(self) -> Batcher:
        batcher = self.service.batcher
        if batcher is None:
            raise BusyError(503, "the network is not ready yet", 2)
        return batcher

    async def _answered(self, batcher: Batcher, sent: list[Sent], top: int) -> list[Result]:
        """The answers, in order; pictures that cannot be read never reach the network."""
        deadline = time.monotonic() + self.settings.deadline
        if batcher.depth + len(sent) > max(self.settings.queue, len(sent)):
            raise BusyError(429, "too many images wait already")
        prepared = await self._prepared(batcher, sent)
        good = [one for one in prepared if not isinstance(one, InputError)]
        try:
            found = iter(await batcher.submit(good, top, deadline) if good else ())
        except ClosedError:  # while the pictures were prepared, another network took its place
            if (now := self._batcher()) is batcher:
                raise BusyError(503, "the service is ending") from None
            return await self._answered(now, sent, top)
        except QueueFullError:
            raise BusyError(429, "too many images wait already") from None
        except LateError:
            raise BusyError(503, f"no answer within {self.settings.deadline:g} s: too much to do") from None
        return [one if isinstance(one, InputError) else next(found) for one in prepared]

    async def _prepared(self, batcher: Batcher, sent: list[Sent]) -> list[Any]:
        loop, found = asyncio.get_running_loop(), []
        for one in sent:
            try:
                image = opened(one, self.settings)
                large = image.width * image.height > _SMALL
                work = partial(batcher.classifier.preprocess.prepare, image, "the image")
                found.append(await loop.run_in_executor(self.decoders, work) if large else image)
            except InputError as error:
                found.append(error)
        return found


async def _file(name: str, kind: str) -> Response:
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "media-src blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    )
    content = (_PAGE / name).read_bytes()
    return Response(content, media_type=kind, headers={"Content-Security-Policy": policy})


async def _problem(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):  # of the router: no such path, or not with this method
        routes = "POST /predict, POST /explain, GET /healthz, /readyz, /metrics, /openapi.json"
        error = RefusedError(error.status_code, f"{error.detail}: the service has {routes}")
    return problem(error, request.scope["state"]["id"])


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def _json(content: Any, status: int = 200) -> Response:
    text = _encode(content)
    return Response(text.encode(errors="replace"), status, media_type="application/json")
