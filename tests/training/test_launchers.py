"""Processes that another launcher started: torchrun on one machine or several, restarts, SLURM's srun."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from torch.distributed import HashStore  # pyright: ignore[reportPrivateImportUsage] - documented

from convlens.base.errors import InputError
from convlens.runs import RunFolder
from convlens.training.launched import launched, launched_rank, launched_size
from convlens.training.processes.arrival import common_word

TRAIN = [
    "train", "lenet5", "--data", "digits", "--epochs", "2", "--quiet", "--no-tensorboard",
    "--set", "shards=4", "--set", "batch_size=128", "--set", "augment.shift=2", "--set", "model.dropout=0.2",
]  # fmt: skip


def free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return tried.getsockname()[1]


def start(*command: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip


def torchrun(*words: str) -> subprocess.Popen[str]:
    return start("torch.distributed.run", *words)


def ended(started: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = started.communicate(timeout=300)
    return started.returncode, said


def weights(out: Path) -> str:
    return hashlib.sha256(RunFolder(out).weights.read_bytes()).hexdigest()


@pytest.fixture
def environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("SLURM_", "MASTER_", "TORCHELASTIC_")) or name in ("RANK", "WORLD_SIZE"):
            monkeypatch.delenv(name)

    def given(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return given


def test_srun_says_who_a_process_is_where_rank_is_missing(environment):
    environment(SLURM_PROCID="3", SLURM_NTASKS="8", SLURM_STEP_ID="0")
    assert (launched_rank(), launched_size()) == (3, 8)
    environment(SLURM_STEP_NUM_TASKS="4")  # a step may be smaller than its job
    assert (launched_rank(), launched_size()) == (3, 4)
    environment(RANK="1", WORLD_SIZE="2")  # torchrun under srun
    assert (launched_rank(), launched_size()) == (1, 2)


def test_a_batch_script_itself_is_no_process_of_many(environment):
    environment(SLURM_PROCID="0", SLURM_NTASKS="8")
    assert not launched()
    assert (launched_rank(), launched_size()) == (0, 1)


@pytest.mark.parametrize("launcher", ["srun", "other"])
def test_where_the_processes_meet_is_asked_for_in_one_line(tmp_path, launcher):
    variables = {
        "srun": {"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_STEP_ID": "0"},
        "other": {"RANK": "1", "WORLD_SIZE": "2"},
    }[launcher]
    code, said = ended(start("convlens", *TRAIN, "--out", str(tmp_path / "run"), **variables))
    assert (code, len(said.splitlines())) == (2, 1), said
    assert "2 processes were started" in said
    assert "set MASTER_ADDR and MASTER_PORT" in said
    assert not (tmp_path / "run").exists()


def test_a_start_knows_nothing_of_what_earlier_ones_left():
    store, words = HashStore(), []
    for _ in range(3):
        found: dict[int, str] = {}

        def one(rank: int, found: dict[int, str] = found) -> None:
            time.sleep(0.03 * (2 - rank))  # the leader comes last
            found[rank] = common_word(store, rank, 3, 20)

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(found.values())) == 1
        words.append(found[0])
    assert len(set(words)) == 3


def test_a_process_that_does_not_come_is_named():
    store = HashStore()
    threading.Thread(target=common_word, args=(store, 1, 3, 5), daemon=True).start()
    with pytest.raises(InputError, match=r"process 2 of 3 did not come within 0\.5 s"):
        common_word(store, 0, 3, 0.5)


def test_tasks_of_srun_give_the_bytes_of_processes(tmp_path):
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "SLURM_NTASKS": "2", "SLURM_STEP_ID": "0"}
    command = ["train", "mlp", "--data", "digits", "--epochs", "1", "--quiet", "--no-tensorboard"]
    tasks = [
        start("convlens", *command, "--out", str(tmp_path / "srun"), SLURM_PROCID=str(rank), **meeting)
        for rank in range(2)
    ]
    for task in tasks:
        code, said = ended(task)
        assert code == 0, said
    code, said = ended(start("convlens", *command, "--processes", "1", "--out", str(tmp_path / "one")))
    assert code == 0, said
    assert weights(tmp_path / "srun") == weights(tmp_path / "one")


@pytest.mark.slow
def test_torchrun_gives_the_bytes_of_processes_on_one_machine_and_on_two(tmp_path):
    code, said = ended(start("convlens", *TRAIN, "--processes", "2", "--out", str(tmp_path / "two")))
    assert code == 0, said
    code, said = ended(
        torchrun("--standalone", "--nproc-per-node", "4", "-m", "convlens", *TRAIN, "--out", str(tmp_path / "four"))
    )
    assert code == 0, said
    agents = machines(tmp_path / "machines", "--nnodes", "2")
    for agent in agents:
        code, said = ended(agent)
        assert code == 0, said
    assert weights(tmp_path / "two") == weights(tmp_path / "four") == weights(tmp_path / "machines")


def machines(out: Path, *how: str, train: list[str] = TRAIN) -> list[subprocess.Popen[str]]:
    """Two agents of torchrun, each with a process, as on two machines. The first is where they meet."""
    port = free_port()
    meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "test"]
    words = ["--nproc-per-node", "1", *meeting, *how, "-m", "convlens", *train, "--out", str(out)]
    first = torchrun(*words)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return [first, torchrun(*words)]
        time.sleep(0.01)
    raise AssertionError(ended(first))


LONG = [*TRAIN, "--epochs", "30", "--set", "checkpoint_seconds=0"]


@pytest.fixture(scope="module")
def long_run(tmp_path_factory) -> str:
    out = tmp_path_factory.mktemp("long") / "run"
    code, said = ended(start("convlens", *LONG, "--processes", "1", "--out", str(out)))
    assert code == 0, said
    return weights(out)


def children(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def when_it_has_saved(out: Path) -> None:
    end = time.monotonic() + 60
    while not RunFolder(out).last.exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert RunFolder(out).last.exists()


@pytest.mark.slow
def test_torchrun_starts_all_again_where_one_is_killed_and_they_go_on(long_run, tmp_path):
    out = tmp_path / "run"
    words = ["--standalone", "--nproc-per-node", "2", "--max-restarts", "2", "-m", "convlens", *LONG]
    agent = torchrun(*words, "--out", str(out))
    when_it_has_saved(out)
    os.kill(children(agent.pid)[-1], signal.SIGKILL)
    code, said = ended(agent)
    assert code == 0, said
    assert said.count("started again (1 of 2): going on from the last checkpoint") == 1
    assert "Traceback" not in said
    assert weights(out) == long_run


@pytest.mark.slow
def test_a_restart_needs_to_know_the_folder(tmp_path):
    words = ["--standalone", "--nproc-per-node", "2", "--max-restarts", "2", "-m", "convlens", *LONG]
    code, said = ended(torchrun(*words))
    assert code != 0
    assert "error: torchrun --max-restarts 2: name a run folder with --out" in said


@pytest.mark.slow
def test_a_machine_that_is_taken_away_leaves_the_others_to_go_on_with_the_same_bytes(long_run, tmp_path):
    out = tmp_path / "run"
    first, second = machines(out, "--nnodes", "1:2", "--max-restarts", "3", train=LONG)
    when_it_has_saved(out)
    for pid in (*children(second.pid), second.pid):
        os.kill(pid, signal.SIGKILL)
    code, said = ended(first)
    ended(second)
    assert code == 0, said
    assert "going on from the last checkpoint" in said
    assert [process.together for process in RunFolder(out).read_record().processes] == [2, 1]
    assert weights(out) == long_run
