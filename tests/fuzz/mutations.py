"""What can happen to a file: bytes, words, values and structure changed at random, by a seed."""

import copy
import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

Mutation = Callable[[random.Random, bytes], bytes]

_NUMBERS = (0, 1, 2, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1)

ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1, 5, 0.5, 99999, 2**31, 2**63 - 1, 10**30, 1e300, -1e-300, "", "a", "5", "\x1b[2J", "猫\n",
    "../../etc/passwd", "\0", "x" * 5000, [], [[]], [1, 2], [60000, 60000], {}, {"a": 1}, [None],
)  # fmt: skip

_WORDS = (
    b"", b"0", b"-1", b"1e999", b"nan", b"NaN", b"inf", b"true", b"null", b'""', b"[]", b"{}", b"9" * 40, b"9" * 5000,
    b'"\\ud800"', b"\xff", b"\0", b"\x1b[2J", b"[" * 3000, b"{" * 3000, b"\n", b",", b'"', b"=", b"a.b.c = 1", b"[[a]]",
    b"../../x", b"\xef\xbb\xbf",
)  # fmt: skip


def _place(rng: random.Random, size: int) -> int:
    """Mostly in the first bytes, where headers are."""
    return rng.randrange(min(size, 80)) if rng.random() < 0.5 else rng.randrange(size)


def changed_bytes(rng: random.Random, content: bytes) -> bytes:
    """One to a few changes that know nothing of the format."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        if not found:
            break
        at, kind = _place(rng, len(found)), rng.randrange(8)
        if kind <= 1:
            found[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            found[at] = rng.randrange(256)
        elif kind == 3:
            width = rng.choice((1, 2, 4, 8))
            number = rng.choice(_NUMBERS) % (1 << 8 * width)
            found[at : at + width] = number.to_bytes(width, rng.choice(("little", "big")))
        elif kind == 4:
            del found[at : at + rng.choice((1, 2, 4, 50, len(found)))]
        elif kind == 5:
            piece = found[at : at + rng.choice((1, 4, 50, 400))]
            found[at:at] = piece * rng.choice((1, 1, 2, 60))
        elif kind == 6:
            found[at:at] = rng.randbytes(rng.choice((1, 4, 30)))
        else:
            found += rng.choice((b"\0" * 600, rng.randbytes(40), bytes(found[:200])))
    return bytes(found)


def changed_words(rng: random.Random, content: bytes) -> bytes:
    """A text with other words, numbers or lines in some places."""
    found = content
    for _ in range(rng.choice((1, 1, 2, 4))):
        words = list(re.finditer(rb"[\w.+-]+|\"[^\"\n]*\"|[^\s\w]", found))
        if not words:
            break
        word = rng.choice(words)
        new = rng.choice((*_WORDS, rng.choice(words)[0], word[0] * 2))
        found = found[: word.start()] + new + found[word.end() :]
    lines = found.split(b"\n")
    if rng.random() < 0.2 and len(lines) > 1:
        rng.shuffle(lines)
    return b"\n".join(lines)


def _places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        yield from _places(below, (*path, key))


def changed_value(rng: random.Random, value: Any) -> Any:
    """A JSON value with something odd in one to three places, or nothing there, or a key too many."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        path = rng.choice(list(_places(value)))
        new = copy.deepcopy(rng.choice(ODD))
        if not path:
            return new if rng.random() < 0.3 else value
        home = value
        for key in path[:-1]:
            home = home[key]
        kind = rng.random()
        if kind < 0.15:
            del home[path[-1]]
        elif kind < 0.25 and isinstance(home, dict):
            home["surprise"] = new
        elif kind < 0.35:
            home[path[-1]] = [home[path[-1]]]
        else:
            home[path[-1]] = new
    return value


def changed_json(rng: random.Random, content: bytes) -> bytes:
    """JSON text with other values, as JSON text."""
    return json.dumps(changed_value(rng, json.loads(content))).encode()


def changed_json_line(rng: random.Random, content: bytes) -> bytes:
    """The same in one of several lines."""
    lines = content.splitlines()
    at = rng.randrange(len(lines))
    lines[at] = changed_json(rng, lines[at])
    return b"\n".join(lines) + b"\n"


def one_of(*mutations: Mutation) -> Mutation:
    """Any of them, drawn each time."""
    return lambda rng, content: rng.choice(mutations)(rng, content)
