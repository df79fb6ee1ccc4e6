"""Fixtures of the tests of killed and failing runs."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from killing import ForkedCommands


@pytest.fixture(scope="module")
def commands(tmp_path_factory) -> Iterator[ForkedCommands]:
    commands = ForkedCommands(tmp_path_factory.mktemp("commands"))
    yield commands
    commands.close()


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 4 MiB. Skips where this user may not mount one (a limit on file sizes then stands in)."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a small file system here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
