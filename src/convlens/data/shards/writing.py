"""Writes a set of pictures as shards: each in its place drawn once for all, several at a time, the same bytes again."""

import io
import json
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convlens.base import files
from convlens.base.errors import InputError
from convlens.base.hardware import usable_cores
from convlens.base.seeds import generator
from convlens.data.formats.listing import Listing
from convlens.data.formats.members import Blob
from convlens.data.naming import printable
from convlens.data.shards.names import MANIFEST, UNFINISHED, Entry, Manifest
from convlens.data.source import Progress
from convlens.data.suffixes import suffix

DEFAULT_SIZE = 256_000_000
_BLOCK, _RECORD = tarfile.BLOCKSIZE, tarfile.RECORDSIZE
_WIDTH = 4  # digits of a shard's number


@dataclass(frozen=True)
class Item:
    """A picture of a shard. key: its name there. told: its .json."""

    path: str
    size: int
    key: str
    told: bytes


@dataclass(frozen=True)
class Written:
    """What was written. kept: shards that an earlier call had made."""

    manifest: Manifest
    kept: int


def write_shards(
    listing: Listing, out: Path, size: int = DEFAULT_SIZE, seed: int = 0, on_progress: Progress | None = None
) -> Written:
    """Writes the pictures of a listing, as they are, into tars of about `size` bytes in the folder `out`.

    Their order is drawn from `seed`, so that each shard is a sample of the whole. Called again after it was stopped it
    goes on; a shard under its name is complete. The same pictures give the same bytes.

    Raises:
        InputError: `out` holds something else, or shards of other pictures; a picture has gone or changed its size;
            the disk is full; the pictures lie in a packed tar, which has no order but its own.
    """
    shards = _planned(listing, size, seed)
    read = listing.container.reader()
    manifest = Manifest(
        shards=[Entry(name=name, bytes=_bytes_of(items), images=len(items)) for name, items in shards.items()]
    )
    files.make_folder(out)
    with files.FolderLock(out, "another process is writing into it"):
        files.remove_temporaries(out)
        _begin(out, {"pictures": listing.container.identity(), "seed": seed, "shards": manifest.model_dump()["shards"]})
        missing = [entry for entry in manifest.shards if not _is_there(out / entry.name, entry.bytes)]
        done = len(listing) - sum(entry.images for entry in missing)
        with ThreadPoolExecutor(usable_cores(), thread_name_prefix="shard") as pool:
            work = [pool.submit(_write, out / entry.name, shards[entry.name], read) for entry in missing]
            try:
                for entry, one in zip(missing, work, strict=True):
                    one.result()
                    done += entry.images
                    if on_progress:
                        on_progress(done, len(listing))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        files.write_json(out / MANIFEST, manifest.model_dump())
        (out / UNFINISHED).unlink()
    (out / ".lock").unlink(missing_ok=True)
    return Written(manifest, len(manifest.shards) - len(missing))


def _planned(listing: Listing, size: int, seed: int) -> dict[str, list[Item]]:
    """The pictures of each shard, by its name."""
    sizes, parts = listing.container.sizes(), {part: items for part, items in listing.parts.items() if items}
    shards: dict[str, list[Item]] = {}
    for part, items in parts.items():
        prefix, room, count = "set" if len(parts) == 1 else part, 0, 0
        groups: list[list[Item]] = []
        for place in generator(seed, "shards", part).permutation(len(items)).tolist():
            path, label = items[place]
            told = {"class": listing.classes[label], "label": label, "part": part, "path": path}
            text = json.dumps(told, ensure_ascii=False).encode("utf-8", "surrogateescape")
            item = Item(path, sizes[path], f"{count:09d}", text)
            if not groups or _room(item) > room:
                groups.append([])
                room = size - _RECORD
            groups[-1].append(item)
            room, count = room - _room(item), count + 1
        shards |= {f"{prefix}-{number:0{_WIDTH}d}.tar": group for number, group in enumerate(groups)}
    return shards


def _room(item: Item) -> int:
    """Bytes in a tar: two headers, two contents in whole blocks."""
    return 2 * _BLOCK + _whole(item.size, _BLOCK) + _whole(len(item.told), _BLOCK)


def _bytes_of(items: list[Item]) -> int:
    """Of the tar: with two empty blocks at its end, in whole records."""
    return _whole(sum(map(_room, items)) + 2 * _BLOCK, _RECORD)


def _whole(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def _begin(out: Path, plan: dict[str, Any]) -> None:
    """Notes what is to be written. Raises `InputError` where the folder holds anything else."""
    there = {path.name for path in out.iterdir()} - {".lock", UNFINISHED}
    named = {entry["name"] for entry in plan["shards"]}
    begun = json.loads(files.read_text(out / UNFINISHED, 1 << 28)) if (out / UNFINISHED).exists() else None
    if begun is None and there:
        done = " (it is complete)" if MANIFEST in there else ""
        raise InputError(f"{out} is not empty{done}: remove it, or choose another folder")
    if begun is not None and (begun != plan or there - named - {MANIFEST}):
        raise InputError(
            f"{out} was begun with other pictures, another --size or --seed: remove it, or choose another folder"
        )
    files.write_json(out / UNFINISHED, plan)


def _is_there(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size == size


def _write(path: Path, items: list[Item], read: Callable[[str], Blob]) -> None:
    with files.draft(path) as place, open(place, "wb") as out:
        for item in items:
            blob = read(item.path)
            content = blob if isinstance(blob, bytes) else files.read_bytes(blob, item.size)
            if len(content) != item.size:
                raise InputError(f"{printable(item.path)} has changed while it was read: begin again")
            _add(out, item.key + suffix(item.path), content)
            _add(out, f"{item.key}.json", item.told)
        out.write(bytes(_bytes_of(items) - out.tell()))


def _add(out: io.BufferedWriter, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    out.write(member.tobuf(tarfile.USTAR_FORMAT))
    out.write(content)
    out.write(bytes(-len(content) % _BLOCK))
