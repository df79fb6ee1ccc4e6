"""Pictures out of the body of a request, within limits that are checked before anything is decoded."""

import base64
import binascii
import json
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from convlens.base.errors import InputError
from convlens.data.decode import open_image
from convlens.deploy.serve.forms import Form, Sent
from convlens.deploy.serve.refusals import GoneError, RefusedError
from convlens.deploy.serve.settings import Settings

if TYPE_CHECKING:
    from PIL import Image
    from starlette.requests import Request

RAW = ("application/octet-stream", "application/x-www-form-urlencoded", "")
"""Types of a body that is one picture, besides image/*. The second is what curl says unless it is told otherwise."""


async def pictures(request: "Request", settings: Settings) -> list[Sent]:
    """The pictures of a request, one or more. Raises `RefusedError`, `GoneError`."""
    kind, _, _ = request.headers.get("content-type", "").partition(";")
    kind = kind.strip().lower()
    if kind == "multipart/form-data":
        found = await _multipart(request, settings)
    elif kind == "application/json":
        found = _from_json(await body(request, settings), settings)
    elif kind in RAW or kind.startswith("image/"):
        found = [Sent("image", await body(request, settings))]
    else:
        raise RefusedError(415, f"cannot read {kind[:80]!r}: send the bytes of an image, multipart/form-data, or JSON")
    if not found:
        raise RefusedError(422, "there is no image in the request")
    if len(found) > settings.max_images:
        raise RefusedError(413, f"{len(found):,} images in one request; at most {settings.max_images:,}")
    return found


async def body(request: "Request", settings: Settings) -> bytes:
    """The whole body, as long as the limit allows. Raises `RefusedError`, `GoneError`."""
    parts: list[bytes] = []
    async for part in _stream(request, settings):
        parts.append(part)
    return b"".join(parts)


async def _stream(request: "Request", settings: Settings) -> AsyncGenerator[bytes, None]:
    limit = settings.max_body
    announced = request.headers.get("content-length", "0")
    if not announced.isascii() or not announced.isdigit() or int(announced[:20]) > limit:
        raise _too_large(limit)
    total = 0
    while True:  # how long it may take, the connection watches
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise GoneError
        part = message.get("body", b"")
        total += len(part)
        if total > limit:
            raise _too_large(limit)
        yield part
        if not message.get("more_body", False):
            return


def _too_large(limit: int) -> RefusedError:
    return RefusedError(413, f"the body is larger than {limit:,} bytes")


async def _multipart(request: "Request", settings: Settings) -> list[Sent]:
    """Every file of a form, whatever its field is called."""
    form = Form(request.headers["content-type"], settings.max_images)
    async for part in _stream(request, settings):
        form.feed(part)
    return form.finished()


def _from_json(text: bytes, settings: Settings) -> list[Sent]:
    """{"image": base64} or {"images": [base64, ...]}; a data: URL is base64 with a prefix."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        raise RefusedError(422, "the body is no JSON") from None
    wrong = RefusedError(422, 'the JSON must be {"image": "<base64>"} or {"images": ["<base64>", ...]}')
    if not isinstance(given, dict) or len(given) != 1:
        raise wrong
    (key, value), *_ = given.items()
    several = [value] if key == "image" else value if key == "images" else None
    if not isinstance(several, list) or not all(isinstance(one, str) for one in several):
        raise wrong
    if len(several) > settings.max_images:
        raise RefusedError(413, f"{len(several):,} images in one request; at most {settings.max_images:,}")
    return [Sent(f"image {number}", _decoded(one, number)) for number, one in enumerate(several)]


def _decoded(text: str, number: int) -> bytes:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise RefusedError(422, f"image {number} is no base64") from None


def opened(sent: Sent, settings: Settings) -> "Image.Image":
    """A picture whose header has been read and whose size is allowed; nothing is decoded yet.

    Raises:
        RefusedError: 413, too many pixels.
        InputError: no image that can be read.
    """
    if not sent.content:
        raise InputError("the image is empty: it has no bytes")
    image = open_image(sent.content, "the image")
    width, height = image.size
    if width * height > settings.max_pixels:
        raise RefusedError(
            413, f"{width:,} x {height:,} pixels are more than the {settings.max_pixels:,} that are allowed"
        )
    return image


def top_of(request: "Request", default: int) -> int:
    """How many classes the answer shall rank: ?top=N. Raises `RefusedError`."""
    text: Any = request.query_params.get("top")
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= 10_000:
        raise RefusedError(422, "top must be a number from 1 to 10,000")
    return int(text)
