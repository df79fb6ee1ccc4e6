"""A summary of a network that runs on numbers is that of one that runs on shapes alone, and loads less."""

import subprocess
import sys

import pytest

from convlens import models
from convlens.inspection.summary import summarize
from convlens.models.build import build

QUICK = """
import sys, torch
from convlens.models.build import build
from convlens.inspection.dead import dead_units
from convlens.inspection.summary import summarize
summarize(build("lenet5"), (1, 28, 28), real=True)
dead_units(build("lenet5"), [torch.rand(2, 1, 28, 28)])
assert "torch._dynamo" not in sys.modules
"""


@pytest.mark.parametrize("name", ["lenet5", "resnet20_cifar", "googlenet", "mobilenet_v1", "mlp"])
def test_numbers_and_shapes_give_the_same_summary(name):
    module, shape = build(name), tuple(models.get(name).input)
    assert summarize(module, shape, real=True).to_dict() == summarize(module, shape).to_dict()


def test_the_compiler_of_pytorch_is_not_loaded():
    subprocess.run([sys.executable, "-c", QUICK], check=True)
