"""Parts of a network that are not trained: the recipe key `frozen`."""

from collections.abc import Sequence

from torch import nn

from convlens.base.errors import InputError, nearest


def parts(module: nn.Module, paths: Sequence[str]) -> list[nn.Module]:
    """The modules of some dotted paths. Raises `InputError` for a path that is none, with the nearest that is."""
    known = dict(module.named_modules())
    for path in paths:
        if path not in known or not path:
            places = [name for name in known if name]
            shown = f"; at the top are {', '.join(name for name in places if '.' not in name)}"
            raise InputError(f"frozen: the network has no module {path!r}{nearest(path, places) or shown}")
    return [known[path] for path in paths]


def freeze(module: nn.Module, paths: Sequence[str]) -> list[str]:
    """Takes the parameters of the modules out of training. Returns a line that says how many are left."""
    frozen = parts(module, paths)
    for part in frozen:
        part.requires_grad_(False)
    if not frozen:
        return []
    parameters = list(module.parameters())
    total, trained = sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)
    return [f"frozen: {', '.join(paths)}; {trained:,} of {total:,} parameters are trained"]


def train_all_but(module: nn.Module, frozen: Sequence[nn.Module]) -> None:
    """Training mode; what is frozen stays in inference mode: batch norms keep their statistics, nothing is dropped."""
    module.train()
    for part in frozen:
        part.eval()
