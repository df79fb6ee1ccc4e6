"""A step whose bits do not depend on the number of processes: each batch is shards, added in one fixed order.

A shard is always computed alone, with the same number of threads. What the shards have to share (gradients, sums of
batch norms, loss) is added in a tree over the shards that is the same wherever they are: halves of halves, as far as
their number is even.
"""

import copy
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convlens.base.errors import InputError, out_of_memory, reason
from convlens.base.seeds import derive
from convlens.classify.outputs import Outputs, read_outputs, run
from convlens.training.processes.batch_norm import SpreadBatchNorm
from convlens.training.processes.flat import Flat
from convlens.training.processes.lockstep import Lockstep
from convlens.training.processes.shards import bounds, halves
from convlens.training.processes.world import World
from convlens.training.step import AUXILIARY, NO_GRADIENT, Stepper, draw_from, l1_norm

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Cut:
    """A batch in shards: the rows of this process, and how many images it has in all."""

    def __init__(self, pieces: list[Tensor], images: int):
        self.pieces, self.images = pieces, images

    def __len__(self) -> int:
        return self.images


class Sums(NamedTuple):
    """Over a whole batch: the mean loss, how many images were classified correctly, and what was reported."""

    loss: float
    correct: int
    reported: list[float]


class ExactStepper:
    """Does the steps of a `Stepper` over shards.

    shards: of a batch, V; this process has V / world.size of them. batch: images of a batch.
    """

    def __init__(self, stepper: Stepper, world: World, shards: int, batch: int):
        self.stepper, self.world, self.shards = stepper, world, shards
        self.own = shards // world.size
        self.first = self.own * world.rank
        self.bounds = bounds(shards, batch)
        self.steps = Lockstep(self.own)
        self.spread = SpreadBatchNorm(self.steps, world)
        self.modules = [stepper.module, *(_twin(stepper.module) for _ in range(self.own - 1))]
        self.parameters = [p for p in stepper.trained() if p.requires_grad]
        self.flats = [Flat(self.parameters, shards) for _ in range(self.own)]
        self.rooms = rooms_for([each.values for each in self.flats], shards, world)
        self.looked = False

    def cut(self, x: Tensor, y: Tensor) -> tuple[Cut, Cut]:
        """This process's rows in shards, each in memory of its own: where a row begins in memory can change bits."""
        images, begin = self.bounds[-1], self.bounds[self.first]
        ends = [b - begin for b in self.bounds[self.first : self.first + self.own + 1]]
        spans = list(itertools.pairwise(ends))
        return Cut([x[a:b].clone() for a, b in spans], images), Cut([y[a:b].clone() for a, b in spans], images)

    def begin_epoch(self) -> None:
        """The twins of the network are in the modes that it is in."""
        for twin in self.modules[1:]:
            for own, other in zip(self.stepper.module.modules(), twin.modules(), strict=True):
                other.training = own.training

    def step(
        self,
        x: Cut,
        y: Cut,
        *,
        factor: float,
        seed: int,
        report: Sequence[float] = (),
        look: Callable[[Outputs], None] | None = None,
    ) -> Sums:
        """As `Stepper.step`, of the shards of all processes. report: up to four numbers, which are added up as well."""
        stepper = self.stepper
        for optimizer in stepper.optimizers:  # learning rate
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * factor
        before = self._buffers()
        weight = self._weight(y)
        work = [
            lambda place=place: self._pass(place, x.pieces[place], y.pieces[place], weight=weight, seed=seed)
            for place in range(self.own)
        ]
        outputs = self.steps.run(work)  # forward, loss, backward
        self._count_once(before)
        for number, value in enumerate(report):
            self.flats[0].numbers[2 + number] = value
        flat = self.flats[0]
        values = total([each.values for each in self.flats], self.shards, self.world, self.rooms)  # sum
        if values is not flat.values:
            flat.values.copy_(values)
        flat.to_gradients(self.parameters)
        if look is not None:
            look(outputs[0])
        if stepper.clip is not None:  # clip
            nn.utils.clip_grad_norm_(self.parameters, stepper.clip)
        for optimizer in stepper.optimizers:  # update
            optimizer.step()
            optimizer.zero_grad()
        loss, correct, *reported = flat.numbers.tolist()
        return Sums(loss, round(correct), reported)

    def _pass(self, place: int, x: Tensor, y: Tensor, *, weight: float, seed: int) -> Outputs:
        """One shard forward and backward; its gradients, loss and hits go into its `Flat`."""
        stepper, flat = self.stepper, self.flats[place]
        draw_from(derive(seed, "shard", self.first + place), stepper.device)
        with stepper.autocast(), self.spread:
            outputs = read_outputs(run(self.modules[place], x), len(x), stepper.classes)
        loss = objective = self._loss(outputs.logits, y) / weight
        for other in outputs.auxiliary:
            objective = objective + AUXILIARY * self._loss(other, y) / weight
        if stepper.l1 and self.first + place == 0:
            objective = objective + stepper.l1 * l1_norm(stepper.module)
        flat.from_gradients(_gradients(objective, self.parameters))
        truth = y if y.ndim == 1 else y.argmax(1)  # mixed labels: the larger share
        flat.numbers[0] = loss.detach()
        flat.numbers[1] = (outputs.logits.argmax(1) == truth).sum()
        return outputs

    def _loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """The sum over a shard."""
        stepper = self.stepper
        return F.cross_entropy(
            logits.float(), y, weight=stepper.class_weights, label_smoothing=stepper.smoothing, reduction="sum"
        )

    def _weight(self, y: Cut) -> float:
        """What the sum of the losses is divided by for their mean: images, or their weights where classes have some."""
        weights = self.stepper.class_weights
        if weights is None or y.pieces[0].ndim == 2:
            return float(len(y))
        own = torch.stack([weights.double()[piece].sum() for piece in y.pieces])
        return float(self.world.gather(own).sum())

    # ---- buffers that a forward pass changes

    def _buffers(self) -> dict[str, Tensor]:
        """Of the first step all buffers, to find out who changes them; then the counters of batch norms."""
        if not self.looked:
            return {name: buffer.clone() for name, buffer in self.stepper.module.named_buffers()}
        return {name: counter.clone() for name, counter in self._counters().items()}

    def _counters(self) -> dict[str, Tensor]:
        return {
            f"{path}.num_batches_tracked": part.num_batches_tracked
            for path, part in self.stepper.module.named_modules()
            if isinstance(part, NORMS) and part.num_batches_tracked is not None
        }

    def _count_once(self, before: dict[str, Tensor]) -> None:
        """Each pass has counted its batch: together they are one. Refuses other buffers that a pass changes."""
        counters = self._counters()
        for name, counter in counters.items():
            counter.copy_(before[name] + (counter - before[name]) // self.own)
        if self.looked:
            return
        self.looked = True
        norms = {name.rpartition(".")[0] for name in counters}
        for name, buffer in self.stepper.module.named_buffers():
            if name.rpartition(".")[0] not in norms and not torch.equal(buffer, before[name]):
                raise InputError(
                    f"the network changes its buffer {name!r} in a forward pass: in shards only batch norm may do so"
                )


def total(pieces: list[Tensor], shards: int, world: World, rooms: list[Tensor] | None = None) -> Tensor:
    """The sum over all shards of [n], in the one fixed order. pieces: of this process's shards; they are changed.

    n is a multiple of `shards`. Each process adds up a part of [n] for all: as few bytes as in an all-reduce.
    rooms: memory for what comes, see `rooms_for`; memory that is new in each step is slow.
    """
    if halves(shards, world.size):
        pieces = [_tree(pieces)]
    if world.size == 1:
        return _tree(pieces)
    rooms, cut = rooms or rooms_for(pieces, shards, world), (world.size, -1)
    pairs = zip(pieces, rooms, strict=True)
    parts = [world.exchange(piece.view(cut), room.view(cut)) for piece, room in pairs]  # of each its part, of all ranks
    own = _tree([part[rank] for rank in range(world.size) for part in parts])
    return world.exchange(pieces[0].view(cut).copy_(own), rooms[0].view(cut)).flatten()


def rooms_for(pieces: list[Tensor], shards: int, world: World) -> list[Tensor]:
    """What `total` needs for pieces of this size."""
    if world.size == 1:
        return []
    return [torch.empty_like(piece) for piece in (pieces[:1] if halves(shards, world.size) else pieces)]


def _tree(pieces: list[Tensor]) -> Tensor:
    """The halves added while there are halves, and an odd number one after the other. Changes the first piece."""
    if len(pieces) % 2 == 0:
        middle = len(pieces) // 2
        return _tree(pieces[:middle]).add_(_tree(pieces[middle:]))
    result = pieces[0]
    for piece in pieces[1:]:
        result.add_(piece)
    return result


def _twin(module: nn.Module) -> nn.Module:
    """A copy that has the same parameters and buffers, for a pass that is not to meddle with what another one keeps."""
    shared = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, {id(tensor): tensor for tensor in shared})


def _gradients(objective: Tensor, parameters: list[Tensor]) -> tuple[Tensor | None, ...]:
    """As `step.backward`, without leaving them in the parameters, which all passes share."""
    if not objective.requires_grad:
        raise InputError(NO_GRADIENT)
    try:
        return torch.autograd.grad(objective, parameters, allow_unused=True)
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        raise InputError(f"the network gives no gradient: {reason(error)}") from error
