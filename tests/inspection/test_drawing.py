"""Drawings of networks: what stands in them against the summary, the papers, and pictures that can be opened."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from convlens import models
from convlens.base.errors import InputError
from convlens.inspection.drawing import drawing, paint
from convlens.inspection.drawing.place import place
from convlens.inspection.summary import summarize
from convlens.models.build import build

NAMES = ["lenet5", "resnet18_cifar", "googlenet", "densenet121", "mobilenet_v1", "xception", "squeezenet", "vgg13_bn",
         "preresnet20_cifar", "resnet152", "alexnet_2012", "go_policy"]  # fmt: skip


def drawn(name, **options):
    return drawing(build(name), tuple(models.get(name).input), title=name, **options)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fold", [True, False])
def test_each_layer_that_computes_stands_in_one_box_and_the_boxes_add_up(name, fold):
    found = drawn(name, fold=fold)
    summary = summarize(build(name), tuple(models.get(name).input))
    layers = [layer for box in found.boxes for layer in box.layers]
    idle = {layer.name for layer in summary.layers} - set(layers)
    assert len(layers) == len(set(layers)) == len(summary.layers) - len(idle)
    assert all(layer.kind.startswith(("Dropout", "Sequential")) for layer in summary.layers if layer.name in idle)
    assert sum(box.parameters for box in found.boxes) == summary.parameters == found.parameters
    assert sum(box.macs for box in found.boxes) == summary.macs == found.macs


@pytest.mark.parametrize("name", NAMES)
def test_every_box_but_the_ends_is_entered_and_left_and_none_covers_another(name):
    found = drawn(name)
    assert all(a < b for a, b in found.arrows)
    assert {b for _, b in found.arrows} == set(range(1, len(found.boxes)))
    assert {a for a, _ in found.arrows} == set(range(len(found.boxes) - 1))
    placed = place(found)
    for (x, row), (other_x, other_row) in itertools.combinations(placed.at, 2):
        assert row != other_row or abs(x - other_x) > 1
    for arrow, route in placed.routes.items():
        for x, row in route:
            assert placed.at[arrow[0]][1] < row < placed.at[arrow[1]][1]
            assert all(at_row != row or abs(x - at_x) > 0.5 for at_x, at_row in placed.at)


def test_lenet_reads_like_its_table():
    texts = [box.text for box in drawn("lenet5").boxes]
    assert texts == ["input", "5×5 conv, 6", "2×2 max pool, /2", "5×5 conv, 16", "2×2 max pool, /2", "linear, 120",
                     "linear, 84", "linear, 10"]  # fmt: skip


def test_resnet34_has_the_blocks_of_the_paper():
    whole, folded = drawn("resnet34", fold=False), drawn("resnet34")
    assert sum(box.text == "+" for box in whole.boxes) == 3 + 4 + 6 + 3
    assert sum("conv" in box.text for box in whole.boxes) == 33 + 3  # 3 shortcuts change the number of channels
    assert [times for _, _, times in folded.repeats] == [3, 3, 5, 2]
    into = {b: sum(y == b for _, y in whole.arrows) for b in range(len(whole.boxes))}
    assert all(into[i] == (2 if box.text == "+" else 1) for i, box in enumerate(whole.boxes) if i)


def test_four_branches_meet_in_each_inception_module():
    found = drawn("googlenet")
    joins = [i for i, box in enumerate(found.boxes) if box.text == "concat"]
    assert len(joins) == 9
    assert all(sum(b == join for _, b in found.arrows) == 4 for join in joins)


def test_a_block_inside_a_block_is_drawn_once():
    assert drawn("xception").repeats == ((26, 29, 8), (27, 28, 3))


class Written(nn.Module):
    """Without modules for anything but the weights."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = F.max_pool2d(F.relu_(self.a(x)), 2)
        x = x + torch.sigmoid(self.b(x)) * x
        return self.head(x.mean((2, 3)))


def test_a_network_of_functions_is_drawn_like_one_of_modules():
    found = drawing(Written(), (3, 8, 8))
    texts = [box.text for box in found.boxes]
    assert texts == ["input", "3×3 conv, 8", "2×2 max pool, /2", "3×3 depthwise conv, 8", "×", "+", "global avg pool",
                     "linear, 5"]  # fmt: skip
    assert set(found.arrows) == {(0, 1), (1, 2), (2, 3), (3, 4), (2, 4), (2, 5), (4, 5), (5, 6), (6, 7)}


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_same_networks_give_the_same_picture(tmp_path, suffix):
    found = [drawn("lenet5"), drawn("resnet20_cifar")]
    first, second = (paint(found, tmp_path / f"{k}{suffix}").read_bytes() for k in range(2))
    assert first == second
    if suffix == ".png":
        with Image.open(tmp_path / "0.png") as picture:
            assert picture.width > 600
            assert picture.height > 800


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"end in \.png, \.svg, \.pdf"):
        paint([drawn("lenet5")], tmp_path / "a.bmp")


def test_the_memory_of_a_batch_is_told():
    lenet = summarize(build("lenet5"), (1, 28, 28)).to_dict(batch=64)["memory"]
    assert lenet["parameters"] == 4 * 61_706
    assert lenet["batch"] == {"images": 64, "training": lenet["state"] + 64 * lenet["training"]}
