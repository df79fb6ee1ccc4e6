"""Processes that share each batch: together they give what one alone gives, bit by bit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens.base.errors import InputError
from convlens.data import Images, Preprocess
from convlens.data.augment import Augmentation
from convlens.data.augment.augmenter import Augmenter
from convlens.data.loader import Loader

AUGMENTATIONS = {
    "none": None,
    "moved": Augmentation(flip="alternating", vertical_flip=True, quarter_turns=True, shift=2, crop_scale=(0.5, 1.0)),
    "turned": Augmentation(flip=True, rotate=15, padding="reflect", cutout=3),
    "colored": Augmentation(brightness=0.3, contrast=0.4, saturation=0.5, noise=0.1),
    "blended": Augmentation(shift=1, mixup=0.4),
    "patched": Augmentation(flip="alternating", noise=0.05, cutmix=1.0),
    "blended or patched": Augmentation(mixup=0.2, cutmix=0.7),
}


def pictures(n: int, size=8, channels=3) -> Images:
    """Each has a label of its own, so that labels tell pictures apart."""
    pixels = np.random.default_rng(n).integers(0, 256, (n, size, size, channels), dtype=np.uint8)
    return Images(pixels, np.arange(n), tuple(map(str, range(n))))


def loader(chosen: Images, augmentation: Augmentation | None = None, *, batch=16, **options) -> Loader:
    augmenter = None if augmentation is None else Augmenter(augmentation, seed=4)
    _, height, width, channels = chosen.pixels.shape
    preprocess = Preprocess((height, width), channels).fitted(chosen.pixels)
    return Loader(chosen, preprocess, batch_size=batch, seed=4, augmenter=augmenter, **options)


numbers = st.integers(1, 40)


@given(n=numbers, batch=numbers, world=st.integers(1, 9), drop_last=st.booleans(), epoch=st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_each_picture_is_shown_once_by_one_rank_in_the_order_of_the_epoch(n, batch, world, drop_last, epoch):
    batch = min(batch, n) if drop_last else batch
    chosen = pictures(n, size=2, channels=1)
    ranks = [loader(chosen, batch=batch, drop_last=drop_last, rank=rank, world=world) for rank in range(world)]
    shown = [[y.tolist() for _, y in each.epoch(epoch)] for each in ranks]
    assert {len(batches) for batches in shown} == {len(ranks[0])}
    order = ranks[0].order(epoch).tolist()
    for step, parts in enumerate(zip(*shown, strict=True)):
        assert [label for part in parts for label in part] == order[step * batch : (step + 1) * batch]
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1
    assert len(shown[0]) == (n // batch if drop_last else -(-n // batch))


@given(
    n=numbers, batch=numbers, world=st.integers(2, 7), channels=st.sampled_from((1, 3)), size=st.sampled_from((5, 8)),
    name=st.sampled_from(sorted(AUGMENTATIONS)), start=st.integers(0, 2),
)  # fmt: skip
@settings(deadline=None, max_examples=100)
def test_the_ranks_together_give_the_bits_of_one_process(n, batch, world, channels, size, name, start):
    chosen, augmentation = pictures(n, size, channels), AUGMENTATIONS[name]
    alone = list(loader(chosen, augmentation, batch=batch).epoch(1, start=start))
    ranks = [loader(chosen, augmentation, batch=batch, rank=k, world=world).epoch(1, start=start) for k in range(world)]
    together = list(zip(*ranks, strict=True))
    assert len(together) == len(alone)
    for parts, (x, y) in zip(together, alone, strict=True):
        assert torch.equal(torch.cat([part for part, _ in parts]), x)
        assert torch.equal(torch.cat([labels for _, labels in parts]), y)
        assert {part.dtype for part, _ in parts} == {x.dtype}


@pytest.mark.parametrize("name", ["moved", "blended"])
def test_ranks_read_a_memory_map_as_they_read_an_array(name, tmp_path):
    chosen = pictures(23)
    np.save(tmp_path / "pixels.npy", chosen.pixels)
    mapped = Images(np.load(tmp_path / "pixels.npy", mmap_mode="r"), chosen.labels, chosen.classes)
    for rank in range(4):
        both = (loader(which, AUGMENTATIONS[name], batch=10, rank=rank, world=4) for which in (chosen, mapped))
        in_memory, in_file = (list(each.epoch(0)) for each in both)
        assert all(
            torch.equal(a, b) for pair in zip(in_memory, in_file, strict=True) for a, b in zip(*pair, strict=True)
        )


def test_a_rank_reads_no_more_pictures_than_it_changes(monkeypatch):
    read = []
    gather = Loader._gather
    monkeypatch.setattr(Loader, "_gather", lambda self, p, rows: read.append(len(rows)) or gather(self, p, rows))
    assert [len(x) for x, _ in loader(pictures(64), AUGMENTATIONS["moved"], batch=32, rank=1, world=8).epoch(0)] == [
        4,
        4,
    ]
    assert read == [4, 4]
    read.clear()
    list(loader(pictures(64), AUGMENTATIONS["blended"], batch=32, rank=1, world=8).epoch(0))
    assert all(4 < count <= 8 for count in read)


@pytest.mark.parametrize(
    ("rank", "world", "message"),
    [
        (2, 2, "rank 2 of 2 processes: must be 0 to 1"),
        (-1, 3, "rank -1 of 3 processes: must be 0 to 2"),
        (0, 0, "rank 0 of 0 processes: there must be at least one"),
    ],
)
def test_a_rank_that_does_not_exist_is_refused(rank, world, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        loader(pictures(8), rank=rank, world=world)
