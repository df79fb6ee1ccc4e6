"""The loader against plain NumPy, and its promise: the same address gives the same bits."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from convlens.base.errors import InputError
from convlens.data import Images, Preprocess
from convlens.data.augment import Augmentation
from convlens.data.augment.augmenter import Augmenter
from convlens.data.loader import Loader
from convlens.data.splits import split
from convlens.data.store.rows import MappedRows
from typed import untyped


def images(n=50, size=8, channels=3, pixels=None) -> Images:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (n, size, size, channels), dtype=np.uint8) if pixels is None else pixels
    return Images(pixels, draw.integers(0, 4, n), ("a", "b", "c", "d"))


def loader(chosen: Images | None = None, batch_size=16, **settings) -> Loader:
    chosen = images() if chosen is None else chosen
    _, height, width, channels = chosen.pixels.shape
    preprocess = Preprocess((height, width), channels).fitted(chosen.pixels)
    return Loader(chosen, preprocess, batch_size=batch_size, device="cpu", **settings)


def mapped(chosen: Images, folder: Path) -> Images:
    """The same images with their pixels in a file."""
    np.save(folder / "pixels.npy", chosen.pixels)
    return Images(np.load(folder / "pixels.npy", mmap_mode="r"), chosen.labels, chosen.classes)


def everything(seed=0) -> Augmenter:
    chosen = Augmentation(flip="alternating", shift=2, crop_scale=(0.5, 1.0), brightness=0.2, noise=0.1, cutout=3)
    return Augmenter(chosen, seed=seed)


def same(first, second) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a, b) and torch.equal(p, q) for (a, p), (b, q) in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_batches_hold_the_normalized_images_in_order(channels, channels_last, dtype):
    chosen = images(channels=channels)
    of = loader(chosen, shuffle=False, dtype=dtype, channels_last=channels_last)
    batches = list(of.epoch(0))
    assert len(batches) == len(of) == 4
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    expected = torch.from_numpy(of.preprocess.normalize(np.asarray(chosen.pixels)))
    assert x.dtype == dtype
    assert y.dtype == torch.int64
    assert y.tolist() == chosen.labels.tolist()
    tolerance = 1e-6 if dtype == torch.float32 else 2**-7
    torch.testing.assert_close(x.float(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("augmenter", [None, everything()])
def test_each_batch_is_new_aligned_memory_in_the_format_asked_for(channels, channels_last, augmenter):
    seen = []
    for x, _ in loader(images(channels=channels), channels_last=channels_last, augmenter=augmenter).epoch(0):
        assert x.data_ptr() % 64 == 0
        c, h, w = x.shape[1:]
        assert x.stride() == ((c * h * w, 1, w * c, c) if channels_last else (c * h * w, h * w, w, 1))
        seen.append(x)
    assert len({x.data_ptr() for x in seen}) == len(seen)


def test_an_epoch_shows_every_image_once_and_each_in_another_order():
    of = loader(images(53))
    orders = [of.order(epoch) for epoch in range(3)]
    for order in orders:
        assert sorted(order.tolist()) == list(range(53))
    assert not torch.equal(orders[0], orders[1])
    assert torch.equal(orders[2], loader(images(53)).order(2))
    assert not torch.equal(orders[2], loader(images(53), seed=1).order(2))
    labels = torch.cat([y for _, y in of.epoch(1)])
    assert torch.equal(labels, torch.from_numpy(of.images.labels)[orders[1]])


@pytest.mark.parametrize("stored", ["memory", "file"])
@pytest.mark.parametrize("start", [0, 1, 3, 4])
def test_an_epoch_begun_in_the_middle_gives_the_bits_of_the_whole_one(start, stored, tmp_path):
    chosen = images() if stored == "memory" else mapped(images(), tmp_path)
    whole = list(loader(chosen, seed=3, augmenter=everything()).epoch(2))
    rest = list(loader(chosen, seed=3, augmenter=everything()).epoch(2, start=start))
    assert same(whole[start:], rest)


def test_a_memory_map_gives_the_bits_of_an_array(tmp_path):
    chosen = images(70)
    in_memory, in_file = (
        loader(which, seed=1, augmenter=everything(), batch_size=8) for which in (chosen, mapped(chosen, tmp_path))
    )
    assert in_memory.resident
    assert not in_file.resident
    assert same(list(in_memory.epoch(1)), list(in_file.epoch(1)))


def test_part_of_a_memory_map_is_read_from_the_file_too(tmp_path):
    whole = mapped(images(), tmp_path)
    part = Images(whole.pixels[10:30], whole.labels[10:30], whole.classes)
    of = loader(part, shuffle=False)
    assert not of.resident
    expected = of.preprocess.normalize(np.array(part.pixels))
    np.testing.assert_allclose(torch.cat([x for x, _ in of.epoch(0)]).numpy(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("way", ["list", "mask", "twice"])
def test_chosen_rows_of_a_memory_map_stay_in_the_file(way, tmp_path):
    whole = mapped(images(), tmp_path)
    rows = np.array([5, 3, 40, 8, 21, 7])
    chosen = {
        "list": lambda: whole.select(rows),
        "mask": lambda: whole.select(np.isin(np.arange(len(whole)), rows)),
        "twice": lambda: whole.select(np.arange(50)[::-1]).select(49 - rows),
    }[way]()
    expected = images().select(np.sort(rows) if way == "mask" else rows)
    assert isinstance(chosen.pixels, MappedRows)
    assert chosen.pixels.shape == expected.pixels.shape
    np.testing.assert_array_equal(chosen.pixels, expected.pixels)
    np.testing.assert_array_equal(np.stack(list(chosen.pixels)), expected.pixels)
    assert chosen.fingerprint() == expected.fingerprint()
    of = loader(chosen, batch_size=4, seed=2)
    assert not of.resident
    assert same(list(of.epoch(3)), list(loader(expected, batch_size=4, seed=2).epoch(3)))


def test_splitting_a_large_set_reads_no_pixels(tmp_path, monkeypatch):
    whole = mapped(images(60), tmp_path)
    monkeypatch.setattr(MappedRows, "__getitem__", lambda self, key: pytest.fail("read"))
    parts = split({"train": whole}, seed=0, val_fraction=0.2, test_fraction=0.2)
    assert len(parts.train) + len(parts.val) + len(parts.test) == 60
    assert all(isinstance(part.pixels, MappedRows) for part in (parts.train, parts.val, parts.test))


def test_an_array_that_may_not_be_written_to_is_fine():
    chosen = images()
    np.asarray(chosen.pixels).setflags(write=False)
    assert same(list(loader(chosen).epoch(0)), list(loader().epoch(0)))


def test_a_view_with_odd_strides_is_fine():
    chosen = images()
    mirrored = Images(chosen.pixels[:, :, ::-1], chosen.labels, chosen.classes)
    straight = Images(np.array(mirrored.pixels), chosen.labels, chosen.classes)
    assert same(list(loader(mirrored).epoch(0)), list(loader(straight).epoch(0)))


def test_the_last_batch_is_smaller_or_left_out():
    assert [len(x) for x, _ in loader().epoch(0)] == [16, 16, 16, 2]
    dropping = loader(drop_last=True)
    assert [len(x) for x, _ in dropping.epoch(0)] == [16, 16, 16]
    assert len(dropping) == 3
    assert len(loader(batch_size=25)) == 2


def test_mixing_augmentations_give_probabilities():
    augmenter = Augmenter(Augmentation(mixup=0.4))
    for x, y in loader(augmenter=augmenter).epoch(0):
        assert y.shape == (len(x), 4)
        torch.testing.assert_close(y.sum(1), torch.ones(len(x)))


def test_the_augmenter_learns_the_mean_color_from_the_preprocessing():
    white = images(pixels=np.full((50, 8, 8, 3), 255, np.uint8))
    preprocess = Preprocess((8, 8), 3, mean=(0.2, 0.4, 0.6), std=(0.5, 0.5, 0.5))
    of = Loader(white, preprocess, batch_size=50, augmenter=Augmenter(Augmentation(cutout=4)))
    x, _ = next(of.epoch(0))
    painted = x.permute(0, 2, 3, 1)[(x < 0.7).all(1)]  # white is 1.6, 1.2 and 0.8
    assert len(painted)
    assert painted.abs().max() < 0.005  # half a level


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "convlens-reader"]


def test_an_epoch_left_early_leaves_no_thread_behind(tmp_path):
    batches = loader(mapped(images(), tmp_path), batch_size=2).epoch(0)
    next(batches)
    assert len(readers()) == 1
    untyped(batches).close()
    assert readers() == []


def test_an_error_while_reading_ahead_reaches_the_caller(tmp_path, monkeypatch):
    of = loader(mapped(images(), tmp_path))

    def fail(indices):
        raise OSError("the disk went away")

    monkeypatch.setattr(of, "_read", fail)
    with pytest.raises(OSError, match="the disk went away"):
        list(of.epoch(0))
    assert readers() == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: loader(batch_size=0), "must be at least 1"),
        (lambda: loader(images(3), drop_last=True), "3 images do not fill a batch"),
        (lambda: Loader(images(0), Preprocess((8, 8), 3), batch_size=4), "0 images"),
        (lambda: Loader(images(), Preprocess((8, 8), 1), batch_size=4), "3 channels, preprocessing 1"),
    ],
)
def test_what_cannot_be_loaded_is_refused_in_words(make, message):
    with pytest.raises(InputError, match=message):
        make()
