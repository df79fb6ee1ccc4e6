"""Training two networks against each other: generator and discriminator, saved often enough, resumed to the bit."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convlens.base import arrays, files, strict_json
from convlens.base.errors import DivergedError, InputError, Interrupted
from convlens.base.seeds import derive, generator
from convlens.models.dcgan import Discriminator, Generator
from convlens.training.averaging import ExponentialMovingAverage
from convlens.training.optimizers import export_state, import_state
from convlens.training.stop import Stop
from convlens.training.updates import Adam

NOISE, SIDE, CLASSES = 64, 32, 10
CHECKPOINT, CLOCK = "last.safetensors", "clock.json"


class Duel:
    """A DCGAN for digits of 32x32 pixels, conditional on the class or not (Radford et al., 2015; Mirza et al., 2014).

    The label goes to the generator as ten more numbers beside the noise. The discriminator has one logit for each
    class, "a real picture of this class", and the logit of the label counts. Loss: the binary cross-entropy, for the
    generator in the form that does not saturate (Goodfellow et al., 2014).

    Attributes:
        average: running mean of the generator's weights, which samples are drawn with.
        losses: of discriminator and generator, one pair a step; d_loss 1.386 means that it can tell nothing.
    """

    def __init__(self, conditional: bool, seed: int = 0, *, maps: int = 256, batch: int = 64, rate: float = 1e-3):
        self.conditional, self.seed, self.batch, self.rate = conditional, seed, batch, rate
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "study", "gan", "initialization"))
            length = NOISE + CLASSES * conditional
            self.generator = Generator(1, length, (SIDE, SIDE), maps=maps, kernel=4)
            self.discriminator = Discriminator(CLASSES if conditional else 1, 1, (SIDE, SIDE), maps=maps // 8)
        self.networks: dict[str, nn.Module] = {"generator": self.generator, "discriminator": self.discriminator}
        for network in self.networks.values():
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] - a third faster
        self.optimizers = [_adam(network, rate) for network in self.networks.values()]
        self.average = ExponentialMovingAverage(self.generator, 0.995)
        self.losses: list[tuple[float, float]] = []

    # ---- one step

    def step(self, real: Tensor, labels: Tensor, factor: float = 1.0) -> None:
        """One update of each network. real: float32 [N, 1, 32, 32] in -1..1. labels: int64 [N]. factor: on the rate."""
        number = len(self.losses)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.rate * factor
        fake = self.generator(self.noise(labels, "step", number))
        told = F.softplus(-self.judge(real, labels)).mean() + F.softplus(self.judge(fake.detach(), labels)).mean()
        told.backward()
        self.optimizers[1].step()
        self.optimizers[1].zero_grad()
        fooled = F.softplus(-self.judge(fake, labels)).mean()
        fooled.backward()
        self.optimizers[0].step()
        for optimizer in self.optimizers:  # the discriminator's gradients of the second pass are not used
            optimizer.zero_grad()
        self.average.update(self.generator)
        self.losses.append((float(told.detach()), float(fooled.detach())))
        if not np.isfinite(self.losses[-1]).all():
            raise DivergedError(f"training diverged at step {number + 1}: a loss is not finite; try a lower rate")

    def judge(self, pictures: Tensor, labels: Tensor) -> Tensor:
        """Logits [N] of "real", or of "a real picture of this class"."""
        logits = self.discriminator(pictures)
        return logits.gather(1, labels[:, None])[:, 0] if self.conditional else logits[:, 0]

    def noise(self, labels: Tensor, *address: str | int) -> Tensor:
        """What the generator takes, float32 [N, length]: noise of this address, and the classes where they count."""
        drawn = generator(self.seed, "study", "gan", *address).standard_normal((len(labels), NOISE), np.float32)
        z = torch.from_numpy(drawn)
        return torch.cat([z, F.one_hot(labels, CLASSES).float()], 1) if self.conditional else z

    @torch.no_grad()
    def sample(self, labels: np.ndarray, *address: str | int) -> np.ndarray:
        """Pictures uint8 [N, 28, 28], one for each label, by the averaged generator in inference mode."""
        z, made = self.noise(torch.from_numpy(np.asarray(labels, np.int64)), "sample", *address), []
        with self.average.swapped(self.generator):
            self.generator.eval()
            for part in z.split(250):
                made.append(self.generator(part))
            self.generator.train()
        pixels = torch.cat(made)[:, 0, 2:-2, 2:-2]
        return ((pixels + 1) * 127.5).round().to(torch.uint8).numpy()

    # ---- on disk

    def state(self) -> dict[str, np.ndarray]:
        """Everything that the next step depends on, by name."""
        tensors = {f"{name}.{key}": t for name, one in self.networks.items() for key, t in one.state_dict().items()}
        tensors |= export_state(list(self.optimizers))[0] | self.average.state_dict()
        found = {name: t.detach().contiguous().numpy() for name, t in tensors.items()}
        return found | {"losses": np.asarray(self.losses, np.float64).reshape(-1, 2)}

    def load(self, state: dict[str, np.ndarray]) -> None:
        """Takes it back. Raises `InputError` where it belongs to other networks."""
        try:
            tensors = {name: torch.from_numpy(array.copy()) for name, array in state.items() if name != "losses"}
            for name, network in self.networks.items():
                network.load_state_dict(
                    {key.removeprefix(f"{name}."): t for key, t in tensors.items() if key.startswith(f"{name}.")}
                )
            kept = {key: t for key, t in tensors.items() if key.startswith("average.") or key == "updates"}
            self.average.load_state_dict(kept)
            import_state(list(self.optimizers), tensors, {})
            self.losses = [(float(d), float(g)) for d, g in state["losses"].tolist()]
        except (KeyError, IndexError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"the checkpoint does not fit these two networks: {reason}") from None


def train(
    duel: Duel, pixels: np.ndarray, labels: np.ndarray, *, epochs: int, folder: Path,
    watch: Callable[[Iterable[int]], Iterable[int]] = iter, at_epoch: Callable[[int], None] = lambda epoch: None,
    every: float = 20.0,
) -> float:  # fmt: skip
    """Trains, or goes on from `folder/last.safetensors`; returns the seconds spent, of earlier processes, too.

    The rate stays for half of the steps and then falls along a straight line to a tenth. Killed anywhere and resumed,
    it ends with the same bytes: all that is drawn has an address, and all that is kept is in the checkpoint.

    Args:
        pixels: uint8 [N, 28, 28]. labels: int64 [N].
        watch: shows progress over the steps of an epoch. at_epoch: is told after each how many epochs are done.
        every: seconds between two checkpoints; one more is written after every epoch, and at Ctrl-C.

    Raises:
        Interrupted: SIGINT or SIGTERM; saved first. DivergedError: a loss that is not finite.
    """
    steps, clock = len(pixels) // duel.batch, Clock(folder)
    if (folder / CHECKPOINT).exists():
        duel.load(arrays.unpack(folder / CHECKPOINT, sealed=True)[0])
    with Stop() as stop:
        while len(duel.losses) < epochs * steps:
            epoch, first = divmod(len(duel.losses), steps)
            order = generator(duel.seed, "study", "gan", "order", epoch).permutation(len(pixels))
            for number in watch(range(first, steps)):
                chosen = np.sort(order[number * duel.batch : (number + 1) * duel.batch])
                through = len(duel.losses) / (epochs * steps)
                duel.step(*prepared(pixels[chosen], labels[chosen]), factor=min(1.0, 1.9 - 1.8 * through))
                if number + 1 < steps and (stop.signum is not None or clock.since() >= every):
                    save(duel, folder, clock)
                    if stop.signum is not None:
                        raise Interrupted("stopped", stop.signum)
            at_epoch(epoch + 1)  # before the epoch counts as done: a kill in between does it again
            save(duel, folder, clock)
            if stop.signum is not None and epoch + 1 < epochs:
                raise Interrupted("stopped", stop.signum)
    return clock.spent()


def prepared(pixels: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
    """uint8 [N, 28, 28] as float32 [N, 1, 32, 32] in -1..1, with a margin of ink that is not there; labels int64."""
    x = torch.from_numpy(np.ascontiguousarray(pixels))[:, None].float() / 127.5 - 1
    x = F.pad(x, (2, 2, 2, 2), value=-1.0).contiguous(memory_format=torch.channels_last)
    return x, torch.from_numpy(np.asarray(labels, np.int64))


def save(duel: Duel, folder: Path, clock: "Clock") -> None:
    files.make_folder(folder)
    files.write_bytes(folder / CHECKPOINT, arrays.pack(duel.state(), {"steps": len(duel.losses)}))
    clock.keep()


class Clock:
    """Seconds of training, over several processes: kept beside the checkpoint, whose bytes know no time."""

    def __init__(self, folder: Path):
        self.path, self.began, self.kept_at = folder / CLOCK, time.perf_counter(), time.perf_counter()
        found = strict_json.loads(files.read_text(self.path, 1000), str(self.path)) if self.path.exists() else {}
        before = found.get("seconds") if isinstance(found, dict) else None
        self.earlier = float(before) if isinstance(before, (int, float)) and before >= 0 else 0.0

    def spent(self) -> float:
        return self.earlier + time.perf_counter() - self.began

    def since(self) -> float:
        """Seconds since the last checkpoint."""
        return time.perf_counter() - self.kept_at

    def keep(self) -> None:
        files.write_json(self.path, {"seconds": round(self.spent(), 3)})
        self.kept_at = time.perf_counter()


def _adam(network: nn.Module, rate: float) -> Adam:
    return Adam(network.parameters(), rate, betas=(0.5, 0.999))
