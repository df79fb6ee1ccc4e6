"""What a list of file paths says: which files are for training, validation and test, and of which class."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from convlens.base.errors import InputError
from convlens.data.layout import flat
from convlens.data.layout.classes import Assigned, Layout, number
from convlens.data.layout.parts import PARTS, is_generic, part_and_rest, part_of, without_part
from convlens.data.naming import listed, natural, printable

_MAY_BE_CLASS = "if it is a class, say so with --classes, else"


@dataclass
class _Folder:
    """depth: how many folders lie above what is in it."""

    name: str = ""
    depth: int = 0
    files: list[str] = field(default_factory=list)
    folders: "dict[str, _Folder]" = field(default_factory=dict)

    def all(self) -> list[str]:
        """The paths of the files in it and below."""
        paths, waiting = [], [self]
        while waiting:  # a loop, as folders may nest deeper than calls
            folder = waiting.pop()
            paths += folder.files
            waiting += list(folder.folders.values())[::-1]
        return paths

    def places(self) -> set[str]:
        """The paths of all files as they are called from here."""
        return {"/".join(path.split("/")[self.depth :]) for path in self.all()}


def _grown(paths: list[str]) -> _Folder:
    root = _Folder()
    for path in paths:
        *folders, _ = path.split("/")
        here = root
        for name in folders:
            here = here.folders.setdefault(name, _Folder(name, here.depth + 1))
        here.files.append(path)
    return root


def lay_out(paths: list[str], title: str, given: Iterable[str] | None = None) -> Layout:
    """Reads the layout from the paths of image files (with slashes, relative).

    title: what messages call the tree. given: the classes that count, in the order of their labels, where the user
    named them; folders of these names are never parts, and other classes are left out.

    Understood, below any number of single top folders: `class/file`; `train/class/file` beside `val/` and `test/`,
    these under any of their names (see `parts.part_of`), also doubled (`train/train/class`); `class/train/file`;
    `class_train/file`; `class/train_file` where the name of every file starts with train_, val_ or test_; and files
    without folders whose names say the class (see `flat`). Files deeper in a class folder belong to that class. What is
    left out is noted. A part is never a class.

    Raises `InputError` where none of that fits, where it fits in two ways, and as `classes.number` does.
    """
    if not paths:
        raise InputError(f"{title}: no images in it (such as .jpg or .png); put them in one folder per class")
    reader = _Reader(title, list(given or ()))
    assigned = reader.assigned(reader.without_copies(reader.below_top(_grown(paths))))
    return number(assigned, title, reader.notes, reader.left_out, reader.given)


class _Reader:
    """Reads a tree, and collects on the way what a person should know."""

    def __init__(self, title: str, given: list[str]):
        self.title, self.given, self._named = title, given, set(given)
        self.notes: list[str] = []
        self.left_out: list[tuple[str, str]] = []

    def refusal(self, why: str) -> InputError:
        return InputError(f"{self.title}: {why}")

    def leave_out(self, paths: list[str], why: str, said: str) -> None:
        """said: the note, after the number of images."""
        if paths:
            self.left_out += [(path, why) for path in paths]
            self.notes.append(f"{_images(len(paths))} {said}")

    def leave_out_loose(self, folder: _Folder, name: str = "") -> None:
        """The files that lie beside the class folders."""
        has = "has" if len(folder.files) == 1 else "have"
        said = f"in {printable(name)}/ {has} no class folder; left out"
        if not name and folder.files:
            said = f"outside the class folders left out, such as {printable(folder.files[0])}"
        self.leave_out(folder.files, "in no class folder" if name else "outside the class folders", said)

    def below_top(self, folder: _Folder) -> _Folder:
        """Below the folders that hold everything, except the one that must be the class or the part."""
        while len(folder.folders) == 1:
            inner = next(iter(folder.folders.values()))
            whole = len(inner.folders) > 1 or (len(inner.folders) == 1 and not inner.files)
            if not whole or inner.name in self._named or self._part(inner.name):
                break
            self.leave_out_loose(folder)
            folder = inner
        return folder

    def _part(self, name: str) -> str | None:
        return None if name in self._named else part_of(name)

    def without_copies(self, folder: _Folder) -> _Folder:
        """Without a folder that holds once more what lies beside it, as in `pets/cat`, `pets/dog`, `pets/pets/cat`."""
        for inner in [*folder.folders.values()]:
            twice = len(inner.folders) > 1 and inner.folders.keys() <= folder.folders.keys()
            if not twice or inner.name in inner.folders or self._part(inner.name):
                continue
            name = printable(inner.name)
            if not inner.places() <= folder.places():
                raise self.refusal(
                    f"{name}/ holds {listed(inner.folders)} again, with other images than those beside it; merge them, "
                    "or move one set out of the folder"
                )
            self.leave_out(inner.all(), f"a copy in {name}/", f"in {name}/, a copy of what lies beside it, left out")
            del folder.folders[inner.name]
        return folder

    def assigned(self, base: _Folder) -> Assigned:
        """(part, class, path) of every file that is used."""
        if parts := self._part_folders(base):
            return self._by_part(base, parts)
        alone = not base.folders or (len(base.folders) == 1 and not self.given)
        if alone and (found := self._by_file_name(base)):
            return found
        self.leave_out_loose(base)
        return (
            self._by_class_and_part(base) or self._by_inner_folder(base) or self._by_prefix(base)
            or [("train", name, path) for name, folder in base.folders.items() for path in folder.all()]
        )  # fmt: skip

    def _part_folders(self, base: _Folder) -> dict[str, str]:
        """name -> part of the folders that are parts: `train`, `test`, or such as `pets_train`, `pets_test`."""
        spoken = {name: part_and_rest(name) for name in base.folders if name not in self._named}
        spoken = {name: said for name, said in spoken.items() if said[0]}
        if plain := {name: part for name, (part, rest) in spoken.items() if part and not rest}:
            return plain
        kinds, rests = ({said[k] for said in spoken.values()} for k in (0, 1))
        if len(rests) == 1 and len(kinds) > 1 and "train" in kinds:
            return {name: part for name, (part, _) in spoken.items() if part}
        return {}

    def _by_part(self, base: _Folder, parts: dict[str, str]) -> Assigned:
        train = [self._inside(base.folders[name], set()) for name, part in parts.items() if part == "train"]
        known = {name for folder in train for name in folder.folders}
        inner = {name: self._inside(base.folders[name], known) for name in parts}
        others = sorted(base.folders.keys() - parts.keys(), key=natural)
        if not known:
            return self._without_train_classes(base, parts, inner, others)
        for name in others:
            if name in known or known & base.folders[name].folders.keys():
                raise self.refusal(
                    f"beside {listed(parts)} there is {printable(name)}/; keep either only train/, val/ and test/, "
                    "or only class folders"
                )
            name, paths = printable(name), base.folders[name].all()
            self.leave_out(paths, f"in {name}/, no part of the set", f"in {name}/, beside {listed(parts)}, left out")
        self.leave_out_loose(base)
        return self._from_parts(parts, inner)

    def _from_parts(self, parts: dict[str, str], inner: dict[str, _Folder]) -> Assigned:
        for name in sorted(parts, key=natural):
            self.leave_out_loose(inner[name], name)
        for part in PARTS:
            same = [name for name in parts if parts[name] == part and inner[name].folders]
            if len(same) > 1:
                self.notes.append(f"{listed(same)} are taken together as the part '{part}'")
        return [
            (parts[part], name, path)
            for part in parts for name, folder in inner[part].folders.items() for path in folder.all()
        ]  # fmt: skip

    def _inside(self, folder: _Folder, known: set[str]) -> _Folder:
        """Below doubled folders in a part, `train/train/class` or `train/images/class`. known: classes in training."""
        while len(folder.folders) == 1:
            inner = next(iter(folder.folders.values()))
            again = inner.name == folder.name or self._part(inner.name) or is_generic(inner.name)
            if inner.name in self._named or inner.name in known or not (again or len(inner.folders) > 1):
                break
            self.leave_out_loose(folder, folder.name)
            folder = inner
        return folder

    def _without_train_classes(
        self, base: _Folder, parts: dict[str, str], inner: dict[str, _Folder], others: list[str]
    ) -> Assigned:
        with_classes = {name: folder for name, folder in inner.items() if folder.folders}
        in_parts = {name for folder in with_classes.values() for name in folder.folders}
        if others and in_parts & set(others) and "train" not in parts.values():
            self.notes.append(f"the class folders beside {listed(parts)} are taken as the training part")
            self.leave_out_loose(base)
            beside = [("train", name, path) for name in others for path in base.folders[name].all()]
            return beside + self._from_parts(parts, inner)
        if others and not with_classes and (found := self._by_flat_part(parts, inner)):
            for name in others:
                self.leave_out(base.folders[name].all(), "in no part of the set", f"in {printable(name)}/ left out")
            return found
        if others:
            raise self.refusal(
                f"beside class folders such as {printable(others[0])}/ there is {listed(parts)}, named like a part "
                f"of a data set; {_MAY_BE_CLASS} put class folders in every part or move it away"
            )
        if not with_classes:
            if found := self._by_flat_part(parts, inner):
                return found
            raise self.refusal(f"{listed(parts)} hold images but no class folders; put them in one folder per class")
        if "train" in parts.values():
            raise self.refusal("the images in train/ have no class folders; put them in one folder per class")
        raise self.refusal(f"there is {listed(parts)} but no train/; add the images to train on")

    def _by_flat_part(self, parts: dict[str, str], inner: dict[str, _Folder]) -> Assigned | None:
        """Parts without class folders whose file names say the class: `train/cat.1.jpg`."""
        found = flat.classes_of([path for name in parts if parts[name] == "train" for path in inner[name].files])
        if found is None or any(part_of(name) for name in found.values()):
            return None
        self._say_flat(found)
        assigned = [("train", name, path) for path, name in found.items()]
        for folder in (name for name in parts if parts[name] != "train"):
            said = {path: flat.class_of(path, set(found.values())) for path in inner[folder].files}
            assigned += [(parts[folder], name, path) for path, name in said.items() if name]
            unsaid = [path for path, name in said.items() if not name]
            self.leave_out(
                unsaid, "its name says no class", f"in {printable(folder)}/ left out: their names say no class"
            )
        return assigned

    def _by_file_name(self, base: _Folder) -> Assigned | None:
        """Files that lie together and say their class by their names. Raises `InputError` if nothing says a class."""
        only = next(iter(base.folders.values()), None)
        if only is not None and only.folders:
            return None
        paths = only.files if only else base.files
        found = flat.classes_of(paths)
        if found and not any(part_of(name) for name in found.values()):
            if only:
                self.leave_out_loose(base)
            self._say_flat(found)
            said = {name: part_and_rest(name) for name in set(found.values())}
            if _each_has_training(said):
                return [(said[name][0] or "", without_part(name), path) for path, name in found.items()]
            return [("train", name, path) for path, name in found.items()]
        if only is None or is_generic(only.name):
            raise self.refusal(
                f"{_images(len(paths))} but no class folders; put them in one folder per class, or name them such as "
                "cat_1.jpg, or give a table of path,label"
            )
        return None

    def _say_flat(self, found: dict[str, str]) -> None:
        path, name = next(iter(found.items()))
        self.notes.append(
            f"no class folders: the classes are read from the file names, such as '{printable(name)}' from "
            f"{printable(path.rpartition('/')[2])}"
        )

    def _by_class_and_part(self, base: _Folder) -> Assigned | None:
        """Parts in the names of class folders: `cat_train/file`, `cat_test/file`."""
        said = {name: part_and_rest(name) for name in base.folders if name not in self._named}
        if len(said) < len(base.folders) or not _each_has_training(said):
            return None
        self.notes.append("the names of the class folders end in train, val or test: taken as the official split")
        return [
            (said[name][0] or "", without_part(name), path)
            for name, folder in base.folders.items() for path in folder.all()
        ]  # fmt: skip

    def _by_inner_folder(self, base: _Folder) -> Assigned | None:
        """Parts inside the classes: `class/train/file`."""
        inner = {
            name: {sub: part for sub in folder.folders if (part := self._part(sub))}
            for name, folder in base.folders.items()
        }
        kinds = {part for parts in inner.values() for part in parts.values()}
        if not kinds or kinds == {"train"}:
            return None
        for name in sorted(inner, key=natural):
            if not inner[name]:
                other = next(other for other in inner if inner[other])
                raise self.refusal(
                    f"{printable(other)}/ has {listed(inner[other])} inside, {printable(name)}/ has no parts; give "
                    "every class the same parts, or none"
                )
        self.notes.append("every class folder has its own train/, val/ or test/: taken as the official split")
        assigned: Assigned = []
        for name, folder in base.folders.items():
            rest = [*folder.files, *(p for n, sub in folder.folders.items() if n not in inner[name] for p in sub.all())]
            if "train" not in kinds:
                assigned += [("train", name, path) for path in rest]
            else:
                self.leave_out(
                    rest, "in none of the parts of its class", f"in {printable(name)}/ in none of its parts left out"
                )
            assigned += [(part, name, path) for sub, part in inner[name].items() for path in folder.folders[sub].all()]
        return assigned

    def _by_prefix(self, base: _Folder) -> Assigned | None:
        paths = [(name, path) for name, folder in base.folders.items() for path in folder.all()]
        assigned = [(path.rpartition("/")[2].split("_", 1)[0].lower(), name, path) for name, path in paths]
        found = {part for part, _, _ in assigned}
        if not found <= set(PARTS) or "train" not in found or len(found) < 2:
            return None
        names = " and ".join(f"{part}_" for part in PARTS if part in found)
        self.notes.append(f"the file names start with {names}: taken as the official split")
        return assigned


def _each_has_training(said: dict[str, tuple[str | None, str]]) -> bool:
    """Whether names speak of two or more things, each of its training part, and some of another part."""
    things = {rest for _, rest in said.values()}
    trained = {rest for part, rest in said.values() if part == "train"}
    return len({part for part, _ in said.values()} - {None}) > 1 and len(things) > 1 and things == trained


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"
