"""TensorBoard events of a run: scalars, a batch of images, weight histograms, the recipe as text.

The messages are TensorBoard's own protocol buffers (13 ms to import); the file around them is the TFRecord format,
a length, the message, and a checksum of each. TensorBoard's own writers cost ten times as much to import, start a
thread, and put the name of the computer into the file's name.

A resumed run writes a second file that begins with a session start: TensorBoard then forgets what the killed run had
logged beyond the checkpoint.
"""

import functools
import math
import os
import struct
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from convlens.base import files
from convlens.inspection import pictures

_STRING = 7  # DT_STRING of TensorFlow's types.proto
_BINS = 64
_LARGEST_HISTOGRAM = 1 << 20  # of larger arrays an evenly spaced sample is counted
_SHEET = 1024  # pixels: the side of the sheet of sample images
_SCALARS = {
    "train_loss": "loss/train",
    "val_loss": "loss/validation",
    "train_accuracy": "accuracy/train",
    "val_accuracy": "accuracy/validation",
    "lr": "learning rate",
    "images_per_second": "images per second",
}


class TensorBoard:
    """What a trainer logs. Open it at the start; call `epoch` after each; `close` at the end.

    folder: where the event files go.
    first_epoch: the first epoch (from 0) that will be trained. What a killed run logged of it and later ones is void;
        at 0 earlier event files are removed.
    recipe: shown as text. images: uint8 [N, H, W, C], a batch as the network gets it before normalization. Both are
        logged at the very start of a run only.
    """

    def __init__(
        self, folder: Path, *, first_epoch: int = 0, recipe: str | None = None, images: np.ndarray | None = None
    ):
        files.make_inner_folder(folder)
        if first_epoch == 0:
            for void in folder.glob("events.out.tfevents.*"):
                void.unlink()
        self.events = EventWriter(folder, purge_step=first_epoch + 1 if first_epoch else None)
        if first_epoch == 0:
            if recipe:
                self.events.text(0, "recipe", "\n".join(f"    {line}" for line in recipe.splitlines()))
            if images is not None and len(images):
                self.events.image(0, "training images", contact_sheet(images))
        self.events.flush()

    def epoch(self, parameters: Iterable[tuple[str, np.ndarray]], record: Mapping[str, Any]) -> None:
        """Logs one line of `metrics.jsonl` (`epoch` from 1), figures by layer, the histogram of every parameter."""
        step = int(record["epoch"])
        self.events.scalars(step, {_SCALARS[key]: record[key] for key in _SCALARS if record.get(key) is not None})
        for path, figures in record.get("layers", {}).items():
            self.events.scalars(step, {f"layers/{path.replace('.', '/')}/{name}": v for name, v in figures.items()})
        for name, values in parameters:
            self.events.histogram(step, f"weights/{name.replace('.', '/')}", values)
        self.events.flush()

    def close(self) -> None:
        self.events.close()

    def __enter__(self) -> "TensorBoard":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class EventWriter:
    """Writes one event file into `folder` (made if need be). Steps are integers, tags are names.

    With `purge_step`, everything that earlier files of the folder say about that step and later ones is void.
    Raises `InputError` where the disk is full or the folder may not be written to.
    """

    def __init__(self, folder: Path, *, purge_step: int | None = None):
        from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2

        # Any: the classes in these modules are made at import, where type checkers do not see them
        self._event: Any = event_pb2
        self._summary: Any = summary_pb2
        self._tensor: Any = tensor_pb2
        files.make_inner_folder(folder)
        # TensorBoard reads the files of a folder in the order of their names: a time in ns sorts resumed runs
        self.path = folder / f"events.out.tfevents.{time.time_ns():020d}.{os.getpid()}"
        with files.explained("write", self.path):
            self._file = open(self.path, "xb")  # noqa: SIM115 - closed by close()
        self._write(self._event.Event(wall_time=time.time(), file_version="brain.Event:2"))
        if purge_step is not None:
            start = self._event.SessionLog(status=self._event.SessionLog.START)
            self._write(self._event.Event(wall_time=time.time(), step=purge_step, session_log=start))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One point in each of several curves."""
        self._add(step, [self._summary.Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])

    def image(self, step: int, tag: str, pixels: np.ndarray) -> None:
        """A picture, uint8 [H, W, C]."""
        height, width, channels = pixels.shape
        picture = self._summary.Summary.Image(
            height=height, width=width, colorspace=channels, encoded_image_string=pictures.png(pixels)
        )
        self._add(step, [self._summary.Summary.Value(tag=tag, image=picture)])

    def histogram(self, step: int, tag: str, values: np.ndarray) -> None:
        """How the finite numbers of an array of any shape are distributed. None finite: nothing is written."""
        flat = values.reshape(-1)
        flat = flat[:: math.ceil(flat.size / _LARGEST_HISTOGRAM) or 1].astype(np.float64)
        flat = flat[np.isfinite(flat)]
        if not flat.size:
            return
        counts, edges = np.histogram(flat, bins=_BINS)
        message = self._summary.HistogramProto(
            min=float(flat.min()),
            max=float(flat.max()),
            num=float(flat.size),
            sum=float(flat.sum()),
            sum_squares=float(np.square(flat).sum()),  # no product: its threads would keep a core busy waiting
            bucket_limit=edges[1:].tolist(),
            bucket=counts.astype(np.float64).tolist(),
        )
        self._add(step, [self._summary.Summary.Value(tag=tag, histo=message)])

    def text(self, step: int, tag: str, markdown: str) -> None:
        """A text, shown as Markdown."""
        kind = self._summary.SummaryMetadata(
            plugin_data=self._summary.SummaryMetadata.PluginData(plugin_name="text"),
            data_class=self._summary.DATA_CLASS_TENSOR,
        )
        tensor = self._tensor.TensorProto(dtype=_STRING, string_val=[markdown.encode()])
        self._add(step, [self._summary.Summary.Value(tag=tag, metadata=kind, tensor=tensor)])

    def flush(self) -> None:
        """Hands everything to the operating system: it survives the death of this process."""
        with files.explained("write", self.path):
            self._file.flush()

    def close(self) -> None:
        with files.explained("write", self.path):
            self._file.close()

    def _add(self, step: int, values: list[Any]) -> None:
        if values:
            self._write(
                self._event.Event(wall_time=time.time(), step=step, summary=self._summary.Summary(value=values))
            )

    def _write(self, event: Any) -> None:
        with files.explained("write", self.path):
            self._file.write(record(event.SerializeToString()))


def contact_sheet(images: np.ndarray) -> np.ndarray:
    """The first images of uint8 [N, H, W, C], at most 64, on a sheet of about 1,000 pixels per side at most."""
    side = max(1, min(8, _SHEET // max(images.shape[1:3])))
    return pictures.grid(images[: side * side], gap=2)


def record(data: bytes) -> bytes:
    """A TFRecord: length (uint64, little-endian), its masked checksum, the data, their masked checksum."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", _masked(crc32c(length))) + data + struct.pack("<I", _masked(crc32c(data)))


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum (RFC 3720, appendix B.4), one byte at a time: 10 MB/s are enough for events."""
    table = _table()
    value = 0xFFFFFFFF
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def _masked(checksum: int) -> int:
    return (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF


@functools.cache
def _table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)
