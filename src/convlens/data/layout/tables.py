"""Tables of labels: `path,label[,split]` in a CSV file, as people and programs write it."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from convlens.base import files as disk
from convlens.base.errors import InputError
from convlens.data.layout.parts import part_and_rest, part_of
from convlens.data.naming import printable
from convlens.data.suffixes import PICTURES, suffix

_LARGEST = 1 << 28  # bytes of a table
_LONGEST_PATH, _LONGEST_LABEL = 4096, 255  # characters: of a path on most systems, of the name of a folder
_PATHS = """
    filepath filepaths path paths filename filenames file files imagepath imagepaths imagefile imagename relativepath
    image images img imgpath imgname picture photo imageid imageids idcode fileid id name
""".split()  # noqa: SIM905
_LABELS = """
    label labels class classes classname labelname categoryname category target targets species breed diagnosis tag y
""".split()  # noqa: SIM905
_NUMBERS = ["classid", "labelid", "categoryid", "classindex", "labelindex", "targetid"]
_SPLITS = ["split", "dataset", "set", "subset", "part", "partition", "phase", "usage"]
"""Headings, in the order in which they are preferred, without blanks and marks."""


@dataclass(frozen=True)
class Row:
    """line: its number in the file, from 1. path: as it is written. part: None where the table does not say."""

    line: int
    path: str
    label: str
    part: str | None


@dataclass(frozen=True)
class Table:
    """name: of the file. part: the part that the file's name speaks of, as train.csv does. said: how it was read."""

    name: str
    part: str | None
    rows: list[Row]
    said: str


def read_table(name: str, content: bytes | Path, known: Iterable[str]) -> Table | None:
    """The table of labels in a file; None if it is none.

    content: of the file of that name, or where it is. known: the paths of the pictures; only a table without headings
    needs them, to find its column of paths.
    Raises `InputError` for a file that cannot be read, has no rows, or says the class in two columns that differ.
    """
    where_it_is = str(content) if isinstance(content, Path) else name
    cells = _cells(content if isinstance(content, bytes) else _read(content), where_it_is)
    headings = [_plain(text) for text in cells[0][1]] if cells else []
    name, width = printable(name), len(headings)
    where = _first(headings, _PATHS)
    if where is None:
        return _without_headings(name, cells, known)
    labels = [k for heading in (*_LABELS, *_NUMBERS) for k in range(width) if headings[k] == heading and k != where]
    body = [(line, [*row, *[""] * (width - len(row))]) for line, row in cells[1:]]
    split = _first(headings, _SPLITS)
    if split is not None and (split in (where, *labels) or not _are_parts(row[split] for _, row in body)):
        split = None
    titles = [printable(text.strip()) for text in cells[0][1]]
    if labels:
        _check_same(name, titles, labels, body)
        found = [row[labels[0]].strip() for _, row in body]
        said = f"pictures by '{_short(titles[where])}', classes by '{_short(titles[labels[0]])}'"
    else:
        hot = _one_hot(titles, [k for k in range(width) if k not in (where, split)], body)
        if hot is None:
            return None
        found, said = hot, f"pictures by '{_short(titles[where])}', classes by the columns with a 1"
    if not body:
        raise InputError(f"{where_it_is}: headings but no rows; add a row for each picture")
    if split is not None:
        said += f", parts by '{_short(titles[split])}'"
    return _table(
        name, [(line, row[where], row[split] if split is not None else "") for line, row in body], found, said
    )


def _table(name: str, rows: Sequence[tuple[int, str, str]], labels: Sequence[str], said: str) -> Table:
    """rows: (line, path, part as it is written)."""
    for (line, path, _), label in zip(rows, labels, strict=True):
        for text, longest, what in ((path, _LONGEST_PATH, "path"), (label, _LONGEST_LABEL, "label")):
            if len(text) > longest:
                raise InputError(
                    f"{name}, line {line}: a {what} of {len(text):,} characters; at most {longest:,} count"
                )
    part, rest = part_and_rest(re.sub(r"\.[^.]*$", "", name))
    plain = set(rest.split()) <= {"label", "labels", "annotation", "annotations", "list", "metadata", "truth", "ground"}
    if labels and all(re.fullmatch(r"\d+\.0+", text) for text in labels if text):  # as programs write whole numbers
        labels = [text.partition(".")[0] for text in labels]
    return Table(
        name, part if plain else None,
        [
            Row(line, path.strip(), label, part_of(split))
            for (line, path, split), label in zip(rows, labels, strict=True) if path.strip()
        ],
        f"{name}: {said}",
    )  # fmt: skip


def _read(path: Path) -> bytes:
    with disk.open_plain(path) as file, disk.explained("read", path):
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise InputError(f"{path}: more than {_LARGEST:,} bytes; give a smaller table")
    return content


def _cells(content: bytes, name: str) -> list[tuple[int, list[str]]]:
    """(number of the line, cells) of each row that is not empty. name: of the file, for messages."""
    try:
        wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
        return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InputError(f"{name}: no table ({error}); give one with a row path,label for each picture") from None


