"""The finder of a learning rate: what it takes, and that it leaves the run as it would be."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import convlens as cl
from convlens.base.errors import InputError
from convlens.training import rate_finder
from convlens.training.experiment import build
from convlens.training.request import Request
from convlens.training.resolve import find_source, resolve


@pytest.fixture(scope="module")
def digits():
    found: Any = load_digits()
    return (found.images * 15).astype(np.uint8), found.target


def experiment(data, **options):
    request = Request("lenet5", data, quiet=True, **options)
    source = find_source(request)
    return build(resolve(request, source, None, []), source=source)


def test_nothing_of_the_experiment_is_changed(digits):
    one = experiment(digits)
    before = {name: value.clone() for name, value in one.module.state_dict().items()}
    plan, notes, drawn = one.plan, list(one.notes), torch.get_rng_state()
    rate_finder.find(one)
    assert (one.plan, one.notes) == (plan, notes)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(value, before[name]) for name, value in one.module.state_dict().items())
    assert all(parameter.grad is None for parameter in one.module.parameters())


def test_the_run_is_bit_for_bit_the_one_with_that_rate(digits, tmp_path, capsys):
    found = cl.train("lenet5", data=digits, epochs=2, find_lr=True, out=tmp_path / "found")
    rate = found.record.recipe["optimizer"]["lr"]
    assert f"learning rate {rate:g}, a tenth" in capsys.readouterr().err
    named = cl.train(
        "lenet5", data=digits, epochs=2, settings=[f"optimizer.lr={rate}"], out=tmp_path / "named", quiet=True
    )
    assert (found.path / "weights.safetensors").read_bytes() == (named.path / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("factor", [0.01, 1.0])
def test_a_recipe_whose_own_rate_is_far_off_comes_to_one_that_learns(digits, tmp_path, factor):
    rate = rate_finder.find(experiment(digits, settings=[f"optimizer.lr={0.1 * factor}"])).rate
    assert 1e-4 < rate < 1.0
    run = cl.train(
        "lenet5", data=digits, epochs=10, settings=[f"optimizer.lr={rate}"], out=tmp_path / "run", quiet=True
    )
    assert run.results["test"]["accuracy"] > 0.8


def test_a_tenth_of_the_rate_with_the_lowest_loss_is_taken():
    rates = [0.001, 0.01, 0.1, 0.5, 1.0]
    assert rate_finder.chosen(rates, [2.3, 2.0, 1.1, 0.7, 3.0]) == pytest.approx(0.05)
    with pytest.raises(InputError, match="no learning rate lowers the loss"):
        rate_finder.chosen(rates, [2.3, 2.4, 2.5, 2.6, 2.7])


def test_an_output_layer_that_is_fitted_has_no_rate_to_find(digits, tmp_path):
    cl.train("lenet5", data=digits, epochs=1, out=tmp_path / "taught", quiet=True)
    with pytest.raises(InputError, match="trained by steps"):
        cl.train(data=digits, from_=tmp_path / "taught", find_lr=True, out=tmp_path / "run", quiet=True)
