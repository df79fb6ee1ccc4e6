"""Shared fixtures: real data where it is, and a home of its own for every test."""

import os
from pathlib import Path

import pytest

from convlens.base.threads import limit_spinning

limit_spinning()
if "PYTEST_XDIST_WORKER" in os.environ:  # one worker per core: threads of their own would only wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with MNIST, CIFAR-10 and photographs. Skips where it is absent, except in continuous integration."""
    folder = os.environ.get("CONVLENS_DATA")
    if folder and Path(folder).is_dir():
        return Path(folder).resolve()
    if os.environ.get("CI"):
        pytest.fail("CONVLENS_DATA does not name a folder: the tests on real data must run in CI")
    pytest.skip("CONVLENS_DATA does not name a folder with the real data sets")
