"""Our event files, read with TensorBoard's own reader."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import convlens as cl
from convlens.base.errors import InputError
from convlens.training.tensorboard import EventWriter, TensorBoard, crc32c


def _read(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance=dict.fromkeys(["scalars", "images", "histograms"], 0))
    accumulator.Reload()
    return accumulator


def _record(epoch: int, **more) -> dict:
    return {
        "epoch": epoch,
        "train_loss": 1 / epoch,
        "train_accuracy": 0.5,
        "val_loss": 2 / epoch,
        "val_accuracy": 0.25,
        "lr": 0.1,
        "images_per_second": 1000.0,
        "seconds": 1.5,
    } | more


@pytest.fixture
def module() -> torch.nn.Module:
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Linear(8, 2))


def arrays(module: torch.nn.Module):
    return ((name, p.detach().numpy()) for name, p in module.named_parameters())


def test_the_checksum_agrees_with_the_published_one():
    # RFC 3720, appendix B.4: 32 bytes of zeros, of ones, ascending, descending
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(bytes(range(31, -1, -1))) == 0x113FDB5C


def test_tensorboard_reads_what_a_run_logs(tmp_path, module):
    images = np.random.default_rng(0).integers(0, 256, (70, 12, 10, 3), dtype=np.uint8)
    with TensorBoard(tmp_path, recipe="epochs = 2\n[optimizer]\nlr = 0.1", images=images) as board:
        for epoch in (1, 2):
            board.epoch(arrays(module), _record(epoch))
    found = _read(tmp_path)
    assert [(e.step, e.value) for e in found.Scalars("loss/train")] == [(1, 1.0), (2, 0.5)]
    assert [e.value for e in found.Scalars("accuracy/validation")] == [0.25, 0.25]
    assert "learning rate" in found.Tags()["scalars"]
    (picture,) = found.Images("training images")
    sheet = np.array(Image.open(io.BytesIO(picture.encoded_image_string)))
    np.testing.assert_array_equal(sheet[:12, :10], images[0])
    np.testing.assert_array_equal(sheet[14:26, :10], images[8])
    text = found.Tensors("recipe")[0].tensor_proto.string_val[0].decode()
    assert "    lr = 0.1" in text
    values = module[0].weight.detach().numpy().astype(np.float64)
    histogram = found.Histograms("weights/0/weight")[1].histogram_value
    assert histogram.num == values.size
    assert histogram.sum == pytest.approx(values.sum())
    assert (histogram.min, histogram.max) == (values.min(), values.max())
    assert sum(histogram.bucket) == values.size


def test_a_run_without_validation_logs_what_it_has(tmp_path, module):
    with TensorBoard(tmp_path) as board:
        board.epoch(arrays(module), {"epoch": 1, "train_loss": 0.5, "train_accuracy": 0.9, "images_per_second": None})
    assert _read(tmp_path).Tags()["scalars"] == ["loss/train", "accuracy/train"]


def test_a_resumed_run_voids_what_was_logged_beyond_the_checkpoint(tmp_path, module):
    with TensorBoard(tmp_path, recipe="a = 1") as board:
        for epoch in range(1, 6):
            board.epoch(arrays(module), _record(epoch, train_loss=float(epoch)))
    killed = board.events.path
    killed.write_bytes(killed.read_bytes()[:-7])  # the kill came in the middle of a record
    with TensorBoard(tmp_path, first_epoch=2, recipe="a = 1") as board:
        for epoch in (3, 4):
            board.epoch(arrays(module), _record(epoch, train_loss=10.0 + epoch))
    found = _read(tmp_path)
    assert [(e.step, e.value) for e in found.Scalars("loss/train")] == [(1, 1.0), (2, 2.0), (3, 13.0), (4, 14.0)]
    assert [e.step for e in found.Histograms("weights/0/weight")] == [1, 2, 3, 4]
    assert len(found.Tensors("recipe")) == 1


def test_a_run_killed_in_its_first_epoch_begins_its_log_again(tmp_path, module):
    for _ in range(2):
        with TensorBoard(tmp_path, recipe="a = 1", images=np.zeros((2, 4, 4, 1), np.uint8)) as board:
            board.epoch(arrays(module), _record(1))
    found = _read(tmp_path)
    assert len(found.Images("training images")) == len(found.Tensors("recipe")) == len(found.Scalars("loss/train")) == 1


def test_each_epoch_is_on_disk_when_it_is_logged(tmp_path, module):
    board = TensorBoard(tmp_path)
    board.epoch(arrays(module), _record(1))
    assert [e.step for e in _read(tmp_path).Scalars("loss/train")] == [1]
    board.close()


def test_weights_that_are_not_finite_are_left_out_of_a_histogram(tmp_path):
    writer = EventWriter(tmp_path)
    writer.histogram(1, "some", np.array([np.nan, np.inf, 1.0, 2.0]))
    writer.histogram(1, "none", np.array([np.nan]))
    writer.histogram(1, "constant", np.zeros((3, 3)))
    writer.close()
    found = _read(tmp_path)
    assert found.Histograms("some")[0].histogram_value.num == 2
    assert "none" not in found.Tags()["histograms"]
    assert sum(found.Histograms("constant")[0].histogram_value.bucket) == 9


def test_a_large_array_is_sampled_evenly(tmp_path):
    writer = EventWriter(tmp_path)
    writer.histogram(1, "large", np.arange(3 << 20, dtype=np.float32))
    writer.close()
    histogram = _read(tmp_path).Histograms("large")[0].histogram_value
    assert histogram.num == 1 << 20
    assert max(histogram.bucket) - min(histogram.bucket) <= 1


def test_the_name_of_the_file_tells_nothing_of_the_computer(tmp_path):
    import socket

    writer = EventWriter(tmp_path)
    writer.close()
    assert socket.gethostname() not in writer.path.name


def test_a_folder_that_cannot_be_is_a_one_line_error(tmp_path):
    (tmp_path / "events").write_text("a file")
    with pytest.raises(InputError, match="a file of that name exists"):
        EventWriter(tmp_path / "events")


def test_the_module_imports_neither_torch_nor_tensorboard():
    code = (
        "import sys, json, convlens.training.tensorboard as t;"
        "print(json.dumps([m for m in ('torch', 'tensorboard', 'PIL') if m in sys.modules]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == []


@pytest.mark.parametrize("engine", ["torch", "numpy"])
def test_the_histograms_of_a_run_are_those_of_the_weights_that_train(engine, tmp_path):
    run = cl.train("mlp", "digits", engine=engine, epochs=2, batch_size=500, out=tmp_path / "run", quiet=True)
    saved, _ = run.folder.read_checkpoint()
    found = _read(tmp_path / "run" / "events")
    tags = found.Tags()["histograms"]
    assert len(tags) == len(list(run.module.parameters()))
    for tag in tags:
        values = saved["model." + tag.removeprefix("weights/").replace("/", ".")]
        first, second = (event.histogram_value for event in found.Histograms(tag))
        assert second.sum == pytest.approx(values.sum(dtype=np.float64), abs=1e-6)
        assert second.sum_squares == pytest.approx(np.square(values, dtype=np.float64).sum())
        assert first.sum_squares != second.sum_squares
