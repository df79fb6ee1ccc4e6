"""Two networks against each other: one step in plain PyTorch, a kill, and distances by SciPy."""

import copy
import os
import signal

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, pdist
from torch.nn import functional as F

from convlens.base.errors import InputError, Interrupted
from convlens.studies.adversarial import CHECKPOINT, Duel, prepared, train
from convlens.studies.gan import distances, mean_distance

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (100, 28, 28), dtype=np.uint8)
LABELS = np.arange(100) % 10


def duel(conditional=True):
    return Duel(conditional, 3, maps=16, batch=10)


@pytest.mark.parametrize("conditional", [True, False])
def test_three_steps_are_those_of_plain_pytorch(conditional):
    ours = duel(conditional)
    g, d = copy.deepcopy(ours.generator), copy.deepcopy(ours.discriminator)
    of_g, of_d = (torch.optim.Adam(one.parameters(), 1e-3, betas=(0.5, 0.999)) for one in (g, d))
    x, y = prepared(PIXELS[:10], LABELS[:10])
    ones, zeros, rows = torch.ones(10), torch.zeros(10), torch.arange(10)

    def logits(images):
        return d(images)[rows, y] if conditional else d(images)[:, 0]

    for step in range(3):
        z = ours.noise(y, "step", step)
        fake = g(z)
        loss = F.binary_cross_entropy_with_logits(logits(x), ones)
        loss = loss + F.binary_cross_entropy_with_logits(logits(fake.detach()), zeros)
        of_d.zero_grad()
        loss.backward()
        of_d.step()
        fooled = F.binary_cross_entropy_with_logits(logits(fake), ones)
        of_g.zero_grad()
        fooled.backward()
        of_g.step()
        ours.step(x, y)
        assert ours.losses[-1] == pytest.approx((loss.item(), fooled.item()), rel=1e-4)
    pairs = ((ours.generator, g), (ours.discriminator, d))
    for mine, theirs in ((a, b) for one, two in pairs for a, b in zip(one.parameters(), two.parameters(), strict=True)):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


def test_pixels_get_a_margin_without_ink():
    x, y = prepared(PIXELS[:2], LABELS[:2])
    assert x.shape == (2, 1, 32, 32)
    assert y.tolist() == [0, 1]
    np.testing.assert_allclose((x[:, 0, 2:-2, 2:-2].numpy() + 1) * 127.5, PIXELS[:2], atol=1e-3)
    assert (x[:, :, :2] == -1).all()
    assert (x[..., -2:] == -1).all()


@pytest.mark.parametrize("at", [3, 9, 10, 17])
def test_stopped_and_resumed_it_ends_with_the_same_bytes(at, tmp_path):
    """Step 9 is the last of an epoch; a signal comes in the middle of a step."""
    sheets = {"whole": [], "parts": []}

    def go(name, one):
        def sheet(epoch):
            sheets[name].append((epoch, one.sample(LABELS[:4], "sheet").tobytes()))

        train(one, PIXELS, LABELS, epochs=2, folder=tmp_path / name, at_epoch=sheet)

    go("whole", duel())
    first = duel()
    true = first.step

    def step(*arguments, **named):
        true(*arguments, **named)
        if len(first.losses) == at:
            os.kill(os.getpid(), signal.SIGINT)

    first.step = step  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        go("parts", first)
    go("parts", duel())
    one, two = ((tmp_path / name / CHECKPOINT).read_bytes() for name in ("whole", "parts"))
    assert one == two
    assert sheets["whole"] == sheets["parts"]


def test_killed_without_notice_it_ends_with_the_same_bytes(tmp_path):
    """As kill -9 does: what was done since the checkpoint is lost, in the middle of an epoch."""
    train(duel(), PIXELS, LABELS, epochs=2, folder=tmp_path / "whole")
    first = duel()
    true = first.step

    def step(*arguments, **named):
        if len(first.losses) == 14:
            raise SystemExit
        true(*arguments, **named)

    first.step = step  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        train(first, PIXELS, LABELS, epochs=2, folder=tmp_path / "parts", every=0)
    train(duel(), PIXELS, LABELS, epochs=2, folder=tmp_path / "parts")
    assert (tmp_path / "whole" / CHECKPOINT).read_bytes() == (tmp_path / "parts" / CHECKPOINT).read_bytes()


def test_a_checkpoint_of_another_pair_is_refused(tmp_path):
    train(duel(), PIXELS, LABELS, epochs=1, folder=tmp_path)
    with pytest.raises(InputError, match="does not fit"):
        train(duel(conditional=False), PIXELS, LABELS, epochs=1, folder=tmp_path)
    content = bytearray((tmp_path / CHECKPOINT).read_bytes())
    content[-5] ^= 1
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        train(duel(), PIXELS, LABELS, epochs=1, folder=tmp_path)


def test_a_sample_is_drawn_by_its_address_and_label_and_leaves_the_networks_alone():
    one = duel()
    before = {name: t.clone() for name, t in one.generator.state_dict().items()}
    first, again, other = (one.sample(LABELS[:6], address) for address in ("a", "a", "b"))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, one.sample((LABELS[:6] + 1) % 10, "a"))
    assert first.shape == (6, 28, 28)
    assert all(torch.equal(t, before[name]) for name, t in one.generator.state_dict().items())
    assert one.generator.training


def test_distances_are_those_of_scipy():
    flat = PIXELS.reshape(100, -1) / 255
    np.testing.assert_allclose(np.sqrt(distances(PIXELS[:20], PIXELS[30:])), cdist(flat[:20], flat[30:]), rtol=1e-4)
    assert mean_distance(PIXELS[:30]) == pytest.approx(pdist(flat[:30]).mean(), rel=1e-4)


def test_the_study_in_small_has_a_sheet_for_each_epoch_and_judges_nothing(do):
    done = do("gan")
    assert done.record.verdict == "not run"
    assert {"conditional-1.png", "conditional-3.png", "unconditional-1.png", "losses-conditional.png"} <= set(
        done.record.pictures
    )
    assert all((done.folder / name).stat().st_size > 500 for name in done.record.pictures)
    assert "a share" in done.page
