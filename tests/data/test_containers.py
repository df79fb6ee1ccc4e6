import os
import stat
import tarfile
import zipfile
import zlib

import pytest
from samples import TWO_CLASSES, as_tar, as_zip, encoded, picture, write_tree

from convlens.base.errors import InputError
from convlens.data.formats.containers import Folder, Tar, Zip, is_candidate, open_container

PNG = encoded(picture())
FILES = {"p/a/1.png": PNG, "p/a/2.png": PNG[::-1], "p/b/1.png": b"x"}


def contents(container) -> dict[str, bytes]:
    found = {}
    for path, content in container.files():
        blob = content()
        found[path] = blob if isinstance(blob, bytes) else blob.read_bytes()
    return found


@pytest.mark.parametrize("kind", ["folder", "zip", "deflated zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_every_kind_of_container_gives_the_same_files(tmp_path, kind):
    path = tmp_path / "archive"  # told by content, not by name
    if kind == "folder":
        write_tree(path, {**FILES})
    elif kind.endswith("zip"):
        as_zip(path, FILES, zipfile.ZIP_DEFLATED if kind != "zip" else zipfile.ZIP_STORED)
    else:
        as_tar(path, FILES, f"w:{kind[4:]}")
    container = open_container(path)
    assert contents(container) == FILES
    assert container.identity() == open_container(path).identity()


def test_the_identity_changes_with_the_content(tmp_path):
    folder = write_tree(tmp_path / "f", TWO_CLASSES)
    before = Folder(folder).identity()
    os.utime(folder / "a" / "1.png", (1, 1))
    changed = Folder(folder).identity()
    (folder / "a" / "1.png").unlink()
    assert len({before, changed, Folder(folder).identity()}) == 3


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("a/1.JPG", True),
        ("a/b.c/x.tiff", True),
        ("a/notes.txt", False),
        ("a/.hidden.png", False),
        (".git/x.png", False),
        ("__MACOSX/a/._1.png", False),
        ("a/png", False),
    ],
)
def test_hidden_files_and_other_kinds_of_files_do_not_count(path, counts):
    assert is_candidate(path) is counts


def test_links_in_a_folder_are_followed_and_loops_end(tmp_path):
    folder = write_tree(tmp_path / "f", {"a/1.png": 1})
    elsewhere = write_tree(tmp_path / "elsewhere", {"2.png": 2, "deep/3.png": 3})
    (folder / "b").symlink_to(elsewhere)
    (folder / "a" / "loop").symlink_to(folder)
    (folder / "a" / "self").symlink_to(folder / "a" / "self")
    (folder / "alias").symlink_to(folder / "a")
    (folder / "a" / "file.png").symlink_to(elsewhere / "2.png")
    (folder / "a" / "broken.png").symlink_to(tmp_path / "nowhere.png")
    found = [path for path, _ in Folder(folder).files()]
    assert found == ["a/1.png", "a/file.png", "b/2.png", "b/deep/3.png"]


