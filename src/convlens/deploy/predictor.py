"""Predictions of a finished run, with exactly the preprocessing of its training."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from convlens import models
from convlens.base.errors import InputError
from convlens.classify.caller import undisturbed
from convlens.classify.device import choose, for_run
from convlens.classify.evaluation import Evaluation, evaluate
from convlens.classify.outputs import logits_of
from convlens.data import Images, Preprocess
from convlens.deploy.inputs import Item, pictures, reason
from convlens.models.build import build, is_file_reference
from convlens.models.lazy import settle_lazy_layers
from convlens.models.network import shapes_only
from convlens.runs import RunFolder, RunRecord

_BATCH = 256


@dataclass(frozen=True)
class Prediction:
    """One image's answer: the likeliest class, its probability, and the next likely ones."""

    label: str
    probability: float
    top: tuple[tuple[str, float], ...]
    path: str | None = None


@dataclass(frozen=True)
class Failure:
    """An image that could not be read, and why."""

    path: str
    error: str


def rebuild(record: RunRecord, model: str | nn.Module | None = None) -> nn.Module:
    """The network of a run, without its weights.

    A network of the zoo is rebuilt by name. Code of the author's runs only if the caller hands it over: a
    module, or a file reference that the user typed; what stands in `run.json` is never run.
    """
    if isinstance(model, nn.Module):
        settle_lazy_layers(model, tuple(record.model.input))
        return model
    if record.model.source != "zoo" and model is None:
        how = "name its file, as in --model path/to/file.py:Function" if record.model.source == "file" else "pass it"
        raise InputError(
            f"the network {record.model.name!r} is its author's own code, which a run folder cannot bring: {how}"
        )
    if model is not None and not is_file_reference(model):
        raise InputError(f"--model {model!r}: expected path/to/file.py:Function")
    channels, height, width = record.model.input
    if model is None:
        models.get(record.model.name)  # a name of the zoo, or an error: never a file
    return build(
        model or record.model.name,
        num_classes=len(record.classes),
        in_channels=channels,
        image_size=(height, width),
        whitening=record.model.whitening,
        **record.model.arguments,
    )


def load_module(folder: RunFolder, model: str | nn.Module | None = None) -> tuple[nn.Module, RunRecord]:
    """The trained network of a run folder, in inference mode on the CPU, and the run's record.

    Raises:
        InputError: no run, no weights yet, weights that do not fit the network or are not finite.
    """
    record = folder.read_record()
    shapes = folder.weight_shapes()
    if record.model.source == "zoo" and model is None:
        _refuse_other_shapes(folder, record, _without_memory(record, shapes), shapes)
    with undisturbed():  # the first weights are drawn
        module = rebuild(record, model)
    _refuse_other_shapes(folder, record, module, shapes)
    arrays, _ = folder.read_weights(record)
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(f"{folder.weights}: {name!r} holds values that are not finite")
    module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return module.eval(), record


def _without_memory(record: RunRecord, shapes: dict[str, tuple[int, ...]]) -> nn.Module:
    """The network as `run.json` has it, of shapes alone: untrusted sizes could ask for more than the memory."""
    most = max(1000, sum(math.prod(shape) for shape in shapes.values()))
    for key, value in record.model.arguments.items():
        if any(isinstance(number, int) and abs(number) > most for number in _flat(value)):
            raise InputError(f"run.json: model.arguments: {key} = {value} is larger than the network's weights")
    with shapes_only():
        return rebuild(record)


def _flat(value: Any) -> list[Any]:
    return [inner for item in value for inner in _flat(item)] if isinstance(value, list) else [value]


def _refuse_other_shapes(
    folder: RunFolder, record: RunRecord, module: nn.Module, shapes: dict[str, tuple[int, ...]]
) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    for name, shape in expected.items():
        if name not in shapes:
            raise InputError(f"{folder.weights} lacks {name!r}, which the network {record.model.name} has")
        if shapes[name] != shape:
            raise InputError(
                f"{folder.weights}: {name!r} has shape {list(shapes[name])}, "
                f"the network {record.model.name} needs {list(shape)}"
            )
    extra = sorted(set(shapes) - set(expected))
    if extra:
        raise InputError(f"{folder.weights} has {extra[0]!r}, which the network {record.model.name} does not know")


