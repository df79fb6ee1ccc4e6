"""A classifier: a network, how a picture becomes its input, and what its outputs are called."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union, cast

import numpy as np

from convlens.base.errors import InputError, nearest
from convlens.base.progress import say
from convlens.classify.evaluation import Evaluation, exponentials, from_logits
from convlens.data.images import Images
from convlens.data.preprocess import Preprocess
from convlens.data.store.rows import Pixels

if TYPE_CHECKING:
    from torch import nn

    from convlens.models.network import Stage
    from convlens.runs import RunFolder, RunRecord

BATCH = 256
VIEWS = ("none", "mirror", "mirror+shift")


@dataclass(frozen=True)
class Prediction:
    """One picture's answer: the likeliest class, its probability, and the next likely ones."""

    label: str
    probability: float
    top: tuple[tuple[str, float], ...]
    path: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON, without the path: label, probability, and both of each class in `top`."""
        top = [{"label": label, "probability": probability} for label, probability in self.top]
        return {"label": self.label, "probability": self.probability, "top": top}


def is_onnx(path: Path) -> bool:
    """Whether this is an ONNX file, for `Classifier.from_onnx`, and no run folder."""
    return path.suffix == ".onnx" or path.is_file()


@dataclass(frozen=True, eq=False)
class Classifier:
    """What is judged, exported, served and looked into. It belongs to no folder and keeps nothing of what it answers.

    The module is never copied or changed; its training flags, and all that the caller has set in PyTorch, are as before
    after each call. Calls from several threads are answered one after the other.

    Attributes:
        network: an `nn.Module` that takes float32 [N, C, H, W] and gives logits (see `outputs.read_outputs`); or any
            function of such arrays that gives logits [N, K].
        preprocess: how a picture becomes the network's input.
        classes: K names, in the order of the logits.
        device: where the module is, by default where its first parameter is.
        views: "none", "mirror" or "mirror+shift": see `Views`.
        facts: what else is known of it, as JSON: model, recipe, seed, test accuracy, SHA-256 of the weights. Goes into
            exported files; nothing is computed with it.

    >>> Classifier(module, Preprocess((32, 32), 3), ("cat", "dog")).predict([picture])  # doctest: +SKIP
    """

    network: Union["nn.Module", Callable[[np.ndarray], Any]]
    preprocess: Preprocess
    classes: tuple[str, ...]
    device: str | None = None
    views: str = "none"
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.classes, str) or not self.classes:
            raise InputError(f"classes must be a list of names, not {self.classes!r}")
        object.__setattr__(self, "classes", tuple(self.classes))
        if self.views not in VIEWS:
            raise InputError(f"unknown views {self.views!r}{nearest(self.views, VIEWS)} (known: {', '.join(VIEWS)})")
        if self.views != "none":
            _ = self.module

    @classmethod
    def from_run(
        cls,
        run: "Path | str | RunFolder",
        *,
        record: "RunRecord | None" = None,
        model: "str | nn.Module | None" = None,
        device: str | None = None,
        weights_only: bool = False,
        on_note: Callable[[str], None] = say,
    ) -> "Classifier":
        """The trained network of a run folder, with its preprocessing and classes.

        Args:
            record: of that run, where it has been read already.
            model: only for a network that is not of the zoo: the module, or "file.py:Function".
            device: "auto", "cpu", "cuda", "mps"; by default the one that it was trained on, if that is here.
            weights_only: the network has its parameters by their names and no code: it can be written down, not run.
            on_note: is told where it is not on the device that was to be expected.

        Raises:
            InputError: no run, no weights yet, weights that do not fit the network or are not finite.
        """
        from convlens.classify.device import choose, for_run
        from convlens.classify.saved import WeightsAlone, load_module
        from convlens.runs import RunFolder

        folder = run if isinstance(run, RunFolder) else RunFolder(run)
        device = None if device is None else choose(device)[0]  # a wrong name is said before weights are read
        record = record or folder.read_record()
        module = WeightsAlone(folder, record) if weights_only else load_module(folder, record, model)
        device, note = for_run(device, record.numeric["device"])
        if note:
            on_note(note)
        return cls(
            module.to(device), Preprocess.from_dict(record.preprocess), tuple(record.classes), device,
            facts=folder.facts(record),
        )  # fmt: skip

    @classmethod
    def from_onnx(cls, path: "Path | str", *, threads: int | None = None) -> "Classifier":
        """A file that `convlens export --format onnx` wrote, run by ONNX Runtime. Imports no PyTorch and needs none.

        A picture gets the same answer, bit for bit, alone and in any batch.

        Args:
            threads: how many work on one call; by default all usable cores.

        Raises:
            InputError: no such file, no ONNX, no classes and preprocessing in it; ONNX Runtime is not installed.
        """
        from convlens.classify.onnx_file import open_file  # with pydantic

        network, label, preprocess = open_file(path, threads=threads)
        return cls(network, preprocess, tuple(label.classes), "cpu", facts=label.facts)

    @property
    def module(self) -> "nn.Module":
        """The network as an `nn.Module`. Raises `InputError` where it is another function."""
        if not hasattr(self.network, "named_modules"):
            raise InputError(f"the network is no PyTorch module, but a {type(self.network).__name__}")
        return cast("nn.Module", self.network)

    @property
    def stages(self) -> "dict[str, Stage]":
        """Where to look inside a network of the zoo, by name (see `models.network.Stage`); empty for others."""
        from convlens.models.network import Network

        return dict(self.network.stages) if isinstance(self.network, Network) else {}

    def logits(self, pixels: Pixels) -> np.ndarray:
        """float32 [N, K] for prepared pixels uint8 [N, H, W, C] (see `Preprocess.prepare`).

        Raises:
            InputError: pixels of another shape or type, a network that cannot take them, outputs that are no logits.
        """
        if pixels.shape[1:] != (*self.preprocess.size, self.preprocess.channels) or pixels.dtype != np.uint8:
            expected = ", ".join(map(str, (*self.preprocess.size, self.preprocess.channels)))
            raise InputError(
                f"expected prepared pixels uint8 [N, {expected}], got {pixels.dtype} {list(pixels.shape)}; "
                "predict takes any pictures"
            )
        if hasattr(self.network, "named_modules"):
            from convlens.classify.forward import run_module  # imports PyTorch, which other functions do without

            return run_module(
                cast("nn.Module", self.network), self.preprocess, pixels, len(self.classes),
                batch=BATCH, device=self.device, views=self.views,
            )  # fmt: skip
        found = [np.zeros((0, len(self.classes)), np.float32)]
        for start in range(0, len(pixels), BATCH):
            x = pixels[start : start + BATCH]
            x = np.asarray(x) if getattr(self.network, "takes_pixels", False) else self.preprocess.normalize(x)
            found.append(np.asarray(self.network(x), np.float32))
            if found[-1].shape != (len(x), len(self.classes)):
                raise InputError(
                    f"the network must give one logit per class, shape ({len(x)}, {len(self.classes)}) for {len(x)} "
                    f"images of {len(self.classes)} classes; it gave shape {found[-1].shape}"
                )
        return np.concatenate(found)

    def probabilities(self, pixels: Pixels) -> np.ndarray:
        """float32 [N, K] for prepared pixels uint8 [N, H, W, C]. Raises `InputError` where they are not finite."""
        _, parts, total = exponentials(self.logits(pixels))
        found = (parts / total).astype(np.float32)
        if not np.isfinite(found).all():
            raise InputError(_NOT_FINITE)
        return found

    def predict(self, pictures: Iterable[Any], *, top: int = 5) -> list[Prediction]:
        """The answers for pictures, in their order.

        Args:
            pictures: several: each what `Preprocess.prepare` takes, which is an array [H, W] or [H, W, C], a Pillow
                image, bytes or a path; or a stack [N, H, W, C].
            top: how many classes `Prediction.top` holds.

        Raises:
            InputError: a picture that cannot be read, outputs that are not finite.
        """
        single = isinstance(pictures, (str, bytes, PathLike)) or not hasattr(pictures, "__iter__")
        if single or getattr(pictures, "ndim", 4) != 4:
            raise InputError("predict takes several pictures: put one into a list, arrays into a stack [N, H, W, C]")
        found: list[Prediction] = []
        waiting: Iterator[Any] = iter(pictures)
        while batch := list(islice(waiting, BATCH)):
            found += self.ranked(np.stack([self.preprocess.prepare(picture) for picture in batch]), top)
        return found

    def ranked(self, pixels: Pixels, top: int = 5) -> list[Prediction]:
        """The answers for prepared pixels uint8 [N, H, W, C], with `top` classes each."""
        if not isinstance(top, int) or top < 1:
            raise InputError(f"top: how many classes to rank must be at least 1, not {top!r}")
        rows = self.probabilities(pixels)
        orders = np.argsort(-rows, axis=1, kind="stable")[:, :top]
        best = np.take_along_axis(rows, orders, 1).tolist()
        found = []
        for order, probabilities in zip(orders.tolist(), best, strict=True):
            ranked = tuple(zip(map(self.classes.__getitem__, order), probabilities, strict=True))
            found.append(Prediction(*ranked[0], top=ranked))
        return found

    def evaluate(self, images: Images) -> Evaluation:
        """Judges it on labeled pictures that `preprocess` has prepared, with the same classes.

        Raises:
            InputError: other classes, no images, outputs that are not finite.
        """
        if tuple(images.classes) != self.classes:
            raise InputError(f"{images.name} has other classes than the classifier")
        if not len(images):
            raise InputError("there are no images to evaluate on")
        judged = from_logits(self.logits(images.pixels), images.labels, self.classes)
        if not np.isfinite(judged.loss):
            raise InputError(_NOT_FINITE)
        return judged


_NOT_FINITE = (
    "the network gives outputs that are not finite: its weights are of no use; "
    "train it again with a lower learning rate"
)
