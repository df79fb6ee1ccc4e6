"""ONNX: one file, batches of any size, our own answers; without PyTorch, and bit for bit in any batch."""

import json
import subprocess
import sys
import warnings
import zipfile

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from typer.testing import CliRunner

import convlens as cl
from convlens.base.errors import InputError
from convlens.classify import onnx_file
from convlens.classify.classifier import Classifier
from convlens.cli import app, main
from convlens.data import Preprocess
from convlens.deploy import exporters

WITHOUT_TORCH = "import sys; sys.modules.update({'torch': None}); "


def pictures(n: int, channels: int = 1, side: int = 8) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (n, side, side, channels), dtype=np.uint8)


def small() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(), nn.Flatten(),
        nn.Linear(96, 3),
    )  # fmt: skip


def by_hand(path, *, weights: np.ndarray, label: dict | None, batch: str | int = "batch") -> None:
    """A network of one matrix, [N, 1, 2, 2] to [N, K], written with onnx alone."""
    nodes = [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["y"])]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 1, 2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, weights.shape[1]])],
        [numpy_helper.from_array(weights, "w")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    if label is not None:
        helper.set_model_props(model, {"convlens": json.dumps(label)})
    onnx.save_model(model, path)


LABEL = {
    "format_version": 1,
    "classes": ["left", "right"],
    "preprocess": Preprocess((2, 2), 1, (0.5,), (0.25,)).to_dict(),
    "input": "float32",
    "opset": 20,
}


DATA = {"train": (pictures(30), np.arange(30) % 3), "test": (pictures(40)[::-1], np.arange(40) % 3)}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> cl.Run:
    out = tmp_path_factory.mktemp("onnx") / "run"
    return cl.train(small(), DATA, epochs=1, size=8, out=out, quiet=True, tensorboard=False)


@pytest.fixture(scope="module")
def exported(run):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return run.export("onnx", data=DATA)


def test_a_run_becomes_one_file_that_says_what_it_is(run, exported):
    assert exported.path == run.path / "model.onnx"
    assert 0 <= exported.max_error < 1e-5
    assert not list(run.path.glob("*.data"))
    model = onnx.load(exported.path)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 20)]
    label = json.loads({entry.key: entry.value for entry in model.metadata_props}["convlens"])
    assert label["classes"] == list(run.record.classes)
    assert Preprocess.from_dict(label["preprocess"]) == run.classifier().preprocess
    assert label["facts"]["weights_sha256"] == run.record.weights_sha256
    assert label["facts"]["test"]["accuracy"] == run.results["test"]["accuracy"]
    assert label["facts"]["recipe"] == run.record.recipe


def test_the_file_tells_nothing_of_the_computer_it_was_made_on(exported):
    content = exported.path.read_bytes()
    assert b"site-packages" not in content
    assert b"convlens/src" not in content
    assert b".py" not in content