def test_a_pipe_among_the_images_is_not_waited_for(tmp_path):
    folder = write_tree(tmp_path / "f", {"a/1.png": 1})
    os.mkfifo(folder / "a" / "pipe.png")
    assert [path for path, _ in Folder(folder).files()] == ["a/1.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_folder_is_named(tmp_path):
    folder = write_tree(tmp_path / "f", {"a/1.png": 1})
    (folder / "a").chmod(0)
    try:
        with pytest.raises(InputError, match=r"f/a.*cannot be listed"):
            list(Folder(folder).files())
    finally:
        (folder / "a").chmod(0o700)


@pytest.mark.parametrize("write", [as_zip, as_tar])
@pytest.mark.parametrize("name", ["../a/1.png", "a/../../1.png", "/etc/1.png", "C:/1.png", "..\\..\\1.png"])
def test_an_archive_that_climbs_out_of_its_folder_is_refused(tmp_path, write, name):
    path = write(tmp_path / "evil", {"a/0.png": PNG, name: PNG})
    with pytest.raises(InputError, match=r"refused, the member .* climbs out of its folder") as caught:
        contents(open_container(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_tar_with_a_link_is_refused(tmp_path, kind):
    def link(member):
        member.type, member.linkname, member.size = kind, "/etc/passwd", 0

    path = as_tar(tmp_path / "evil.tar", {"a/1.png": b""}, change=link)
    with pytest.raises(InputError, match=r"refused, the member 'a/1.png' is a link"):
        contents(Tar(path))


def test_a_tar_with_a_device_is_refused(tmp_path):
    def device(member):
        member.type, member.size = tarfile.CHRTYPE, 0

    path = as_tar(tmp_path / "evil.tar", {"a/1.png": b""}, change=device)
    with pytest.raises(InputError, match="is no plain file"):
        contents(Tar(path))


def test_a_zip_with_a_link_is_refused(tmp_path):
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        member = zipfile.ZipInfo("a/1.png")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(InputError, match=r"refused, the member 'a/1.png' is a link"):
        contents(Zip(path))


def test_a_zip_that_unpacks_a_hundredfold_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    path = as_zip(tmp_path / "bomb.zip", {"a/1.png": bytes(3_000_000)}, zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("unpacked"))
    with pytest.raises(InputError, match="refused, it unpacks to more than 100 times its size"):
        contents(Zip(path))


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
@pytest.mark.parametrize("name", ["a/1.png", "a/not_an_image.txt"])
def test_a_tar_that_unpacks_a_hundredfold_is_refused(tmp_path, kind, name):
    path = as_tar(tmp_path / "bomb", {name: bytes(3_000_000)}, f"w:{kind}")
    with pytest.raises(InputError, match="refused, it unpacks to more than 100 times its size"):
        contents(Tar(path))


def test_a_tar_whose_header_lies_about_a_size_is_refused(tmp_path):
    def lie(member):
        member.size = 10**12

    path = tmp_path / "lie.tar"
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("a/1.png")
        lie(member)
        archive.addfile(member)
    with pytest.raises(InputError, match="refused, it unpacks"):
        contents(Tar(path))


def test_an_archive_cut_off_in_the_middle_is_named(tmp_path):
    noise = {f"a/{k}.png": encoded(picture(k, (40, 40))) for k in range(5)}
    for name, path in (
        ("zip", as_zip(tmp_path / "z", noise)),
        ("tar", as_tar(tmp_path / "t", noise)),
        ("tar", as_tar(tmp_path / "tgz", noise, "w:gz")),
    ):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(InputError, match=f"{path}: damaged {name} archive"):
            contents(open_container(path))


def test_a_damaged_member_of_a_zip_is_an_error_of_that_member_alone(tmp_path):
    path = as_zip(tmp_path / "z.zip", {"a/1.png": b"one" * 50, "a/2.png": b"two" * 50})
    blob = bytearray(path.read_bytes())
    at = blob.index(b"oneone")
    blob[at] ^= 255
    path.write_bytes(blob)
    openers = dict(Zip(path).files())
    assert set(openers) == {"a/1.png", "a/2.png"}
    answers = {}
    for name, content in Zip(path).files():
        try:
            answers[name] = content()
        except InputError as error:
            answers[name] = str(error)
    assert "cannot be unpacked" in answers["a/1.png"]
    assert answers["a/2.png"] == b"two" * 50


def test_an_encrypted_member_is_an_error_of_that_member(tmp_path):
    path = as_zip(tmp_path / "z.zip", {"a/1.png": b"secret"})
    blob = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        blob[blob.index(signature) + offset] |= 1
    path.write_bytes(blob)
    for _, content in Zip(path).files():
        with pytest.raises(InputError, match="cannot be unpacked"):
            content()


def test_other_files_are_no_containers(tmp_path):
    for content in (b"", b"hello", zlib.compress(b"x" * 1000), b"PK\x03\x04 no"):
        path = tmp_path / "file"
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"neither a folder nor|damaged zip"):
            contents(open_container(path))
