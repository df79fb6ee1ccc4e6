"""The zoo: one file per family, each reading like its paper's table.

>>> from convlens import models
>>> models.create("lenet5", num_classes=10).__class__.__name__
'LeNet5'
"""

from convlens.models import (  # noqa: F401  (each file registers its networks)
    alexnet,
    board,
    dcgan,
    densenet,
    googlenet,
    inception,
    lenet,
    mlp,
    mobilenet,
    nin,
    resnet,
    resnet_cifar,
    resnet_text,
    simple,
    sprint,
    squeezenet,
    vgg,
    xception,
)
from convlens.models.registry import ModelEntry, create, describe, get, names
from convlens.models.registry import names as list  # `models.list()`, as in timm and torchvision
from convlens.models.weights import load_weights

__all__ = ["ModelEntry", "create", "describe", "get", "list", "load_weights", "names"]
