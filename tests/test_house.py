"""The house is kept: no circle between files, files and functions of a size, what is imported is declared."""

import ast
import graphlib
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import grimp
import pytest
import torch

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


def test_no_large_file_is_committed():
    """A package or a data set that lies about is soon added by accident, and stays in the history for good."""
    if not (ROOT / ".git").exists():
        pytest.skip("no repository here")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [ROOT / name for name in listed.split("\0") if name]
    assert len(files) > 100
    assert [file.name for file in files if file.is_file() and file.stat().st_size > 500_000] == []


def test_what_is_imported_is_declared_and_what_is_declared_is_used():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[<>=!\[;]", line)[0] for line in project["dependencies"]}
    extras = {
        re.split(r"[<>=!\[;]", line)[0]
        for name, lines in project["optional-dependencies"].items()
        if name != "dev"
        for line in lines
    }
    names = {"PIL": "pillow", "sklearn": "scikit-learn"}
    imported = {name for file in FILES for name in _imported(file)} - {*sys.stdlib_module_names, "convlens"}
    imported = {names.get(name, name.replace("_", "-")) for name in imported}
    assert imported - declared - extras == set()
    assert declared - imported == set()
    train = {re.split(r"[<>=!\[;]", line)[0] for line in project["optional-dependencies"]["train"]}
    assert train - imported == set()


PRIVATE = SOURCE / "nn" / "private.py"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_private_names_of_pytorch_stand_in_one_file(file):
    found = _private_names_of_pytorch(file)
    assert found if file == PRIVATE else not found


def test_private_names_of_pytorch_are_found_in_each_way_of_writing_them(tmp_path):
    file = tmp_path / "file.py"
    lines = (
        "from torch._subclasses import fake_tensor", "from torch.utils import _pytree", "import torch._ops as ops",
        "torch._foreach_add(a, b)", "torch.cpu._is_avx512_bf16_supported()", "x.untyped_storage()._cdata",
        "tensor._version", "part._modules", "getattr(function, '_schema', None)",
    )  # fmt: skip
    for line in lines:
        file.write_text(line)
        assert len(_private_names_of_pytorch(file)) == 1, line
    file.write_text("import torch\nself._version\npair._replace(a=1)\nos._exit(1)\ntorch.__version__")
    assert _private_names_of_pytorch(file) == []


def _private_names_of_pytorch(file: Path) -> list[str]:
    """What is imported or asked for in a file; a class may call its own attributes as it likes."""
    step = torch.zeros(1, requires_grad=True).clamp(0, 6).grad_fn
    owners = (torch.Tensor, torch.UntypedStorage, torch.nn.Module(), torch.ops.aten.add.Tensor, step)
    own = {"_replace", "_asdict", "_fields", "_exit"}
    found = []
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        match node:
            case ast.Import(names=names):
                found += [name.name for name in names if re.match(r"torch\b.*\._", name.name)]
            case ast.ImportFrom(module=str(module), names=names) if module.split(".")[0] == "torch":
                found += [f"{module}.{n.name}" for n in names if re.search(r"\._(?!_)", f"{module}.{n.name}")]
            case (
                ast.Attribute(value=value, attr=str(name))
                | ast.Call(func=ast.Name(id="getattr"), args=[value, ast.Constant(value=str(name)), *_])
            ):
                mine = isinstance(value, ast.Name) and value.id in ("self", "cls")
                theirs = ast.unparse(value).split(".")[0] == "torch" or any(hasattr(owner, name) for owner in owners)
                if re.match("_(?!_)", name) and theirs and not mine and name not in own:
                    found.append(ast.unparse(node))
    return found


def _imported(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_the_page_on_architecture_shows_the_step_as_it_stands_and_counts_lines_right():
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    shown = page.split("```py\n")[1].split("```")[0].strip()
    step = _body(SOURCE / "training" / "step.py", "step")
    assert shown == step
    counted = {
        "ops/convolution.py": ("conv2d", "conv2d_backward"),
        "training/step.py": ("step",),
        "training/loop.py": ("fit", "_train_epoch"),
        "models/resnet.py": ("BasicBlock", "Bottleneck", "ResNet"),
        "cli/predict.py": ("predict",),
    }
    for file, names in counted.items():
        lengths = [len(_body(SOURCE / file, name).splitlines()) for name in names]
        (row,) = [line for line in page.splitlines() if line.startswith("|") and f"`{file}`" in line]
        assert [int(number) for number in re.findall(r"\d+", row.split("|")[3])] == lengths, file


def _body(file: Path, name: str) -> str:
    """A function or class without its docstring, and without its indentation."""
    text = file.read_text("utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
            first = node.body[1] if ast.get_docstring(node) else node.body[0]
            lines = text.splitlines()[first.lineno - 1 : node.end_lineno]
            return textwrap.dedent("\n".join(lines)).strip()
    raise AssertionError(f"{file} has no {name}")


# Functions of more than 40 lines of code, and why they are better in one piece.
LONG = {
    "fit": "19 lines are its arguments; the loop of the textbook stands on one screen",
    "train_numpy": "30 lines are its arguments, handed on",
    "record_of": "a table: one line for each field",
    "explain": "40 lines are the options of the command",
    "trace": "33 lines are the options of the command",
    "run": "a table of the listeners in their order, between starting and judging",
}


def test_functions_fit_a_screen():
    found = {}
    for file in FILES:
        text = file.read_text("utf-8")
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                about = node.body[0] if ast.get_docstring(node) is not None else None
                said = range(about.lineno, (about.end_lineno or 0) + 1) if about else ()
                code = [
                    number for number in range(node.lineno, (node.end_lineno or 0) + 1)
                    if number not in said and (words := lines[number - 1].strip()) and not words.startswith("#")
                ]  # fmt: skip
                if len(code) > 40:
                    found[node.name] = f"{file.relative_to(SOURCE)}: {len(code)} lines"
    assert found.keys() == LONG.keys(), found


# What hooks into a pass and is no looking inside: it changes what the pass does.
HOOKING = {
    "inspection/probe/probe.py": "the one way to look inside",
    "inspection/probe/operations.py": "a part of it",
    "inspection/execution.py": "asks automatic differentiation what it keeps, on tensors without values",
    "inspection/verify/draws.py": "replaces the numbers that PyTorch draws by those of a graph",
    "inspection/verify/compare.py": "replaces casts to float32",
    "classify/outputs.py": "replaces what a network returns by its logits",
    "nn/private.py": "the mode that the probe derives its own from",
    "training/processes/batch_norm.py": "replaces batch norms by those over all shards",
    "training/processes/fast.py": "sends gradients as they come, and looks at the clock",
    "models/network.py": "leaves out the drawing of weights that have no memory",
    "scratch/from_torch/derivatives.py": "refuses a network while it is exported; stands below the probe",
}


def test_only_the_probe_looks_inside_a_pass():
    hook = r"\.register_\w*hook\(|\bsaved_tensors_hooks\(|\((private\.)?(Torch(Dispatch|Function)|PlainDispatch)Mode\)"
    found = {str(file.relative_to(SOURCE)) for file in FILES if re.search(hook, file.read_text("utf-8"))}
    assert found == set(HOOKING)
