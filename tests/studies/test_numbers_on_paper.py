"""Studies that train no network: scaling, kernels, capacity. Each figure is found a second time in another way."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_sample_image
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.preprocessing import StandardScaler

from convlens import ops, studies
from convlens.base.errors import InputError
from convlens.studies import capacity, kernels, scaling


def test_descent_takes_the_steps_that_pytorch_takes():
    rng = np.random.default_rng(0)
    x = rng.uniform(1, 10, (100, 2))
    y = x @ [2.0, 3.0] + rng.normal(0, 0.5, 100)
    found = scaling.descend(x, y)
    inputs, targets, w = torch.tensor(x), torch.tensor(y), torch.zeros(2, dtype=torch.float64, requires_grad=True)
    hessian = torch.autograd.functional.hessian(lambda v: ((inputs @ v - targets) ** 2).mean(), w)
    rate = 2 / torch.linalg.eigvalsh(torch.as_tensor(hessian)).sum()  # largest + least
    least = float(np.mean((y - LinearRegression(fit_intercept=False).fit(x, y).predict(x)) ** 2))
    steps, first = 0, float(targets.square().mean()) - least
    while True:
        excess = ((inputs @ w - targets) ** 2).mean()
        if float(excess.detach()) - least <= scaling.NEAR * first:
            break
        (slope,) = torch.autograd.grad(excess, w)
        w = (w - rate * slope).detach().requires_grad_()
        steps += 1
    assert found.steps == steps
    assert found.condition == pytest.approx(np.linalg.cond(np.asarray(hessian)))


def test_unequal_scale_takes_at_least_twenty_times_the_steps_of_normalised_inputs(do):
    done = do("scaling")
    steps = {row[0]: row[1] for row in done.table("Descents")}
    assert steps["unequal scale"] >= 20 * steps["unequal, normalised"]
    assert steps["equal scale"] < steps["unequal scale"]
    assert done.record.verdict == "holds"


def test_normalised_inputs_are_those_of_scikit_learn():
    x = np.random.default_rng(1).uniform(1, 1000, (50, 2))
    np.testing.assert_allclose((x - x.mean(axis=0)) / x.std(axis=0), StandardScaler().fit_transform(x))


@pytest.mark.parametrize("name", ops.kernels.ALL)
def test_each_kernel_gives_what_scipy_gives(name):
    photo = np.random.default_rng(2).uniform(0, 255, (20, 30))
    expected = ndimage.correlate(photo, np.asarray(ops.kernels.ALL[name]), mode="nearest")
    np.testing.assert_allclose(kernels.apply(photo, ops.kernels.ALL[name]), expected)


def test_the_photograph_is_scikit_learns_and_both_poolings_are_plain_windows(do):
    done = do("kernels")
    gray = Image.fromarray(load_sample_image("china.jpg")).convert("L")
    photo = np.asarray(gray, np.float64)
    assert done.table("Kernels")[0][2] == pytest.approx(photo.mean())
    rows = {(kind, k): brightness for kind, k, brightness, _ in done.table("Pooling")}
    for k in kernels.WINDOWS:
        height, width = photo.shape[0] // k * k, photo.shape[1] // k * k
        windows = photo[:height, :width].reshape(height // k, k, width // k, k)
        assert rows["max", k] == pytest.approx(windows.max(axis=(1, 3)).mean())
        assert rows["mean", k] == pytest.approx(windows.mean(axis=(1, 3)).mean())
    assert done.record.verdict == "holds"


def test_a_photograph_of_ones_own_takes_its_place(do, tmp_path):
    noise = np.random.default_rng(3).integers(0, 256, (80, 100), np.uint8)
    Image.fromarray(noise).save(tmp_path / "mine.png")
    done = do("kernels", settings=[f"image={tmp_path / 'mine.png'}"])
    assert done.record.setting["photograph"] == "mine.png"
    assert done.table("Kernels")[0][2] == pytest.approx(noise.mean())
    Image.fromarray(noise[:10]).save(tmp_path / "thin.png")
    with pytest.raises(InputError, match="too few"):
        studies.run("kernels", out=tmp_path / "k", settings=[f"image={tmp_path / 'thin.png'}"])


@pytest.mark.parametrize("degree", [1, 3, 9])
def test_fits_are_those_of_scikit_learn(degree):
    x, y, x_new, _ = capacity.points(5, 0)
    terms, new = (np.polynomial.legendre.legvander(one, degree) for one in (x, x_new))
    for strength in (0.0, 0.05):
        if strength:
            other = Ridge(alpha=strength * len(x), fit_intercept=False).fit(terms, y)
        else:
            other = LinearRegression(fit_intercept=False).fit(terms, y)
        value = np.polynomial.legendre.legval(x_new, capacity.fit(x, y, degree, strength))
        np.testing.assert_allclose(value, other.predict(new), rtol=1e-6, atol=1e-8)


def test_capacity_is_best_in_the_middle(do):
    done = do("capacity")
    rows = done.table("Mean squared error (median over the draws)")
    training, new = [row[1] for row in rows], [row[2] for row in rows]
    assert training == sorted(training, reverse=True)
    assert new.index(min(new)) == done.figure("best degree") not in (0, 15)
    assert done.record.verdict == "holds"