def _delimiter(text: str) -> str:
    """What stands between the cells: the mark that gives most columns, as many in each of the first rows."""
    head = text[: 1 << 16].splitlines()[:20]
    best, columns = ",", 1
    for mark in (",", ";", "\t", "|", " "):
        widths = {len(row) for row in csv.reader(head, delimiter=mark) if row}
        if len(widths) == 1 and (width := widths.pop()) > columns:
            best, columns = mark, width
    return best


def _short(title: str) -> str:
    return title if len(title) <= 60 else f"{title[:59]}…"


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.lower())


def _first(headings: Sequence[str], wanted: Sequence[str]) -> int | None:
    return next((headings.index(heading) for heading in wanted if heading in headings), None)


def _are_parts(texts: Iterable[str]) -> bool:
    return all(part_of(text) for text in {text.strip() for text in texts} if text)


def _check_same(name: str, titles: list[str], labels: list[int], body: list[tuple[int, list[str]]]) -> None:
    """Columns that could all be the class must say the same, as number and name do."""
    first = labels[0]
    for other in labels[1:]:
        pairs = {(row[first].strip(), row[other].strip()) for _, row in body}
        if not len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}):
            raise InputError(
                f"{name}: both '{_short(titles[first])}' and '{_short(titles[other])}' could be the class, "
                "and they differ; leave one of the columns away"
            )


def _one_hot(titles: list[str], columns: list[int], body: list[tuple[int, list[str]]]) -> list[str] | None:
    """The titles of the columns with a 1, where each row has one 1 and else 0."""
    found = []
    for _, row in body:
        values = [row[k].strip() for k in columns]
        ones = [k for k, value in zip(columns, values, strict=True) if value in ("1", "1.0")]
        if len(columns) < 2 or len(ones) != 1 or not all(value in ("0", "0.0", "1", "1.0") for value in values):
            return None
        found.append(titles[ones[0]])
    return found


def _without_headings(name: str, cells: list[tuple[int, list[str]]], known: Iterable[str]) -> Table | None:
    """A table whose first row is a picture already: path, label, and perhaps a part."""
    match = Places(known)
    for where in range(2):
        rows = [(line, row) for line, row in cells if len(row) > where]
        if not rows or len(rows[0][1]) not in (2, 3) or len({len(row) for _, row in rows}) != 1:
            continue
        if suffix(rows[0][1][where].strip()) not in PICTURES and not match.of(rows[0][1][where]):
            continue
        others = [k for k in range(len(rows[0][1])) if k != where]
        split = next((k for k in others if len(others) == 2 and _are_parts(row[k] for _, row in rows)), None)
        others = [k for k in others if k != split]
        if len(others) != 1:
            return None
        said = "no headings: path, label" + (", part" if split is not None else "")
        body = [(line, row[where], "" if split is None else row[split]) for line, row in rows]
        return _table(name, body, [row[others[0]].strip() for _, row in rows], said)
    return None


class Places:
    """Finds pictures by what tables call them: a path, its end, a name with or without its ending.

    Folders in which all pictures lie, and folders of another machine that are written before the known ones, count not.
    """

    def __init__(self, paths: Iterable[str]):
        self._by_stem: dict[str, list[str]] = {}
        folders: list[str] | None = None
        for path in paths:
            *above, name = path.split("/")
            self._by_stem.setdefault(_stem(name), []).append(path)
            folders = above if folders is None else folders[: _common(folders[::-1], above[::-1])]
        self._top = len(folders or [])

    def of(self, written: str) -> list[str]:
        """The paths that can be meant, those that share most folders with what is written. [] if there is none."""
        parts = [part for part in written.strip().replace("\\", "/").split("/") if part not in ("", ".")]
        if not parts:
            return []
        same = [
            path for path in {p: None for stem in (parts[-1], _stem(parts[-1])) for p in self._by_stem.get(stem, [])}
            if path.rpartition("/")[2] == parts[-1] or _stem(path.rpartition("/")[2]) == parts[-1]
        ]  # fmt: skip
        depth = {}
        for path in same:
            above = path.split("/")[:-1]
            shared = _common(above, parts[:-1])
            wanted = max(1, len(above) - self._top) if above else 0
            if shared >= min(wanted, len(parts) - 1):
                depth[path] = shared
        most = max(depth.values(), default=0)
        return [path for path, shared in depth.items() if shared == most]


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """How many folders two paths share, counted from their ends."""
    pairs = enumerate(zip(reversed(a), reversed(b), strict=False))
    return next((k for k, (x, y) in pairs if x != y), min(len(a), len(b)))


def tables_in(files: Mapping[str, bytes | Path], known: list[str]) -> Iterator[Table]:
    """The tables of labels beside all pictures, or in a folder around them, such as `archive/labels.csv`.

    files: those that may be tables, by path. known: the paths of the pictures.
    """
    inside = ""
    while True:
        for path in sorted(files):
            name = path.removeprefix(inside)
            if path.startswith(inside) and "/" not in name and "submission" not in name.lower():
                try:
                    table = read_table(name, files[path], known)
                except InputError:
                    continue  # it was only guessed to be one
                if table is not None:
                    yield table
        tops = {path.split("/", 1)[0] for path in known}
        if len(tops) != 1 or not all("/" in path for path in known):
            return
        inside, known = f"{inside}{tops.pop()}/", [path.split("/", 1)[1] for path in known]
