"""Views and in-place operations of a PyTorch program, written as operations that change nothing.

In PyTorch several names can look into the same memory, and whoever writes through one of them changes what all others
see. Nodes of a graph never change. So each piece of memory has a version here, and each value that looks into it
remembers how it is cut out of its parent (a slice, another shape, another order of axes). A write makes a new node for
the value, puts that back into the parents up to the whole memory, and raises the version; a value that is read later
with an older version is cut out anew. This is what PyTorch's own functionalization does.

Gradients follow: PyTorch differentiates writes through views as exactly these cuts and insertions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from convlens.base.errors import InputError
from convlens.scratch.from_torch.translation import Out

Emit = Callable[..., Out]

_UNTRACED = "it writes in place through a view that cannot be traced back to its array; write to a copy (clone())"


@dataclass(eq=False)
class Storage:
    """A piece of memory. `owner` is the name of the parameter or buffer that it belongs to, empty for other memory."""

    version: int = 0
    owner: str = ""


@dataclass(frozen=True)
class Cut:
    """How a view is cut out of its parent: one operation, or none ("identity")."""

    op: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Value:
    """What a name of the program stands for: a node of the graph as long as nothing was written into its memory.

    Attributes:
        out: the node.
        storage: the memory that it looks into.
        version: of the memory, at which `out` is right.
        parent: what it is a view of; None for the whole memory.
        cut: how it is cut out of its parent.
        opaque: a view, of an unknown part.
    """

    out: Out
    storage: Storage
    version: int
    parent: "Value | None" = None
    cut: Cut | None = None
    opaque: bool = False


class Aliases:
    """The memory of a program that is being translated."""

    def __init__(self, emit: Emit):
        self._emit = emit
        self._storages: dict[Any, Storage] = {}

    def whole(self, out: Out, key: Any, owner: str = "") -> Value:
        """A value with memory of its own. `key` tells the memory from others."""
        storage = self._storages[key] = Storage(owner=owner)
        return Value(out, storage, 0)

    def knows(self, key: Any) -> bool:
        """Whether some value looks into this memory."""
        return key in self._storages

    def is_in(self, value: Value, key: Any) -> bool:
        """Whether a value looks into this memory."""
        return self._storages.get(key) is value.storage

    def view(self, out: Out, parent: Value, cut: Cut) -> Value:
        """A value that is cut out of another one."""
        return Value(out, parent.storage, parent.storage.version, parent, cut)

    def opaque_view(self, out: Out, key: Any) -> Value:
        """A value that shares known memory in an unknown way: it can be read until a write."""
        storage = self._storages[key]
        return Value(out, storage, storage.version, opaque=True)

    def read(self, value: Value) -> Out:
        """The node that holds the value now."""
        if value.version != value.storage.version:
            if value.parent is None or value.cut is None:
                raise InputError("it reads a view of an array that was changed in place meanwhile; use a copy of it")
            value.out = self._cut(value.cut, self.read(value.parent), value.out)
            value.version = value.storage.version
        return value.out

    def write(self, value: Value, new: Out) -> None:
        """From here on the value, and all that look into the same memory, see what was written."""
        if value.storage.owner:
            raise InputError(
                f"it overwrites {value.storage.owner!r} in place; keep such a value outside the network, "
                "or train in the PyTorch engine"
            )
        chain = [value]
        while chain[-1].parent is not None:
            chain.append(chain[-1].parent)
        before = [self.read(v) for v in chain]
        root = chain[-1]
        if root.opaque:
            raise InputError(_UNTRACED)
        version = value.storage.version + 1
        for child, whole in zip(chain, before[1:], strict=False):
            child.out, child.version = new, version
            new = self._insert(child.cut, whole, new)
        root.out, root.version = new, version
        value.storage.version = version

    def _cut(self, cut: Cut, whole: Out, like: Out) -> Out:
        if cut.op == "identity":
            return whole
        out = self._emit(cut.op, [whole], **cut.options)
        return Out(out.position, like.shape, like.dtype)

    def _insert(self, cut: Cut | None, whole: Out, part: Out) -> Out:
        """The parent with another value of its view."""
        if cut is not None and (cut.op == "identity" or (cut.op == "broadcast" and part.shape == whole.shape)):
            return part
        if cut is not None and cut.op == "take":
            new = self._emit("put", [whole, part], index=cut.options["index"])
        elif cut is not None and cut.op in ("reshape", "flatten") and None not in whole.shape[1:]:
            new = self._emit("reshape", [part], shape=(-1, *whole.shape[1:]) if whole.shape else ())
        elif cut is not None and cut.op == "permute":
            rank = len(whole.shape)
            axes = tuple(int(i) for i in np.argsort([a % rank for a in cut.options["axes"]]))
            new = self._emit("permute", [part], axes=axes)
        else:
            raise InputError(_UNTRACED)
        return Out(new.position, whole.shape, whole.dtype)
