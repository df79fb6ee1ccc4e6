"""A line every N steps: its figures are those of a loop that counts for itself."""

import re

import numpy as np
import pytest

import convlens as cl
from convlens.base.errors import InputError
from convlens.training.events import Listener

RNG = np.random.default_rng(3)
IMAGES = (RNG.integers(0, 256, (80, 8, 8), dtype=np.uint8), np.arange(80) % 4)
LINE = re.compile(r"epoch (\d)/2  step (\d+)/(\d+)  loss ([\d.]+)  acc +([\d.]+) %  rate ([\d.e-]+)")


class Losses(Listener):
    """The loss of each step, by epoch, with the images in it."""

    def __init__(self):
        self.found: dict[int, list[tuple[int, float]]] = {}

    def step(self, run, images, loss):
        self.found.setdefault(run.epoch + 1, []).append((images, float(loss or 0)))


@pytest.mark.parametrize("engine", ["torch", "numpy"])
def test_every_so_many_steps_there_is_a_line_with_the_loss_so_far(engine, tmp_path, capsys):
    losses = Losses()
    cl.train(
        "mlp", IMAGES, engine=engine, epochs=2, batch_size=8, log_steps=3, out=tmp_path / "run", tensorboard=False,
        settings=["schedule.name=step", "schedule.milestones=[0.5]", "schedule.warmup=0.0", "optimizer.lr=0.02"],
        listeners=[losses], precision="float32",
    )  # fmt: skip
    lines = [tuple(map(float, found)) for found in LINE.findall(capsys.readouterr().err)]
    steps = len(losses.found[1])
    assert [(epoch, step) for epoch, step, *_ in lines] == [(e, s) for e in (1, 2) for s in range(3, steps + 1, 3)]
    for epoch, step, of, loss, accuracy, rate in lines:
        seen = losses.found[int(epoch)][: int(step)]
        assert of == steps
        assert loss == pytest.approx(sum(n * one for n, one in seen) / sum(n for n, _ in seen), abs=2e-4)
        right = accuracy / 100 * sum(n for n, _ in seen)
        assert right == pytest.approx(round(right), abs=0.01)
        assert rate == pytest.approx(0.02 if epoch == 1 else 0.002)


def test_lines_change_nothing_of_the_run(tmp_path):
    for name, every in (("with", 1), ("without", None)):
        cl.train("mlp", IMAGES, epochs=1, quiet=True, tensorboard=False, out=tmp_path / name, log_steps=every)
    assert (tmp_path / "with/weights.safetensors").read_bytes() == (
        tmp_path / "without/weights.safetensors"
    ).read_bytes()


def test_no_steps_at_all_are_refused(tmp_path):
    with pytest.raises(InputError, match="log_steps: must be at least 1"):
        cl.train("mlp", IMAGES, log_steps=0, out=tmp_path / "run")
