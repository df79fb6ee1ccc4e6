"""Atomic, durable writes and the folder lock."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from convlens.base import files
from convlens.base.errors import InputError, InUseError


def test_a_write_replaces_the_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a.bin"
    for content in (b"old", b"", b"new" * 1000):
        files.write_bytes(path, content)
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["a.bin"]


def test_text_is_utf8_and_json_keeps_the_order_of_keys(tmp_path):
    files.write_text(tmp_path / "a.txt", "Größe 数")
    assert (tmp_path / "a.txt").read_bytes() == "Größe 数".encode()
    files.write_json(tmp_path / "a.json", {"z": 1, "a": [2.5, None]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"z": 1, "a": [2.5, None]}
    assert (tmp_path / "a.json").read_text().index('"z"') < (tmp_path / "a.json").read_text().index('"a"')


def test_json_refuses_nan_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, 1)
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(path, float("nan"))
    assert path.read_text() == "1\n"


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EFBIG, errno.EDQUOT])
def test_a_failure_at_any_step_keeps_the_old_file_and_is_explained(tmp_path, monkeypatch, step, code):
    path = tmp_path / "a.bin"
    files.write_bytes(path, b"old")

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, step, fail)
    with pytest.raises(InputError, match=r"cannot write .*a\.bin: ") as caught:
        files.write_bytes(path, b"new")
    monkeypatch.undo()
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_an_error_that_the_user_cannot_mend_stays_what_it_is(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(files.os, "write", fail)
    with pytest.raises(OSError, match="input/output"):
        files.write_bytes(tmp_path / "a", b"x")


def test_the_bytes_and_the_name_are_synced_in_that_order(tmp_path, monkeypatch):
    order = []
    sync, replace = os.fsync, os.replace

    def spy_sync(handle):
        order.append("folder" if os.path.isdir(f"/dev/fd/{handle}") else "file")
        sync(handle)

    def spy_replace(*names):
        order.append("rename")
        replace(*names)

    monkeypatch.setattr(files.os, "fsync", spy_sync)
    monkeypatch.setattr(files.os, "replace", spy_replace)
    files.write_bytes(tmp_path / "a", b"x")
    assert order == ["file", "rename", "folder"]


def test_a_writer_that_gets_little_of_its_data_rid_at_a_time_writes_all(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(files.os, "write", lambda handle, data: write(handle, bytes(data[:7])))
    files.write_bytes(tmp_path / "a", bytes(range(200)))
    assert (tmp_path / "a").read_bytes() == bytes(range(200))


def test_temporary_files_of_a_killed_writer_are_removed_and_nothing_else(tmp_path):
    for name in (".last.safetensors.17.tmp", "kept.tmp", ".lock", "run.json"):
        (tmp_path / name).write_text("x")
    files.remove_temporaries(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".lock", "kept.tmp", "run.json"]


def test_a_folder_where_a_file_is_cannot_be_made(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(InputError, match="a file of that name exists"):
        files.make_folder(tmp_path / "a")
    with pytest.raises(InputError, match="is a file, not a folder"):
        files.make_folder(tmp_path / "a" / "b")
    assert files.make_folder(tmp_path / "c" / "d").is_dir()
    files.make_folder(tmp_path / "c" / "d")


_HOLDER = """
    import sys, time
    from pathlib import Path
    from convlens.base.files import FolderLock
    with FolderLock(Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(60)
"""


def test_a_lock_is_for_one_process_and_ends_with_it_however_it_ends(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_HOLDER), str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InUseError, match="is in use"), files.FolderLock(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with files.FolderLock(tmp_path):
        pass
    with files.FolderLock(tmp_path):  # the file of an earlier lock is no lock
        pass


# ---- folders and files of strangers


def other_kind(path, kind: str) -> None:
    """Puts something at `path` that is no plain file."""
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "circle":
        path.symlink_to(path)
    elif kind == "dead link":
        path.symlink_to(path.with_name("nothing"))


@pytest.mark.parametrize("kind", ["absent", "folder", "pipe", "device", "circle", "dead link"])
def test_only_plain_files_are_read_and_nothing_is_waited_for(tmp_path, kind):
    path = tmp_path / "a"
    other_kind(path, kind)
    for read in (files.sha256, lambda p: files.read_bytes(p, 10), lambda p: files.read_text(p, 10)):
        with pytest.raises(InputError) as refused:
            read(path)
        assert str(path) in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_file_above_its_limit_or_not_utf8_is_refused(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert files.read_bytes(path, 5) == b"12345"
    with pytest.raises(InputError, match="larger than 4 bytes"):
        files.read_bytes(path, 4)
    path.write_bytes("ä".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        files.read_text(path, 5)


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 5000])
def test_a_name_that_no_file_can_have_is_refused(name):
    with pytest.raises(InputError):
        files.read_bytes(name, 5)


def test_a_write_goes_through_no_link(tmp_path, monkeypatch):
    treasure = tmp_path / "treasure"
    treasure.write_text("mine")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "a.bin").symlink_to(treasure)  # the file itself: replaced
    files.write_bytes(folder / "a.bin", b"new")
    assert not (folder / "a.bin").is_symlink()
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: "0")  # even if the random name were known
    (folder / ".b.bin.0.tmp").symlink_to(treasure)
    with pytest.raises(FileExistsError):
        files.write_bytes(folder / "b.bin", b"new")
    assert treasure.read_text() == "mine"


def test_temporary_names_are_random_and_what_they_leave_is_known(tmp_path, monkeypatch):
    names = set()

    def fail(source, _):
        names.add(source.name)
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", fail)
    monkeypatch.setattr(type(tmp_path), "unlink", lambda *_, **__: None)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            files.write_bytes(tmp_path / "last.safetensors", b"")
    monkeypatch.undo()
    assert len(names) == 3
    files.remove_temporaries(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "circle", "dead link"])
def test_a_lock_that_is_no_plain_file_is_refused_and_no_link_is_followed(tmp_path, kind):
    other_kind(tmp_path / ".lock", kind)
    with pytest.raises(InputError) as refused, files.FolderLock(tmp_path):
        pass
    assert not isinstance(refused.value, InUseError)
    assert os.listdir(tmp_path) == [".lock"]


def test_a_folder_inside_a_run_may_not_be_a_link(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "events").symlink_to(tmp_path / "outside")
    with pytest.raises(InputError, match="is a link"):
        files.make_inner_folder(tmp_path / "events")
    assert files.make_inner_folder(tmp_path / "others").is_dir()


def test_a_draft_has_the_name_of_the_file_and_replaces_it_only_when_all_went_well(tmp_path):
    path = tmp_path / "weights.npz"
    path.write_text("the old one")

    def interrupted() -> None:
        with files.draft(path) as draft:
            assert draft.name == path.name  # some writers add the suffix that they miss
            draft.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(InputError, match=r"cannot write .*weights\.npz"), files.draft(path):
        pass  # a writer that wrote nothing
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("weights.npz", "the old one")]
    with files.draft(path) as draft:
        draft.write_text("the new one")
        assert path.read_text() == "the old one"
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("weights.npz", "the new one")]


def test_a_draft_of_a_killed_writer_is_removed_and_no_link_in_it_is_followed(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("kept")
    run = tmp_path / "run"
    (run / ".weights.txt.0123.tmp").mkdir(parents=True)
    (run / ".weights.txt.0123.tmp" / "link").symlink_to(elsewhere)
    (run / ".link.tmp").symlink_to(elsewhere)
    files.remove_temporaries(run)
    assert list(run.iterdir()) == []
    assert (elsewhere / "kept").read_text() == "kept"
