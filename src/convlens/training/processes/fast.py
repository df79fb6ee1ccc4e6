"""The fast way: each process computes its part of a batch at once, gradients are added while others are computed.

PyTorch's `DistributedDataParallel` does it (Li et al., 2020, "PyTorch Distributed: experiences on accelerating data
parallel training"). Sums come in the order of the moment, and batch norms see the images of their process alone.
"""

import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed import GradBucket  # pyright: ignore[reportPrivateImportUsage] - documented
from torch.nn.parallel import DistributedDataParallel

from convlens.base.errors import InputError, LostError
from convlens.base.seeds import derive
from convlens.classify.evaluation import Evaluation
from convlens.classify.outputs import Outputs
from convlens.training.processes.engines import SharedEngine
from convlens.training.processes.exact import NORMS, Cut
from convlens.training.processes.world import World
from convlens.training.step import Stepper

_LOST = ("gloo", "Connection", "peer", "Timed out", "timeout")  # what errors of lost processes say


class FastStepper(Stepper):
    """A step whose loss is this process's part of the mean over the whole batch, times the number of processes.

    `DistributedDataParallel` gives the mean of the gradients of all processes: that of the whole batch then.

    share: what the sum of the losses is multiplied by.
    """

    share = 1.0

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        total = F.cross_entropy(
            logits.float(), y, weight=self.class_weights, label_smoothing=self.smoothing, reduction="sum"
        )
        return total * self.share


class Sending:
    """Adds up gradients as `DistributedDataParallel` does by itself, and notes when.

    What a process waits for is what comes after its own last gradient: before that it computes.
    """

    def __init__(self, size: int):
        self.size, self.last_sent, self.last_came = size, 0.0, 0.0

    def send(self, bucket: GradBucket) -> torch.futures.Future[Tensor]:
        self.last_sent = time.perf_counter()
        sent = dist.all_reduce(bucket.buffer().div_(self.size), async_op=True)
        assert sent is not None
        return sent.get_future().then(self._came)

    def _came(self, future: torch.futures.Future[list[Tensor]]) -> Tensor:
        self.last_came = time.perf_counter()
        return future.value()[0]

    def waited(self) -> float:
        """Seconds of the step that is over."""
        return max(0.0, self.last_came - self.last_sent)


class FastEngine(SharedEngine):
    """Equal to one process to rounding, where there is no batch norm and no dropout."""

    stepper: FastStepper

    def __init__(self, *arguments: Any, world: World, **named: Any):
        super().__init__(*arguments, world=world, **named)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`broadcast_buffers`")  # its successor is not in all versions
            network = DistributedDataParallel(self.module, broadcast_buffers=False, gradient_as_bucket_view=True)
        self.sending = Sending(world.size)
        network.register_comm_hook(self.sending, Sending.send)
        self.stepper = FastStepper(**{**vars(self.stepper), "network": network})

    def batches(self, epoch: int, start: int) -> Iterator[tuple[Any, Any]]:
        found, images = super().batches(epoch, start), self.train_loader.batch_size
        return ((Cut([x], images), Cut([y], images)) for x, y in found)

    def step(self, x: Cut, y: Cut, *, epoch: int, step: int, factor: float) -> Any:
        own, truth = x.pieces[0], y.pieces[0]
        self.stepper.share = self.world.size / self._weight(truth, len(y))
        look = self._look_at_the_first if epoch == step == 0 else None
        seed = derive(self.seed, "dropout", epoch, step, self.world.rank)
        loss, logits = self._stepped(own, truth, factor=factor, seed=seed, look=look)
        classes = truth if truth.ndim == 1 else truth.argmax(1)  # mixed labels: the larger share
        numbers = [float(loss) / self.world.size, float((logits.argmax(1) == classes).sum()), *self.ending.report()]
        mean, correct, *reported = self.world.gather(torch.tensor(numbers, dtype=torch.float64)).sum(0).tolist()
        self.ending.agree(reported)
        self._add(mean, round(correct), len(y))
        return mean

    def _stepped(
        self, x: Tensor, y: Tensor, *, factor: float, seed: int, look: Callable[[Outputs], None] | None
    ) -> tuple[Tensor, Tensor]:
        """`Stepper.step`, within which the processes talk to each other."""
        try:
            found = self.stepper.step(x, y, factor=factor, seed=seed, look=look)
        except (InputError, RuntimeError) as error:
            if "Expected to have finished reduction" in str(error):
                raise InputError("--fast: some weights have no part in the outputs; leave --fast away") from None
            if any(word in str(error) for word in _LOST):
                raise LostError("another of the processes is gone or does not answer; go on with --resume") from error
            raise
        self.world.waited += self.sending.waited()
        return found

    def _weight(self, y: Tensor, images: int) -> float:
        """What the sum of the losses of all processes is divided by for their mean: see `ExactStepper`."""
        weights = self.stepper.class_weights
        if weights is None or y.ndim == 2:
            return float(images)
        return float(self.world.gather(weights.double()[y].sum()).sum())

    def _judge(self) -> Evaluation:
        """Judges the network of rank 0: the batch norms of the others have seen other images."""
        buffers = dict(self.module.named_buffers())
        arrays = self.world.share_arrays({name: t.detach().numpy() for name, t in buffers.items()})
        with torch.no_grad():
            for name, array in arrays.items():
                buffers[name].copy_(torch.from_numpy(array))
        return super()._judge()


def notes(module: nn.Module, world: World) -> list[str]:
    """What a person should know of a network that is trained so."""
    if not any(isinstance(part, NORMS) for part in module.modules()):
        return []
    return [
        f"--fast: batch norm is over the images of each of the {world.size} processes by themselves, whose statistics "
        "are those of process 0; without --fast it is over the whole batch"
    ]
