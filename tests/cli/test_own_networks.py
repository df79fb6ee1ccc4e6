"""A user's own network through every command: what its forward returns is read by the same rules everywhere."""

import re

import numpy as np
import pytest
from PIL import Image

HEAD = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.body = nn.Sequential(nn.LazyConv2d(8, 8), nn.ReLU(), nn.LazyConv2d(num_classes, 1))

    def forward(self, x):
        return self.body(x)
"""
FORMS = {
    "lazy": "class make(Net):\n    def forward(self, x):\n        return self.body(x).flatten(1)\n",
    "maps of one cell": "make = Net\n",
    "squeezed": "class make(Net):\n    def forward(self, x):\n        return self.body(x).squeeze().log_softmax(1)\n",
    "dictionary": "class make(Net):\n    def forward(self, x):\n        return {'z': x, 'out': self.body(x)}\n",
}
BRIEF = ("--data", "digits", "--epochs", 1, "--size", 8, "--set", "batch_size=64", "--quiet")


@pytest.mark.parametrize("form", FORMS)
def test_a_network_in_a_file_trains_predicts_is_judged_and_looked_at(cli, tmp_path, form):
    (tmp_path / "mine.py").write_text(HEAD + FORMS[form])
    done = cli("train", "mine.py:make", *BRIEF, "--out", "run", "--json")
    assert done.code == 0, done.err
    again = cli("evaluate", "run", "--model", "mine.py:make", "--json")
    assert again.code == 0, again.err
    assert again.json["accuracy"] == pytest.approx(done.json["test"]["accuracy"])
    Image.fromarray(np.full((8, 8), 90, np.uint8)).save(tmp_path / "one.png")
    one = cli("predict", "run", "one.png", "--model", "mine.py:make", "--json")
    assert one.code == 0, one.err
    summary = cli("summary", "mine.py:make", "--input", "1x8x8", "--json")
    assert summary.code == 0, summary.err
    assert summary.json["parameters"] == done.json["parameters"]
    verified = cli("verify", "mine.py:make", "--input", "1x8x8", "--json")
    assert verified.code == 0, verified.err


@pytest.mark.parametrize(("forward", "words"), [
    ("self.body(x).flatten(1).softmax(1)", "ends in softmax"),
    ("self.body(x).flatten(1).sigmoid()", "ends in sigmoid"),
    ("self.body(x).flatten(1)[:, :3]", "its last layer needs 10 outputs"),
    ("self.body(x).flatten(1).detach()", "depend on none of its trainable parameters"),
    ("str(self.body(x))", "it gave a str"),
    ("self.boody(x)", r"AttributeError: .*boody"),
])  # fmt: skip
def test_what_a_forward_cannot_return_is_one_line_with_what_to_change(cli, tmp_path, forward, words):
    (tmp_path / "mine.py").write_text(HEAD + f"class make(Net):\n    def forward(self, x):\n        return {forward}\n")
    refused = cli("train", "mine.py:make", *BRIEF, "--out", "run").refused()
    assert re.search(words, refused), refused
