"""Under which of its names a module is called, where one object stands at several places of a network."""

from collections import Counter, defaultdict

from torch import nn


class Paths:
    """Tells the path of each call. A shared ReLU at `classifier.1` and `classifier.4` is called by both names.

    PyTorch does not say under which name a module is called. So the names below the calling module count, in their
    order: its first call of the object is the first of them, the second call the second. Names of its own, or in its
    lists, come before those inside other modules.
    """

    def __init__(self, module: nn.Module):
        self._lists = {p for p, m in module.named_modules() if isinstance(m, (nn.ModuleList, nn.ModuleDict))}
        self._names: defaultdict[int, list[str]] = defaultdict(list)
        for path, part in module.named_modules(remove_duplicate=False):
            self._names[id(part)].append(path)
        self._calls = Counter[tuple[int | None, int]]()

    def __contains__(self, part: nn.Module) -> bool:
        return id(part) in self._names

    def of(self, part: nn.Module, caller: int | None, caller_path: str) -> str:
        """The path of a call of a part.

        Args:
            part: what is called.
            caller: number of the call of the module that calls it, None for the network itself.
            caller_path: its path.
        """
        names = self._names[id(part)]
        below = [name for name in names if name.startswith(f"{caller_path}.")] if caller_path else names
        own = [name for name in below if self._only_lists_between(caller_path, name)]
        below = own or below or names
        nth = self._calls[caller, id(part)]
        self._calls[caller, id(part)] += 1
        return below[nth % len(below)]

    def _only_lists_between(self, caller: str, name: str) -> bool:
        parts = name.split(".")
        around = [".".join(parts[:n]) for n in range(1, len(parts))]
        return all(path in self._lists for path in around if len(path) > len(caller))
