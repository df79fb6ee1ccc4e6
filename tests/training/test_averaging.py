"""Averages of weights against the rule written out."""

import pytest
import torch
from torch import nn

from convlens.base.errors import InputError
from convlens.training.averaging import ExponentialMovingAverage, Lookahead
from typed import in_format


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))


def disturb(module: nn.Module, step: int) -> None:
    """Stands for an optimizer step: other weights, other running statistics, the counter one up."""
    torch.manual_seed(step + 1)
    with torch.no_grad():
        for p in module.parameters():
            p += torch.randn_like(p)
    module.train()
    module(torch.randn(4, 2, 4, 4))


def copied(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: t.clone() for name, t in module.state_dict().items()}


def assert_same(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_the_average_follows_the_rule_with_a_rising_decay():
    module = network()
    average = ExponentialMovingAverage(module, decay=0.5)
    expected = {name: t.double() for name, t in copied(module).items()}
    for step in range(12):
        disturb(module, step)
        average.update(module)
        decay = min(0.5, (1 + step) / (10 + step))
        for name, t in module.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * t.double()
    with average.swapped(module):
        for name, t in module.state_dict().items():
            if t.is_floating_point():
                torch.testing.assert_close(t.double(), expected[name], rtol=1e-5, atol=1e-6)
        assert module[1].num_batches_tracked == 12  # a counter is copied


def test_swapping_gives_the_own_values_back_bit_by_bit_even_after_an_error():
    module = network()
    average = ExponentialMovingAverage(module)
    for step in range(3):
        disturb(module, step)
        average.update(module)
    before, pointers = copied(module), [p.data_ptr() for p in module.parameters()]
    with average.swapped(module):
        assert not torch.equal(module.get_parameter("0.weight"), before["0.weight"])
    assert_same(before, module.state_dict())
    with pytest.raises(RuntimeError, match="cannot be multiplied"), average.swapped(module):
        module(torch.zeros(1, 2, 9, 9))
    assert_same(before, module.state_dict())
    assert pointers == [p.data_ptr() for p in module.parameters()]


@pytest.mark.parametrize(
    "make", [lambda m: ExponentialMovingAverage(m, 0.9), lambda m: Lookahead(m, total=10, every=2)]
)
def test_a_resumed_average_has_the_bits_of_the_uninterrupted_one(make):
    straight, module = network(), network()
    one, before = make(straight), make(module)
    for step in range(9):
        disturb(straight, step)
        one.update(straight)
    for step in range(5):
        disturb(module, step)
        before.update(module)
    resumed = network()
    resumed.load_state_dict(copied(module))
    after = make(resumed)
    after.load_state_dict({name: t.clone() for name, t in before.state_dict().items()})
    for step in range(5, 9):
        disturb(resumed, step)
        after.update(resumed)
    assert_same(one.state_dict(), after.state_dict())
    assert_same(straight.state_dict(), resumed.state_dict())


def test_lookahead_pulls_the_weights_back_every_few_steps_ever_more_slowly():
    module = network()
    ahead = Lookahead(module, total=10, every=3, decay=0.9)
    slow = {name: t.double() for name, t in copied(module).items()}
    for step in range(1, 11):
        disturb(module, step)
        fast = copied(module)
        ahead.update(module)
        if step % 3 == 0:
            decay = 0.9**3 * (step / 10) ** 3
            slow = {name: decay * slow[name] + (1 - decay) * t.double() for name, t in fast.items()}
        for name, t in module.state_dict().items():
            if not t.is_floating_point():
                continue
            if step % 3 == 0 or step == 10:
                torch.testing.assert_close(t.double(), slow[name], rtol=1e-5, atol=1e-6)
            else:
                assert torch.equal(t, fast[name])


def test_memory_formats_are_kept():
    module = in_format(network(), torch.channels_last)
    average = ExponentialMovingAverage(module)
    average.update(module)
    state = average.state_dict()["average.0.weight"]
    assert state.is_contiguous(memory_format=torch.channels_last)


def test_state_of_another_network_is_refused():
    state = ExponentialMovingAverage(network()).state_dict()
    with pytest.raises(InputError, match=r"average\.weight|average\.0"):
        ExponentialMovingAverage(nn.Linear(2, 2)).load_state_dict(state)


@pytest.mark.parametrize(
    "make",
    [
        lambda m: ExponentialMovingAverage(m, 1.0),
        lambda m: Lookahead(m, total=0),
        lambda m: Lookahead(m, total=5, every=0),
        lambda m: Lookahead(m, total=5, decay=-0.1),
    ],
)
def test_senseless_settings_are_refused(make):
    with pytest.raises(InputError, match="must"):
        make(network())
