"""What goes wrong under several processes ends all of them in one line, and what was saved stays whole."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from killing import EVERYTHING_ON, fill

import convlens as cl
from convlens.runs import RunFolder

TRAIN = [*EVERYTHING_ON, "--epochs", "12"]


def begun(out: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "convlens", *TRAIN, "--out", str(out), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ended(started: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = started.communicate(timeout=300)
    return started.returncode, said


@pytest.mark.slow
def test_a_full_disk_of_the_first_process_ends_all_in_one_line_and_the_checkpoint_goes_on(small_disk, tmp_path):
    out = small_disk / "run"
    started = begun(out, "--processes", "2")
    end = time.monotonic() + 60
    while not RunFolder(out).last.exists() and time.monotonic() < end:
        time.sleep(0.005)
    ranks = [int(n) for n in Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()]
    assert len(ranks) == 2
    filler = fill(small_disk)
    code, said = ended(started)
    assert code == 2, said
    assert len(said.splitlines()) == 1, said
    assert "disk is full" in said
    assert not [rank for rank in ranks if Path(f"/proc/{rank}").exists()]
    _, state = RunFolder(out).read_checkpoint()
    assert (state.epoch, state.step) > (0, 0)
    assert not list(out.glob(".*.tmp"))
    filler.unlink()
    code, said = ended(begun(out, "--processes", "4", "--resume"))
    assert code == 0, said
    code, said = ended(begun(tmp_path / "alone", "--processes", "1"))
    assert code == 0, said
    assert RunFolder(out).weights.read_bytes() == RunFolder(tmp_path / "alone").weights.read_bytes()


@pytest.mark.parametrize("fast", [False, True])
def test_how_long_the_first_process_waited_is_said_in_both_ways(tmp_path, fast):
    out = tmp_path / "run"
    words = ["train", "mlp", "--data", "digits", "--epochs", "2", "--quiet", "--no-tensorboard", "--processes", "2"]
    command = [sys.executable, "-m", "convlens", *words, *(["--fast"] if fast else []), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    record = cl.load(out).record.processes[0]
    assert record.fast == fast
    shares = [line["waiting"] for line in RunFolder(out).read_metrics()]
    assert len(shares) == 2
    for share in (*shares, record.waiting):
        assert share is not None
        assert 0 < share < 1
