"""Commands of the documentation in an empty folder."""

from collections.abc import Callable

import pytest
from lessons import Ran, Stock


@pytest.fixture(scope="session")
def stock(tmp_path_factory) -> Stock:
    return Stock(tmp_path_factory.mktemp("stock"))


@pytest.fixture
def run(stock, tmp_path, monkeypatch) -> Callable[[str], Ran]:
    """`run("convlens ...")` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CONVLENS_DATA", raising=False)
    return stock.run
