"""What people hand to `predict`, picture by picture: files, folders, archives, bytes, arrays, stacks, iterators.

Nothing is read before it is its turn, so a generator or a folder of any length costs no memory.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convlens.base.errors import InputError
from convlens.data import Images
from convlens.data.formats.containers import open_container
from convlens.data.images import as_uint8
from convlens.data.labels import on_cpu
from convlens.data.naming import printable
from convlens.data.suffixes import why_unreadable

_LARGEST = 256 << 20  # bytes of one encoded picture
_ARCHIVES = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".gz", ".bz2", ".xz")
_TAKEN = "a path, a Pillow image, bytes, an open file, an array, or several of these"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Item:
    """One picture that is to be predicted.

    picture: what `Preprocess.prepare` takes, or why there is none.
    name: what messages call it. path: where it lies, if it is a file.
    """

    picture: Any
    name: str
    path: str | None = None

    @property
    def is_file(self) -> bool:
        """Whether it comes encoded: then it may be damaged without anybody's fault."""
        return not isinstance(self.picture, np.ndarray)


def pictures(given: Any, channels: int, say: Say) -> tuple[bool, Iterator[Item]]:
    """Whether it is several pictures (even if of one), and these in order.

    given: see `predictions.stream`. channels: of the network's input; tells a color picture from three gray ones.
    say: is told what was guessed about the axes of an array.
    Raises `InputError` for what is no picture, at once or when its turn comes.
    """
    if given is None:
        raise InputError(f"there is no picture: give {_TAKEN}")
    if isinstance(given, Images):
        return True, (Item(picture, f"picture {k}") for k, picture in enumerate(given.pixels))
    if isinstance(given, (str, os.PathLike)):
        return _at_path(given)
    if isinstance(given, (bytes, bytearray, memoryview)):
        return False, iter([Item(bytes(given), "the picture")])
    if isinstance(given, Image.Image):
        return False, iter([Item(given, "the picture")])
    if hasattr(given, "read"):
        return False, iter([_from_file(given)])
    if isinstance(given, Mapping):
        raise InputError(f"a {type(given).__name__} is no picture: give its values; taken are {_TAKEN}")
    if hasattr(given, "__array__") or hasattr(given, "__array_interface__") or hasattr(given, "detach"):
        return _from_array(given, channels, say)
    if isinstance(given, Iterable):
        return True, _from_several(given, channels, say)
    raise InputError(f"{given!r:.80} is no picture: give {_TAKEN}")


def _from_several(given: Iterable[Any], channels: int, say: Say) -> Iterator[Item]:
    for index, one in enumerate(given):
        name = f"picture {index}"
        try:
            if isinstance(one, tuple) and len(one) == 2 and isinstance(one[1], (int, np.integer)):
                raise InputError("a pair, of a picture and its label as it seems: give the pictures alone")
            if isinstance(one, (int, float)):
                raise InputError(f"{one!r} is a number; make an array of nested lists of numbers")
            several, items = pictures(one, channels, say)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        for inner in items:
            numbered = inner.path is None and not several
            yield Item(inner.picture, name if numbered else inner.name, inner.path)


def _at_path(given: Any) -> tuple[bool, Iterator[Item]]:
    path = os.fspath(given)
    path = os.fsdecode(path) if isinstance(path, bytes) else path
    name = printable(path)
    if "://" in path and not os.path.exists(path):
        return False, iter([_none(name, path, "addresses are not downloaded; save the picture first")])
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False, iter([Item(path, name, path)])  # opening it says why it cannot be
    if stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and path.lower().endswith(_ARCHIVES)):
        return True, _inside(Path(path))
    if not stat.S_ISREG(mode):
        return False, iter([_none(name, path, "no plain file; give the bytes, or - for stdin on the command line")])
    return False, iter([Item(path, name, path)])


