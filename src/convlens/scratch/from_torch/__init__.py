"""An `nn.Module` as a graph with the same arrays, by way of `torch.export`.

The exported program is a list of calls to PyTorch's operators, without Python's control flow. Each becomes a node or
a few (see `aten`); parameters and buffers keep their names. A parameter that is used under two names is one parameter
here, under its first name. Operations in place become operations that change nothing (see `aliases`).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from convlens.base.errors import InputError
from convlens.scratch.from_torch.aten import HANDLERS
from convlens.scratch.from_torch.aten_layers import plain
from convlens.scratch.from_torch.builder import Builder
from convlens.scratch.from_torch.export import exported
from convlens.scratch.from_torch.translation import Handler
from convlens.scratch.graph import Graph


def from_torch(
    module: nn.Module,
    input_shape: Sequence[int],
    *,
    batch: int = 4,
    dynamic: bool = True,
    dtype: torch.dtype | None = None,
) -> Graph:
    """The graph of a module, in the mode that the module is in (training or not), with copies of its arrays.

    A module in training mode gives a graph that can be run both ways: with `training=True` it drops out and normalizes
    as the module would now, without as the module would in inference. (A module that takes another path in inference,
    as GoogLeNet does without its auxiliary heads, has to be converted once in each mode: `training_pair`.)

    Args:
        module: takes one tensor [N, *input_shape], gives a tensor or a tuple of tensors.
        input_shape: of one sample, such as (3, 32, 32).
        batch: size of the batch with which the module is traced.
        dynamic: whether the graph is to take batches of any size; otherwise sizes may be fixed to `batch`.
        dtype: of the input; None for that of the module's first floating-point tensor, or float32.

    Raises:
        InputError: the module cannot be traced (control flow that depends on values), or holds an operation that the
            NumPy engine lacks; the message names it and the module it stands in.
    """
    program = exported(module, tuple(input_shape), batch=batch, dynamic=dynamic, dtype=dtype)
    return Builder(module, program).graph(tuple(input_shape))


def training_pair(
    module: nn.Module, input_shape: Sequence[int], *, frozen: Sequence[nn.Module] = ()
) -> tuple[Graph, Graph]:
    """The graphs for training and for inference, which share their arrays. The module's mode is left as it is.

    frozen: parts that stay in inference mode, in training too.
    """
    modes = {m: m.training for m in module.modules()}
    try:
        module.train()
        for part in frozen:
            part.eval()
        trained = from_torch(module, input_shape)
        evaluated = from_torch(module.eval(), input_shape)
    finally:
        for m, mode in modes.items():
            m.training = mode
    evaluated.parameters, evaluated.buffers = trained.parameters, trained.buffers
    return trained, evaluated


def write_back(graph: Graph, module: nn.Module) -> None:
    """Copies the graph's parameters and buffers into the module that it was made from."""
    targets = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    with torch.no_grad():
        for name, array in graph.state().items():
            if name not in targets:
                raise InputError(f"the module has no {name}: the graph was made from another one")
            targets[name].copy_(torch.from_numpy(np.array(array)))


def translate(operator: str, handler: Handler | str) -> None:
    """Says what an operator of PyTorch becomes in a graph.

    operator: its name in PyTorch's operator library, as in "asinh" (`torch.ops.aten.asinh`).
    handler: the name of an operation (see `scratch.register`) of one tensor without options; or a function
        `handler(builder, arguments) -> Out` as in `aten`, for everything else.
    """
    HANDLERS[operator] = plain(handler) if isinstance(handler, str) else handler
