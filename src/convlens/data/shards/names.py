"""What stands for shards: `set-{0000..0099}.tar`, a folder of tars, an address."""

import itertools
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from convlens.base import files
from convlens.base.errors import InputError
from convlens.data.naming import natural

MANIFEST = "shards.json"
"""A file beside shards that `convlens data shard` wrote: which there are."""

UNFINISHED = ".unfinished.json"
"""A file in a folder into which shards are still to be written: what is to be written."""

_MOST = 100_000  # shards
_MOST_BYTES = 1 << 26  # of a manifest
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d{1,18})\.\.(\d{1,18})")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass(frozen=True)
class Shard:
    """A tar. place: a path or an address. name: of the file alone."""

    place: str

    @property
    def name(self) -> str:
        return self.place.partition("?")[0].rstrip("/").rpartition("/")[2]

    @property
    def stem(self) -> str:
        return self.name.removesuffix(".tar")


class Entry(BaseModel):
    """A row of the manifest: of a shard, its name, its size in bytes, how many pictures it has."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    bytes: int
    images: int


class Manifest(BaseModel):
    """The file beside the shards."""

    model_config = ConfigDict(extra="forbid", strict=True)

    shards: list[Entry]


def is_address(text: str) -> bool:
    """Whether it begins as `https://` or `s3://` does."""
    return _ADDRESS.match(text) is not None


def is_pattern(text: str) -> bool:
    """Whether a text can only name shards: it is an address, or has braces and is no path."""
    return is_address(text) or (_BRACES.search(text) is not None and not Path(text).expanduser().exists())


def named(text: str) -> list[Shard] | None:
    """The shards that a text stands for, in the order in which it names them; None if it stands for something else.

    Braces are those of a shell: `{0000..0099}` counts, with as many digits; `{train,test}` is each of them. A folder
    stands for the tars in it. Raises `InputError` for braces that cannot be read, and for two shards of one name.
    """
    if is_pattern(text):
        places = expanded(text)
    else:
        path = Path(text).expanduser()
        if not path.is_dir() or not (found := _tars(path)):
            return None
        places = [str(path / name) for name in found]
    if not is_address(text):
        places = [str(Path(place).expanduser()) for place in places]
    shards = [Shard(place) for place in places]
    if twice := [name for name, count in Counter(shard.name for shard in shards).items() if count > 1]:
        raise InputError(f"{text}: two shards are called {twice[0]}; give each its own name")
    return shards


def name_of(shards: list[Shard]) -> str:
    """What a set of shards is called: as the folder that they lie in."""
    return shards[0].place.rpartition("/")[0].rstrip("/").rpartition("/")[2] or "shards"


def expanded(text: str) -> list[str]:
    """A text with its braces written out."""
    pieces = _BRACES.split(text)  # text and what stands in braces alternate
    choices = [[piece] if k % 2 == 0 else _choices(piece, text) for k, piece in enumerate(pieces)]
    count = 1
    for choice in choices:
        count *= len(choice)
        if count > _MOST:
            raise InputError(f"{text}: more than {_MOST:,} shards; give fewer")
    return ["".join(parts) for parts in itertools.product(*choices)]


def _choices(inside: str, text: str) -> list[str]:
    if found := _RANGE.fullmatch(inside):
        first, last = int(found[1]), int(found[2])
        if not first <= last < first + _MOST:
            raise InputError(f"{text}: {{{inside}}} must count upwards, to at most {_MOST:,} shards")
        return [f"{number:0{len(found[1])}d}" for number in range(first, last + 1)]
    if "," in inside:
        return inside.split(",")
    raise InputError(f"{text}: {{{inside}}} is neither numbers, as in {{0000..0099}}, nor words, as in {{train,test}}")


def _tars(folder: Path) -> list[str]:
    """The tars in a folder that holds nothing else but, perhaps, a manifest; then all that this names must be there."""
    with files.explained("list", folder):
        found = [path for path in folder.iterdir() if not path.name.startswith(".")]
    names = [path.name for path in found if path.name.endswith(".tar") and path.is_file()]
    others = {path.name for path in found} - {*names, MANIFEST}
    if not names or others:
        return []
    if (folder / UNFINISHED).exists():
        raise InputError(f"{folder} is unfinished: give `convlens data shard` again, which goes on with it")
    if (folder / MANIFEST).exists():
        known = read_manifest(folder).shards
        for entry in known:
            path = folder / entry.name
            if entry.name not in names:
                raise InputError(f"{path} is missing: {MANIFEST} beside it names it; copy it again")
            if path.stat().st_size != entry.bytes:
                size = f"{path.stat().st_size:,} bytes where {MANIFEST} beside it says {entry.bytes:,}"
                raise InputError(f"{path} has {size}: copy it again")
        return [entry.name for entry in known]
    return sorted(names, key=natural)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder. Raises `InputError` for one that is missing or damaged."""
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(files.read_bytes(path, _MOST_BYTES))
    except ValidationError:
        raise InputError(f"{path} is damaged: copy it again, or remove it") from None
