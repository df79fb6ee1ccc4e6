"""Connections of clients that are slow or mean: uvicorn waits for ever, and takes a header of any length."""

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LONGEST_HEADER = 32 << 10
"""Bytes of a request line and header."""


class PatientProtocol(HttpToolsProtocol):
    """HTTP/1.1, where a request must be complete in time, and its header of a sensible length.

    patience: seconds from the first byte, or from the opening of a connection, to the end of a request.
    """

    patience: ClassVar[float] = 30.0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._length, self._in_header = 0, True
        self._timer: asyncio.TimerHandle | None = None
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        in_header = self._in_header
        super().data_received(data)
        if in_header and self._in_header:
            self._length += len(data)
            if self._length > LONGEST_HEADER:
                self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._length, self._in_header = 0, True
        self._wait()

    def on_headers_complete(self) -> None:
        self._in_header = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._stop()
        super().on_message_complete()

    def _wait(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.patience, self._refuse, b"408 Request Timeout")

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: bytes) -> None:
        self._timer = None
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()
