"""A classifier's network as `torch.export` has it: a program that PyTorch runs without the network's code."""

import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from convlens.base.errors import InputError
from convlens.classify.caller import undisturbed
from convlens.classify.onnx_file import KEY, Label, label_text
from convlens.classify.outputs import read_outputs
from convlens.data.preprocess import Preprocess
from convlens.deploy.agreement import compare
from convlens.models.modes import evaluation_mode
from convlens.scratch.from_torch.export import exported

if TYPE_CHECKING:
    from convlens.classify.classifier import Classifier

_SAMPLES = "/data/sample_inputs/"


def traced(classifier: "Classifier", with_preprocessing: bool = False) -> torch.export.ExportedProgram:
    """The program of a classifier's network, for batches of any size. The network is left as it was.

    with_preprocessing: prepared pixels uint8 [N, H, W, C] to probabilities and logits [N, K]; otherwise normalized
        float32 [N, C, H, W] to logits.
    Raises `InputError` where it cannot be traced.
    """
    module, preprocess = classifier.module, classifier.preprocess
    whole = _Whole(module, preprocess, len(classifier.classes), with_preprocessing)
    height, width = preprocess.size
    shape = (height, width, preprocess.channels) if with_preprocessing else (preprocess.channels, height, width)
    dtype = torch.uint8 if with_preprocessing else torch.float32
    with undisturbed(), torch.no_grad(), evaluation_mode(module):
        whole.training = False
        return exported(whole, shape, batch=2, dynamic=True, dtype=dtype)


def label_of(classifier: "Classifier", **rest: Any) -> Label:
    """What an exported file says of itself."""
    return Label(
        classes=list(classifier.classes),
        preprocess=classifier.preprocess.to_dict(),
        facts=dict(classifier.facts),
        **rest,
    )


def write(classifier: "Classifier", path: Path, *, with_preprocessing: bool = False, **_: Any) -> None:
    """Writes the program for `torch.export.load`, with the label of `label_of` as its extra file `convlens`.

    Without the example that PyTorch puts in, which is a pickle, and without the places in the code where each
    operation was asked for, which tell of this computer.
    """
    program = traced(classifier, with_preprocessing)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    label = label_of(classifier, opset=None, input="uint8" if with_preprocessing else "float32")
    written = io.BytesIO()
    torch.export.save(program, written, extra_files={KEY: label_text(label)})
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            target.writestr(name, b"" if _SAMPLES in name else source.read(name))


def check(
    classifier: "Classifier", path: Path, *, images: np.ndarray, with_preprocessing: bool = False, **_: Any
) -> float:
    """Loads the program and compares its answers, see `agreement.compare`."""
    extra = {KEY: ""}
    loaded = torch.export.load(path, extra_files=extra)
    if Label.model_validate_json(extra[KEY]).classes != list(classifier.classes):
        raise InputError("it does not give its classes back")
    network, device = loaded.module(), next(iter(classifier.module.parameters()), torch.zeros(0)).device

    def logits(pixels: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(pixels if with_preprocessing else classifier.preprocess.normalize(pixels)).to(device)
        with undisturbed(), torch.no_grad():
            found = network(x)
        return (found[1] if with_preprocessing else found).cpu().numpy()

    return compare(classifier, logits, images)


class _Whole(nn.Module):
    """A network whose output is one tensor of logits; with the arithmetic of `Preprocess.normalize`, if wanted."""

    def __init__(self, network: nn.Module, preprocess: Preprocess, classes: int, from_pixels: bool):
        super().__init__()
        self.network, self.classes, self.from_pixels = network, classes, from_pixels
        self.mean = torch.tensor(preprocess.mean)[:, None, None]
        self.std = torch.tensor(preprocess.std)[:, None, None]

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        if self.from_pixels:
            x = (x.permute(0, 3, 1, 2).to(torch.float32) / 255 - self.mean.to(x.device)) / self.std.to(x.device)
        logits = read_outputs(self.network(x), x.shape[0], self.classes).logits
        return (torch.softmax(logits, 1), logits) if self.from_pixels else logits
