"""The index of a shard: which pictures are in it, where, and of which class. Made once, kept in the cache."""

import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from convlens.base import files
from convlens.base.errors import InputError
from convlens.data.formats.archives import NAME_LIMIT, Tar
from convlens.data.formats.headers import Look, look, readable
from convlens.data.formats.members import MemberError, Placed, is_candidate
from convlens.data.formats.unpacking import unpacker
from convlens.data.layout.parts import part_and_rest
from convlens.data.naming import printable
from convlens.data.shards.names import Shard
from convlens.data.shards.places import Mark, Places
from convlens.data.store import cache
from convlens.data.suffixes import suffix

_KIND, _FORMAT = "shard-index", 1
_MOST_TOLD = 1 << 20  # bytes of a .json or .cls


class Pictures(NamedTuple):
    """The N pictures of a shard, in the order in which they lie there.

    mark: of the shard when it was indexed. paths: what each is called in the set; members: in the tar.
    classes: the name of each one's class, "" where nothing says it. parts: "train", "val" or "test".
    places: int64 [N, 3]: offset, size, CRC-32 of the content. looks: int64 [N, 3]: height, width, whether it is gray;
    0, 0, 0 where the header cannot be read.
    """

    mark: Mark
    paths: list[str]
    members: list[str]
    classes: list[str]
    parts: list[str]
    places: np.ndarray
    looks: np.ndarray

    def look(self, row: int) -> Look | None:
        """See `headers.look`."""
        height, width, gray = self.looks[row].tolist()
        return (height, width, bool(gray)) if height else None


class _Told(BaseModel):
    """The keys of a picture's .json that count; there may be others."""

    model_config = ConfigDict(extra="ignore", strict=True)

    name: str | int | None = Field(None, alias="class")
    label: str | int | None = None
    cls: str | int | None = None
    part: Literal["train", "val", "test"] | None = None
    path: str | None = Field(None, min_length=1, max_length=NAME_LIMIT)

    @property
    def known_class(self) -> str | None:
        """The first that is given."""
        return next((str(name) for name in (self.name, self.label, self.cls) if name is not None), None)


def index(shard: Shard, places: Places) -> Pictures:
    """The index of a shard: what the cache keeps of it, or made by reading all of it once.

    Raises `InputError` that names the shard where it is missing, cut off, packed, or its labels cannot be read.
    """
    mark = places.mark(shard)
    key = hashlib.blake2b(f"{_place(shard)}\0{mark}\0{_FORMAT}\0{readable()}".encode(), digest_size=16).hexdigest()
    if kept := _kept(key, mark):
        return kept
    with places.at(shard, mark) as path:
        found = _made(shard, path, mark)
    text = json.dumps([found.paths, found.members, found.classes, found.parts]).encode()
    arrays = {"places": found.places, "looks": found.looks, "text": np.frombuffer(text, np.uint8)}
    cache.save_arrays(_KIND, key, arrays, {"size": mark.size, "version": mark.version})
    return found


def _place(shard: Shard) -> str:
    return shard.place if "://" in shard.place else str(Path(shard.place).resolve())


def _kept(key: str, mark: Mark) -> Pictures | None:
    found = cache.load_arrays(_KIND, key)
    if found is None:
        return None
    arrays, meta = found
    try:
        paths, members, classes, parts = json.loads(arrays["text"].tobytes())
        one = Pictures(mark, paths, members, classes, parts, arrays["places"], arrays["looks"])
        lengths = {len(column) for column in one[1:]}
        return one if lengths == {len(paths)} and mark == (meta["size"], meta["version"]) else None
    except (ValueError, KeyError, TypeError):
        return None


@dataclass
class _Record:
    """Members of one key, one after the other. pictures: with the look and the CRC of each."""

    key: str
    pictures: list[tuple[Placed, Look | None, int]] = field(default_factory=list)
    label: str | None = None
    told: _Told = field(default_factory=lambda: _Told.model_validate({}))


def _made(shard: Shard, path: Path, mark: Mark) -> Pictures:
    with files.open_plain(path) as file:
        if unpacker(file.read(6)):
            raise InputError(f"{shard.place} is packed: shards are read out of order, so unpack it to a plain tar")
    found = Pictures(mark, [], [], [], [], np.zeros((0, 3), np.int64), np.zeros((0, 3), np.int64))
    places: list[tuple[int, int, int]] = []
    looks: list[Any] = []
    part = part_and_rest(shard.stem)[0] or "train"
    for record in _records(shard, path):
        for picture, seen, crc in _chosen(record, shard):
            name = record.told.known_class if record.told.known_class is not None else record.label
            found.paths.append(record.told.path or (picture.path if name is None else f"{shard.stem}/{picture.path}"))
            found.members.append(picture.path)
            found.classes.append(name or "")
            found.parts.append(record.told.part or part)
            places.append((picture.offset, picture.size, crc))
            looks.append(seen or (0, 0, 0))
    return found._replace(
        places=np.array(places, np.int64).reshape(-1, 3), looks=np.array(looks, np.int64).reshape(-1, 3)
    )


def _chosen(record: _Record, shard: Shard) -> list[tuple[Placed, Look | None, int]]:
    """The pictures of a record: one, if it has a label; of several the one that is called by the key and a suffix."""
    labeled = record.label is not None or record.told.known_class is not None
    if not labeled or len(record.pictures) < 2:
        return record.pictures
    plain = [one for one in record.pictures if one[0].path == record.key + _ending(one[0].path)]
    if len(plain) != 1:
        names = " and ".join(printable(one[0].path) for one in record.pictures[:2])
        raise InputError(f"{shard.place}: {names} have one label; which of them is meant cannot be told")
    return plain


def _ending(path: str) -> str:
    return path[len(path) - len(suffix(path)) :]


def _records(shard: Shard, path: Path) -> Iterator[_Record]:
    record: _Record | None = None
    try:
        for member in Tar(path).placed():
            key, kind = _key(member.path)
            if record is None or record.key != key:
                if record is not None:
                    yield record
                record = _Record(key)
            if is_candidate(member.path):
                content = member.content()
                record.pictures.append((member, look(lambda content=content: content), zlib.crc32(content)))
            elif kind in ("cls", "json") and not key.rpartition("/")[2].startswith("."):
                _tell(record, kind, member)
    except MemberError as error:
        raise InputError(f"{shard.place}: {error}") from error
    except InputError as error:
        raise InputError(str(error).replace(str(path), shard.place)) from error
    if record is not None:
        yield record


def _key(path: str) -> tuple[str, str]:
    """What belongs together has one key: the path up to the first dot of the name. Behind it stands the kind."""
    folder, slash, name = path.rpartition("/")
    stem, _, kind = name.partition(".")
    return folder + slash + stem, kind.lower()


def _tell(record: _Record, kind: str, member: Placed) -> None:
    where = printable(member.path)
    if member.size > _MOST_TOLD:
        raise MemberError(f"{where} is too large for a label ({member.size:,} bytes)")
    try:
        text = member.content().decode("utf-8-sig")
        if kind == "cls":
            record.label = text.strip() or None
            return
        value = json.loads(text)
        if isinstance(value, dict):
            record.told = _Told.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        raise MemberError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (ValueError, RecursionError):
        raise MemberError(f"{where} is no {'JSON' if kind == 'json' else 'text'} in UTF-8") from None
