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
    command(as_json=True)
    listed = json.loads(capsys.readouterr().out.splitlines()[-1])["models"]
    assert [m["name"] for m in listed] == models.names()
    vgg = next(m for m in listed if m["name"] == "vgg16")
    assert vgg["parameters"] == 138_357_544
    assert vgg["input_size"] == [3, 224, 224]
    assert (vgg["family"], vgg["year"], vgg["num_classes"]) == ("vgg", 2014, 1000)


def test_one_family_shows_papers_and_differences(capsys):
    command(family="lenet")
    text = capsys.readouterr().out
    assert "Gradient-based learning applied to document recognition" in text
    assert "differs: max pooling instead of averages" in text
    assert "vgg16" not in text


def test_an_unknown_family_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'resnet'"):
        command(family="resnets")
