"""`torch.export` with errors in one line, and what it cannot do by itself."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from convlens.base.errors import InputError, out_of_memory
from convlens.nn import private
from convlens.scratch.from_torch.derivatives import own_derivatives_refused


def exported(
    module: nn.Module, shape: tuple[int, ...], *, batch: int, dynamic: bool, dtype: torch.dtype | None
) -> torch.export.ExportedProgram:
    """The program of a module for inputs [batch, *shape] of a type (None: of the module's first floating tensor).

    Raises:
        InputError: the module cannot be traced, or (with `dynamic`) its program holds for this size of batch only.
    """
    _refuse_unready(module)
    name = type(module).__name__
    own = (t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point())
    first = next(own, torch.empty(0))
    example = torch.zeros(batch, *shape, dtype=dtype or first.dtype, device=first.device)
    sizes = ({0: torch.export.Dim.AUTO},) if dynamic else None
    try:
        with warnings.catch_warnings(), _constant_momentum(module), own_derivatives_refused(module):
            warnings.simplefilter("ignore")
            program = torch.export.export(module, (example,), dynamic_shapes=sizes)
    except InputError:
        raise
    except Exception as error:  # export wraps what goes wrong in many types
        if out_of_memory(error):
            raise
        if "DataDependent" in f"{type(error).__name__} {error}":
            raise InputError(
                f"{name} cannot be traced: its forward chooses its path by the values of a tensor "
                "(an `if` or a loop on them); such a network runs in PyTorch only"
            ) from error
        if "found a fake tensor in the exported program" in str(error):
            raise InputError(
                f"{name} cannot be traced: it uses .data, or tensors of an earlier pass; write detach() instead"
            ) from error
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(f"{name} cannot be traced for an input of shape {shape}: {first}") from error
    if dynamic and _fixed_batch(program):
        raise InputError(
            f"{name}: its forward fixes the size of the batch, as `len(x)` does in a traced network, or tests it; "
            "write `x.shape[0]`, or train in the PyTorch engine"
        )
    return program


def _refuse_unready(module: nn.Module) -> None:
    if isinstance(module, torch.jit.ScriptModule):
        raise InputError("a scripted network hides what it executes: pass the network that it was made from")
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if is_lazy(tensor):
            raise InputError(f"{name} has no shape yet (a lazy layer): run the network once on an input")


@contextmanager
def _constant_momentum(module: nn.Module) -> Iterator[None]:
    """Batch normalization with `momentum=None` divides by a count, a number that export cannot follow: while this is
    open such layers have a momentum, which the program's reader does not look at."""
    layers = [m for m in module.modules() if isinstance(m, private.BatchOrInstanceNorm) and m.momentum is None]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer in layers:
            layer.momentum = None


def _fixed_batch(program: torch.export.ExportedProgram) -> bool:
    """Whether the program holds for some sizes of batch only, though any was asked for."""
    # One symbol stands for the batch. It is gone where its value was used, and bounded where its value was tested.
    ranges = list(program.range_constraints.values())
    return not ranges or any(r.lower > 2 or r.upper < 2**31 for r in ranges)
