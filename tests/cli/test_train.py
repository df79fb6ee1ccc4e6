"""`convlens train` as a user types it: results, and each kind of bad input refused in one line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

BRIEF = ("--epochs", 1, "--quiet", "--no-tensorboard")


def make_pictures(folder: Path, classes: dict[str, int], side: int = 32) -> Path:
    """Class folders of small pictures whose mean brightness tells the class."""
    rng = np.random.default_rng(0)
    for number, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            noise = rng.integers(0, 60, (side, side, 3))
            Image.fromarray((noise + 60 * number).astype(np.uint8)).save(folder / name / f"{i}.png")
    return folder


def test_the_default_run_leaves_a_complete_folder(cli, tmp_path):
    done = cli("train", "--epochs", 2, "--out", "run", "--json")
    assert done.code == 0, done.err
    result = done.json
    for key in ("run", "model", "data", "parameters", "epochs", "val", "test", "seconds", "images_per_second"):
        assert key in result
    assert (result["model"], result["data"], result["parameters"], result["epochs"]) == ("lenet5", "digits", 61_706, 2)
    assert 0.5 < result["test"]["accuracy"] <= 1
    assert result["seconds"]["total"] >= result["seconds"]["train"] > 0
    run = tmp_path / "run"
    names = {path.name for path in run.iterdir() if not path.name.startswith(".")}
    assert {"run.json", "weights.safetensors", "last.safetensors", "metrics.jsonl", "report.html", "events"} <= names
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2
    assert "epoch 2/2" in done.err  # progress goes to stderr


def test_without_out_runs_go_to_a_folder_named_after_network_and_data(cli):
    done = cli("train", *BRIEF, "--json")
    assert done.json["run"].startswith("runs/lenet5-digits-")


def test_several_seeds_give_mean_and_standard_deviation(cli):
    done = cli("train", *BRIEF, "--seeds", 2, "--out", "both", "--json")
    result = done.json
    found = [run["test"]["accuracy"] for run in result["runs"]]
    assert result["test"]["accuracy"] == pytest.approx(np.mean(found))
    assert result["test"]["std"] == pytest.approx(np.std(found, ddof=1))
    assert [run["seed"] for run in result["runs"]] == [0, 1]


def test_equal_seeds_give_equal_weights_and_other_seeds_others(cli, tmp_path):
    for out, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert cli("train", *BRIEF, "--seed", seed, "--out", out).code == 0
    weights = [(tmp_path / out / "weights.safetensors").read_bytes() for out in "abc"]
    assert weights[0] == weights[1] != weights[2]


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
def test_own_images_in_class_folders_or_archives_train(cli, tmp_path, kind):
    make_pictures(tmp_path / "mine", {"dark": 20, "middling": 20, "light": 20}, side=40)
    source = tmp_path / "mine"
    if kind != "folder":
        format = {"zip": "zip", "tar.gz": "gztar"}[kind]
        source = Path(shutil.make_archive(str(tmp_path / "packed"), format, tmp_path / "mine"))
    done = cli("train", "--data", source, "--epochs", 15, "--quiet", "--json")
    assert done.code == 0, done.err
    assert done.json["test"]["accuracy"] > 0.9


def test_one_corrupt_image_is_named_and_training_goes_on(cli, tmp_path):
    folder = make_pictures(tmp_path / "mine", {"dark": 20, "light": 20})
    (folder / "dark" / "7.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    done = cli("train", "--data", folder, "--epochs", 1)
    assert done.code == 0
    assert "7.png" in done.err


OWN_MODEL = """
import torch
from torch import nn

