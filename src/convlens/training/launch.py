"""`--processes N` on one machine: starts the processes, passes signals on, starts all again where one is lost.

Each is the same command with the variables that torchrun would set. Imports no PyTorch, and neither does it read
pictures: it only waits.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from convlens.base.errors import ConvlensError, DivergedError, InputError, Interrupted, LostError
from convlens.base.progress import say
from convlens.training.fresh import fresh_path
from convlens.training.launched import OURS, by_us
from convlens.training.options import OPTIONS, words

DEADLINE = 600.0
"""Seconds that a process may keep the others waiting."""
_RESTARTS = 3
_GRACE = 10.0  # seconds in which the others end by themselves where one has ended with an error
_AT_ONCE = 0.5  # seconds in which it shows who was first
_LOST = LostError.exit_code


def end_with_launcher() -> None:
    """A process of `launch` is sent SIGTERM when the launcher is gone, however it went."""

    def wait() -> None:
        with contextlib.suppress(OSError, ValueError):
            while sys.stdin.buffer.read(1):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    if by_us():
        threading.Thread(target=wait, name="convlens-launcher", daemon=True).start()


def launch(
    command: Sequence[str],
    processes: int,
    *,
    out: str | None = None,
    restarts: int | None = None,
    deadline: float | None = None,
    quiet: bool = False,
    silent: bool = False,
) -> int:
    """Runs `convlens COMMAND` in so many processes to their end. Returns the exit code.

    out: the run folder to add to the command, if it names none.
    restarts: how often all start again, from the last checkpoint, where one was killed or does not answer.
    deadline: in seconds, as the processes have it. silent: what they write on stdout is thrown away.
    """
    left = _RESTARTS if restarts is None else restarts
    command = [*command, "--out", out] if out is not None else list(command)
    while True:
        group = _Group(command, processes, deadline or DEADLINE, silent)
        code, lost = group.run()
        if lost is None:
            return code
        if left == 0 or group.signum is not None:
            say(f"error: {lost}; go on from the last checkpoint with --resume")
            return 2 if group.signum is None else 128 + group.signum
        say(f"{lost}: all start again from the last checkpoint ({left} more time{'s'[: left != 1]})", quiet=quiet)
        left -= 1
        command = command if "--resume" in command else [*command, "--resume"]


class _Group:
    """The processes of one try."""

    def __init__(self, command: list[str], count: int, deadline: float, silent: bool):
        self.signum: int | None = None
        self.deadline = deadline
        self.stdout = subprocess.DEVNULL if silent else None
        port = os.environ.get("MASTER_PORT") or str(_free_port())
        local = {"darwin": "lo0", "linux": "lo"}.get(sys.platform)
        shared = os.environ | {
            "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "LOCAL_WORLD_SIZE": str(count),
            OURS: "1", "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR"),
        }  # fmt: skip
        if local is not None:
            shared.setdefault("GLOO_SOCKET_IFNAME", local)
        self.said = [None if rank == 0 else tempfile.TemporaryFile() for rank in range(count)]  # noqa: SIM115
        self.processes = [
            self._start(command, shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, said)
            for rank, said in enumerate(self.said)
        ]

    def _start(self, command: list[str], environment: dict[str, str], said: Any) -> subprocess.Popen[bytes]:
        """Out of the terminal's process group: Ctrl-C reaches the launcher alone, which passes it on once.

        said: where stderr goes; None for the launcher's own, which one process has.
        """
        return subprocess.Popen(
            [sys.executable, "-m", "convlens", *command], stdin=subprocess.PIPE, stdout=self.stdout, stderr=said,
            env=environment, process_group=0,
        )  # fmt: skip

    def run(self) -> tuple[int, str | None]:
        """Waits for all. Returns the exit code, and who was lost, in words."""
        before = {number: signal.signal(number, self._pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            while all(process.poll() in (None, 0) for process in self.processes) and self._some_run():
                time.sleep(0.05)
            time.sleep(_AT_ONCE if self._some_run() else 0)
            killed = [(rank, p.returncode) for rank, p in enumerate(self.processes) if (p.poll() or 0) < 0]
            end = time.monotonic() + (_GRACE if killed or _LOST in self._codes() else _AT_ONCE)
            while self._some_run() and time.monotonic() < end:
                time.sleep(0.05)
            silent = [rank for rank, process in enumerate(self.processes) if process.poll() is None]
            return self._verdict(killed, silent)
        finally:
            for process in self.processes:
                if process.poll() is None:
                    process.kill()
                process.wait()
                if process.stdin is not None:
                    process.stdin.close()
            for said in self.said:
                if said is not None:
                    said.close()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _some_run(self) -> bool:
        return any(process.poll() is None for process in self.processes)

    def _codes(self) -> list[int]:
        """The exit codes of those that have ended, 0 for the others."""
        return [process.returncode or 0 for process in self.processes]

    def _verdict(self, killed: list[tuple[int, int]], silent: list[int]) -> tuple[int, str | None]:
        codes = self._codes()
        failed = [rank for rank, code in enumerate(codes) if code > 0 and code != _LOST]
        if failed:  # with a line of its own, which rank 0 has shown already
            self._show(failed[0])
            return codes[failed[0]], None
        if killed:
            return 2, " and ".join(f"process {rank} was ended by {_named(-code)}" for rank, code in killed)
        if silent:
            return 2, f"process {' and '.join(map(str, silent))} did not answer within {self.deadline:g} s"
        return (2, "the processes lost each other") if _LOST in codes else (0, None)

    def _show(self, rank: int) -> None:
        """What a process other than rank 0 wrote on stderr."""
        said = self.said[rank]
        if said is not None:
            said.seek(0)
            say(f"process {rank}: {said.read().decode(errors='replace').strip()}")

    def _pass_on(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signum)


def _named(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return tried.getsockname()[1]


def train(model: Any, data: Any, options: Mapping[str, Any]) -> Path:
    """`convlens train` in several processes, from a program. options: all of `TrainOptions`. Returns the run folder.

    Raises:
        InputError: a network, images or a recipe that were handed over as objects, which other processes do not have.
        ConvlensError: as the processes ended; they have said why on stderr.
    """
    for what, value in (("model", model), ("data", data), ("recipe", options["recipe"])):
        if value is not None and not isinstance(value, (str, os.PathLike)):
            raise InputError(
                f"processes: the {what} was handed over as an object, which other processes do not have: name it, or "
                "start this program with torchrun"
            )
    path = Path(options["out"] or fresh_path(model, data))
    given = {name: value for name, value in options.items() if OPTIONS[name].typed is not None}
    given["out"] = path
    named = [*([] if model is None else [str(model)]), *([] if data is None else ["--data", str(data)])]
    code = launch(
        ["train", *named, *words(given)], options["processes"], restarts=options["max_restarts"],
        deadline=options["deadline"], quiet=options["quiet"], silent=True,
    )  # fmt: skip
    if code:
        said = f"training in {options['processes']} processes ended with exit code {code}; why stands above, on stderr"
        known = {2: InputError, 3: DivergedError}
        raise Interrupted(said, code - 128) if code > 128 else known.get(code, ConvlensError)(said)
    return path
