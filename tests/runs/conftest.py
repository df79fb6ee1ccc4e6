"""One small run, and copies of it to spoil."""

import shutil

import pytest

import convlens as cl
from convlens.runs import RunFolder


@pytest.fixture(scope="session")
def small_run(tmp_path_factory) -> RunFolder:
    """A finished run of one epoch. Read only."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    return cl.train(
        data="digits", recipe="fast", epochs=1, settings=["optimizer.name=sgd"], out=folder, quiet=True
    ).folder


@pytest.fixture
def spoiled(small_run, tmp_path) -> RunFolder:
    return RunFolder(shutil.copytree(small_run.path, tmp_path / "spoiled"))
