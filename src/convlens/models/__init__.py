"""The zoo: one file a paper, each reading like its paper's table, and the building blocks in it.

>>> from convlens import models
>>> models.create("lenet5", num_classes=10).__class__.__name__
'LeNet5'
>>> models.lenet5(num_classes=3).output_layers
('classifier.output',)
"""

from convlens.models import textbooks
from convlens.models.alexnet import AlexNet, OneTowerAlexNet, alexnet, alexnet_2012
from convlens.models.blocks import CBAPD
from convlens.models.board import BoardNet, go_policy, go_policy_small
from convlens.models.dcgan import Discriminator, Generator, dcgan64_discriminator, dcgan64_generator, dcgan_generator
from convlens.models.densenet import (
    DenseBlock,
    DenseNet,
    densenet121,
    densenet161,
    densenet169,
    densenet201,
    densenet_bc_40_12_cifar,
    densenet_bc_100_12_cifar,
)
from convlens.models.describe import describe
from convlens.models.efficientnet import (
    EfficientNetLite,
    InvertedBottleneck,
    efficientnet_lite0,
    efficientnet_lite1,
    efficientnet_lite2,
)
from convlens.models.googlenet import (
    GoogLeNet,
    Inception,
    LibraryGoogLeNet,
    googlenet,
    googlenet_2014,
    googlenet_2014_aux,
    googlenet_aux,
)
from convlens.models.lenet import LeNet5, LeNet5Of1998, lenet5, lenet5_1998
from convlens.models.mlp import MLP, mlp
from convlens.models.mobilenet import MobileNetV1, mobilenet_v1
from convlens.models.network import Network, Stage
from convlens.models.nin import NiN, nin_cifar, nin_imagenet
from convlens.models.registry import ModelEntry, Paper, create, get, names, register
from convlens.models.registry import names as list  # `models.list()`, as in timm and torchvision
from convlens.models.resnet import (
    BasicBlock,
    Bottleneck,
    ResNet,
    keras_resnet50,
    keras_resnet101,
    keras_resnet152,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
)
from convlens.models.resnet_cifar import (
    CifarBlock,
    CifarResNet,
    PreActivationBlock,
    PreActivationResNet,
    plain20_cifar,
    plain56_cifar,
    preresnet20_cifar,
    preresnet110_cifar,
    preresnet164_cifar,
    resnet20_cifar,
    resnet32_cifar,
    resnet44_cifar,
    resnet56_cifar,
    resnet110_cifar,
    resnet1202_cifar,
)
from convlens.models.sprint import Sprint, sprint, sprint4
from convlens.models.squeezenet import Fire, SqueezeNet, squeezenet, squeezenet1_1
from convlens.models.vgg import (
    VGG,
    vgg11,
    vgg11_bn,
    vgg11_lrn,
    vgg13,
    vgg13_bn,
    vgg16,
    vgg16_bn,
    vgg16_c_1x1,
    vgg19,
    vgg19_bn,
)
from convlens.models.weights import load_weights
from convlens.models.xception import Xception, xception

__all__ = [
    "CBAPD",
    "MLP",
    "VGG",
    "AlexNet",
    "BasicBlock",
    "BoardNet",
    "Bottleneck",
    "CifarBlock",
    "CifarResNet",
    "DenseBlock",
    "DenseNet",
    "Discriminator",
    "EfficientNetLite",
    "Fire",
    "Generator",
    "GoogLeNet",
    "Inception",
    "InvertedBottleneck",
    "LeNet5",
    "LeNet5Of1998",
    "LibraryGoogLeNet",
    "MobileNetV1",
    "ModelEntry",
    "Network",
    "NiN",
    "OneTowerAlexNet",
    "Paper",
    "PreActivationBlock",
    "PreActivationResNet",
    "ResNet",
    "Sprint",
    "SqueezeNet",
    "Stage",
    "Xception",
    "alexnet",
    "alexnet_2012",
    "create",
    "dcgan64_discriminator",
    "dcgan64_generator",
    "dcgan_generator",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "densenet_bc_40_12_cifar",
    "densenet_bc_100_12_cifar",
    "describe",
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "get",
    "go_policy",
    "go_policy_small",
    "googlenet",
    "googlenet_2014",
    "googlenet_2014_aux",
    "googlenet_aux",
    "keras_resnet50",
    "keras_resnet101",
    "keras_resnet152",
    "lenet5",
    "lenet5_1998",
    "list",
    "load_weights",
    "mlp",
    "mobilenet_v1",
    "names",
    "nin_cifar",
    "nin_imagenet",
    "plain20_cifar",
    "plain56_cifar",
    "preresnet20_cifar",
    "preresnet110_cifar",
    "preresnet164_cifar",
    "register",
    "resnet18",
    "resnet20_cifar",
    "resnet32_cifar",
    "resnet34",
    "resnet44_cifar",
    "resnet50",
    "resnet56_cifar",
    "resnet101",
    "resnet110_cifar",
    "resnet152",
    "resnet1202_cifar",
    "sprint",
    "sprint4",
    "squeezenet",
    "squeezenet1_1",
    "textbooks",
    "vgg11",
    "vgg11_bn",
    "vgg11_lrn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg16_c_1x1",
    "vgg19",
    "vgg19_bn",
    "xception",
]
