"""A run folder of a stranger: whatever stands in its files, it is understood or refused in one line."""

import copy
import json
import os
import random
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import convlens as cl
from convlens import report
from convlens.base import strict_json
from convlens.base.arrays import header, pack, unpack
from convlens.base.errors import ConvlensError, InputError
from convlens.report.store import FILE
from convlens.runs import RunFolder

PICTURE = np.zeros((8, 8), np.uint8)
ODD: list[Any] = [
    None, True, 0, -1, 5, 10**30, 99999, 1e300, "", "\x1b[2J", "../../etc/passwd", [], [[]], [60000, 60000],
    {}, {"a": 1},
]  # fmt: skip


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The paths of everything in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        yield from places(below, (*path, key))


def changed(value: Any, path: tuple, new: Any) -> Any:
    """A copy with something else at a path; `...` stands for nothing at all."""
    if not path:
        return new
    value = copy.deepcopy(value)
    home = value
    for key in path[:-1]:
        home = home[key]
    if new is ...:
        del home[path[-1]]
    else:
        home[path[-1]] = new
    return value


def spoil(value: Any) -> list[Any]:
    """The value with each odd thing in each place, each place left out, and each object with a key too many."""
    found = []
    for path in places(value):
        odd = [*ODD, *([...] if path else [])]
        found += [changed(value, path, new) for new in odd]
        here = value
        for key in path:
            here = here[key]
        if isinstance(here, dict):
            found.append(changed(value, path, {**here, "surprise": 1}))
    return found


def used(folder: RunFolder) -> str | None:
    """Does with a folder what people do. The message of the refusal, or None."""
    try:
        run = cl.load(folder.path)
        run.predict(PICTURE)
        report.write(folder.path)
        return None
    except ConvlensError as error:
        message = str(error)
        assert "\n" not in message
        assert "\x1b" not in message
        return message


def test_the_folder_as_it_is_is_fine(spoiled):
    assert used(spoiled) is None


@pytest.mark.parametrize("share", [0.06, pytest.param(1.0, marks=pytest.mark.slow)])
def test_each_place_of_run_json_with_each_odd_value_is_understood_or_refused(spoiled, share):
    record = json.loads(spoiled.run_json.read_text())
    versions = spoil(record)
    refused = 0
    for version in random.Random(0).sample(versions, round(share * len(versions))):
        spoiled.run_json.write_text(json.dumps(version))
        refused += used(spoiled) is not None
    assert 0.3 * share * len(versions) < refused


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("model", "whitening"), 99999),
        (("numeric", "surprise"), 1),
        (("numeric", "threads"), 10**9),
        (("results",), {}),
        (("results", "test"), 5),
        (("results", "test"), ...),
        (("results", "epochs"), 10**30),
        (("recipe", "epochs"), 10**30),
        (("recipe", "val_fraction"), ...),
        (("model", "input"), [1, 60000, 60000]),
        (("model", "arguments"), {"kernel": 10**9}),
        (("preprocess", "size"), [64, 64]),
        (("weights_sha256"), ["0" * 64]),
    ],
)
def test_what_would_trip_a_reader_is_refused_and_named(spoiled, path, value):
    path = path if isinstance(path, tuple) else (path,)
    record = json.loads(spoiled.run_json.read_text())
    spoiled.run_json.write_text(json.dumps(changed(record, path, value)))
    assert "run.json" in (used(spoiled) or "")


@pytest.mark.parametrize("side", [64, 4096, 8192])
def test_sizes_are_compared_with_the_weights_before_memory_is_asked_for(spoiled, side, monkeypatch):
    import torch

    from convlens.classify import saved

    built = []
    true = saved.rebuild
    monkeypatch.setattr(saved, "rebuild", lambda *a: built.append(torch.get_default_device().type) or true(*a))
    record = json.loads(spoiled.run_json.read_text())
    record["model"]["input"], record["preprocess"]["size"] = [1, side, side], [side, side]
    spoiled.run_json.write_text(json.dumps(record))
    assert "shape" in (used(spoiled) or "")
    assert built == ["meta"]


TEXTS = [
    "", "{", "5", "null", "[" * 100_000, '{"a":' * 100_000, '{"a": 1, "a": 2}', '{"a": NaN}', '{"a": 1e999}',
    '{"a": ' + "9" * 5000 + "}", '{"a": 10000000000000000000}', '{"a": "\\ud800"}', "[" * 60 + "]" * 60, "\x00",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:12])
