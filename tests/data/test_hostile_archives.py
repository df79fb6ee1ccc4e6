"""Archives that were made to harm: each is refused in one line, at once, in little memory."""

import bz2
import gzip
import io
import lzma
import os
import struct
import subprocess
import sys
import tarfile
import textwrap
import zipfile

import pytest
from samples import encoded, picture

from convlens import data
from convlens.base.errors import InputError
from convlens.data import Preprocess
from convlens.data.formats.containers import Folder, open_container

PNG = encoded(picture())
SMALL = Preprocess((6, 6), 3)


def as_zip(path, names, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name in names:
            archive.writestr(name, PNG)
    return path


def renamed(path, before: bytes, after: bytes, places=slice(None)):
    """Other bytes of the same length, at some of the places where they stand."""
    blob = path.read_bytes()
    at = [k for k in range(len(blob)) if blob.startswith(before, k)][places]
    for k in at:
        blob = blob[:k] + after + blob[k + len(before) :]
    path.write_bytes(blob)
    return path


def header(name: str, size: int = 0, kind: bytes = b"0") -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.USTAR_FORMAT)


def block(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def pax(**records: str) -> bytes:
    """An extended header as it stands in the file."""
    lines = b""
    for key, value in records.items():
        text = f" {key.replace('_', '.')}={value}\n".encode()
        length = len(text) + 1
        while len(str(length)) + len(text) != length:
            length += 1
        lines += str(length).encode() + text
    return header("PaxHeader", len(lines), b"x") + block(lines)


END = bytes(1024)
MEMBER = header("a/1.png", len(PNG)) + block(PNG)
LONG = b"".join(header("././@LongLink", 20, b"L") + block(b"a/name-of-it.png") for _ in range(3000))

TARS = {
    "3,000 headers of long names": LONG + MEMBER + END,
    "a name of a gigabyte": header("././@LongLink", 1 << 30, b"L") + block(b"x" * 100),
    "an extended header of eight gigabytes": header("PaxHeader", (8 << 30) - 1, b"x") + block(b"x" * 100),
    "a long name without an end": header("././@LongLink", 3 << 20, b"L") + b"x" * (3 << 20) + MEMBER + END,
    "a negative size": pax(size="-1") + MEMBER + END,
    "a size of 10^30": pax(size="1" + "0" * 30) + MEMBER + END,
    "a size of 5,000 digits": pax(size="9" * 5000) + MEMBER + END,
    "an empty name": pax(path="") + MEMBER.replace(b"a/1.png", b"\0\0\0\0\0\0\0") + END,
    "a name of 4,301 digits": pax(path="a/" + "7" * 4301 + ".png") + MEMBER + END,
    "a name of 30,000 folders": pax(path="a/" * 30_000 + "1.png") + MEMBER + END,
    "a name that leads out": pax(path="../1.png") + MEMBER + END,
    "a link by an extended header": pax(linkpath="/etc/passwd") + header("a/1.png", 0, b"2") + END,
    "a sparse file": pax(GNU_sparse_major="1", GNU_sparse_minor="0", GNU_sparse_realsize="1" * 15) + MEMBER + END,
    "a sparse map": pax(GNU_sparse_size="999999999999", GNU_sparse_map="0,1,99999999999,1") + MEMBER + END,
    "an old sparse file": header("a/1.png", 512, b"S") + bytes(512) + END,
    "a file that is announced and not there": header("a/1.png", 1 << 19),
    "no end": MEMBER[:-600],
    "another archive behind it": MEMBER + END + MEMBER + END,
    "a pipe": header("a/1.png", 0, b"6") + END,
    "a header that is damaged": MEMBER + MEMBER.replace(b"a/1.png", b"a/2.png") + END,
}  # fmt: skip


@pytest.mark.parametrize("what", TARS)
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_a_hostile_tar_is_refused_in_one_line(tmp_path, what, pack):
    path = tmp_path / "hostile.tar"
    path.write_bytes(pack(TARS[what]))
    with pytest.raises(InputError, match=r"hostile\.tar: (damaged tar archive|refused, )") as caught:
        [content() for _, content in open_container(path).files()]
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_long_names_and_extended_headers_as_programs_write_them_are_read(tmp_path):
    for kind in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        with tarfile.open(tmp_path / "good.tar", "w", format=kind) as archive:
            for name in ("ä" * 100, "long" * 60):
                member = tarfile.TarInfo(f"{name}/1.png")
                member.size, member.mtime = len(PNG), 1.25
                archive.addfile(member, io.BytesIO(PNG))
        found = [path for path, _ in open_container(tmp_path / "good.tar").files()]
        assert found == ["ä" * 100 + "/1.png", "long" * 60 + "/1.png"]


def answer(path) -> str:
    """The line that a hostile archive is answered with."""
    with pytest.raises(InputError) as caught:
        data.find(path).read(SMALL)
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 600
    return line


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("7" * 4301 + ".png", "4,301|4,305 characters"),
        ("a/" * 30_000 + "1.png", "30,001 folders"),
        ("a/../../1.png", "climbs out"),
        ("a\\..\\..\\1.png", "climbs out"),
        ("x" * 60_000 + ".png", "60,004 characters"),
    ],
)
def test_a_zip_with_a_hostile_name_is_refused(tmp_path, name, why):
    path = as_zip(tmp_path / "z.zip", ["a/1.png", "b/1.png", name])
    line = answer(path)
    assert "refused" in line
    assert any(part in line for part in why.split("|"))


