"""Penalties: the same descent written out by hand, and what each of them does to weights."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from convlens import models
from convlens.base.seeds import derive
from convlens.studies.regularisation import RATE, STRENGTHS, WIDTH, Gates, fit, moons


@pytest.mark.parametrize("kind", ["L1", "L2"])
def test_a_fit_is_the_descent_that_torch_optim_does(kind):
    x, y, x_test, y_test = moons(4)
    torch.manual_seed(derive(4, "regularisation"))
    network = models.create("mlp", num_classes=2, in_channels=2, image_size=(1, 1), hidden=(WIDTH,) * 3)
    inner = [network.features.fc2.weight, network.features.fc3.weight]  # type: ignore[union-attr]
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    for _ in range(12):
        penalty = torch.cat([w.flatten() for w in inner]).norm(1 if kind == "L1" else 2)  # type: ignore[union-attr]
        loss = F.nll_loss(F.log_softmax(network(x), 1), y) + 0.01 * (penalty if kind == "L1" else penalty**2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    w = torch.cat([one.detach().flatten() for one in inner]).numpy()  # type: ignore[union-attr]
    found = fit(kind, 0.01, 12, 4)
    assert (found.least, found.greatest) == pytest.approx((w.min(), w.max()), rel=1e-3)
    assert (found.mean, found.deviation) == pytest.approx((w.mean(), w.std()), rel=1e-2, abs=1e-5)
    right = (network(x_test).argmax(1) == y_test).double().mean()
    assert found.test_accuracy == pytest.approx(float(right), abs=0.01)


def test_the_expected_number_of_open_gates_is_the_share_of_those_drawn_that_are_not_zero():
    torch.manual_seed(0)
    gates = Gates(torch.zeros(200_000))
    with torch.no_grad():
        for odds in (-2.0, 0.0, 2.0):
            gates.odds.fill_(odds)
            drawn = gates.drawn()
            assert 0 <= float(drawn.min()) <= float(drawn.max()) <= 1
            share = float((drawn > 0).double().mean())
            assert float(gates.expected()) / 200_000 == pytest.approx(share, abs=0.005)


def test_the_spread_falls_with_the_strength_and_l0_makes_zeros(do):
    done = do("regularisation")
    rows = {(row[0], row[1]): row[2:] for row in done.table("The penalised weights")}
    spread = [rows["L2", strength][3] for strength in STRENGTHS]
    assert spread == sorted(spread, reverse=True)
    assert rows["L0", 0.1][4] > rows["L0", 0.00001][4] > 0 == rows["L2", 0.1][4]
    for key in (("L1", 0.001), ("L2", 0.13)):
        again = fit(*key, 150, 0)
        assert [again.least, again.greatest] == pytest.approx(rows[key][:2], rel=1e-6)
        assert not np.isnan(again.surface).any()
