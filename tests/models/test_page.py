"""The page of the zoo and the command that lists it come from the registry."""

import json
import runpy
from pathlib import Path

import pytest

from convlens import models
from convlens.base.errors import InputError
from convlens.cli.models import models as command

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_of_the_zoo_is_up_to_date():
    generator = runpy.run_path(str(DOCS / "generate_models_table.py"))
    fresh = generator["page"]()
    assert (DOCS / "models.md").read_text(encoding="utf-8") == fresh, "run: python docs/generate_models_table.py"


def test_the_command_lists_every_network_as_json(capsys):
    command(everything=True, as_json=True)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    listed = found["models"]
    assert found["more"] == 0
    assert [m["name"] for m in listed] == models.names()
    vgg = next(m for m in listed if m["name"] == "vgg16")
    assert vgg["parameters"] == 138_357_544
    assert vgg["input_size"] == [3, 224, 224]
    assert (vgg["family"], vgg["year"], vgg["num_classes"]) == ("vgg", 2014, 1000)


def test_forms_of_textbooks_are_left_out_and_counted(capsys):
    command(as_json=True)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    listed = [m["name"] for m in found["models"]]
    assert {"lenet5", "resnet50", "vgg16_bn"} <= set(listed)
    assert not {"lenet5_tfbook", "vgg13_skip_cifar", "baseline_cbapd"} & set(listed)
    assert len(listed) + found["more"] == len(models.names())
    command()
    text = capsys.readouterr().out
    assert f"{found['more']} more forms of textbooks: convlens models --all" in text
    assert "lenet5_tfbook" not in text
    command(everything=True)
    text = capsys.readouterr().out
    assert "lenet5_tfbook" in text
    assert "more forms" not in text


def test_one_family_shows_papers_and_differences(capsys):
    command(family="lenet")
    text = capsys.readouterr().out
    assert "Gradient-based learning applied to document recognition" in text
    assert "differs: max pooling instead of averages" in text
    assert "vgg16" not in text


def test_an_unknown_family_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'resnet'"):
        command(family="resnets")
