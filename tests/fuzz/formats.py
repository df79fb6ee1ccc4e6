"""Every kind of file that a stranger may have written: a few good ones, how to damage them, and who reads them."""

import bz2
import gzip
import io
import json
import lzma
import os
import random
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mutations import Mutation, changed_bytes, changed_json, changed_json_line, changed_value, changed_words, one_of
from PIL import Image, features
from safetensors.numpy import save as save_safetensors

import convlens as cl
from convlens import data, models, report
from convlens.base.arrays import pack, unpack
from convlens.data import Preprocess
from convlens.data.formats import cifar
from convlens.data.store import cache
from convlens.data.suffixes import has_heif
from convlens.report.store import FILE as EVALUATION
from convlens.report.store import load_evaluation
from convlens.runs import RunFolder
from convlens.runs.trained import FILE as TRAINED
from convlens.runs.trained import read_trained
from convlens.training import recipe

sys.path.append(str(Path(__file__).parent.parent / "data"))
from samples import encoded, idx_bytes, picture

SMALL = Preprocess((6, 6), 3)


@dataclass(frozen=True)
class Format:
    """seeds: good files. change: damages one. read: does with the damaged bytes what people do; a `ConvlensError` is a
    good answer. share: of the inputs, relative to the others: less where reading is slow."""

    name: str
    seeds: tuple[bytes, ...]
    change: Mutation
    read: Callable[[bytes], Any]
    share: float = 1.0


def all_formats(work: Path) -> Iterator[Format]:
    """In a folder of their own. Trains one small run."""
    yield from _pictures(work)
    yield from _archives(work)
    yield from _tables(work)
    yield from _arrays(work)
    yield from _caches(work)
    yield from _texts(work)
    yield from _weights(work)
    yield from _run(work)


def _written(path: Path, then: Callable[[Path], Any]) -> Callable[[bytes], Any]:
    """Writes the bytes, and reads them from there."""

    def read(content: bytes) -> Any:
        path.write_bytes(content)
        return then(path)

    return read


# ---- pictures and sets


def _pictures(work: Path) -> Iterator[Format]:
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds: dict[str, dict[str, Any]] = {
        "PNG": {}, "JPEG": {"exif": exif}, "GIF": {}, "BMP": {}, "PPM": {}, "TGA": {}, "PCX": {}, "DIB": {}, "MPO": {},
        "TIFF": {}, "QOI": {}, "WEBP": {"lossless": True}, "AVIF": {}, "JPEG2000": {},
    }  # fmt: skip
    optional = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}
    if has_heif():
        import pillow_heif

        pillow_heif.register_heif_opener()
        kinds["HEIF"] = {}
    for kind, options in kinds.items():
        if kind in optional and not features.check(optional[kind]):
            continue
        files = [encoded(picture(1), kind, **options)]
        if kind == "PNG":
            gray = Image.fromarray(np.arange(120, dtype=np.uint16).reshape(12, 10) * 500)
            files += [
                encoded(picture(2, mode="RGBA"), kind),
                encoded(gray, kind),
                encoded(picture(3).quantize(9), kind),
            ]
        if kind == "TIFF":
            floats = Image.fromarray(np.linspace(0, 1, 120, dtype=np.float32).reshape(12, 10))
            files += [encoded(floats, kind), encoded(picture(3, (40, 40)), kind, compression="tiff_deflate")]
        if kind == "JPEG":
            files += [encoded(picture(5, (40, 30)), kind, progressive=True), encoded(picture(6, mode="L"), kind)]
        yield Format(kind, tuple(files), changed_bytes, SMALL.prepare)
        if kind == "PNG":
            yield Format(
                "PNG as a path", tuple(files), changed_bytes, _written(work / "picture.png", SMALL.prepare), 0.3
            )


def _tree() -> dict[str, bytes]:
    return {f"{name}/{k}.{end}": encoded(picture(k), kind)
            for name in ("cat", "dög") for k, (end, kind) in enumerate((("ppm", "PPM"), ("png", "PNG")))}  # fmt: skip


