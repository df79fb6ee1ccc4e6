"""`convlens summary`."""

import subprocess
import sys

TINY = """
from torch import nn

def tiny(num_classes=3, in_channels=1):
    return nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))
"""


def test_json_gives_layers_and_totals(cli):
    found = cli("summary", "lenet5", "--json").json
    assert (found["parameters"], found["trainable"], found["macs"]) == (61_706, 61_706, 416_520)
    assert found["receptive_field"] == {"layer": "features.s4", "size": [16, 16], "jump": [4, 4], "offset": [-2, -2]}
    first = found["layers"][0]
    assert first["output"] == [6, 28, 28]
    assert first["receptive_field"] == {"size": [5, 5], "jump": [1, 1], "offset": [-2, -2]}
    assert sum(layer["macs"] for layer in found["layers"]) == found["macs"]


def test_a_network_of_the_zoo_is_built_for_the_input(cli):
    found = cli("summary", "lenet5", "--input", "3x40x48", "--json").json
    assert found["input"] == [3, 40, 48]
    assert found["layers"][0]["macs"] == 6 * 40 * 48 * 75


def test_a_network_in_a_file(cli, tmp_path):
    (tmp_path / "nets.py").write_text(TINY)
    found = cli("summary", "nets.py:tiny", "--input", "3x10x12", "--json").json
    assert found["macs"] == 4 * 8 * 10 * 27 + 4 * 3
    assert found["network"] == "Sequential"


def test_a_network_in_a_file_needs_an_input(cli, tmp_path):
    (tmp_path / "nets.py").write_text(TINY)
    assert "--input CxHxW" in cli("summary", "nets.py:tiny").refused()


def test_what_cannot_be_is_refused_in_one_line(cli):
    assert "did you mean 'lenet5'" in cli("summary", "lenet6").refused()
    assert "--input '3x-1'" in cli("summary", "lenet5", "--input", "3x-1").refused()
    assert "there is no run folder" in cli("summary", "runs/nothing").refused()
    assert "smallest" in cli("summary", "vgg16", "--input", "3x8x8").refused()


def test_measured_fields_are_the_same_each_time(cli):
    results = [cli("summary", "lenet5", "--effective", "--json").json["effective_receptive_field"] for _ in range(2)]
    assert results[0] == results[1]
    assert 0 < results[0]["features.s4"]["ratio"] <= 1


def test_several_networks_are_drawn_side_by_side(cli, tmp_path):
    found = cli("summary", "vgg13_cifar", "resnet20_cifar", "--draw", "both.svg", "--json").json
    assert [one["title"] for one in found["networks"]] == ["vgg13_cifar", "resnet20_cifar"]
    assert found["networks"][1]["repeats"][0]["times"] == 3
    assert (tmp_path / "both.svg").stat().st_size > 10_000
    assert "end in .png" in cli("summary", "lenet5", "--draw", "a.bmp").refused()


def test_several_networks_are_told_one_after_the_other(cli):
    found = cli("summary", "lenet5", "mlp", "--json").json
    assert [one["network"] for one in found["networks"]] == ["LeNet5", "MLP"]
    assert cli("summary", "lenet5", "mlp").out.count("total") == 2


def test_the_memory_of_a_batch_is_told(cli):
    assert "with 64 images" in " ".join(cli("summary", "lenet5", "--batch", "64").out.split())


def test_the_table_is_plain_text_when_piped():
    command = [sys.executable, "-c", "from convlens.cli import main; main()", "summary", "lenet5", "--depth", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "\x1b" not in done.stdout
    assert "416,520" in done.stdout
    assert done.stderr == ""
