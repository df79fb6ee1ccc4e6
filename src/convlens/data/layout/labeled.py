"""The layout of pictures whose classes stand in a table, and which of table and folders counts."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from convlens.base.errors import InputError
from convlens.data.layout.classes import Assigned, Layout, number
from convlens.data.layout.parts import part_of
from convlens.data.layout.tables import Places, Row, Table, read_table, tables_in
from convlens.data.layout.tree import lay_out
from convlens.data.naming import natural, printable


def lay_out_by(table: Path, paths: list[str], given: list[str] | None, *, judged: bool = False) -> Layout:
    """The layout of the pictures that a table of labels names, where the user gave the table.

    judged: whether the pictures are only to be judged: then the table need have no part for training.
    Raises `InputError` for a file that is no such table, and as `tree.lay_out` does.
    """
    read = read_table(table.name, table, paths)
    if read is None:
        raise InputError(
            f"{table}: no columns of paths and labels; name them in the first row, such as path,label or "
            "path,label,split"
        )
    return _by_tables([read], paths, str(table), given, alone=True, judged=judged)


def lay_out_labeled(
    paths: list[str], place: Path, tables: Mapping[str, bytes | Path], given: list[str] | None
) -> Layout:
    """The layout of the pictures of a folder or archive, by a table of labels or by their folders and names.

    place: the folder or archive. tables: files in it that may be tables. One beside the pictures counts where the
    folders say nothing, or say the same and less.
    Raises `InputError` where the two differ, and as `tree.lay_out` does.
    """
    title = str(place)
    found = [read for read in tables_in(tables, paths) if _covers(read, paths)]
    if any(read.part == "train" for read in found):
        found = [read for read in found if read.part]
    if not found:
        return lay_out(paths, title, given)
    unnamed = [read.name for read in found if read.part is None]
    if len(found) > 1 and (unnamed or len({read.part for read in found}) < len(found)):
        names = " and ".join(read.name for read in found[:3])
        raise InputError(f"{title}: {names} are all tables of labels; give the one that counts as --data")
    try:
        by_folder = lay_out(paths, title, given)
    except InputError:
        return _by_tables(found, paths, title, given)
    labels = _labels(found, paths)
    classes = {path: by_folder.classes[label] for items in by_folder.parts.values() for path, label in items}
    pairs = {(labels[path], name) for path, name in classes.items() if path in labels}
    if len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}):  # the same, perhaps in numbers
        more = len(labels) > len(classes) or any(row.part for read in found for row in read.rows)
        if more and classes.keys() <= labels.keys() and all(a == b for a, b in pairs):
            return _by_tables(found, paths, title, given)
        rows = sum(len(read.rows) for read in found)
        agrees = (
            f"{' and '.join(read.name for read in found)}: the same classes as the folders or names ({rows:,} rows)"
        )
        return replace(by_folder, notes=[*by_folder.notes, agrees])
    path = next(path for path, name in classes.items() if path in labels and labels[path] != name)
    take = "give it as --data" if place.is_dir() else "unpack both and give the table as --data"
    raise InputError(
        f"{title}: {found[0].name} and the folders or names of the pictures say different things, such as "
        f"'{printable(labels[path])}' and '{printable(classes[path])}' of {printable(path)}; to take the table {take}, "
        "to take the folders move it away"
    )


def _covers(table: Table, paths: list[str]) -> bool:
    """Whether most rows of a table are pictures that are there."""
    places = Places(paths)
    return 2 * sum(bool(places.of(row.path)) for row in table.rows) > len(table.rows)


def _labels(tables: list[Table], paths: list[str]) -> dict[str, str]:
    places = Places(paths)
    return {path: row.label for table in tables for row in table.rows for path in places.of(row.path)[:1]}


def _by_tables(
    tables: list[Table], paths: list[str], title: str, given: list[str] | None, *, alone: bool = False,
    judged: bool = False,
) -> Layout:  # fmt: skip
    """alone: whether pictures that are not in the table are none of the set, rather than left out of it."""
    places, notes = Places(paths), [table.said for table in tables]
    left_out: list[tuple[str, str]] = []
    found: dict[str, tuple[str, Row]] = {}
    for table in tables:
        missing = []
        for row in table.rows:
            path = _path(table, row, places)
            if path is None:
                missing.append(row.path)
            elif not row.label:
                left_out.append((path, f"no label in {table.name}"))
            elif path in found and found[path][1].label != row.label:
                raise InputError(
                    f"{title}: {printable(path)} has two labels, '{printable(found[path][1].label)}' and "
                    f"'{printable(row.label)}' ({table.name}, line {row.line}); one class per picture can be learnt"
                )
            else:
                found[path] = (row.part or table.part or "train", row)
        if len(missing) == len(table.rows):
            raise InputError(
                f"{title}: none of the {len(missing):,} files that {table.name} names is there, such as "
                f"{printable(missing[0])}; put the table beside the pictures"
                if missing
                else f"{title}: it has no rows"
            )
        if missing:
            left_out += [(path, f"named in {table.name}, but not there") for path in missing]
            files = "1 file is" if len(missing) == 1 else f"{len(missing):,} files are"
            notes.append(f"{files} named in {table.name} but not there, such as {printable(missing[0])}")
    _say_rest([*found], paths, tables, notes, left_out, alone=alone)
    assigned: Assigned = [(part, row.label, path) for path, (part, row) in found.items()]
    return number_or_judge(assigned, title, given, judged=judged, notes=notes, left_out=left_out)


def number_or_judge(
    assigned: Assigned, title: str, given: list[str] | None, *, judged: bool, notes: list[str] | None = None,
    left_out: list[tuple[str, str]] | None = None,
) -> Layout:  # fmt: skip
    """`classes.number`; where the pictures are only to be judged, classes and a training part may be missing."""
    notes, left_out = notes or [], left_out or []
    return _judged(assigned, notes, left_out) if judged else number(assigned, title, notes, left_out, given)


def _say_rest(
    found: list[str], paths: list[str], tables: list[Table], notes: list[str], left_out: list[tuple[str, str]], *,
    alone: bool,
) -> None:  # fmt: skip
    if unlabeled := sum(why.startswith("no label in") for _, why in left_out):
        notes.append(f"{unlabeled:,} pictures without a label left out")
    known = {*found, *(path for path, _ in left_out)}
    rest = [path for path in paths if path not in known]
    if rest:
        names = " and ".join(table.name for table in tables)
        if not alone:
            left_out += [(path, f"not in {names}") for path in rest]
        notes.append(f"{len(rest):,} pictures that are not in {names} left out, such as {printable(rest[0])}")


def _judged(assigned: Assigned, notes: list[str], left_out: list[tuple[str, str]]) -> Layout:
    """Of pictures that are only to be judged: the test part where there is one, else all."""
    part = "test" if any(part == "test" for part, _, _ in assigned) else "train"
    chosen = [(name, path) for p, name, path in assigned if part == "train" or p == "test"]
    classes = sorted({name for name, _ in chosen}, key=natural)
    label = {name: k for k, name in enumerate(classes)}
    items = sorted(((path, label[name]) for name, path in chosen), key=lambda item: (item[1], natural(item[0])))
    return Layout(tuple(printable(name) for name in classes), {part: items}, notes, left_out)


def _path(table: Table, row: Row, places: Places) -> str | None:
    """The picture that a row means, None if it is not there. Raises `InputError` if it could be several."""
    could = places.of(row.path)
    part = row.part or table.part
    if len(could) > 1 and part is not None:
        could = [path for path in could if part in {part_of(name) for name in path.split("/")[:-1]}] or could
    if len(could) > 1:
        raise InputError(
            f"{table.name}, line {row.line}: '{printable(row.path)}' could be {printable(could[0])} or "
            f"{printable(could[1])}; write more of the path"
        )
    return could[0] if could else None