def _zipped(method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in _tree().items():
            archive.writestr(name, content)
    return file.getvalue()


def _tarred(kind: int) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as archive:
        for name, content in {**_tree(), "cat/" + "long" * 40 + ".ppm": _tree()["cat/0.ppm"]}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def _set_at(path: Path) -> Any:
    source = data.find(path)
    return source.read(SMALL)


def _archives(work: Path) -> Iterator[Format]:
    zips = (_zipped(zipfile.ZIP_STORED), _zipped(zipfile.ZIP_DEFLATED), _zipped(zipfile.ZIP_BZIP2))
    tars = (_tarred(tarfile.GNU_FORMAT), _tarred(tarfile.PAX_FORMAT))
    read = _written(work / "archive", _set_at)
    yield Format("zip", zips, changed_bytes, read)
    yield Format("tar", tars, changed_bytes, read)
    for name, compress in (("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)):
        packed = tuple(compress(content) for content in tars)
        yield Format(f"tar.{name}", packed, changed_bytes, read, 0.5)
        yield Format(f"tar in {name}", tars, _packed(compress), read, 0.5)


def _packed(compress: Callable[[bytes], bytes]) -> Mutation:
    """Changed before it is packed, so that the checksums hold."""
    return lambda rng, content: compress(changed_bytes(rng, content))


def _tables(work: Path) -> Iterator[Format]:
    """A folder of pictures whose classes stand in a file beside them."""
    folder = work / "table"
    folder.mkdir()
    for k in range(6):
        (folder / f"{k}.ppm").write_bytes(encoded(picture(k), "PPM"))
    rows = [(f"{k}.ppm", "dög"[k % 3], ("train", "test")[k > 3]) for k in range(6)]
    short = "".join(f"{path},{label}\n" for path, label, _ in rows)
    whole = "path,label,split\r\n" + "".join(f'"{path}","{label} ""x""",{split}\r\n' for path, label, split in rows)
    tabs = "filename\tclass\n" + short.replace(",", "\t")
    seeds = ("path,label\n" + short, whole, tabs)
    encodings = [text.encode() for text in seeds] + [whole.encode("utf-8-sig"), whole.encode("utf-16")]
    change = one_of(changed_words, changed_words, changed_bytes)
    read = _written(folder / "labels.csv", lambda path: _set_at(path.parent))
    yield Format("label table", tuple(encodings), change, read)


def _arrays(work: Path) -> Iterator[Format]:
    folder = work / "idx"
    folder.mkdir()
    pixels, labels = idx_bytes(np.arange(6 * 5 * 5).reshape(6, 5, 5)), idx_bytes(np.arange(6) % 3)
    for part in ("train", "t10k"):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(pixels)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(labels)

    def read(name: str) -> Callable[[bytes], Any]:
        good = (folder / name).read_bytes()

        def use(content: bytes) -> None:
            (folder / name).write_bytes(content)
            try:
                _set_at(folder)
            finally:
                (folder / name).write_bytes(good)

        return use

    for name, good in (("train-images-idx3-ubyte", pixels), ("train-labels-idx1-ubyte", labels)):
        yield Format(f"IDX {name[6:12]}", (good, gzip.compress(good)), changed_bytes, read(name))
        yield Format(f"IDX {name[6:12]} packed", (good,), _packed(gzip.compress), read(name), 0.3)
    few = cifar.Release("cifar10", "batches", "cifar.tar.gz", 1, {"train": ("a.bin",), "test": ("b.bin",)},
                        {"train": 4, "test": 2}, cifar.CIFAR10.classes)  # fmt: skip
    records = b"".join(bytes([k]) + bytes([k]) * 3072 for k in (0, 3, 9, 5))
    (work / few.folder).mkdir()
    (work / few.folder / "b.bin").write_bytes(records[: 2 * 3073])
    inside = _written(work / few.folder / "a.bin", lambda path: cifar.read(few, path.parent))
    yield Format("CIFAR batch", (records,), changed_bytes, inside, 0.5)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in (("a.bin", records), ("b.bin", records[: 2 * 3073])):
            member = tarfile.TarInfo(f"batches/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    packed = _written(work / "cifar.tar.gz", lambda path: cifar.read(few, path))
    yield Format("CIFAR archive", (file.getvalue(),), changed_bytes, packed, 0.5)


# ---- the cache: whatever stands in it, the pictures are the right ones


def _caches(work: Path) -> Iterator[Format]:
    folder = work / "set"
    for name, pixels in {**_tree(), "cat/bad.png": b"no picture"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(pixels)
    path = work / "set.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(folder, ".")
    cache.WORTH_SECONDS = 0.0

    def content(stream: bool) -> Any:
        reading = data.find(path if not stream else folder, stream=stream).read(SMALL)
        parts = reading.parts.items()
        return [(p, np.asarray(i.pixels).tobytes(), i.labels.tolist()) for p, i in parts], reading.skipped

    expected = {stream: content(stream) for stream in (False, True)}
    assert len(expected[False][1]) == 1
    kept = sorted(file for file in cache.cache_folder().rglob("*") if file.is_file())
    kinds = {"meta.json": False, ".u8": False, "listings": False, "examined": True}
    for kind, stream in kinds.items():
        of_kind = (file for file in kept if kind in str(file.relative_to(cache.cache_folder())))
        for number, file in enumerate(of_kind):
            good = file.read_bytes()

            def read(content_now: bytes, file: Path = file, stream: bool = stream, good: bytes = good) -> None:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content_now)
                assert content(stream) == expected[stream], f"another set from a damaged {file.name}"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(good)

            change = one_of(changed_json, changed_words, changed_bytes) if file.suffix == ".json" else changed_bytes
            yield Format(f"cache {kind} of {number}", (good,), change, read, 0.3)


# ---- texts


def _texts(work: Path) -> Iterator[Format]:
    recipes = tuple(
        (Path(recipe.__file__).parent / "recipes" / f"{name}.toml").read_bytes() for name in recipe.shipped()
    )
    read = _written(work / "own.toml", lambda path: recipe.load(str(path)))
    yield Format("recipe", recipes, one_of(changed_words, changed_words, changed_bytes), read, 1.5)
    settings = b'optimizer.lr=0.1\nmodel.hidden=[1, 2]\naugment.flip=true\nschedule.name="constant"'

    def assigned(content: bytes) -> None:
        recipe.load("default", settings=content.decode("utf-8", "surrogateescape").split("\n"))

    yield Format("--set", (settings,), changed_words, assigned)


# ---- weights of others


def _repacked(rng: random.Random, content: bytes) -> bytes:
    """One member of a zip changed before it is packed, so that the checksums hold."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        names = old.namelist()
        chosen = rng.choice([name for name in names if name.endswith("data.pkl")] * 3 + names)
        for name in names:
            new.writestr(name, changed_bytes(rng, old.read(name)) if name == chosen else old.read(name))
    return file.getvalue()


def _other_header(rng: random.Random, content: bytes) -> bytes:
    """A safetensors file whose header says something else."""
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(changed_value(rng, json.loads(content[8 : 8 + length]))).encode()
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def _weights(work: Path) -> Iterator[Format]:
    torch.manual_seed(0)
    network = models.create("lenet5", num_classes=3)
    state = network.state_dict()
    saved = []
    for value, new in ((state, True), ({"model": state, "epoch": 5}, True), (state, False)):
        file = io.BytesIO()
        torch.save(value, file, _use_new_zipfile_serialization=new)
        saved.append(file.getvalue())

    def load(path: Path) -> None:
        models.load_weights(network, path)

    read = _written(work / "weights.pth", load)
    yield Format(".pth", tuple(saved), changed_bytes, read)
    yield Format(".pth packed again", tuple(saved[:2]), _repacked, read)
    arrays = save_safetensors({name: value.numpy() for name, value in state.items()})
    read = _written(work / "weights.safetensors", load)
    yield Format("safetensors", (arrays,), one_of(changed_bytes, _other_header), read)


# ---- run folders


def _run(work: Path) -> Iterator[Format]:
    folder = RunFolder(work / "run")
    settings = ["optimizer.name=sgd"]
    cl.train(data="digits", recipe="fast", epochs=2, settings=settings, out=folder.path, quiet=True, tensorboard=False)
    zeros = np.zeros((8, 8), np.uint8)

    def used(path: Path) -> None:
        cl.load(path.parent).predict(zeros)

    def read(path: Path, then: Callable[[Path], Any]) -> Callable[[bytes], Any]:
        good = path.read_bytes()

        def use(content: bytes) -> None:
            path.write_bytes(content)
            try:
                then(path)
            finally:
                path.write_bytes(good)

        return use

    def other_value(path: Path) -> Mutation:
        """Another JSON value, or other bytes of an array, beside a digest that holds."""

        def change(rng: random.Random, content: bytes) -> bytes:
            scratch = path.with_name("scratch")
            scratch.write_bytes(content)
            arrays, meta = unpack(scratch)
            scratch.unlink()
            value = changed_value(rng, meta) if rng.random() < 0.7 else meta
            if value is meta:
                name = rng.choice(sorted(arrays))
                odd = (np.zeros(3, np.float32), np.zeros((0, 2)), arrays[name].ravel()[:1], arrays[name] * 0 - 1)
                arrays = {**arrays, name: rng.choice(odd)}
            return pack(arrays, value) if isinstance(value, dict) else content

        return change

    texts = one_of(changed_json, changed_json, changed_words, changed_bytes)
    yield Format("run.json", (folder.run_json.read_bytes(),), texts, read(folder.run_json, used), 1.5)
    lines = one_of(changed_json_line, changed_words, changed_bytes)
    metrics = folder.path / "metrics.jsonl"
    yield Format("metrics.jsonl", (metrics.read_bytes(),), lines, read(metrics, lambda _: folder.read_metrics()))
    for page, path in (
        ("run.json", folder.run_json),
        ("metrics.jsonl", metrics),
        ("evaluation", folder.path / EVALUATION),
    ):
        change = other_value(path) if page == "evaluation" else changed_json_line if page[0] == "m" else changed_json
        yield Format(f"report of {page}", (path.read_bytes(),), change,
                     read(path, lambda path: report.write(path.parent)), 0.04)  # fmt: skip
    for path, then in (
        (folder.weights, used),
        (folder.last, lambda _: folder.read_checkpoint()),
        (folder.path / EVALUATION, lambda path: load_evaluation(path.parent)),
        (folder.path / TRAINED, lambda _: read_trained(folder)),
    ):
        change = one_of(changed_bytes, _other_header, other_value(path))
        yield Format(path.name, (path.read_bytes(),), change, read(path, then), 0.7)


def clean(work: Path) -> None:
    """A new, empty folder for everything, the cache among it."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    os.environ["CONVLENS_CACHE"] = str(work / "cache")
