"""Commands run in this process, as a user would type them."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from convlens.cli import main


@dataclass
class Outcome:
    """What a command gave back: exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.out.splitlines()[-1])

    def refused(self) -> str:
        """The one line of a refusal: exit code 2, no traceback, nothing on stdout."""
        assert self.code == 2, self
        assert "Traceback" not in self.err
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert self.err.splitlines()[-1] == lines[0]
        return lines[0]


@pytest.fixture
def cli(monkeypatch, capsys, tmp_path) -> Callable[..., Outcome]:
    """`cli("train", "lenet5", ...)` runs a command in an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def run(*argv: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["convlens", *map(str, argv)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as leave:
            code = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run
