"""Fixtures of the tests of killed and failing runs."""

from collections.abc import Iterator

import pytest
from killing import ForkedCommands


@pytest.fixture(scope="module")
def commands(tmp_path_factory) -> Iterator[ForkedCommands]:
    commands = ForkedCommands(tmp_path_factory.mktemp("commands"))
    yield commands
    commands.close()
