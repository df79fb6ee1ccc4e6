"""A study done quickly, in a folder of its own."""

import json
from pathlib import Path
from typing import Any

import pytest

from convlens import studies


class Done:
    """A finished study: its record, and the content of its folder."""

    def __init__(self, record: studies.Record, folder: Path):
        self.record, self.folder = record, folder

    @property
    def json(self) -> dict[str, Any]:
        return json.loads((self.folder / "study.json").read_text("utf-8"))

    @property
    def page(self) -> str:
        return (self.folder / "index.html").read_text("utf-8")

    def figure(self, name: str) -> Any:
        return self.record.figures[name]

    def table(self, title: str) -> list[list[Any]]:
        (found,) = [table["rows"] for table in self.record.tables if table["title"] == title]
        return found


@pytest.fixture
def do(tmp_path):
    """`do("activations", settings=[...])` does a study quickly and gives what came of it."""

    def run(name: str, **arguments: Any) -> Done:
        folder = tmp_path / name
        return Done(studies.run(name, out=folder, quick=True, **arguments), folder)

    return run
