"""Optimizers built from a recipe: parameter groups, and state that travels as named arrays."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from convlens.base.errors import InputError
from convlens.training import groups
from convlens.training.muon import Muon
from convlens.training.recipe import Optimizer as Settings
from convlens.training.updates import SGD, Adam, Optimizer, RMSprop


def build(module: nn.Module, settings: Settings, outputs: Collection[str] = ()) -> list[Optimizer]:
    """The optimizers of a network, most often one. Groups carry `base_lr`, which the schedule multiplies.

    Weight decay goes to filters and matrices alone (see `groups.weights`). Under `muon` these get orthogonalized
    momentum, but for those of the output layer, which `outputs` names, and embeddings; all else gets SGD.
    """
    weights = groups.weights(module)
    if settings.name != "muon":
        others = {name: p for name, p in groups.trainable(module).items() if name not in weights}
        return [_plain(settings.name, settings, weights, others, groups.depth_factors(module, settings.layer_decay))]
    if settings.layer_decay != 1:
        raise InputError(
            "optimizer.layer_decay: muon keeps one rate for all layers; take another optimizer, such as sgd"
        )
    others = {name: p for name, p in groups.trainable(module).items() if name not in weights}
    apart = {*outputs, *(name for name, p in weights.items() if not _is_matrix(p)), *groups.embeddings(module)}
    hidden = [p for name, p in weights.items() if name not in apart]
    head = {name: p for name, p in weights.items() if name in apart}
    optimizers = [_plain("sgd", settings, head, others)]
    if hidden:
        muon = Muon(
            hidden, lr=settings.muon_lr, momentum=settings.momentum, nesterov=settings.nesterov,
            normalize=settings.muon_normalize,
        )  # fmt: skip
        optimizers.append(_with_base_lr(muon))
    return optimizers


def _is_matrix(parameter: Tensor) -> bool:
    """Whether there is a direction to make orthogonal to another."""
    return min(len(parameter), parameter[0].numel()) > 1


def _plain(
    name: str,
    settings: Settings,
    weights: Mapping[str, Tensor],
    others: Mapping[str, Tensor],
    factors: Mapping[str, float] | None = None,
) -> Optimizer:
    """factors: on the learning rate of a parameter; 1 where there is none."""
    factors = factors or {}
    made_of: list[dict[str, Any]] = []
    for factor in sorted({1.0, *factors.values()}, reverse=True):
        for parameters, decay, rate in (
            (weights, settings.weight_decay, settings.lr),
            (others, 0.0, settings.lr * settings.bias_lr),
        ):
            some = [p for key, p in parameters.items() if factors.get(key, 1.0) == factor]
            made_of.append({"params": some, "lr": rate * factor, "weight_decay": decay})
    filled = [group for group in made_of if group["params"]]
    if name == "sgd":
        made = SGD(filled, settings.lr, settings.momentum, nesterov=settings.nesterov)
    elif name == "rmsprop":
        made = RMSprop(filled, settings.lr, settings.alpha, settings.eps, settings.momentum, centered=settings.centered)
    else:
        made = Adam(filled, settings.lr, settings.betas, settings.eps, decoupled=name == "adamw")
    return _with_base_lr(made)


def _with_base_lr(optimizer: Optimizer) -> Optimizer:
    for group in optimizer.param_groups:
        group["base_lr"] = group["lr"]
    return optimizer


def export_state(optimizers: list[Optimizer]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State as tensors named `optimizer.<i>.<parameter number>.<key>`, and what is no tensor as JSON values."""
    tensors, plain = {}, {}
    for i, optimizer in enumerate(optimizers):
        for number, parameter in enumerate(_parameters(optimizer)):
            for key, value in optimizer.state.get(parameter, {}).items():
                name = f"optimizer.{i}.{number}.{key}"
                if isinstance(value, Tensor):
                    tensors[name] = value
                elif value is not None:
                    plain[name] = value
    return tensors, plain


def import_state(optimizers: list[Optimizer], tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    """Puts exported state back, in the memory format that the optimizer itself would have chosen."""
    for name, value in {**tensors, **plain}.items():
        if not name.startswith("optimizer."):
            continue
        _, i, number, key = name.split(".", 3)
        optimizer = optimizers[int(i)]
        parameter = _parameters(optimizer)[int(number)]
        if isinstance(value, Tensor):
            if value.ndim > 0 and value.shape != parameter.shape:
                raise InputError(f"{name} is of another shape than its parameter")
            same = value.shape == parameter.shape and value.ndim > 0
            made = torch.empty_like(parameter, dtype=value.dtype) if same else torch.empty_like(value)
            value = made.copy_(value)  # never a view of what the file was read into: its alignment is unknown
        optimizer.state[parameter][key] = value


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
