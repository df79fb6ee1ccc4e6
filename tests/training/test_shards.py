"""Shards of a batch: the same bits wherever they are computed, and the numbers of a whole batch to rounding."""

import copy
import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convlens.base.errors import InputError
from convlens.classify.evaluation import evaluate
from convlens.data import Images, Preprocess
from convlens.data.loader import Loader
from convlens.training.processes.batch_norm import SpreadBatchNorm
from convlens.training.processes.exact import ExactStepper, total
from convlens.training.processes.judging import judge_together
from convlens.training.processes.lockstep import Lockstep
from convlens.training.processes.shards import bounds, require_divisible
from convlens.training.processes.world import ALONE, World
from convlens.training.step import Stepper
from convlens.training.updates import SGD


class ThreadWorld(World):
    """Processes that are threads: what they exchange lies in one list."""

    def __init__(self, rank: int, size: int, barrier: threading.Barrier, slots: list[Any]):
        self.rank, self.size, self.barrier, self.slots = rank, size, barrier, slots

    def collect(self, value: Any) -> list[Any]:
        self.barrier.wait()
        self.slots[self.rank] = value
        self.barrier.wait()
        return list(self.slots)

    def gather(self, own: Tensor) -> Tensor:
        return torch.stack(self.collect(own.clone()))

    def exchange(self, slices: Tensor, room: Tensor) -> Tensor:
        return torch.stack([rows[self.rank] for rows in self.collect(slices.clone())])


def in_ranks(size: int, work: Callable[[World], Any]) -> list[Any]:
    """What `work` gives in each of so many ranks that run at once."""
    if size == 1:
        return [work(ALONE)]
    barrier, slots, found, errors = threading.Barrier(size, timeout=60), [None] * size, [None] * size, []

    def run(rank: int) -> None:
        try:
            found[rank] = work(ThreadWorld(rank, size, barrier, slots))
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return found


def divisors(n: int) -> list[int]:
    return [k for k in range(1, n + 1) if n % k == 0]


@settings(max_examples=25, deadline=None)
@given(shards=st.integers(1, 12), seed=st.integers(0, 1 << 30))
def test_a_sum_over_shards_has_the_same_bits_for_every_number_of_processes(shards, seed):
    rows = torch.from_numpy(np.random.default_rng(seed).normal(size=(shards, 3 * shards)).astype(np.float32) ** 3)
    expected = rows.double().sum(0)
    found = []
    for size in divisors(shards):
        own = shards // size
        found += in_ranks(
            size, lambda world, n=own: total([r.clone() for r in rows[world.rank * n :][:n]], shards, world)
        )
    for one in found:
        assert torch.equal(one, found[0])
        assert torch.allclose(one.double(), expected, rtol=1e-4, atol=1e-4)


