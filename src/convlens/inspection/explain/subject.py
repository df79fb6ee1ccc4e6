"""What is explained: a classifier, the pictures, and what was asked for."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from convlens.base.errors import InputError, nearest
from convlens.base.progress import say
from convlens.classify.classifier import Classifier
from convlens.data.images import Images
from convlens.data.preprocess import Preprocess

if TYPE_CHECKING:
    from torch import Tensor, nn

    from convlens.scratch.graph import Graph

PAIR = 2
"""Pictures that go through a graph together: some networks cannot take a batch of one."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Prepared pictures. pixels: uint8 [N, H, W, C], see `Preprocess.prepare`. names: N, for titles and file names."""

    pixels: np.ndarray
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True)
class Options:
    """What was asked for besides the method; each method reads what concerns it.

    target: the class to explain, by name, or one for each picture; None for the class that the network predicts.
    against: a second class: then the difference of the two logits is explained.
    layer: path of a module, as in `module.get_submodule(path)`; None for the method's own choice.
    channels: of that layer; empty for the method's own choice.
    count: how many patches, pictures, channels; None for the method's own choice.
    seed: of everything that is drawn at random.
    quiet: show no progress.
    """

    target: str | tuple[str, ...] | None = None
    against: str | None = None
    layer: str | None = None
    channels: tuple[int, ...] = ()
    count: int | None = None
    seed: int = 0
    quiet: bool = False


@dataclass(frozen=True, eq=False)
class Subject:
    """A classifier as methods of explanation see it. Nothing of it is copied or changed.

    classifier: its network must be a PyTorch module.
    name: in titles.
    images: gives the pictures of a data set, for methods that search one; called when they are needed. None: there is
        none.
    on_note: is told what was chosen or left out, a line each.
    """

    classifier: Classifier
    name: str = "the network"
    images: Callable[[], Images] | None = None
    on_note: Callable[[str], None] = field(default=say)

    @cached_property
    def module(self) -> "nn.Module":
        """The network; where it was compiled, the one that was. Raises `InputError` for what hides how it runs."""
        from convlens.inspection.probe.probe import refuse_scripted
        from convlens.nn import private

        refuse_scripted(self.classifier.module)
        return private.uncompiled(self.classifier.module)

    @cached_property
    def graph(self) -> "Graph":
        """The network as a graph of NumPy operations in float64, for batches of `PAIR` pictures. Made once.

        Raises:
            InputError: the network cannot be exported, or has an operation that the NumPy engine lacks.
        """
        from convlens.scratch.from_torch import from_torch

        with self.at_work():
            return from_torch(self.module, self.input_shape, batch=PAIR, dynamic=False).astype(np.float64)

    @property
    def preprocess(self) -> Preprocess:
        return self.classifier.preprocess

    @property
    def classes(self) -> tuple[str, ...]:
        return self.classifier.classes

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one input."""
        return (self.preprocess.channels, *self.preprocess.size)

    @contextlib.contextmanager
    def at_work(self) -> "Iterator[str]":
        """Inside, the module may be run: in evaluation mode, alone, in a process that is left as it was.

        Yields the device that it is on. Gradients are on; ask for those of inputs by `torch.autograd.grad`, which
        writes into no `.grad`.
        """
        from convlens.classify.forward import at_work

        with at_work(self.module) as device:
            yield self.classifier.device or device

    def inputs(self, pixels: np.ndarray, device: str) -> "Tensor":
        """Prepared pixels uint8 [N, H, W, C] as the network's input, float32 [N, C, H, W] on a device."""
        import torch

        return torch.from_numpy(self.preprocess.normalize(pixels)).to(device)

    def logits(self, x: "Tensor") -> "Tensor":
        """[N, K] for inputs [N, C, H, W], with gradients where they are on. Only within `at_work`."""
        from convlens.classify.outputs import logits_of

        return logits_of(self.module, x, len(self.classes))

    def class_number(self, name: str) -> int:
        """Which logit belongs to a class, named as in `classes`."""
        if name not in self.classes:
            known = ", ".join(self.classes[:8]) + (", ..." if len(self.classes) > 8 else "")
            raise InputError(f"there is no class {name!r}{nearest(name, self.classes)} (known: {known})")
        return self.classes.index(name)
