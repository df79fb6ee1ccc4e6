"""Schedules against those of PyTorch."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from convlens.base import schedules
from convlens.base.errors import InputError
from convlens.base.schedules import INITIAL
from convlens.training.recipe import Schedule
from convlens.training.schedules import Plateau, make_schedule


def chosen(name: str, **changes) -> Schedule:
    settings = {"warmup": 0.2, "final": 0.0, "milestones": (0.5, 0.75), "gamma": 0.1}
    return Schedule.model_construct(None, name=name, **(settings | changes))


def by_pytorch(make, steps: int) -> list[float]:
    """The learning rates that a PyTorch scheduler gives for a peak of 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(("name", "strategy"), [("one-cycle", "cos"), ("triangular", "linear")])
@pytest.mark.parametrize("final", [0.0, 0.01])
@pytest.mark.parametrize(("total", "warmup"), [(100, 0.2), (37, 0.3), (10, 0.5)])
def test_one_cycle_matches_pytorch(name, strategy, final, total, warmup):
    peak = round(warmup * total)
    # PyTorch reaches the peak at step pct_start * total - 1 and the end one before `total`
    expected = by_pytorch(
        lambda optimizer: lr_scheduler.OneCycleLR(
            optimizer, 1.0, total_steps=total + 1, pct_start=(peak + 1) / (total + 1), anneal_strategy=strategy,
            div_factor=1 / INITIAL, final_div_factor=INITIAL / final if final else math.inf,
        ),
        total,
    )  # fmt: skip
    ours = make_schedule(chosen(name, warmup=warmup, final=final), total)
    assert [ours(step) for step in range(total)] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("final", [0.0, 0.1])
def test_cosine_matches_pytorch(final):
    expected = by_pytorch(lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 50, eta_min=final), 50)
    ours = make_schedule(chosen("cosine", warmup=0.0, final=final), 50)
    assert [ours(step) for step in range(50)] == pytest.approx(expected, abs=1e-12)


def test_steps_match_pytorch():
    expected = by_pytorch(lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [20, 30], gamma=0.1), 40)
    ours = make_schedule(chosen("step", warmup=0.0), 40)
    assert [ours(step) for step in range(40)] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["constant", "plateau"])
def test_warm_up_matches_pytorch(name):
    expected = by_pytorch(lambda optimizer: lr_scheduler.LinearLR(optimizer, start_factor=1 / 11, total_iters=10), 50)
    ours = make_schedule(chosen(name), 50)
    assert [ours(step) for step in range(50)] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["cosine", "step"])
def test_warm_up_comes_before_other_schedules_too(name):
    ours = make_schedule(chosen(name), 50)
    assert [ours(step) for step in range(11)] == pytest.approx([(step + 1) / 11 for step in range(11)])


def test_plateau_matches_pytorch():
    losses = [1.0, 0.9, 0.91, 0.90001, 0.92, 0.8, 0.79995, 0.81, 0.8, 0.8, 0.8, 0.8, 0.5, float("nan"), 0.6, 0.6, 0.6]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2, eps=0)
    ours = Plateau(gamma=0.5, patience=2)
    for loss in losses:
        theirs.step(loss)
        ours.observe(loss)
        assert ours.factor == pytest.approx(optimizer.param_groups[0]["lr"])
    assert ours.factor < 0.3


def test_plateau_goes_on_where_it_stopped():
    losses = [1.0, 1.0, 1.0, 0.5, 0.6, 0.6, 0.6, 0.6]
    straight, before, after = (Plateau(gamma=0.5, patience=1) for _ in range(3))
    for loss in losses:
        straight.observe(loss)
    for loss in losses[:3]:
        before.observe(loss)
    after.load_state_dict(before.state_dict())
    for loss in losses[3:]:
        after.observe(loss)
    assert after == straight


@settings(max_examples=80, deadline=None)
@given(
    name=st.sampled_from(["constant", "cosine", "one-cycle", "triangular", "step", "plateau"]),
    total=st.integers(1, 60), warmup=st.floats(0, 0.99), final=st.floats(0, 1),
)  # fmt: skip
def test_every_factor_is_above_zero_and_at_most_one(name, total, warmup, final):
    schedule = make_schedule(chosen(name, warmup=warmup, final=final), total)
    factors = [schedule(step) for step in range(total)]
    assert all(0 < factor <= 1 for factor in factors)
    if round(warmup * total) < total and name != "step":
        assert max(factors) == pytest.approx(1)


def test_triangular_is_made_of_straight_lines():
    values = [schedules.triangular(step, 10, warmup=4, initial=0.2, final=0.1) for step in range(11)]
    assert values == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 0.85, 0.7, 0.55, 0.4, 0.25, 0.1])


def test_an_unknown_schedule_is_refused_with_a_hint():
    with pytest.raises(InputError, match="did you mean 'cosine'"):
        make_schedule(chosen("cosin"), 10)
