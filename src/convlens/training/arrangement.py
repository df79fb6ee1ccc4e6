"""The same network, arranged for the processor that it trains on.

PyTorch's kernels with the channels innermost work on eight channels at a time. Pooling LeNet's six maps takes twice as
long as pooling eight, in bfloat16 four times, so eight it is: the two more are zero, and nobody looks at them.
"""

import copy
import itertools
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from convlens.training.settings import Numeric

LANES = 8  # channels at a time
FEW = 32  # with so many channels the rest does not matter
MONOTONE = (nn.ReLU, nn.Tanh, nn.Sigmoid)
POOLS = (nn.MaxPool2d, nn.AvgPool2d)


def arranged(module: nn.Module, numeric: Numeric) -> nn.Module:
    """A twin that computes the same function; parameters and buffers are the module's own. Else the module itself.

    Within every `nn.Sequential`, max pooling comes before a monotone activation (the largest value stays the largest,
    and a quarter of them is left), and a convolution whose number of maps is no multiple of eight gives some more,
    if another convolution drops them again after nothing but activations and pooling.
    """
    if numeric.device != "cpu" or not numeric.channels_last:
        return module
    if not any(_changes(sequence) for sequence in _sequences(module)):
        return module
    shared: dict[int, Any] = {id(tensor): tensor for tensor in itertools.chain(module.parameters(), module.buffers())}
    try:
        twin = copy.deepcopy(module, shared)
    except (TypeError, RuntimeError):  # somebody's own module that holds what cannot be copied
        return module
    for sequence in _sequences(twin):
        for i in _pools_to_move(sequence):
            sequence[i], sequence[i + 1] = sequence[i + 1], sequence[i]
        chains = _chains(sequence)
        before, after = {last: more for _, last, more in chains}, {first: more for first, _, more in chains}
        for i in before.keys() | after.keys():
            sequence[i] = _Widened(sequence[i], before.get(i, 0), after.get(i, 0))
    return twin


class _Widened(nn.Module):
    """A convolution with more channels before or after it, whose weights are zero."""

    def __init__(self, conv: Any, before: int, after: int):
        super().__init__()
        self.conv, self.before, self.after = conv, before, after

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        w = F.pad(conv.weight, (0, 0, 0, 0, 0, self.before, 0, self.after))
        b = None if conv.bias is None else F.pad(conv.bias, (0, self.after))
        return F.conv2d(x, w, b, conv.stride, conv.padding, conv.dilation)


def _sequences(module: nn.Module) -> list[nn.Sequential]:
    return [part for part in module.modules() if type(part) is nn.Sequential]


def _changes(sequence: nn.Sequential) -> bool:
    return bool(_pools_to_move(sequence) or _chains(sequence))


def _pools_to_move(sequence: nn.Sequential) -> list[int]:
    """Where a monotone activation stands before max pooling."""
    return [
        i
        for i, (a, b) in enumerate(itertools.pairwise(sequence))
        if type(a) in MONOTONE and type(b) is nn.MaxPool2d and not b.return_indices
    ]


def _chains(sequence: nn.Sequential) -> list[tuple[int, int, int]]:
    """(convolution, next convolution, maps to add) where nothing between them tells one channel from another."""
    found = []
    convolutions = [i for i, part in enumerate(sequence) if isinstance(part, nn.Conv2d)]
    for first, last in itertools.pairwise(convolutions):
        conv: Any = sequence[first]
        between = list(sequence)[first + 1 : last]
        pooled = any(type(part) in POOLS for part in between)
        if pooled and _plain(conv) and _plain(sequence[last]) and all(type(p) in MONOTONE + POOLS for p in between):
            more = -conv.out_channels % LANES
            if more and conv.out_channels < FEW:
                found.append((first, last, more))
    return found


def _plain(conv: nn.Module) -> bool:
    return type(conv) is nn.Conv2d and conv.groups == 1 and conv.padding_mode == "zeros"
