"""`preprocess.scale`: the network sees what the scale says, in training and in every way of asking it after."""

import json

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from serving import served

import convlens as cl
from convlens.base.errors import InputError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(30, 220, (90, 8, 8, 3), dtype=np.uint8)
PIXELS[..., 2] //= 3  # channels of different means
LABELS = np.arange(90) % 3
ENDS = {"unit": (0.0, 1.0), "symmetric": (-1.0, 1.0)}


def train(out, scale=None, **options):
    settings = ["model.hidden=[5]", *([f"preprocess.scale={scale}"] if scale else []), *options.pop("settings", [])]
    given = {"data": (PIXELS, LABELS), "epochs": 2, "size": 8, "seed": 1, "quiet": True, "tensorboard": False} | options
    return cl.train("mlp", out=out, settings=settings, **given)


def by_hand(run, pixels: np.ndarray, scale: str) -> np.ndarray:
    """Scaled float32 [N, C, H, W], as the text says it."""
    x = pixels.astype(np.float64) / 255
    if scale == "standard":
        ends = np.asarray(run.record.preprocess["mean"]), np.asarray(run.record.preprocess["std"])
        x = (x - ends[0]) / ends[1]
    else:
        low, high = ENDS[scale]
        x = low + x * (high - low)
    return x.transpose(0, 3, 1, 2).astype(np.float32)


def probabilities(run, x: np.ndarray) -> np.ndarray:
    """The network of two layers, written out."""
    arrays, _ = run.folder.read_weights()
    (w1, w2) = (array for array in arrays.values() if array.ndim == 2)
    (b1, b2) = (array for array in arrays.values() if array.ndim == 1)
    if w1.shape[0] != 5:
        w1, w2, b1, b2 = w2, w1, b2, b1
    logits = np.maximum(x.reshape(len(x), -1) @ w1.T + b1, 0) @ w2.T + b2
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@pytest.mark.parametrize("engine", ["torch", "numpy"])
@pytest.mark.parametrize("scale", ["standard", "unit", "symmetric"])
def test_the_loss_of_training_is_that_of_pixels_on_this_scale(tmp_path, scale, engine):
    part = cl.data.Images.from_arrays(PIXELS, LABELS)
    still = ["optimizer.lr=1e-12", "val_fraction=0", "batch_size=90", "augment.flip=false", "augment.shift=0"]
    run = train(tmp_path / "run", scale, engine=engine, precision="float32", settings=still,
                data={"train": part, "test": part})  # fmt: skip
    expected = probabilities(run, by_hand(run, PIXELS, scale))
    loss = -np.log(expected[np.arange(90), LABELS]).mean()
    assert run.folder.read_metrics()[0]["train_loss"] == pytest.approx(loss, rel=1e-4)
    assert run.results["test"]["loss"] == pytest.approx(loss, rel=1e-4)
    assert run.results["test"]["accuracy"] == pytest.approx(np.mean(expected.argmax(1) == LABELS))


@pytest.mark.parametrize("scale", ENDS)
def test_every_way_of_asking_sees_the_pixels_as_training_did(tmp_path, scale):
    run = train(tmp_path / "run", scale)
    x = by_hand(run, PIXELS, scale)
    expected, classifier = probabilities(run, x), run.classifier()
    np.testing.assert_allclose(classifier.preprocess.normalize(PIXELS), x, atol=1e-5)
    np.testing.assert_allclose(classifier.probabilities(PIXELS), expected, atol=1e-5)
    right = classifier.evaluate(cl.data.Images.from_arrays(PIXELS, LABELS)).accuracy
    assert right == pytest.approx(np.mean(expected.argmax(1) == LABELS))
    plain = run.export("onnx", tmp_path / "plain.onnx", data=(PIXELS, LABELS)).path
    logits = np.asarray(onnxruntime.InferenceSession(plain).run(None, {"images": x})[0])
    np.testing.assert_array_equal(logits.argmax(1), expected.argmax(1))
    whole = run.export("onnx", tmp_path / "whole.onnx", data=(PIXELS, LABELS), with_preprocessing=True).path
    found = np.asarray(onnxruntime.InferenceSession(whole).run(["probabilities"], {"pixels": PIXELS})[0])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    Image.fromarray(PIXELS[0]).save(tmp_path / "one.png")
    with served(cl.Classifier.from_onnx(plain)) as service:
        (one,) = service.form(("one.png", (tmp_path / "one.png").read_bytes())).json["predictions"]
    assert one["probability"] == pytest.approx(expected[0].max(), abs=1e-4)


def test_the_scale_stands_in_the_run_as_mean_and_deviation(tmp_path):
    stored = {scale: train(tmp_path / scale, scale).record.preprocess for scale in ("standard", "unit", "symmetric")}
    assert (stored["unit"]["mean"], stored["unit"]["std"]) == ([0.0] * 3, [1.0] * 3)
    assert (stored["symmetric"]["mean"], stored["symmetric"]["std"]) == ([0.5] * 3, [0.5] * 3)
    assert len(set(stored["standard"]["mean"])) == 3


def test_a_run_of_before_the_key_goes_on_and_is_the_same(tmp_path):
    new = train(tmp_path / "new", "standard")
    old = train(tmp_path / "old")
    assert new.folder.weights.read_bytes() == old.folder.weights.read_bytes()
    path = tmp_path / "old" / "run.json"
    record = json.loads(path.read_text())
    del record["recipe"]["preprocess"]
    del record["results"]
    path.write_text(json.dumps(record))
    cl.train(None, (PIXELS, LABELS), out=tmp_path / "old", resume=True, quiet=True, tensorboard=False)
    assert new.folder.weights.read_bytes() == old.folder.weights.read_bytes()
    with pytest.raises(InputError, match=r"preprocess\.scale is 'standard' in the run"):
        train(tmp_path / "new", "unit", resume=True)


def test_features_keep_the_scale_of_their_weights(tmp_path):
    taught = train(tmp_path / "taught", "unit")
    kept = cl.train(data=(PIXELS, LABELS), from_=taught.path, out=tmp_path / "kept", quiet=True, tensorboard=False)
    assert kept.record.preprocess == taught.record.preprocess
    with pytest.raises(InputError, match=r"preprocess\.scale.*another scale than 'symmetric'"):
        cl.train(data=(PIXELS, LABELS), from_=taught.path, settings=["preprocess.scale=symmetric"],
                 out=tmp_path / "no", quiet=True)  # fmt: skip


def test_an_unknown_scale_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"preprocess\.scale: .*'unit'.*got 'bytes'"):
        train(tmp_path / "run", "bytes")
    with pytest.raises(InputError, match=r"unknown key 'preprocess\.scal', did you mean 'preprocess\.scale'"):
        train(tmp_path / "run", settings=["preprocess.scal=unit"])