def _inside(path: Path) -> Iterator[Item]:
    """The pictures of a folder, zip or tar, as training finds them."""
    name = printable(str(path))
    try:
        container = open_container(path)
        files = container.files()
        first = next(files, None)
        if first is None:
            kind = "folder" if path.is_dir() else "archive"
            yield Item(InputError(f"there are no image files in the {kind} {path}"), name, str(path))
            return
        for inside, content in chain([first], files):
            where = str(path / inside)
            try:
                blob = content()
            except InputError as error:
                blob = error
            yield Item(str(blob) if isinstance(blob, Path) else blob, printable(where), where)
    except InputError as error:
        yield Item(error, name, str(path))


def _none(name: str, path: str, why: str) -> Item:
    return Item(InputError(f"{name}: {why}"), name, path)


def _from_file(file: Any) -> Item:
    path = getattr(file, "name", None)
    path = path if isinstance(path, str) else None
    name = printable(path) if path else "the picture"
    if hasattr(file, "encoding"):
        raise InputError(f"{name}: opened as text; open it with mode 'rb'")
    with contextlib.suppress(OSError, ValueError, AttributeError):  # a pipe has no beginning to go back to
        file.seek(0)
    try:
        content = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: cannot be read ({error})") from None
    if not isinstance(content, (bytes, bytearray)):
        raise InputError(f"{name}: reading it gives {type(content).__name__}, not bytes")
    if len(content) > _LARGEST:
        return Item(InputError(f"{name}: refused, more than {_LARGEST:,} bytes"), name, path)
    return Item(bytes(content), name, path)


def _from_array(given: Any, channels: int, say: Say) -> tuple[bool, Iterator[Item]]:
    try:
        array = np.asarray(on_cpu(given) if hasattr(given, "detach") else given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"it cannot be read as an array of pixels ({' '.join(str(error).split())})") from None
    if array.dtype.kind in "OU" and array.ndim == 1:  # paths, or pictures of several sizes
        return True, _from_several(array.tolist(), channels, say)
    if array.shape == (0,):
        return True, iter(())
    several, axes = _axes(array.shape, channels)
    if axes.endswith("CHW"):
        if array.shape[-3] > 1:
            say(f"an array of shape {list(array.shape)} is taken as [{', '.join(axes)}]: channels before rows")
        array = np.moveaxis(array, -3, -1)
    # all together: the scale of floating-point pixels is one for a stack
    pixels = as_uint8(array, "the pictures" if several else "the picture")
    if not several:
        return False, iter([Item(pixels, "the picture")])
    return True, (Item(one, f"picture {k}") for k, one in enumerate(pixels))


def _axes(shape: tuple[int, ...], channels: int) -> tuple[bool, str]:
    """Whether it is several pictures, and the meaning of the axes. Refuses what could mean two things."""
    last = len(shape) > 2 and shape[-1] in (1, 2, 3, 4)
    first = len(shape) > 2 and shape[-3] in (1, 3) and not last
    if len(shape) == 2:
        return False, "HW"
    if len(shape) == 3:
        if last:
            return False, "HWC"
        if (shape[0] == 3 and channels == 1) or shape[0] == 4:
            raise InputError(
                f"an array of shape {list(shape)} may be one picture [C, H, W] or {shape[0]} gray ones [N, H, W]; "
                "put channels last, as in x.transpose(1, 2, 0), or give the gray ones one, as in x[..., None]"
            )
        return (False, "CHW") if first else (True, "NHW")
    if len(shape) == 4 and (last or first):
        return True, "NHWC" if last else "NCHW"
    raise InputError(
        f"an array of shape {list(shape)} is no picture: [H, W], [H, W, C] or [C, H, W] is one, [N, H, W], "
        "[N, H, W, C] or [N, C, H, W] are several"
    )


def reason(item: Item, error: InputError) -> str:
    """Why a picture could not be read; of a format that is not read, what to do about it."""
    why = why_unreadable(item.path) if item.path is not None and not isinstance(item.picture, InputError) else None
    return str(error) if why is None or not os.path.exists(item.path or "") else f"{item.name}: {why}"