class Predictor:
    """A trained network with its preprocessing and class names.

    device: "auto", "cpu", "cuda", "mps"; by default the one that the run was trained on, where it is here.

    Attributes:
        note: a line about the device, where it is not the one that was to be expected; else None.
        notes: what was guessed about arrays that were predicted, a line each.

    >>> Predictor("runs/lenet5-mnist").predict(["seven.png"])  # doctest: +SKIP
    """

    def __init__(self, run: Path | str, *, model: str | nn.Module | None = None, device: str | None = None):
        self.folder = RunFolder(run)
        device = None if device is None else choose(device)[0]  # a wrong name is said before weights are read
        self.module, self.record = load_module(self.folder, model)
        self.device, self.note = for_run(device, self.record.numeric["device"])
        self.module.to(self.device)
        self.classes = tuple(self.record.classes)
        self.preprocess = Preprocess.from_dict(self.record.preprocess)
        self.notes: list[str] = []

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """float32 [N, K] for prepared pixels uint8 [N, H, W, C]."""
        found = []
        with undisturbed(), torch.inference_mode():
            for start in range(0, len(pixels), _BATCH):
                x = torch.from_numpy(self.preprocess.normalise(pixels[start : start + _BATCH])).to(self.device)
                logits = logits_of(self.module, x, len(self.classes))
                found.append(logits.float().softmax(1).cpu().numpy())
                if not np.isfinite(found[-1]).all():
                    raise InputError(self._not_finite())
        return np.concatenate(found) if found else np.zeros((0, len(self.classes)), np.float32)

    def predict(self, images: Any, *, top: int = 5) -> list[Prediction | Failure]:
        """Predictions in the order given, as a list. See `stream`."""
        return list(self.stream(images, top=top))

    def stream(self, images: Any, *, top: int = 5) -> Iterator[Prediction | Failure]:
        """Predictions in the order given, while pictures are read; 256 of them are in memory at a time.

        Args:
            images: one or several of: path; Pillow image; bytes or open file of a picture; array or tensor [H, W],
                [H, W, C] or [C, H, W] (types: see `data.images.as_uint8`). A stack [N, H, W], [N, H, W, C] or
                [N, C, H, W] is N pictures; a folder, zip or tar stands for the pictures in it; several may be a list,
                any other iterable or a generator, or `Images`. Channels before rows are noted in `notes`.
            top: how many classes `Prediction.top` holds.

        Raises:
            InputError: what is no picture at all. A file that cannot be read becomes a `Failure`.
        """
        return self.answers(self.pictures(images)[1], top=top)

    def pictures(self, images: Any) -> tuple[bool, Iterator[Item]]:
        """Whether `images` are several pictures, and these one by one."""
        return pictures(images, self.preprocess.channels, self._note)

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def answers(self, items: Iterator[Item], *, top: int = 5) -> Iterator[Prediction | Failure]:
        """`stream` for what `pictures` gave."""
        if not isinstance(top, int) or top < 1:
            raise InputError(f"top: how many classes to rank must be at least 1, not {top!r}")
        while batch := [(item, self._prepare(item)) for item in islice(items, _BATCH)]:
            good = [pixels for _, pixels in batch if isinstance(pixels, np.ndarray)]
            rows = iter(self.probabilities(np.stack(good)) if good else [])
            for item, pixels in batch:
                yield pixels if isinstance(pixels, Failure) else self._answer(next(rows), item.path, top)

    def _prepare(self, item: Item) -> np.ndarray | Failure:
        try:
            if isinstance(item.picture, InputError):
                raise item.picture
            return self.preprocess.prepare(item.picture, item.name)
        except InputError as error:
            if not item.is_file:
                raise
            return Failure(item.path or item.name, reason(item, error))

    def _answer(self, row: np.ndarray, path: str | None, top: int) -> Prediction:
        order = np.argsort(-row, kind="stable")[:top]
        ranked = tuple((self.classes[i], float(row[i])) for i in order)
        return Prediction(*ranked[0], top=ranked, path=path)

    def evaluate(self, images: Images) -> Evaluation:
        """Judges the network on labelled images that `preprocess` has prepared, with the classes of the run.

        Raises:
            InputError: other classes (`judging.judge` maps them by name), no images, outputs that are not finite.
        """
        if tuple(images.classes) != self.classes:
            raise InputError(f"{images.name} has other classes than the run")
        with undisturbed():
            judged = evaluate(self.module, self._batches(images), self.classes)
        if not math.isfinite(judged.loss):
            raise InputError(self._not_finite())
        return judged

    def _not_finite(self) -> str:
        return (
            f"the network of {self.folder.path} gives outputs that are not finite: its weights are of no use; "
            "train it again with a lower learning rate"
        )

    def _batches(self, images: Images) -> Iterable[tuple[torch.Tensor, torch.Tensor]]:
        for start in range(0, len(images), _BATCH):
            x = self.preprocess.normalise(images.pixels[start : start + _BATCH])
            y = images.labels[start : start + _BATCH]
            yield torch.from_numpy(x).to(self.device), torch.from_numpy(np.array(y)).to(self.device)
