"""Within a block of the caller's (autocast, no_grad, another default device) a run is the same, or one line."""

import contextlib

import numpy as np
import pytest
import torch
from torch import nn

import convlens as cl
from convlens.base.errors import InputError


@contextlib.contextmanager
def double():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


BLOCKS = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "float64": double,
    "meta": lambda: torch.device("meta"),
}
PIXELS, UNSEEN = np.random.default_rng(0).integers(0, 256, (2, 40, 8, 8), dtype=np.uint8)
IMAGES, OTHERS = (PIXELS, np.arange(40) % 2), (UNSEEN, np.arange(40) % 2)


def outcome(folder, **more) -> tuple:
    """The bytes of the weights, and what the run says afterwards."""
    data = {"train": IMAGES, "test": OTHERS}
    run = cl.train("mlp", data, epochs=2, batch_size=8, out=folder, quiet=True, tensorboard=False, **more)
    judged = cl.load(folder).evaluate(OTHERS)
    answer = run.predict(PIXELS[0])
    return (folder / "weights.safetensors").read_bytes(), judged.loss, answer.probability


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return {
        key: outcome(tmp_path_factory.mktemp("plain") / key, precision=key) for key in ("bfloat16", "float32")
    }  # fmt: skip


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
@pytest.mark.parametrize("block", BLOCKS)
def test_a_run_within_a_block_of_the_callers_is_the_same(block, precision, expected, tmp_path):
    with BLOCKS[block]():
        found = outcome(tmp_path / "run", precision=precision)
    assert found == expected[precision]


@pytest.mark.parametrize("block", ["inference_mode", "float64", "meta"])
@pytest.mark.parametrize("engine", ["torch", "numpy"])
def test_a_network_that_was_made_within_a_block_and_cannot_be_trained_is_one_line(block, engine, tmp_path):
    with BLOCKS[block]():
        module = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    with pytest.raises(InputError, match=r"1\.weight") as refused:
        cl.train(module, IMAGES, engine=engine, out=tmp_path / "run", quiet=True)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize("block", ["autocast", "no_grad"])
def test_a_network_that_was_made_within_a_harmless_block_is_trained(block, tmp_path):
    with BLOCKS[block]():
        module = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    before = module.get_parameter("1.weight").detach().clone()
    cl.train(module, IMAGES, epochs=1, size=8, out=tmp_path / "run", quiet=True, tensorboard=False)
    assert not torch.equal(module.get_parameter("1.weight"), before)
