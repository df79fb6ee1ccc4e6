"""Files for other programs: a form of one's own is three lines, and a file that fails its check is never there."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import convlens as cl
from convlens.base.errors import InputError
from convlens.classify.classifier import Classifier
from convlens.cli import app, main
from convlens.data import Preprocess
from convlens.deploy import exporters


class Odd(nn.Module):
    """Every kind of array: matrices, a scalar, none at all, whole numbers, other precisions, the ends of float32."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.ends = nn.Parameter(torch.tensor([3.4028235e38, -1e-45, 1 / 3, -0.0]))
        self.fine = nn.Parameter(torch.tensor([[1 / 3], [2e-308]], dtype=torch.float64))
        self.register_buffer("empty", torch.zeros(0, 4))
        self.register_buffer("short", torch.tensor([0.1, 6e-8], dtype=torch.float16))


@pytest.fixture
def classifier() -> Classifier:
    return Classifier(Odd(), Preprocess((4, 4), 1), ("a", "b"))


@pytest.fixture
def registered():
    """Forms that a test enters are gone afterwards."""
    before = dict(exporters._EXPORTERS)
    yield
    exporters._EXPORTERS.clear()
    exporters._EXPORTERS.update(before)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> cl.Run:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    data = {"train": (pixels[:30], np.arange(30) % 2), "test": (pixels[30:], np.arange(10) % 2)}
    out = tmp_path_factory.mktemp("exporters") / "run"
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    return cl.train(network, data, epochs=1, size=8, out=out, quiet=True, tensorboard=False)


def read_back(text: str) -> dict[str, np.ndarray]:
    """A reader of the text form that knows only its description."""
    found = {}
    for block in text.strip("\n").split("\n\n"):
        (name, shape, kind), *rows = (line.split() for line in block.split("\n"))
        sides = [] if shape == "scalar" else [int(side) for side in shape.split("x")]
        found[name] = np.array([value for row in rows for value in row], kind).reshape(sides)
    return found


def test_the_text_gives_every_bit_back(classifier, tmp_path):
    assert exporters.export(classifier, "text", tmp_path / "new" / "w.txt") == (tmp_path / "new" / "w.txt", 0.0)
    found = read_back((tmp_path / "new" / "w.txt").read_text())
    expected = {name: tensor.numpy() for name, tensor in classifier.module.state_dict().items()}
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("spoil", [
    lambda text: text.replace("norm.bias", "norm.bios"),
    lambda text: text.replace("0.333333343", "0.333333313"),
    lambda text: text[:-20],
    lambda text: text + "more\n",
    lambda text: text.replace(" 3 float32", " 3 float64"),
])  # fmt: skip
def test_the_check_of_the_text_finds_what_is_wrong(classifier, tmp_path, spoil):
    exporter, path = exporters.find("text"), tmp_path / "w.txt"
    exporter.write(classifier, path)
    assert exporter.check(classifier, path) == 0.0
    text = path.read_text()
    assert spoil(text) != text
    path.write_text(spoil(text))
    with pytest.raises(InputError):
        exporter.check(classifier, path)


def write_classes(classifier, path):
    path.write_text(json.dumps(classifier.classes))


def refuse(classifier, path):
    assert json.loads(path.read_text()) == list(classifier.classes)
    raise InputError("the file is of no use")


def test_a_form_of_ones_own_is_registered_in_a_line(run, tmp_path, registered):
    exporters.register("classes", write=write_classes, check=lambda *_: 0.25, file="classes.json", about="the names")
    assert exporters.find("classes").about == "the names"
    path, error = run.export("classes")
    assert (path, error) == (run.path / "classes.json", 0.25)
    assert json.loads(path.read_text()) == ["0", "1"]
    path.unlink()


def test_a_file_that_fails_its_check_is_not_there_and_the_reason_is_said(
    run, tmp_path, registered, monkeypatch, capsys
):
    exporters.register("classes", write=write_classes, check=refuse, file="classes.json", about="the names")
    (tmp_path / "old.json").write_text("the old one")
    for name in ("new.json", "old.json"):
        monkeypatch.setattr(
            "sys.argv", ["convlens", "export", str(run.path), "--format", "classes", "--out", str(tmp_path / name)]
        )
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == 2
        assert f"{tmp_path / name} was not written: the file is of no use" in capsys.readouterr().err.replace("\n", "")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("old.json", "the old one")]


def test_a_writer_that_fails_leaves_nothing(classifier, tmp_path, registered):
    def write(classifier, path):
        path.write_text("half")
        raise KeyboardInterrupt

    exporters.register("half", write=write, check=lambda *_: 0.0, file="half", about="half")
    with pytest.raises(KeyboardInterrupt):
        exporters.export(classifier, "half", tmp_path / "half")
    assert list(tmp_path.iterdir()) == []


def fails(classifier, path):
    np.testing.assert_allclose([1.0], [2.0], err_msg="other logits")


@pytest.mark.parametrize(("check", "words"), [(fails, "other logits"), (lambda *_: float("nan"), "differ by nan")])
def test_a_check_may_be_an_assertion_and_nan_is_no_small_difference(classifier, tmp_path, registered, check, words):
    exporters.register("classes", write=write_classes, check=check, file="classes.json", about="the names")
    with pytest.raises(InputError, match=words) as refused:
        exporters.export(classifier, "classes", tmp_path / "classes.json")
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_form_is_refused_with_the_nearest(classifier, tmp_path):
    with pytest.raises(InputError, match=r"did you mean 'text'.*known: text"):
        exporters.export(classifier, "txt", tmp_path / "file")


def test_help_names_each_form():
    said = CliRunner().invoke(app, ["export", "--help"], env={"COLUMNS": "200"}).output
    said = " ".join(said.replace("│", " ").split())
    assert all(exporter.about in said for exporter in exporters.exporters().values())


def test_the_numbers_of_a_network_whose_code_is_not_here_can_be_had_but_nothing_that_runs_it(run, tmp_path, registered):
    loaded = cl.load(run.path)
    path, _ = loaded.export("text", tmp_path / "numbers.txt")
    found = read_back(path.read_text())
    trained = {name: tensor.numpy() for name, tensor in run.module.state_dict().items()}
    assert found.keys() == trained.keys()
    for name, array in trained.items():
        np.testing.assert_array_equal(found[name], array)
    exporters.register(
        "logits",
        write=lambda classifier, path: path.write_text(str(classifier.logits(np.zeros((1, 8, 8, 1), np.uint8)))),
        check=lambda *_: 0.0, file="logits", about="logits",
    )  # fmt: skip
    with pytest.raises(InputError, match="its author's own code"):
        loaded.export("logits", tmp_path / "logits")
    assert cl.load(run.path, model=nn.Sequential(nn.Flatten(), nn.Linear(64, 2))).export("logits").max_error == 0.0
