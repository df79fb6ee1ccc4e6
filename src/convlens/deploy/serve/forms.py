"""Files out of multipart/form-data (RFC 7578). They stay in memory: a body is small."""

from typing import NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from convlens.deploy.serve.refusals import RefusedError

_LONGEST = 16 << 10
"""Bytes of the header of a part."""


class Sent(NamedTuple):
    """A picture as it came. name: of its file, or its number."""

    name: str
    content: bytes


class Form:
    """A form that arrives piece by piece. content_type: of the request. most: files in it."""

    def __init__(self, content_type: str, most: int):
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not 1 <= len(boundary) <= 200:
            raise _wrong("its Content-Type names no boundary")
        self._most, self._files = most, list[Sent]()
        self._name = self._value = b""
        self._disposition, self._content, self._length = b"", bytearray(), 0
        self._complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._on_name,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header,
                "on_part_data": self._on_data,
                "on_part_end": self._on_end,
                "on_end": self._on_all,
            },
        )

    def feed(self, part: bytes) -> None:
        """Takes the next piece. Raises `RefusedError`."""
        try:
            self._parser.write(part)
        except FormParserError as error:
            raise _wrong(str(error)) from None

    def finished(self) -> list[Sent]:
        """The files, when all has been fed. Raises `RefusedError` where the end is missing."""
        if not self._complete:
            raise _wrong("its end is missing")
        return self._files

    def _begin(self) -> None:
        if len(self._files) == self._most:
            raise RefusedError(413, f"more than {self._most:,} images in one request")
        self._name = self._value = self._disposition = b""
        self._content, self._length = bytearray(), 0

    def _on_name(self, data: bytes, start: int, end: int) -> None:
        self._name += self._some(data, start, end)

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += self._some(data, start, end)

    def _some(self, data: bytes, start: int, end: int) -> bytes:
        self._length += end - start
        if self._length > _LONGEST:
            raise _wrong("the header of a part is too long")
        return data[start:end]

    def _on_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def _on_end(self) -> None:
        _, options = parse_options_header(self._disposition)
        field, file = (options.get(key, b"").decode(errors="replace") for key in (b"name", b"filename"))
        if b"filename" not in options:
            raise _wrong(f"the field {field[:80]!r} holds text; send files")
        self._files.append(Sent((file or field)[:255], bytes(self._content)))

    def _on_all(self) -> None:
        self._complete = True


def _wrong(why: str) -> RefusedError:
    return RefusedError(422, f"multipart/form-data: {why}"[:300])
