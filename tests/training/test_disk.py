"""Full disks and folders that cannot be written: one line, and what was saved stays good."""

import os
import resource
import subprocess
import sys

import pytest
from killing import EVERYTHING_ON, fill


def test_a_full_disk_is_one_line_and_the_checkpoint_before_it_goes_on(commands, small_disk):
    run = small_disk / "run"
    assert commands.run(*EVERYTHING_ON, "--out", str(run), kill_at=160)["code"] == -9
    saved = (run / "last.safetensors").read_bytes()
    for leftover in run.glob(".*.tmp"):
        leftover.unlink()
    filler = fill(small_disk)
    answer = commands.run(*EVERYTHING_ON, "--out", str(run), "--resume")
    assert answer["code"] == 2, commands.said()
    assert "disk is full" in commands.said()
    assert len(commands.said().strip().splitlines()) == 1
    assert (run / "last.safetensors").read_bytes() == saved
    filler.unlink()
    assert commands.run(*EVERYTHING_ON, "--out", str(run), "--resume")["code"] == 0, commands.said()


def test_a_limit_on_file_size_is_one_line(tmp_path):
    program = "import sys; sys.argv = ['convlens', *sys.argv[1:]]; from convlens.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *EVERYTHING_ON, "--out", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "limit" in done.stderr
    assert not list((tmp_path / "run").glob(".*.tmp"))


def test_a_read_only_folder_is_one_line(commands, tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir()
    if os.geteuid() == 0:  # root may write everywhere but on a read-only file system
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)], capture_output=True)
        if mounted.returncode:
            pytest.skip("root here may not mount a read-only file system")
    else:
        folder.chmod(0o500)
    try:
        answer = commands.run(*EVERYTHING_ON, "--out", str(folder / "run"))
        assert answer["code"] == 2, commands.said()
        assert "read-only" in commands.said() or "permission" in commands.said()
        assert len(commands.said().strip().splitlines()) == 1
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", str(folder)], check=True)
