"""From stored pixels to batches on the device: order, gathering, augmentation, normalization."""

import queue
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from convlens.base.errors import InputError
from convlens.base.seeds import generator
from convlens.data.augment.augmenter import Augmenter, Share
from convlens.data.images import Images
from convlens.data.preprocess import Preprocess
from convlens.data.store.rows import Pixels, Rows, is_mapped

_AHEAD = 2  # batches that are read ahead of the step
_SHARE = 0.25  # of a GPU's free memory that a set may take to live there


class Loader:
    """Batches of a labeled set, the same bits for the same (seed, epoch, batch number) whatever came before.

    images: the set. An array in memory becomes resident on the device as uint8 (on a CPU it is used where it lies; on
        a GPU if it takes at most a quarter of the free memory). A memory map, files that are decoded when they are
        asked for, or a set too large for the GPU, stay where they are: a thread reads two batches ahead.
    preprocess: mean and std of the normalization.
    batch_size: images per batch; the last one of an epoch is smaller, or left out under `drop_last`.
    dtype: of the images in a batch: float32, bfloat16 or float16, rounded from float32.
    channels_last: the memory format of the batches.
    shuffle: a new order each epoch, from (seed, epoch).
    augmenter: random changes, made on the uint8 pixels: that moves a quarter of the bytes.
    rank, world: this is process number `rank` of `world` that share each batch: it gives its part of the rows, one
        after the other as the ranks are; parts differ by one image at most, and may be empty in a small last batch.
        `batch_size` and the number of batches are those of the whole. Put together, the parts have the bits of one
        process that does it all.

    Each batch is a new, aligned tensor [n c h w], and labels int64 [n] (under mixup and cutmix float32 [n K]).
    Raises `InputError` if the set is empty, the batch larger than the set under `drop_last`, or there is no such rank.
    """

    def __init__(
        self,
        images: Images,
        preprocess: Preprocess,
        *,
        batch_size: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        channels_last: bool = True,
        seed: int = 0,
        shuffle: bool = True,
        augmenter: Augmenter | None = None,
        drop_last: bool = False,
        rank: int = 0,
        world: int = 1,
    ):
        _check(images, preprocess, batch_size, drop_last, rank, world)
        if augmenter and not augmenter.mean:
            augmenter = replace(augmenter, mean=preprocess.mean, std=preprocess.std)
        self.images, self.preprocess, self.augmenter = images, preprocess, augmenter
        self.batch_size, self.drop_last = batch_size, drop_last
        self.device, self.dtype, self.channels_last = torch.device(device), dtype, channels_last
        self.seed, self.shuffle, self.rank, self.world = seed, shuffle, rank, world
        self._shape = images.pixels.shape
        self._labels = torch.from_numpy(np.array(images.labels)).to(self.device)
        self._stored: Pixels = images.pixels
        if isinstance(images.pixels, np.ndarray):
            self._stored = np.ascontiguousarray(images.pixels)  # no copy of what is contiguous, mapped or not
        self._pixels = self._resident(self._stored)
        # one row of an image's values: a period of three values would keep the arithmetic from being vectorized
        std, mean = np.array(preprocess.std), np.array(preprocess.mean)
        self._scale = self._row(1 / (255 * std))
        self._offset = self._row(-mean / std)

    def __len__(self) -> int:
        """Batches per epoch."""
        whole, rest = divmod(len(self.images), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    @property
    def num_classes(self) -> int:
        return len(self.images.classes)

    @property
    def resident(self) -> bool:
        """Whether the pixels live in the device's memory."""
        return self._pixels is not None

    def order(self, epoch: int) -> Tensor:
        """The samples in the order of this epoch: int64 [N], on the CPU."""
        if not self.shuffle:
            return torch.arange(len(self.images))
        return torch.from_numpy(generator(self.seed, "order", epoch).permutation(len(self.images)))

    def epoch(self, epoch: int, start: int = 0, every: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch from number `start` on, or this rank's rows of them: (images [n c h w], labels).

        every: only each so manieth batch, which processes that take whole batches in turn ask for.
        """
        steps = range(start, len(self), every)
        parts = self.order(epoch).split(self.batch_size)
        whole = [parts[step] for step in steps]
        shares: list[Share | None] = [None] * len(whole)
        batches = tuple(whole)
        if self.world > 1:
            shares = [self._share(len(indices), epoch, step) for step, indices in zip(steps, whole, strict=True)]
            batches = tuple(indices[share.rows] for indices, share in zip(whole, shares, strict=True) if share)
        if self._pixels is not None:
            raw = (self._gather(self._pixels, indices) for indices in batches)
        else:
            raw = _read_ahead(self._read, batches)
        for step, indices, share, pixels in zip(steps, batches, shares, raw, strict=True):
            yield self._finish(pixels, indices, share, epoch, step)

    def _share(self, n: int, epoch: int, step: int) -> Share:
        """Which rows of a batch of `n` images this rank needs."""
        own = np.arange(self.rank * n // self.world, (self.rank + 1) * n // self.world)
        return self.augmenter.share(own, n, epoch=epoch, step=step) if self.augmenter else Share(n, own, len(own))

    def _finish(
        self, pixels: Tensor, indices: Tensor, share: Share | None, epoch: int, step: int
    ) -> tuple[Tensor, Tensor]:
        """uint8 [n h*w*c] augmented, normalized and laid out; with its labels."""
        _, h, w, c = self._shape
        y = self._labels.index_select(0, indices.to(self.device, non_blocking=True))
        x = pixels.view(-1, h, w, c).permute(0, 3, 1, 2)
        if self.augmenter:
            x, y = self.augmenter(
                x, y, epoch=epoch, step=step, indices=indices, num_classes=self.num_classes, share=share
            )
        n = len(x)  # without those that were only blended into this rank's own
        values = x.permute(0, 2, 3, 1).contiguous().view(n, h, w * c).float()
        torch.addcmul(self._offset, values, self._scale, out=values)
        values = values.to(self.dtype).view(n, h, w, c)
        if c == 1 and not self.channels_last:
            return values.view(n, 1, h, w), y  # the same memory; strides decide which kernels PyTorch takes
        x = values.permute(0, 3, 1, 2)
        return (x if self.channels_last else x.contiguous()), y

    def _gather(self, pixels: Tensor, indices: Tensor) -> Tensor:
        return pixels.index_select(0, indices.to(self.device, non_blocking=True))

    def _read(self, indices: Tensor) -> Tensor:
        """Rows of what is not resident, in new memory, on their way to the device."""
        pin = self.device.type == "cuda"
        rows = torch.empty((len(indices), *self._shape[1:]), dtype=torch.uint8, pin_memory=pin)
        if isinstance(self._stored, Rows):
            self._stored.read(indices.numpy(), rows.numpy())
        else:  # "clip" because numpy.take otherwise fills a copy of `out` first; the indices are in range
            np.take(self._stored, indices.numpy(), axis=0, out=rows.numpy(), mode="clip")
        return rows.flatten(1).to(self.device, non_blocking=True)

    def _resident(self, pixels: Pixels) -> Tensor | None:
        """uint8 [N h*w*c] on the device, or None for a set that is better read piece by piece."""
        if isinstance(pixels, Rows) or is_mapped(pixels):
            return None
        if self.device.type == "cuda" and pixels.nbytes > _SHARE * torch.cuda.mem_get_info(self.device)[0]:
            return None
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # it is only read
            return torch.from_numpy(pixels).view(len(pixels), -1).to(self.device)

    def _row(self, values: np.ndarray) -> Tensor:
        return torch.tensor(values, dtype=torch.float32).repeat(self._shape[2]).to(self.device)


def _read_ahead(read, batches: tuple[Tensor, ...]) -> Iterator[Tensor]:
    """`read(batch)` for each of the batches in order, done in a thread that is up to `_AHEAD` batches ahead."""
    ready: queue.Queue = queue.Queue(_AHEAD)
    stop = threading.Event()

    def put(item) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        for batch in batches:
            try:
                item = read(batch), None
            except BaseException as error:  # handed to the consumer, who raises it
                item = None, error
            if not put(item) or item[1] is not None:
                return

    reader = threading.Thread(target=work, name="convlens-reader", daemon=True)
    reader.start()
    try:
        for _ in batches:
            rows, error = ready.get()
            if error is not None:
                raise error
            yield rows
    finally:
        stop.set()
        reader.join()


def _check(images: Images, preprocess: Preprocess, batch_size: int, drop_last: bool, rank: int, world: int) -> None:
    """Raises `InputError` for images that give no batch, and for a share that there is not."""
    if batch_size < 1:
        raise InputError(f"batch size {batch_size}: must be at least 1")
    if not 0 <= rank < world:
        known = f"must be 0 to {world - 1}" if world > 0 else "there must be at least one"
        raise InputError(f"rank {rank} of {world} processes: {known}")
    count, channels = len(images), images.pixels.shape[3]
    if count == 0 or (drop_last and count < batch_size):
        raise InputError(f"{images.name}: {count} images do not fill a batch; add images or take smaller batches")
    if channels != preprocess.channels:
        raise InputError(f"{images.name}: images have {channels} channels, preprocessing {preprocess.channels}")