@settings(max_examples=50)
@given(shards=st.integers(1, 12), batch=st.integers(1, 100))
def test_the_shards_of_a_process_are_the_rows_that_it_loads(shards, batch):
    found = bounds(shards, batch)
    sizes = np.diff(found)
    assert (found[0], found[-1]) == (0, batch)
    assert sizes.max() - sizes.min() <= 1
    for size in divisors(shards):
        own = shards // size
        assert [found[rank * own] for rank in range(size)] == [rank * batch // size for rank in range(size)]


SHAPES = [(11, 5, 6, 7), (9, 5), (10, 3, 9), (8, 2, 3, 4, 2)]
NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_over_shards_is_that_of_the_whole_batch(shape, affine):
    generator = torch.Generator().manual_seed(0)
    x, g = (torch.randn(shape, generator=generator) * 3 + 10 for _ in range(2))
    norm = NORMS[len(shape)](shape[1], affine=affine)
    for parameter in norm.parameters():
        nn.init.uniform_(parameter, generator=generator)
    precise = copy.deepcopy(norm).double()
    whole = x.double().requires_grad_()
    expected = precise(whole)
    expected.backward(g.double())
    steps, cuts = Lockstep(4), bounds(4, shape[0])

    def work(part: Tensor, grad: Tensor):
        part = part.clone().requires_grad_()
        with SpreadBatchNorm(steps, ALONE):
            y = norm(part)
        return y, torch.autograd.grad(y, [part, *norm.parameters()], grad)

    spans = list(itertools.pairwise(cuts))
    found = steps.run([lambda a=a, b=b: work(x[a:b], g[a:b]) for a, b in spans])
    assert torch.allclose(torch.cat([y for y, _ in found]), expected.float(), atol=1e-5)
    assert whole.grad is not None
    assert torch.allclose(torch.cat([grads[0] for _, grads in found]), whole.grad.float(), atol=1e-5)
    for number, parameter in enumerate(precise.parameters()):
        assert parameter.grad is not None
        own = torch.stack([grads[1 + number] for _, grads in found]).sum(0)
        assert torch.allclose(own, parameter.grad.float(), rtol=1e-4, atol=1e-3)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert torch.allclose(norm.running_mean, precise.running_mean.float(), atol=1e-5)  # type: ignore[union-attr]
    assert torch.allclose(norm.running_var, precise.running_var.float(), rtol=1e-5)  # type: ignore[union-attr]


def test_a_single_value_per_channel_is_refused_as_by_pytorch():
    norm, steps = nn.BatchNorm1d(3), Lockstep(1)
    with pytest.raises(ValueError, match="single value"), SpreadBatchNorm(steps, ALONE):
        norm(torch.ones(1, 3))


class Net(nn.Module):
    """Batch norms, a branch, a second output, a parameter that nothing depends on, and something kept from a pass."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(6), nn.BatchNorm2d(6, momentum=None)])
        self.head, self.other = nn.Linear(6, 4), nn.Linear(6, 4)
        self.idle = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.kept = self.first(x)
        x = F.relu(self.norms[0](x))
        x = F.relu(self.norms[1](self.second(x))) + self.kept
        x = x.mean((2, 3))
        return self.head(x), self.other(x)


def net() -> nn.Module:
    torch.manual_seed(1)
    return Net().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def stepper_of(module: nn.Module, **how: Any) -> Stepper:
    optimizer = SGD(module.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3, nesterov=True)
    optimizer.param_groups[0]["base_lr"] = 0.1
    return Stepper(module, module, [optimizer], 4, **how)


def batch(n: int = 22) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(2)
    x = torch.randn(n, 3, 8, 8, generator=draw).to(memory_format=torch.channels_last)
    return x, torch.randint(0, 4, (n,), generator=draw)


def trained(shards: int, size: int, y: Tensor, **how: Any) -> list[tuple[dict[str, Tensor], float, int]]:
    """Weights, loss and hits after three steps, of each rank."""
    x, _ = batch()
    modules = [net() for _ in range(size)]

    def work(world: World):
        module = modules[world.rank]
        exact = ExactStepper(stepper_of(module, **how), world, shards, len(x))
        rows = slice(world.rank * len(x) // size, (world.rank + 1) * len(x) // size)
        for step in range(3):
            sums = exact.step(*exact.cut(x[rows], y[rows]), factor=1.0, seed=step)
        return module.state_dict(), sums.loss, sums.correct

    return in_ranks(size, work)


HOW = {
    "plain": {},
    "smoothing, L1, clip": {"smoothing": 0.1, "l1": 1e-3, "clip": 0.5},
    "weights of classes": {"class_weights": torch.tensor([1.0, 2.0, 0.5, 3.0])},
    "bfloat16": {"bfloat16": True},
}


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
@pytest.mark.parametrize("mixed", [False, True], ids=["labels", "mixed labels"])
@pytest.mark.parametrize("shards", [4, 6])
def test_steps_have_the_same_bits_for_every_number_of_processes(shards, mixed, how):
    y = batch()[1]
    y = F.one_hot(y, 4).float() * 0.7 + 0.075 if mixed else y
    first, *others = [rank for size in divisors(shards) for rank in trained(shards, size, y, **how)]
    for weights, loss, correct in others:
        assert (loss, correct) == first[1:]
        for name, expected in first[0].items():
            assert torch.equal(weights[name], expected), name


@pytest.mark.parametrize("how", [h for name, h in HOW.items() if name != "bfloat16"])
def test_steps_over_shards_are_those_over_whole_batches_to_rounding(how):
    x, y = batch()
    module = net()
    plain = stepper_of(module, **how)
    for step in range(3):
        loss, logits = plain.step(x, y, factor=1.0, seed=step)
    (weights, found, correct), *_ = trained(4, 2, y, **how)
    assert found == pytest.approx(loss.item(), rel=1e-4)
    assert correct == int((logits.argmax(1) == y).sum())
    for name, expected in module.state_dict().items():
        assert torch.allclose(weights[name].float(), expected.float(), rtol=1e-3, atol=1e-5), name
    assert torch.equal(weights["idle"], torch.ones(3))  # no gradient, so no weight decay either


def test_an_error_in_one_pass_ends_the_others_and_the_next_run_is_whole():
    steps = Lockstep(3)

    def failing(place: int) -> int:
        steps.meet(place, sum)
        if place == 1:
            raise ValueError("mine")
        return steps.meet(place, sum)

    for _ in range(3):
        with pytest.raises(ValueError, match="mine"):
            steps.run([lambda p=p: failing(p) for p in range(3)])
        assert steps.run([lambda p=p: steps.meet(p, sum) for p in range(3)]) == [3, 3, 3]


def test_passes_that_go_other_ways_are_refused():
    steps = Lockstep(2)
    with pytest.raises(InputError, match="other ways"):
        steps.run([lambda: 0, lambda: steps.meet(1, sum)])
    with pytest.raises(InputError, match="other ways"):
        steps.run([lambda: steps.meet(0, sum), lambda: 1])


def test_each_pass_draws_its_own_random_numbers():
    def draws(place: int, steps: Lockstep) -> list[float]:
        torch.manual_seed(place)
        first = torch.rand(1).item()
        steps.meet(0, sum)
        return [first, torch.rand(1).item()]

    alone = [draws(place, Lockstep(1)) for place in range(3)]
    steps = Lockstep(3)
    assert steps.run([lambda p=p: draws(p, steps) for p in range(3)]) == alone


def test_a_network_that_changes_another_buffer_is_refused():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(192, 4)
            self.register_buffer("passes", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            self.passes += 1
            return self.head(x.flatten(1))

    x, y = batch()
    exact = ExactStepper(stepper_of(Counting()), ALONE, 4, len(x))
    with pytest.raises(InputError, match="'passes'"):
        exact.step(*exact.cut(x, y), factor=1.0, seed=0)


@pytest.mark.parametrize("n", [107, 40, 5])
def test_each_image_is_judged_once_whatever_the_number_of_processes(n):
    rng = np.random.default_rng(0)
    images = Images(rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8), rng.integers(0, 4, n), tuple("abcd"))
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    loader = Loader(images, Preprocess((8, 8), 3), batch_size=20, shuffle=False)
    alone = evaluate(module, loader.epoch(0), images.classes)
    for size in (1, 2, 3):
        for found in in_ranks(size, lambda world: judge_together(module, loader, images.classes, world)):
            assert (found.correct, found.loss, found.n) == (alone.correct, alone.loss, n)
            assert found.probabilities.tobytes() == alone.probabilities.tobytes()


def test_processes_that_do_not_divide_the_shards_are_refused_with_those_that_do():
    with pytest.raises(InputError, match="1, 2, 3, 6 processes"):
        require_divisible(6, 4)
