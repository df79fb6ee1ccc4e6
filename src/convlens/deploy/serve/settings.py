"""What a service may spend on one request, and who may ask."""

import ipaddress
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path

from convlens.base.errors import InputError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_KEY = re.compile(r"[\x21-\x7e]{16,512}")


@dataclass(frozen=True)
class Settings:
    """How a service answers. It goes to worker processes as it is, so it holds nothing but plain values.

    what: a run folder, or an ONNX file that `export` wrote. device: of a run's module.
    user_model: "file.py:Function", only for a run of a network that is not of the zoo.
    host, port: where it listens. hosts: names by which it may be called besides; "*" is any.
    key: the API key that requests must bring; None for none.
    top: classes in an answer, where the request does not say.
    deadline: seconds from the last byte of a request to its answer; what waits longer gets 503.
    max_body, max_pixels: bytes of a body, and width times height of a picture; more gets 413.
    max_images: pictures in one request; more gets 413.
    queue: pictures that may wait; more gets 429.
    cost: seconds that one batch may take: the size of batches is chosen from it, by measuring.
    threads: that compute one batch; None for all usable cores.
    reload: seconds between two looks at whether the file has changed; 0 for never.
    log: whether each request becomes a line of JSON on stderr.
    """

    what: Path
    device: str | None = None
    user_model: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    hosts: tuple[str, ...] = ()
    key: str | None = field(default=None, repr=False)
    top: int = 5
    deadline: float = 10.0
    max_body: int = 16 << 20
    max_pixels: int = 50_000_000
    max_images: int = 256
    queue: int = 512
    cost: float = 0.05
    threads: int | None = None
    reload: float = 2.0
    log: bool = True

    def __post_init__(self) -> None:
        if self.key is not None and not _KEY.fullmatch(self.key):
            raise InputError("the API key must be 16 to 512 visible ASCII characters, without spaces")
        for name in ("deadline", "cost"):
            if not 0 < getattr(self, name) < 3600:
                raise InputError(f"{name} must be more than 0 and less than 3,600 seconds")
        for name in ("top", "max_body", "max_pixels", "max_images", "queue"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1")

    def may_be_called(self, host: str) -> bool:
        """Whether a request's Host header names this service.

        A page of a stranger can make a browser believe that the stranger's name is this machine (DNS rebinding), but
        not that a literal address or "localhost" is.
        """
        name = _without_port(host).lower()
        if "*" in self.hosts or name in {one.lower() for one in self.hosts} or name in LOOPBACK:
            return True
        if name == self.host.lower():
            return True
        if self.host in LOOPBACK:
            return False
        return _is_address(name) or name in (socket.gethostname().lower(), socket.getfqdn().lower())


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
