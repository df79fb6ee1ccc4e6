"""A cache of its own for every test, and trees of pictures."""

from collections.abc import Callable
from pathlib import Path

import pytest
from samples import write_tree


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch) -> Path:
    """No test sees or touches the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("CONVLENS_CACHE", str(folder))
    return folder


@pytest.fixture
def no_data(monkeypatch) -> None:
    """As on a machine without $CONVLENS_DATA."""
    monkeypatch.delenv("CONVLENS_DATA", raising=False)


@pytest.fixture
def tree(tmp_path) -> Callable[[dict[str, int | bytes]], Path]:
    """`tree({"cat/1.png": 1, ...})` makes such a folder."""
    return lambda files: write_tree(tmp_path / "pictures", files)
