"""Fixtures of the tests of killed and failing runs."""

from collections.abc import Iterator

import pytest
from killing import Nursery


@pytest.fixture(scope="module")
def nursery(tmp_path_factory) -> Iterator[Nursery]:
    nursery = Nursery(tmp_path_factory.mktemp("nursery"))
    yield nursery
    nursery.close()
