"""Networks on NumPy alone: a graph of operations with forward and backward, optimizers, and training.

>>> from convlens import scratch
>>> x = scratch.image(1, 8, 8).conv2d(4, 3).relu().flatten().linear(10)
>>> scratch.network(x, seed=0).parameters["conv2d_1.weight"].shape
(4, 1, 3, 3)
"""

from convlens.scratch.graph import Gradients, Graph, Node, Tape
from convlens.scratch.loop import History, evaluate, fit, train_numpy
from convlens.scratch.network import Value, concat, image, network
from convlens.scratch.operations import register
from convlens.scratch.optimizers import SGD, Adam

__all__ = [
    "SGD",
    "Adam",
    "Gradients",
    "Graph",
    "History",
    "Node",
    "Tape",
    "Value",
    "concat",
    "evaluate",
    "fit",
    "image",
    "network",
    "register",
    "train_numpy",
]
