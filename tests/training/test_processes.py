"""Training in several processes: the same bytes as in one, whatever happens to them."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from killing import EVERYTHING_ON
from PIL import Image

import convlens as cl
from convlens.base.errors import InputError
from convlens.report.again import again
from convlens.runs import RunFolder


def convlens(*words: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "convlens", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, **(environment or {})},
    )  # fmt: skip


def ended(started: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = started.communicate(timeout=300)
    return started.returncode, said


def train(out: Path, *words: str, **how) -> tuple[int, str]:
    return ended(convlens(*EVERYTHING_ON, "--out", str(out), *words, **how))


def weights(out: Path) -> bytes:
    return RunFolder(out).weights.read_bytes()


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """The run of one process, with four shards."""
    out = tmp_path_factory.mktemp("alone") / "run"
    code, said = train(out, "--processes", "1")
    assert code == 0, said
    return out


def test_two_processes_give_the_bytes_of_one(alone, tmp_path):
    code, said = train(tmp_path / "run", "--processes", "2")
    assert code == 0, said
    assert weights(tmp_path / "run") == weights(alone)
    record, expected = cl.load(tmp_path / "run").record, cl.load(alone).record
    assert record.results is not None
    assert expected.results is not None
    assert {k: record.results[k] for k in ("test", "val")} == {k: expected.results[k] for k in ("test", "val")}
    assert [process.together for process in record.processes] == [2]
    assert record.recipe["shards"] == 4
    assert (tmp_path / "run" / "report.html").exists()
    assert "Traceback" not in said


def test_what_processes_cannot_do_is_one_line(tmp_path, monkeypatch):
    cases = {
        "dealt out to 2 processes": {"settings": ["shards=3"]},
        "--engine torch": {"engine": "numpy"},
        "measure one process": {"budget": "60s"},
        "has no 4 shards": {"batch-size": 2},
    }
    for expected, options in cases.items():
        words = [f"--{key}={value}" for key, value in options.items() if key != "settings"]
        words += [word for setting in options.get("settings", ()) for word in ("--set", setting)]
        code, said = ended(convlens("train", "mlp", "--processes", "2", "--out", str(tmp_path / "run"), "-q", *words))
        assert (code, len(said.splitlines())) == (2, 1), said
        assert expected in said
        assert not (tmp_path / "run").exists()


def test_from_python_it_is_the_same_and_objects_are_refused(alone, tmp_path):
    settings = ["batch_size=256", "checkpoint_seconds=0"]
    options = {"epochs": 1, "settings": settings, "quiet": True, "tensorboard": False}
    run = cl.train("mlp", "digits", processes=2, out=tmp_path / "two", **options)
    assert run.record.processes[0].together == 2
    again = cl.train("mlp", "digits", processes=1, out=tmp_path / "one", **options)
    assert weights(again.path) == weights(run.path)
    with pytest.raises(InputError, match="handed over as an object"):
        cl.train("mlp", (run.predict, None), processes=2)


PLAIN = [
    "train", "lenet5", "--data", "digits", "--epochs", "5", "--precision", "float32", "--no-tensorboard",
    "--set", "batch_size=130", "--set", "ema=0.9", "--set", "augment.shift=2", "--set", "label_smoothing=0.1",
    "--set", "class_weights=[1,2,1,1,1,3,1,1,1,1]",
]  # fmt: skip


def test_fast_processes_are_one_to_rounding_after_45_steps(tmp_path):
    for name, how in {"one": [], "two": ["--processes", "2", "--fast"]}.items():
        code, said = ended(convlens(*PLAIN, "--quiet", "--out", str(tmp_path / name), *how))
        assert code == 0, said
    one, two = (RunFolder(tmp_path / name).read_weights()[0] for name in ("one", "two"))
    for name, expected in one.items():
        assert np.abs(two[name] - expected).max() <= 1e-4 * np.abs(expected).max(), name
    record = cl.load(tmp_path / "two").record
    assert record.processes[0].fast
    assert record.recipe["shards"] is None
    assert "2 processes with --fast" in again(record).remarks[0]


@pytest.mark.slow
def test_fast_says_what_batch_norm_is_over_and_a_lost_process_is_one_line(tmp_path):
    out = tmp_path / "run"
    words = [*PLAIN, "--set", "model.norm_layer=batch", "--set", "checkpoint_seconds=0", "--epochs", "30"]
    started = convlens(*words, "--out", str(out), "--processes", "2", "--fast")
    os.kill(when_it_has_saved(started, out)[1], signal.SIGKILL)
    code, said = ended(started)
    assert code == 0, said
    assert "--fast: batch norm is over the images of each of the 2 processes by themselves" in said
    assert said.count("process 1 was ended by SIGKILL: all start again") == 1
    assert "Traceback" not in said


@pytest.mark.slow
def test_10007_images_are_judged_to_the_same_counts_and_loss_by_1_2_and_3_processes(tmp_path):
    rng = np.random.default_rng(0)
    for part, count in {"train": 300, "test": 10_007}.items():
        for number, pixels in enumerate(rng.integers(0, 256, (count, 8, 8), dtype=np.uint8)):
            place = tmp_path / "set" / part / "abc"[number % 3]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(place / f"{number}.png")
    found = []
    for count in ("1", "2", "3"):
        code, said = ended(
            convlens(
                "train", "lenet5", "--data", str(tmp_path / "set"), "--size", "28", "--epochs", "1", "--quiet",
                "--set", "shards=6", "--processes", count, "--out", str(tmp_path / count),
            )
        )  # fmt: skip
        assert code == 0, said
        results = cl.load(tmp_path / count).results
        found.append((results["test"], results["val"]))
    assert found[0][0]["n"] == 10_007
    assert found[1:] == found[:1] * 2


def test_doctor_connects_processes_and_measures_what_they_exchange():
    code, said = ended(convlens("doctor", "--processes", "2", "--json"))
    assert code == 0, said
    found = json.loads(said.splitlines()[-1])["processes"]
    assert found["processes"] == 2
    assert [row["bytes"] for row in found["sums"]] == [4096, 4 << 20, 64 << 20]
    assert found["limits"]


@pytest.mark.slow
def test_four_processes_give_the_bytes_of_one(alone, tmp_path):
    code, said = train(tmp_path / "run", "--processes", "4")
    assert code == 0, said
    assert weights(tmp_path / "run") == weights(alone)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["resnet20_cifar", "densenet_bc_100_12_cifar"])
def test_networks_full_of_batch_norm_give_the_same_bytes(model, tmp_path):
    found = set()
    for count in ("1", "2", "4"):
        out = tmp_path / count
        code, said = ended(
            convlens(
                "train", model, "--data", "digits", "--size", "16", "--epochs", "2", "--quiet", "--no-tensorboard",
                "--set", "ema=0.9", "--set", "augment.shift=2", "--set", "batch_size=128", "--set", "val_fraction=0.5",
                "--processes", count, "--out", str(out),
            )
        )  # fmt: skip
        assert code == 0, said
        found.add(weights(out))
    assert len(found) == 1


def children(pid: int) -> list[int]:
    """Of a launcher, in the order of the ranks."""
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def when_it_has_saved(started: subprocess.Popen[str], out: Path) -> list[int]:
    """Its processes, as soon as there is a checkpoint."""
    end = time.monotonic() + 60
    while not RunFolder(out).last.exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert started.poll() is None
    return children(started.pid)


LONG = ["--epochs", "12"]


@pytest.fixture(scope="module")
def long_alone(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("long") / "run"
    code, said = train(out, "--processes", "1", *LONG)
    assert code == 0, said
    return out


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_lost_process_is_one_line_and_all_start_again(long_alone, tmp_path, rank):
    out = tmp_path / "run"
    started = convlens(*[w for w in EVERYTHING_ON if w != "--quiet"], "--out", str(out), *LONG, "--processes", "2")
    os.kill(when_it_has_saved(started, out)[rank], signal.SIGKILL)
    code, said = ended(started)
    assert code == 0, said
    line = f"process {rank} was ended by SIGKILL: all start again from the last checkpoint (3 more times)"
    assert said.splitlines().count(line) == 1
    assert "Traceback" not in said
    assert "going on at epoch" in said
    assert weights(out) == weights(long_alone)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1, None])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_any_of_them_saves_and_ends_all(long_alone, tmp_path, rank, number):
    out = tmp_path / "run"
    started = convlens(*EVERYTHING_ON, "--out", str(out), *LONG, "--processes", "2")
    ranks = when_it_has_saved(started, out)
    os.kill(started.pid if rank is None else ranks[rank], number)
    code, said = ended(started)
    assert code == 128 + number, said
    assert "everything is saved" in said
    assert "Traceback" not in said
    code, said = train(out, *LONG, "--resume")
    assert code == 0, said
    assert weights(out) == weights(long_alone)


def written(out: Path) -> int:
    """When the checkpoint was written, in ns; 0 where there is none."""
    last = RunFolder(out).last
    return last.stat().st_mtime_ns if last.exists() else 0


def await_saves(started: subprocess.Popen[str], out: Path, before: int, count: int) -> None:
    """Until a checkpoint that was written at `before` was written so often again, or the run has ended."""
    while count and started.poll() is None:
        now = written(out)
        count -= now != before
        before = now
        time.sleep(0.001)


@pytest.mark.slow
def test_killed_ten_times_and_resumed_with_other_numbers_of_processes_it_ends_with_the_same_bytes(long_alone, tmp_path):
    chance, out = random.Random(0), tmp_path / "run"
    for kill in range(10):
        how = ["--resume"] if kill else []
        count = chance.choice([1, 2, 4])
        if count > 1 or not kill:
            how += ["--processes", str(count)]
        before = written(out)
        started = convlens(*EVERYTHING_ON, "--out", str(out), *LONG, *how, "--max-restarts", "0")
        await_saves(started, out, before, chance.randint(1, 3))
        victims = [started.pid, *(children(started.pid) if count > 1 else [])]
        os.kill(chance.choice(victims), signal.SIGKILL)
        code, said = ended(started)
        assert code != 0, "the run was over before it was killed"
        assert "Traceback" not in said
    code, said = train(out, *LONG, "--resume")
    assert code == 0, said
    assert weights(out) == weights(long_alone)
    assert len(cl.load(out).record.processes) == 11


@pytest.mark.slow
def test_a_process_that_hangs_is_named(tmp_path):
    out = tmp_path / "run"
    started = convlens(
        *EVERYTHING_ON, "--out", str(out), *LONG, "--processes", "2", "--deadline", "4s", "--max-restarts", "0"
    )
    os.kill(when_it_has_saved(started, out)[1], signal.SIGSTOP)
    code, said = ended(started)
    assert code == 2
    assert said.splitlines() == [
        "error: process 1 did not answer within 4 s; go on from the last checkpoint with --resume"
    ]


@pytest.mark.slow
def test_a_port_in_use_is_one_line(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, said = train(tmp_path / "run", "--processes", "2", "--deadline", "20s", environment={"MASTER_PORT": port})
    assert code == 2
    assert said.splitlines() == [f"error: the port of 127.0.0.1:{port} is in use: set MASTER_PORT to another one"]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["code", "images"])
def test_a_process_with_other_code_or_other_images_is_refused(tmp_path, what):
    package = Path(cl.__file__).parent
    shutil.copytree(package, tmp_path / "other" / "convlens")
    if what == "code":
        (tmp_path / "other" / "convlens" / "training" / "extra.py").write_text("")
    rng = random.Random(1)
    for folder in ("own", "theirs"):
        for name in "ab":
            place = tmp_path / folder / "set" / name
            place.mkdir(parents=True)
            for number in range(60):
                color = tuple(rng.randrange(256) for _ in range(3)) if folder == "theirs" else (number, 0, 9)
                Image.new("RGB", (8, 8), color).save(place / f"{number}.png")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = []
    for rank in range(2):
        home = tmp_path / ("theirs" if rank == 1 and what == "images" else "own")
        source = tmp_path / "other" if rank == 1 and what == "code" else package.parent
        environment = os.environ | {
            "RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
            "PYTHONPATH": str(source),
        }  # fmt: skip
        words = ["train", "mlp", "--data", "set", "--set", "shards=4", "--out", str(tmp_path / "run")]
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "convlens", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, env=environment, cwd=home,
            )
        )  # fmt: skip
    for one in started:
        code, said = ended(one)
        assert code == 2
        assert f"error: process 1 has other {what} than process 0" in said
        assert "Traceback" not in said
