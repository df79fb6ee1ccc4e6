"""8-bit files: of the types that are right on every processor, with a loss that was measured, or not there at all."""

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from torch import nn

import convlens as cl
from convlens.base.errors import InputError
from convlens.classify.classifier import Classifier
from convlens.classify.onnx_file import open_file
from convlens.data import find, split
from convlens.deploy import quantization


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> cl.Run:
    return cl.train(
        "lenet5", "digits", epochs=4, out=tmp_path_factory.mktemp("int8") / "run", quiet=True, tensorboard=False
    )


@pytest.fixture(scope="module")
def path(run):
    return run.export("onnx", run.path / "int8.onnx", int8=True, limit=0.02).path


def integers(path) -> dict[str, np.ndarray]:
    """The arrays of 8-bit weights, [C_out, ...] each."""
    found = {entry.name: numpy_helper.to_array(entry) for entry in onnx.load(path).graph.initializer}
    return {name: array for name, array in found.items() if array.dtype == np.int8 and array.ndim > 1}


def test_weights_are_signed_and_leave_a_bit_free_and_activations_are_unsigned(path):
    weights = integers(path)
    assert len(weights) == 5  # two convolutions, three dense layers
    assert all(np.abs(array.astype(int)).max() <= 64 for array in weights.values())
    model = onnx.load(path)
    arrays = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    zeros = [arrays[node.input[2]].dtype for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert set(zeros) == {np.dtype(np.uint8)}


def test_each_output_channel_has_a_scale_of_its_own(path):
    model = onnx.load(path)
    arrays = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in integers(path):
            assert arrays[node.input[1]].size in arrays[node.input[0]].shape


def test_files_for_newer_processors_alone_use_all_bits(run, tmp_path):
    path, _ = run.export("onnx", tmp_path / "m.onnx", int8=True, vnni_only=True, limit=0.02)
    assert max(int(np.abs(array.astype(int)).max()) for array in integers(path).values()) > 120
    label = open_file(path).label
    assert label.quantization is not None
    assert label.quantization["reduced_range"] is False


def test_the_file_says_what_it_costs_and_on_which_images(run, path):
    label = open_file(path).label
    made = label.quantization
    assert made is not None
    source = find("digits")
    parts = split(
        source.read(run.classifier().preprocess).parts, seed=run.record.seed,
        val_fraction=run.record.recipe["val_fraction"], test_fraction=run.record.recipe["test_fraction"],
    )  # fmt: skip
    assert made["judged_on"]["n"] == len(parts.val)
    assert made["accuracy"]["float32"] == run.classifier().evaluate(parts.val).accuracy
    assert made["accuracy"]["int8"] == Classifier.from_onnx(path).evaluate(parts.val).accuracy
    assert made["images"] == 512
    json.dumps(made)


def test_the_mode_that_keeps_sums_from_overflowing_changes_next_to_no_answer(run, path):
    pixels = np.random.default_rng(0).permutation(
        find("digits").read(run.classifier().preprocess).parts["train"].pixels
    )
    exact, fast = (
        Classifier(network.network, network.preprocess, tuple(network.label.classes)).logits(pixels[:500])
        for network in (open_file(path, exact_int8=True), open_file(path, exact_int8=False))
    )
    assert (exact.argmax(1) == fast.argmax(1)).mean() >= 0.99


def separable() -> nn.Module:
    def block(c: int, k: int) -> list[nn.Module]:
        depthwise = [nn.Conv2d(c, c, 3, padding=1, groups=c), nn.BatchNorm2d(c), nn.ReLU6()]
        return [*depthwise, nn.Conv2d(c, k, 1), nn.BatchNorm2d(k), nn.ReLU6()]

    stem = [nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU6()]
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    return nn.Sequential(*stem, *block(16, 32), nn.MaxPool2d(2), *block(32, 64), *end)


@pytest.mark.slow
def test_depthwise_convolutions_keep_their_answers_in_either_mode(tmp_path):
    run = cl.train(separable(), "digits", epochs=20, batch_size=16, out=tmp_path / "run", quiet=True, tensorboard=False)
    assert run.results["test"]["accuracy"] > 0.8
    path, _ = run.export("onnx", int8=True, limit=0.01)
    pixels = find("digits").read(run.classifier().preprocess).parts["train"].pixels
    exact, fast = (
        Classifier(one.network, one.preprocess, tuple(one.label.classes)).logits(pixels).argmax(1)
        for one in (open_file(path, exact_int8=True), open_file(path, exact_int8=False))
    )
    assert (exact == fast).mean() >= 0.99
    assert (exact == run.classifier().logits(pixels).argmax(1)).mean() >= 0.98


def test_an_8_bit_file_gives_the_same_bits_alone_and_in_a_batch(run, path):
    classifier = Classifier.from_onnx(path)
    pixels = find("digits").read(classifier.preprocess).parts["train"].pixels[:33]
    alone = np.concatenate([classifier.logits(pixels[k : k + 1]) for k in range(33)])
    assert classifier.logits(pixels).tobytes() == alone.tobytes()


def test_what_loses_too_much_is_refused_with_all_that_was_tried(run, tmp_path):
    with pytest.raises(InputError) as refused:
        run.export("onnx", tmp_path / "m.onnx", int8=True, limit=-1)
    said = str(refused.value)
    order = ["int8, min-max:", "int8, percentile:", "int8, entropy:", ", last in float32", "first and last in float32",
             "first, last and depthwise in float32"]  # fmt: skip
    assert [said.index(one) for one in order] == sorted(said.index(one) for one in order)
    assert not list(tmp_path.iterdir())


def test_layers_that_are_kept_stay_in_float32(run, tmp_path):
    run.export("onnx", tmp_path / "plain.onnx")
    model = onnx.load(tmp_path / "plain.onnx")
    inputs = np.random.default_rng(0).normal(size=(256, *run.record.model.input)).astype(np.float32)
    answers = iter([1.0, 0.0, 0.5, 0.2, 0.5, 0.999])
    found = quantization.quantize(model, inputs, lambda candidate: next(answers))
    assert [(one.calibration, one.kept) for one in found.attempts] == [
        ("min-max", ""), ("percentile", ""), ("entropy", ""), ("percentile", "last"), ("percentile", "first and last"),
    ]  # fmt: skip
    onnx.save_model(found.model, tmp_path / "m.onnx")
    assert len(integers(tmp_path / "m.onnx")) == 3


def test_scales_are_not_taken_from_a_handful_of_images(run, tmp_path):
    run.export("onnx", tmp_path / "plain.onnx")
    with pytest.raises(InputError, match="at least 256 training images; the run has 100"):
        quantization.quantize(onnx.load(tmp_path / "plain.onnx"), np.zeros((100, 1, 8, 8), np.float32), lambda _: 1.0)
