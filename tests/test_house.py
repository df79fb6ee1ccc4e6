"""The house is kept: no circle between files, files and functions of a size, what is imported is declared."""

import ast
import graphlib
import re
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "convlens"
FILES = sorted(SOURCE.rglob("*.py"))


def test_no_file_imports_itself_through_others():
    graph = grimp.build_graph("convlens", exclude_type_checking_imports=True, cache_dir=None)
    lazily = {("convlens", "convlens.api")}  # `import convlens as cl` gives `cl.train` when it is asked for
    imports = {
        module: {other for other in graph.find_modules_directly_imported_by(module) if (module, other) not in lazily}
        for module in graph.modules
    }
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        pytest.fail("a circle of imports: " + " <- ".join(error.args[1]))


def test_no_file_is_longer_than_350_lines():
    lengths = {str(file.relative_to(SOURCE)): len(file.read_text("utf-8").splitlines()) for file in FILES}
    assert {name: n for name, n in lengths.items() if n > 350} == {}


def test_what_is_imported_is_declared_and_what_is_declared_is_used():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[<>=!\[;]", line)[0] for line in project["dependencies"]}
    extras = {
        re.split(r"[<>=!\[;]", line)[0]
        for name, lines in project["optional-dependencies"].items()
        if name != "dev"
        for line in lines
    }
    names = {"PIL": "pillow", "sklearn": "scikit-learn", "pillow_heif": "pillow-heif"}
    imported = {name for file in FILES for name in _imported(file)} - {*sys.stdlib_module_names, "convlens"}
    imported = {names.get(name, name) for name in imported}
    assert imported - declared - extras == set()
    assert declared - imported == {"scikit-learn"}  # whose digits are read without importing it


def _imported(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found