def test_a_zip_member_without_a_name_is_refused(tmp_path):
    path = as_zip(tmp_path / "z.zip", ["a/1.png", "b/1.png", "name"])
    assert "has no name" in answer(renamed(path, b"name", b"\0ame"))
    blob = as_zip(path, ["a/1.png", "b/1.png", "c"]).read_bytes()
    local, listed = blob.rindex(b"PK\x03\x04"), blob.rindex(b"PK\x01\x02")
    blob = bytearray(blob[: listed + 46] + blob[listed + 47 :])  # the name of one letter goes
    blob[listed + 28 : listed + 30] = bytes(2)
    end = blob.rindex(b"PK\x05\x06")
    blob[end + 12 : end + 16] = struct.pack("<I", end - struct.unpack("<I", blob[end + 16 : end + 20])[0])
    assert local
    path.write_bytes(blob)
    assert "has no name" in answer(path)


@pytest.mark.parametrize("places", [slice(0, 1), slice(1, 2)])
@pytest.mark.parametrize("name", [b"a/9.png", b"b/1.png", b"a/1.txt", b".a1.png", b"a/1.png".upper()])
def test_a_name_in_a_zip_that_is_not_the_one_in_its_directory_is_an_error(tmp_path, name, places):
    path = as_zip(tmp_path / "z.zip", ["a/1.png", "a/2.png", "b/1.png", "b/2.png"])
    assert "disagree" in answer(renamed(path, b"a/1.png", name, places))


def test_members_of_a_zip_that_share_their_bytes_are_refused(tmp_path):
    path = as_zip(tmp_path / "z.zip", ["a/1.png", "a/2.png", "b/1.png", "b/2.png"])
    blob = bytearray(path.read_bytes())
    entries = [k for k in range(len(blob)) if blob.startswith(b"PK\x01\x02", k)]
    blob[entries[1] + 42 : entries[1] + 46] = blob[entries[0] + 42 : entries[0] + 46]
    path.write_bytes(blob)
    assert "overlaps" in answer(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_that_is_packed_otherwise_says_what_to_do(tmp_path, method):
    line = answer(as_zip(tmp_path / "z.zip", ["a/1.png", "b/1.png"], compression=method))
    assert "pack it again with deflate" in line
    assert "a/1.png" in line


@pytest.mark.parametrize(("size", "why"), [(1 << 40, "times its size"), (900, "cannot have"), (0, "cannot have")])
def test_a_size_that_cannot_be_is_refused_before_anything_is_unpacked(tmp_path, size, why):
    path = as_zip(tmp_path / "z.zip", ["a/1.png", "b/1.png"])
    blob = bytearray(path.read_bytes())
    listed = blob.index(b"PK\x01\x02")
    blob[listed + 24 : listed + 28] = struct.pack("<I", min(size, 2**32 - 2))
    path.write_bytes(blob)
    assert why in answer(path)


def test_folders_that_are_too_deep_are_refused_at_once(tmp_path):
    top = tmp_path / "deep"
    here = os.open(tmp_path, os.O_RDONLY)
    os.mkdir("deep", dir_fd=here)
    for folder in ["deep"] + ["d"] * 300:  # by handles: no path could be as long
        below = os.open(folder, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
        os.mkdir("d", dir_fd=here)
    os.close(here)
    try:
        with pytest.raises(InputError, match=r"folders more than 100 deep in d/"):
            list(Folder(top).files())
    finally:
        subprocess.run(["rm", "-rf", top], check=True)


def test_folders_whose_path_is_longer_than_a_path_can_be_are_one_line(tmp_path):
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(25):
        os.mkdir("d" * 250, dir_fd=here)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with pytest.raises(InputError, match="cannot be listed") as caught:
        list(Folder(tmp_path).files())
    assert "\n" not in str(caught.value)
    subprocess.run(["rm", "-rf", tmp_path / ("d" * 250)], check=True)


def read_in_a_child(path, seconds: int = 60) -> str:
    """What a process with 2 GiB of address space says of a set: its last line."""
    code = textwrap.dedent("""
        import resource, sys
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
        from convlens import data
        from convlens.base.errors import InputError
        try:
            reading = data.find(sys.argv[1]).read(data.Preprocess((6, 6), 3))
            print({part: len(images) for part, images in reading.parts.items()}, reading.skipped)
        except InputError as error:
            print("InputError:", error)
    """)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, timeout=seconds, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()[-1]


def test_a_small_zip_of_a_bomb_packed_by_bzip2_is_refused_in_little_memory(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        with archive.open("a/1.png", "w") as file:
            for _ in range(64):
                file.write(bytes(1 << 20))
        archive.writestr("b/1.png", PNG)
    blob = bytearray(path.read_bytes())
    listed = blob.index(b"PK\x01\x02")
    blob[listed + 24 : listed + 28] = struct.pack("<I", 5000)  # it announces little and unpacks to much
    path.write_bytes(blob)
    assert path.stat().st_size < 5000
    assert read_in_a_child(path).startswith("InputError:")


@pytest.mark.slow
def test_one_huge_member_among_others_is_left_out_in_little_memory(tmp_path):
    path = tmp_path / "huge.tar.gz"
    noise = os.urandom(33 << 20)
    with gzip.GzipFile(path, "wb", 1) as file:
        for name in ("a/0.png", "b/0.png"):
            file.write(header(name, len(PNG)) + block(PNG))
        file.write(header("a/noise.txt", len(noise)) + block(noise))
        file.write(header("a/1.png", 2_900 << 20))
        for _ in range(2_900):
            file.write(bytes(1 << 20))
        file.write(END)
    said = read_in_a_child(path, 300)
    assert said.startswith("{'train': 2} (('a/1.png', 'too large (3,040,870,400 bytes")