def Small(num_classes, in_channels=1):
    layers = [nn.Conv2d(in_channels, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(64, num_classes))

class FailsLater(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.body = Small(num_classes)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        if self.training:
            self.calls += 1
        return self.body(x) * torch.where(self.calls > 25, torch.nan, 1.0)
"""


def test_a_network_of_ones_own_trains_and_predicts_only_when_its_file_is_named(cli, tmp_path):
    (tmp_path / "mine.py").write_text(OWN_MODEL)
    assert cli("train", "mine.py:Small", *BRIEF, "--out", "run").code == 0
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("zero.png")
    assert "--model" in cli("predict", "run", "zero.png").refused()
    done = cli("predict", "run", "zero.png", "--model", "mine.py:Small", "--json")
    assert done.json["predictions"][0]["path"] == "zero.png"


def test_divergence_keeps_the_last_good_weights_and_exits_with_3(cli, tmp_path):
    (tmp_path / "mine.py").write_text(OWN_MODEL)
    done = cli("train", "mine.py:FailsLater", "--epochs", 9, "--quiet", "--out", "run")
    assert done.code == 3
    assert "diverged" in done.err
    assert "Traceback" not in done.err
    assert len(done.err.strip().splitlines()) == 1
    from convlens.runs import RunFolder

    arrays, meta = RunFolder(tmp_path / "run").read_weights()
    assert meta["best"]["epoch"] >= 1
    assert all(np.isfinite(array).all() for array in arrays.values())


def test_a_learning_rate_far_too_high_exits_with_3(cli):
    done = cli("train", *BRIEF, "--set", "optimizer.name=sgd", "--set", "optimizer.lr=1e30")
    assert done.code == 3
    assert "learning rate" in done.err


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (["lenet6"], "'lenet5'"),
        (["nowhere.py:Net"], "nowhere.py"),
        (["--data", "digitss"], "'digits'"),
        (["--data", "/no/such/folder"], "/no/such/folder"),
        (["--recipe", "defualt"], "'default'"),
        (["--recipe", "none.toml"], "none.toml"),
        (["--set", "optimizer.lrr=1"], "'optimizer.lr'"),
        (["--set", "lr=1"], "'optimizer.lr'"),
        (["--set", "nonsense"], "key=value"),
        (["--set", "optimizer.lr=fast"], "optimizer.lr"),
        (["--set", "model.dropuot=0.1"], "'dropout'"),
        (["--epochs", "0"], "epochs"),
        (["--size", "3"], "12x12"),
        (["--device", "cuda:77"], "cuda:77"),
        (["--device", "abacus"], "abacus"),
        (["--precision", "int4"], "precision"),
        (["--resume"], "--out"),
        (["--weights", "none.safetensors"], "none.safetensors"),
        (["--seeds", "0"], "--seeds"),
    ],
)
def test_bad_settings_are_refused_in_one_line(cli, argv, word):
    assert word in cli("train", *argv, "--quiet").refused()


def test_images_that_cannot_be_used_are_refused_in_one_line(cli, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty" in cli("train", "--data", "empty").refused()
    make_pictures(tmp_path / "one-class", {"only": 5})
    assert "class" in cli("train", "--data", "one-class").refused()
    make_pictures(tmp_path / "lonely", {"many": 20, "single": 1})
    assert "single" in cli("train", "--data", "lonely").refused()
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 no archive")
    assert "broken.zip" in cli("train", "--data", "broken.zip").refused()


def test_an_out_that_is_a_file_or_holds_other_things_is_refused(cli, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "is a file" in cli("train", "--out", "file").refused()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("mine")
    assert "other things" in cli("train", "--out", "home").refused()
    assert (tmp_path / "home" / "thesis.txt").read_text() == "mine"


def test_a_failed_request_leaves_no_run_folder(cli, tmp_path):
    cli("train", "lenet6", "--out", "run")
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.slow
def test_mnist_reaches_99_percent_with_the_default_recipe(cli, real_data, monkeypatch):
    monkeypatch.setenv("CONVLENS_DATA", str(real_data))
    result = cli("train", "lenet5", "--data", "mnist", "--quiet", "--json").json
    assert result["test"]["n"] == 10_000
    assert result["test"]["accuracy"] >= 0.99


def test_the_default_network_learns_the_default_data(cli):
    assert cli("train", "--quiet", "--json").json["test"]["accuracy"] >= 0.975


@pytest.mark.slow
def test_five_seeds_on_digits_reach_the_published_mean(cli):
    result = cli("train", "--seeds", 5, "--quiet", "--json").json
    assert result["test"]["mean"] >= 0.983
    assert result["test"]["min"] >= 0.97  # the worst of five seeds; one of 359 images is 0.28 %


def test_help_imports_nothing_heavy():
    program = (
        "import sys; sys.argv = ['convlens', '--help']\n"
        "from convlens.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'matplotlib', 'pydantic', 'PIL', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_command_is_installed_and_reports_its_version():
    import convlens

    command = Path(sys.executable).with_name("convlens")
    done = subprocess.run([str(command), "--version"], capture_output=True, text=True)
    assert done.stdout.strip() == f"convlens {convlens.__version__}"


def test_metrics_are_one_json_object_a_line(cli, tmp_path):
    cli("train", *BRIEF, "--out", "run")
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    assert {"epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "seconds"} <= set(line)


@pytest.mark.parametrize("network", ["googlenet_2014_aux", "resnet18", "go_policy_small"])
def test_networks_for_large_images_and_with_auxiliary_heads_train_on_small_ones(cli, tmp_path, network):
    make_pictures(tmp_path / "mine", {"dark": 12, "light": 12}, side=24)
    done = cli("train", network, "--data", "mine", *BRIEF, "--set", "batch_size=8", "--json")
    assert done.code == 0, done.err
    assert done.json["model"] == network


def test_a_network_that_is_no_classifier_is_refused(cli, tmp_path):
    assert "batch of shape" in cli("train", "dcgan_generator", *BRIEF, "--size", 32).refused()
    (tmp_path / "mine.py").write_text(OWN_MODEL + "\ndef Three(in_channels): return Small(3, in_channels)\n")
    assert "one logit per class" in cli("train", "mine.py:Three", *BRIEF).refused()


def test_the_classes_are_printed_in_the_order_of_their_labels(cli, tmp_path):
    names = [str(k) for k in reversed(range(10))]
    (tmp_path / "names.txt").write_text("\n".join(names))
    shown = cli("train", "mlp", "--classes", tmp_path / "names.txt", "--epochs", 1, "--out", tmp_path / "run")
    assert "10 classes: 9, 8, 7, 6, 5, 4, 3, 2, 1 and 0" in shown.err + shown.out
