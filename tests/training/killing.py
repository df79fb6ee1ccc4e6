"""What the tests of killed and failing runs share: a full recipe, and a process to run it in."""

import json
import subprocess
import sys
from pathlib import Path

EVERYTHING_ON = [
    "train", "lenet5", "--data", "digits", "--epochs", "3", "--quiet", "--no-tensorboard",
    "--set", "batch_size=256", "--set", "model.norm_layer=batch", "--set", "model.dropout=0.2",
    "--set", "ema=0.9", "--set", "augment.shift=2", "--set", "augment.cutout=6", "--set", "augment.noise=0.05",
    "--set", "schedule.name=one-cycle", "--set", "label_smoothing=0.1",
    "--set", "checkpoint_seconds=0",
]  # fmt: skip


def fill(folder: Path) -> Path:
    """Fills a disk. Returns the file that does."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return filler


class ForkedCommands:
    """A process that runs commands in forked children (see forked_commands.py)."""

    def __init__(self, folder: Path):
        program = Path(__file__).with_name("forked_commands.py")
        self.folder, self.log = folder, folder / "log.txt"
        self.process = subprocess.Popen(
            [sys.executable, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder
        )

    def run(self, *argv: str, **how) -> dict:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps({"argv": argv, "log": str(self.log), **how}), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def said(self) -> str:
        return self.log.read_text()

    def close(self) -> None:
        self.process.communicate()
