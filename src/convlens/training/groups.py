"""Which parameters are weights, which biases and scales, and which belong to the output layer.

Found by the module that holds a parameter and by what the outputs are made of, never by the order of registration.
"""

from collections import deque
from typing import Any

from torch import Tensor, nn

from convlens.classify.outputs import look
from convlens.models.network import Network
from convlens.nn import private

NORMS = (private.BatchOrInstanceNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that an optimizer changes, by name; one that several layers share stands there once."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def weights(module: nn.Module) -> dict[str, nn.Parameter]:
    """The trainable parameters that multiply: filters and matrices.

    The others are biases, what belongs to a normalization layer, and free vectors such as a scale [C, 1, 1] or a class
    token [1, 1, C]. They are not decayed: that would only restrict the network (Goyal et al., "Accurate, large
    minibatch SGD", 2017).
    """
    holders = {
        f"{path}.{name}" if path else name: (part, name if "parametrizations" not in path else path)
        for path, part in module.named_modules()
        for name, _ in part.named_parameters(recurse=False)
    }
    return {name: p for name, p in trainable(module).items() if _multiplies(p, *holders[name])}


def _multiplies(parameter: Tensor, holder: nn.Module, name: str) -> bool:
    if parameter.ndim < 2 or isinstance(holder, NORMS) or "bias" in name.rpartition(".")[2]:
        return False
    layer = type(holder).__module__.startswith("torch.nn.modules")
    return layer or parameter.numel() > max(parameter.shape)


def embeddings(module: nn.Module) -> set[str]:
    """Names of tables whose rows are looked up, not multiplied: of embeddings, and free parameters [1, n, C]."""
    tables = {f"{path}.weight" for path, part in module.named_modules() if isinstance(part, nn.Embedding)}
    return tables | {name for name, p in weights(module).items() if p.ndim > 2 and len(p) == 1}


def output_weights(module: nn.Module, images: Tensor, classes: int) -> set[str]:
    """Names of the weights of the output layer, and of those of auxiliary heads.

    In a network of the zoo these are its `output_layers`. In any other it is the weight from which the logits of a few
    images [n, C, H, W] are the fewest operations away, and weights with one row per class that evaluation does not use.
    """
    found = weights(module)
    if isinstance(module, Network):
        return {name for name in found if name.startswith(tuple(f"{path}." for path in module.output_layers))}
    names = {id(p): name for name, p in found.items()}
    reached = [names[id(p)] for p in _nearest_first(look(module, images, classes).logits) if id(p) in names]
    idle = {name for name, p in found.items() if name not in reached and len(p) == classes}
    return {*reached[:1], *idle}


def _nearest_first(output: Tensor) -> list[Tensor]:
    """The parameters that an output depends on, by the number of operations between."""
    found: list[Tensor] = []
    waiting: deque[Any] = deque([output.grad_fn])
    seen: set[Any] = {None}
    while waiting:
        step = waiting.popleft()
        if step in seen:
            continue
        seen.add(step)
        if hasattr(step, "variable"):
            found.append(step.variable)
        waiting.extend(before for before, _ in step.next_functions)
    return found


_FEWEST_PARTS = 6


def parts(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Path and module of the parts of a network, from its input to its output: blocks, where there are few of them.

    They are its children, and the children of an `nn.Sequential` where these are fewer than six; those without
    parameters do not count. Their order is that in which they are registered.
    """
    found = _children("", module)
    while len(found) < _FEWEST_PARTS and any(isinstance(part, nn.Sequential) for _, part in found):
        deeper = [
            _children(f"{path}.", part) if isinstance(part, nn.Sequential) else [(path, part)] for path, part in found
        ]
        found = [one for several in deeper for one in several]
    return found


def _children(prefix: str, module: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(prefix + name, part) for name, part in module.named_children() if any(True for _ in part.parameters())]


def depth_factors(module: nn.Module, decay: float) -> dict[str, float]:
    """By name of parameter a factor on the learning rate: 1 in the part at the output, `decay` below it, and so on.

    Discriminative fine-tuning (Howard and Ruder, "Universal language model fine-tuning for text classification", 2018).
    A parameter that the network itself holds counts to its lowest part. Empty where `decay` is 1.
    """
    if decay == 1:
        return {}
    known = [path for path, _ in parts(module)]
    lowest = decay ** max(0, len(known) - 1)
    found = {name: lowest for name, _ in module.named_parameters()}
    for below_top, path in enumerate(reversed(known)):
        for name in found:
            if name.startswith(f"{path}."):
                found[name] = decay**below_top
    return found
