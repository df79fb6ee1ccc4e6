"""Too little memory, on a GPU or on the processor, is one line that says what to do."""

import numpy as np
import pytest
import torch
from PIL import Image

from convlens.base.errors import out_of_memory

GPU = "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.11 GiB of which 1 is free."
FAILURES = {
    "GPU": f"raise torch.OutOfMemoryError({GPU!r})",
    "processor, PyTorch": "torch.empty(10**15)",
    "processor, NumPy": "np.empty(10**15)",
}
NETWORK = """
import os
import numpy as np
import torch
from torch import nn


class make(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.last = nn.Linear(64, num_classes)

    def forward(self, x):
        if os.environ.get("TOO_LITTLE") in ("always", "training" if self.training else "inference"):
            {failure}
        return self.last(x.flatten(1))
"""
BRIEF = ("--data", "digits", "--epochs", 1, "--size", 8, "--quiet")


def refusal(text: str, kind: str) -> None:
    """The line names the place, the amount and the remedies."""
    assert f"memory of the {kind.split(',')[0]} does not suffice" in text
    assert "more were asked for" in text
    assert "--batch-size" in text
    assert ("--device cpu" in text) == (kind == "GPU")


@pytest.mark.parametrize("kind", FAILURES)
def test_too_little_memory_is_one_line_in_every_command(cli, tmp_path, monkeypatch, kind):
    (tmp_path / "mine.py").write_text(NETWORK.format(failure=FAILURES[kind]))
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "one.png")
    assert cli("train", "mine.py:make", *BRIEF, "--out", "run").code == 0
    for moment in ("training", "inference"):  # in a step, and where the network is tried out
        monkeypatch.setenv("TOO_LITTLE", moment)
        refusal(cli("train", "mine.py:make", *BRIEF, "--out", "other").refused(), kind)
        assert not (tmp_path / "other").exists()
    monkeypatch.setenv("TOO_LITTLE", "always")
    refusal(cli("predict", "run", "one.png", "--model", "mine.py:make").refused(), kind)
    refusal(cli("evaluate", "run", "--model", "mine.py:make").refused(), kind)


@pytest.mark.parametrize("kind", FAILURES)
def test_verify_with_too_little_memory_is_one_line(cli, tmp_path, monkeypatch, kind):
    failing = NETWORK.format(failure=f"if not torch.compiler.is_exporting(): {FAILURES[kind]}")
    (tmp_path / "mine.py").write_text(failing)
    monkeypatch.setenv("TOO_LITTLE", "always")
    refusal(cli("verify", "mine.py:make", "--input", "1x8x8").refused(), kind)


@pytest.mark.parametrize("error", [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("out of memory"), OSError(12, "no memory"),
])  # fmt: skip
def test_other_errors_are_not_taken_for_too_little_memory(error):
    assert out_of_memory(error) is None


def test_the_errors_of_other_backends_are_known():
    for message in ("MPS backend out of memory (MPS allocated: 8 GB)", "CUDA error: out of memory",
                    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"):  # fmt: skip
        said = out_of_memory(RuntimeError(message))
        assert said is not None
        assert "GPU" in said
    assert "20.00 MiB more" in str(out_of_memory(torch.OutOfMemoryError(GPU)))