def test_texts_that_are_no_json_of_ours_are_refused_in_each_file(spoiled, text):
    if text not in ("5", "null"):
        with pytest.raises(InputError):
            strict_json.loads(text, "here")
    spoiled.run_json.write_text(text)
    assert "run.json" in (used(spoiled) or "")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text("aé猫"),
        lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text("aé猫"), below, max_size=3),
        max_leaves=9,
    )
)
def test_json_of_ours_is_read_as_it_was_written(value):
    assert strict_json.loads(json.dumps(value), "here") == value


def test_numbers_of_any_finite_size_with_a_point_are_read():
    assert strict_json.loads("[1e38, -1e300, 1e-300, 9223372036854775807]", "here") == [1e38, -1e300, 1e-300, 2**63 - 1]


def test_a_seed_that_run_json_could_not_hold_is_refused_before_the_run(tmp_path):
    with pytest.raises(InputError, match="seed"):
        cl.train(data="digits", seed=10**30, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "run.json").exists()


# ---- checkpoint and metrics


def resumed(folder: RunFolder) -> str:
    """The refusal of going on with an unfinished run."""
    record = folder.read_record().model_copy(update={"results": None})
    folder.write_record(record)
    with pytest.raises(InputError) as refused:
        cl.train(out=folder.path, resume=True, quiet=True, tensorboard=False)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_checkpoint_with_any_other_metadata_is_understood_or_refused(spoiled):
    arrays, meta = unpack(spoiled.last)
    refused = 0
    for version in spoil(meta):
        if isinstance(version, dict):
            spoiled.write_arrays(spoiled.last, arrays, version)
            try:
                spoiled.read_checkpoint()
            except InputError as error:
                assert "remove last.safetensors" in str(error)  # noqa: PT017 - not each of them is refused
                refused += 1
    assert refused > 50


@pytest.mark.parametrize(
    "spoil_arrays",
    [
        lambda arrays: {},
        lambda arrays: {name: array for name, array in arrays.items() if not name.startswith("totals")},
        lambda arrays: arrays | {"totals.loss": np.zeros(3, np.float32)},
        lambda arrays: arrays | {"optimizer.0.99.momentum_buffer": np.zeros(3, np.float32)},
        lambda arrays: arrays | {"optimizer.0.0.momentum_buffer": np.zeros(3, np.float32)},
        lambda arrays: arrays | {"optimizer.x": np.zeros(3, np.float32)},
        lambda arrays: {name: np.zeros((2, 2), np.float32) for name in arrays},
    ],
)
def test_a_checkpoint_with_other_arrays_is_refused_and_says_how_to_go_on(spoiled, spoil_arrays):
    arrays, meta = unpack(spoiled.last)
    spoiled.write_arrays(spoiled.last, spoil_arrays(arrays), meta)
    assert "remove last.safetensors" in resumed(spoiled)


def test_without_a_damaged_checkpoint_the_run_starts_again_and_ends_the_same(spoiled, small_run):
    content = bytearray(spoiled.last.read_bytes())
    content[-5] ^= 1
    spoiled.last.write_bytes(content)
    assert "damaged" in resumed(spoiled)
    spoiled.last.unlink()
    cl.train(out=spoiled.path, resume=True, quiet=True, tensorboard=False)
    assert spoiled.weights.read_bytes() == small_run.weights.read_bytes()


# ---- arrays


def test_each_flipped_bit_of_weights_or_checkpoint_is_noticed(spoiled):
    rng = random.Random(0)
    for path in (spoiled.weights, spoiled.last, spoiled.path / FILE):
        good = path.read_bytes()
        for _ in range(40):
            bad = bytearray(good)
            bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
            path.write_bytes(bad)
            with pytest.raises(InputError):
                unpack(path)
            if path == spoiled.weights:
                assert used(spoiled)
        path.write_bytes(good)


