"""A network in a user's own file: what goes wrong in it is one line that names the line."""

from typing import Any

import pytest
import torch

from convlens.base.errors import InputError
from convlens.models.build import build


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("import sys\nsys.exit(0)\n", 2, "SystemExit"),
        ("x = 1\n\nraise ValueError('a\\nb')\n", 3, "ValueError: a b"),
        ("import no_such_module_here\n", 1, "ModuleNotFoundError"),
        ("def Net(:\n", 1, "SyntaxError"),
        ("def Net():\n    return helper()\ndef helper():\n    return {}['key']\n", 4, "KeyError: 'key'"),
        ("import json\ndef Net():\n    return json.loads('{')\n", 3, "JSONDecodeError"),
        ("def Net():\n    raise SystemExit\n", 2, "SystemExit"),
        ("def Net():\n    raise RuntimeError\n", 2, "RuntimeError"),
    ],
)
def test_what_goes_wrong_in_a_users_file_is_one_line_that_names_the_line(tmp_path, text, line, word):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        build(f"{path}:Net")
    assert f"(line {line} of {path})" in str(refused.value)
    assert word in str(refused.value)
    assert "\n" not in str(refused.value)


HEAD = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes=7):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))

    def forward(self, x):
        return self.body(x)
"""
FORMS = {
    "only kwargs": ("def make(**kwargs):\n    return Net(**kwargs)\n", 2),
    "kwargs that are not used": ("def make(**kwargs):\n    return Net()\n", 7),
    "kwargs behind one that is known": ("def make(num_classes=3, **more):\n    return Net(num_classes, **more)\n", 2),
    "any arguments": ("def make(*args, **kwargs):\n    return Net(*args, **kwargs)\n", 2),
    "a class without __init__": ("class make(nn.Module):\n    net = Net(4)\n", 4),
    "a class without arguments": ("class make(Net):\n    def __init__(self):\n        super().__init__(5)\n", 5),
    "no arguments": ("def make():\n    return Net(6)\n", 6),
    "positional only": ("def make(num_classes=8, /):\n    return Net(num_classes)\n", 8),
    "a network": ("make = Net(9)\n", 9),
    "partial": ("import functools\nmake = functools.partial(Net, num_classes=11)\n", 2),
    "keyword only": ("def make(*, num_classes, image_size, in_channels):\n    return Net(num_classes)\n", 2),
}


@pytest.mark.parametrize("form", FORMS)
def test_functions_of_any_signature_get_what_they_take(tmp_path, form):
    text, outputs = FORMS[form]
    path = tmp_path / "mine.py"
    path.write_text(HEAD + text)
    network: Any = build(f"{path}:make", num_classes=2, in_channels=1, image_size=(4, 4))
    if form == "a class without __init__":
        assert network.net.body[1].out_features == outputs
        return
    assert network(torch.zeros(3, 1, 4, 4)).shape == (3, outputs)
    assert network.training


def test_a_type_error_of_its_own_is_not_hidden(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def make(num_classes, **more):\n    return sorted(num_classes=num_classes)\n")
    with pytest.raises(InputError, match="failed: TypeError"):
        build(f"{path}:make", num_classes=2, in_channels=1, image_size=(4, 4))


def test_an_argument_of_the_user_that_is_handed_on_in_vain_is_an_error(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(HEAD + "def make(**kwargs):\n    return Net(**kwargs)\n")
    with pytest.raises(InputError, match="unexpected keyword argument 'width'"):
        build(f"{path}:make", num_classes=2, in_channels=1, image_size=(4, 4), width=3)