@pytest.mark.parametrize("n", [1, 3, 32, 40])
def test_it_answers_as_pytorch_does(run, exported, n):
    x = run.classifier().preprocess.normalize(pictures(n))
    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    found = np.asarray(session.run(None, {"images": x})[0])
    expected = run.classifier().logits(pictures(n))
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_with_preprocessing_pixels_go_in_and_probabilities_come_out(run, tmp_path):
    path, _ = run.export("onnx", tmp_path / "whole.onnx", data=DATA, with_preprocessing=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = np.asarray(session.run(["probabilities"], {"pixels": pictures(5)})[0])
    np.testing.assert_allclose(found, run.classifier().probabilities(pictures(5)), atol=1e-6)
    ours = Classifier.from_onnx(path)
    np.testing.assert_allclose(ours.probabilities(pictures(5)), found, atol=1e-6)


def test_the_network_is_left_as_it_was(run):
    network = small().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    classifier = Classifier(network, run.classifier().preprocess, ("a", "b", "c"))
    exporters.export(classifier, "onnx", run.path / "other.onnx", images=pictures(4))
    assert all(part.training for part in network.modules())
    assert all(bool((value == before[name]).all()) for name, value in network.state_dict().items())
    assert not any(part._forward_hooks for part in network.modules())


def test_a_file_that_answers_otherwise_is_never_there(run, tmp_path, monkeypatch):
    from convlens.deploy import onnx_export

    class Wrong(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :3] * 2

    classifier = Classifier(lambda x: x.reshape(len(x), -1)[:, :3], Preprocess((8, 8), 1), ("a", "b", "c"))
    made = Classifier(Wrong(), classifier.preprocess, classifier.classes)
    monkeypatch.setattr(exporters, "_EXPORTERS", dict(exporters.exporters()))
    exporters.register(
        "spoilt", write=lambda _, path, **settings: onnx_export.write(made, path, **settings), check=onnx_export.check,
        file="x", about="", takes=("images",),
    )  # fmt: skip
    with pytest.raises(InputError, match="was not written: in a batch of 1, its outputs differ"):
        exporters.export(classifier, "spoilt", tmp_path / "x.onnx", images=pictures(4))
    assert not list(tmp_path.iterdir())


def test_outputs_that_are_not_finite_are_nothing_to_compare_with(tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    nn.init.constant_(next(network[1].parameters()), float("nan"))
    classifier = Classifier(network, Preprocess((4, 4), 1), ("a", "b"))
    with pytest.raises(InputError, match="the network's own outputs are not finite"):
        exporters.export(classifier, "onnx", tmp_path / "x.onnx", images=pictures(2, side=4))
    assert not list(tmp_path.iterdir())


def test_a_network_that_cannot_be_traced_is_refused_in_one_line(tmp_path):
    class Choosy(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :2] if x.sum() > 0 else -x.flatten(1)[:, :2]

    classifier = Classifier(Choosy(), Preprocess((4, 4), 1), ("a", "b"))
    with pytest.raises(InputError, match="chooses its path by the values of a tensor"):
        exporters.export(classifier, "onnx", tmp_path / "x.onnx", images=pictures(2, side=4))
    assert not list(tmp_path.iterdir())


def test_a_setting_that_a_format_does_not_take_is_refused_by_name(run):
    with pytest.raises(InputError, match="'text' does not take 'with-preprocessing'; it is for program, onnx"):
        run.export("text", with_preprocessing=True)


# ---- other forms


@pytest.mark.parametrize("with_preprocessing", [False, True])
def test_a_program_runs_without_the_code_and_has_no_pickle_in_it(run, tmp_path, with_preprocessing):
    path, worst = run.export("program", tmp_path / "m.pt2", data=DATA, with_preprocessing=with_preprocessing)
    assert worst < 1e-6
    with zipfile.ZipFile(path) as file:
        contents = [file.read(name) for name in file.namelist()]
    assert not any(content.startswith((b"\x80", b"PK")) for content in contents)
    assert not any(b".py" in content for content in contents)
    program = torch.export.load(path).module()
    for n in (1, 2, 5):
        x = pictures(n) if with_preprocessing else run.classifier().preprocess.normalize(pictures(n))
        found = program(torch.from_numpy(x))
        found = found[0] if with_preprocessing else torch.softmax(found, 1)
        np.testing.assert_allclose(found.detach(), run.classifier().probabilities(pictures(n)), atol=1e-6)


def test_safetensors_give_every_bit_back_to_another_library(run, tmp_path):
    path, worst = run.export("safetensors", tmp_path / "w.safetensors")
    assert worst == 0
    expected = run.module.state_dict()
    with safetensors.safe_open(path, "pt") as file:
        assert set(file.keys()) == set(expected)
        assert all(torch.equal(file.get_tensor(name), value) for name, value in expected.items())
        assert run.record.classes[0] in str(file.metadata())


# ---- from_onnx


def test_a_file_made_by_hand_answers_as_its_matrix_says(tmp_path):
    weights = np.array([[1, 0], [0, 1], [0, 0], [0, 0]], np.float32)
    by_hand(tmp_path / "m.onnx", weights=weights, label=LABEL)
    classifier = Classifier.from_onnx(tmp_path / "m.onnx")
    pixels = np.array([[[255, 0], [0, 0]], [[0, 255], [0, 0]]], np.uint8)[..., None]
    np.testing.assert_allclose(classifier.logits(pixels), [[2, -2], [-2, 2]], rtol=1e-6)
    assert [answer.label for answer in classifier.predict(list(pixels))] == ["left", "right"]


@pytest.mark.parametrize(("change", "message"), [
    ({"classes": ["only"]}, "output 'y' has the shape .* for 1 classes"),
    ({"classes": []}, "classes"),
    ({"format_version": 2}, "format_version"),
    ({"more": 1}, "more"),
    ({"input": "uint8"}, "its input is tensor"),
    ({"preprocess": {}}, "'size' is missing"),
    ({"preprocess": Preprocess((3, 2), 1).to_dict()}, "its input is tensor"),
])  # fmt: skip
def test_metadata_that_make_no_sense_are_refused(tmp_path, change, message):
    by_hand(tmp_path / "m.onnx", weights=np.zeros((4, 2), np.float32), label=LABEL | change)
    with pytest.raises(InputError, match=message):
        Classifier.from_onnx(tmp_path / "m.onnx")


def test_what_is_no_file_of_ours_is_refused_in_one_line(tmp_path):
    by_hand(tmp_path / "foreign.onnx", weights=np.zeros((4, 2), np.float32), label=None)
    with pytest.raises(InputError, match="was not written by convlens export"):
        Classifier.from_onnx(tmp_path / "foreign.onnx")
    (tmp_path / "noise.onnx").write_bytes(b"\x00no model" * 100)
    with pytest.raises(InputError, match=r"noise.onnx cannot be opened as ONNX: [^\n]+$"):
        Classifier.from_onnx(tmp_path / "noise.onnx")
    with pytest.raises(InputError, match="there is no file"):
        Classifier.from_onnx(tmp_path / "none.onnx")


def test_damaged_files_are_refused_in_one_line_and_print_nothing(exported, tmp_path, capfd):
    whole, chance = exported.path.read_bytes(), np.random.default_rng(0)
    for trial in range(200):
        damaged = bytearray(whole)
        if trial % 4 == 0:
            damaged = damaged[: chance.integers(len(damaged))]
        for place in chance.integers(0, max(1, len(damaged)), 8):
            damaged[place : place + 1] = chance.bytes(1)
        (tmp_path / "m.onnx").write_bytes(damaged)
        said = ""
        try:
            Classifier.from_onnx(tmp_path / "m.onnx").logits(pictures(2))
        except InputError as error:
            said = str(error)
        assert "\n" not in said
    assert capfd.readouterr() == ("", "")


def test_a_picture_has_the_same_bits_alone_and_in_any_batch(exported):
    classifier = Classifier.from_onnx(exported.path)
    pixels = pictures(70)
    alone = np.concatenate([classifier.logits(pixels[k : k + 1]) for k in range(70)])
    for size in (2, 3, 7, 32, 33, 70):
        together = np.concatenate([classifier.logits(pixels[k : k + size]) for k in range(0, 70, size)])
        assert together.tobytes() == alone.tobytes()


def test_kernels_that_round_by_the_size_of_the_batch_are_run_picture_by_picture(tmp_path, monkeypatch):
    by_hand(tmp_path / "m.onnx", weights=np.ones((4, 2), np.float32), label=LABEL)
    classifier = Classifier.from_onnx(tmp_path / "m.onnx")
    honest = onnx_file.OnnxNetwork._run
    monkeypatch.setattr(onnx_file.OnnxNetwork, "_run", lambda self, x: honest(self, x) * np.float32(1 + 1e-6 * len(x)))
    pixels = pictures(9, side=2)
    alone = np.concatenate([classifier.logits(pixels[k : k + 1]) for k in range(9)])
    assert classifier.logits(pixels).tobytes() == alone.tobytes()
    assert classifier.logits(pixels[:5]).tobytes() == alone[:5].tobytes()


def test_no_pytorch_is_needed_or_imported(tmp_path, exported):
    from PIL import Image

    for k, picture in enumerate(pictures(3)[..., 0]):
        Image.fromarray(picture).save(tmp_path / f"{k}.png")
    code = WITHOUT_TORCH + (
        "import convlens as cl; from convlens.cli import main; "
        f"sys.argv = ['convlens', 'predict', {str(exported.path)!r}, {str(tmp_path)!r}, '--json']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    rows = json.loads(done.stdout.splitlines()[-1])["predictions"]
    expected = Classifier.from_onnx(exported.path).predict(list(pictures(3)))
    assert [(row["label"], row["probability"]) for row in rows] == [(one.label, one.probability) for one in expected]


def test_python_without_pytorch_has_the_classifier(exported):
    code = WITHOUT_TORCH + (f"import convlens as cl; print(cl.Classifier.from_onnx({str(exported.path)!r}).classes)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == (str(Classifier.from_onnx(exported.path).classes), "")


@pytest.mark.parametrize("command", [["summary", "lenet5"], ["train"], ["export", "run"], ["predict", "run", "x.png"]])
def test_commands_that_need_pytorch_say_how_to_get_it(command):
    code = WITHOUT_TORCH + f"from convlens.cli import main; sys.argv = ['convlens', *{command!r}]; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: this needs torch, which is not installed: pip install 'convlens[train]'\n"


def test_training_in_python_says_how_to_get_pytorch():
    code = WITHOUT_TORCH + "import convlens; convlens.train"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.endswith("ImportError: convlens.train needs torch: pip install 'convlens[train]'\n")


def test_a_missing_library_is_one_line_that_says_how_to_get_it(exported, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"needs onnxruntime .*: pip install 'convlens\[serve\]'"):
        Classifier.from_onnx(exported.path)


def test_options_of_pytorch_are_refused_for_a_file(exported, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["convlens", "predict", str(exported.path), "x.png", "--device", "cuda"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "runs on the CPU" in capsys.readouterr().err


def test_the_command_writes_the_file_and_says_how_far_it_is_off(tmp_path, real_data):
    run = cl.train("mlp", "digits", epochs=1, out=tmp_path / "run", quiet=True, tensorboard=False)
    done = CliRunner().invoke(app, ["export", str(run.path), "--format", "onnx", "--json"])
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["path"] == str(run.path / "model.onnx")
    assert answer["bytes"] == (run.path / "model.onnx").stat().st_size
    assert answer["max_error"] < 1e-5