def test_weights_of_another_run_are_refused_and_those_of_earlier_versions_taken(spoiled):
    arrays, meta = spoiled.read_weights()
    spoiled.write_arrays(spoiled.weights, {name: array * 2 for name, array in arrays.items()}, meta)
    assert "weights_sha256" in (used(spoiled) or "")
    record = json.loads(spoiled.run_json.read_text())
    del record["weights_sha256"]
    spoiled.run_json.write_text(json.dumps(record))
    assert used(spoiled) is None
    from safetensors.numpy import save

    spoiled.weights.write_bytes(save(arrays, {"convlens": "{}"}))  # without a digest of its own
    assert used(spoiled) is None


def with_header(text: str, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text.encode() + body


LIES = [
    b"",
    b"\xff" * 8,
    struct.pack("<Q", 1 << 62),
    with_header("5"),
    with_header("[" * 5000 + "]" * 5000),
    with_header('{"a":' * 5000),
    with_header('{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'),
    with_header('{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}', bytes(4)),
    with_header('{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}}'),
    with_header('{"a": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 0]}}'),
    with_header('{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}', bytes(8)),
    with_header('{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}, '
                '"b": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}', bytes(1)),
    with_header('{"a": {"dtype": "X9", "shape": [1], "data_offsets": [0, 4]}}', bytes(4)),
    with_header('{"a": {"dtype": "F32", "shape": [true], "data_offsets": [0, 4]}}', bytes(4)),
    with_header('{"a": 5}'),
    with_header('{"__metadata__": {"convlens": 5}}'),
    with_header('{"__metadata__": {"convlens": "' + "[" * 5000 + '"}}'),
    with_header('{"__metadata__": {"convlens": "5"}}'),
    with_header('{"__metadata__": 5}'),
]  # fmt: skip


@pytest.mark.parametrize("content", LIES, ids=range(len(LIES)))
def test_safetensors_that_lie_are_refused_in_one_line(spoiled, content):
    spoiled.weights.write_bytes(content)
    with pytest.raises(InputError) as refused:
        unpack(spoiled.weights)
    assert "\n" not in str(refused.value)
    assert used(spoiled)


def test_the_header_tells_the_shapes_that_were_written(tmp_path):
    path = tmp_path / "a"
    arrays = {"a": np.zeros((2, 3), np.float32), "b": np.zeros((), np.int64), "c": np.zeros((0, 4), np.uint8)}
    path.write_bytes(pack(arrays, {"x": [1]}))
    assert header(path) == {name: array.shape for name, array in arrays.items()}
    back, meta = unpack(path)
    assert meta == {"x": [1]}
    assert {name: array.dtype for name, array in back.items()} == {name: array.dtype for name, array in arrays.items()}


# ---- links, pipes, folders


@pytest.mark.parametrize("name", ["run.json", "weights.safetensors", "metrics.jsonl", FILE])
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_plain_file_is_refused_without_waiting(spoiled, name, kind):
    path = spoiled.path / name
    path.unlink()
    if kind == "device":
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(path) if kind == "pipe" else path.mkdir()
    assert name in (used(spoiled) or "")


def test_a_run_writes_through_no_link(spoiled, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("run.json", "weights.safetensors", "last.safetensors", "metrics.jsonl", "report.html", FILE):
        treasure = outside / name
        treasure.write_bytes((spoiled.path / name).read_bytes())
        (spoiled.path / name).unlink()
        (spoiled.path / name).symlink_to(treasure)
    before = {path.name: path.read_bytes() for path in outside.iterdir()}
    spoiled.write_record(spoiled.read_record().model_copy(update={"results": None}))
    cl.train(out=spoiled.path, resume=True, quiet=True, tensorboard=False)
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == before


@pytest.mark.parametrize("name", ["events", ".lock"])
def test_events_and_lock_that_are_links_are_refused(spoiled, tmp_path, name):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "events.out.tfevents.1").write_text("mine")
    if (spoiled.path / name).is_dir():
        (spoiled.path / name).rename(tmp_path / "old")
    else:
        (spoiled.path / name).unlink(missing_ok=True)
    (spoiled.path / name).symlink_to(outside if name == "events" else outside / "lock")
    spoiled.write_record(spoiled.read_record().model_copy(update={"results": None}))
    spoiled.last.unlink()
    with pytest.raises(InputError, match="link"):
        cl.train(out=spoiled.path, resume=True, quiet=True)
    assert [path.name for path in outside.iterdir()] == ["events.out.tfevents.1"]
