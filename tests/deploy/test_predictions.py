"""Predictions equal what training measured, and a folder from a stranger runs no code."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import convlens as cl
from convlens import data
from convlens.base.errors import InputError
from convlens.deploy.predictions import Failure
from convlens.runs import RunFolder, pack


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> cl.Run:
    return cl.train(data="digits", epochs=8, out=tmp_path_factory.mktemp("runs") / "digits", quiet=True)


@pytest.fixture
def copied(run, tmp_path) -> RunFolder:
    return RunFolder(shutil.copytree(run.path, tmp_path / "copy"))


NETWORK = {"source": "zoo", "name": "lenet5", "arguments": {}, "input": [1, 28, 28], "parameters": 61706}


def digits() -> tuple[np.ndarray, np.ndarray]:
    source = data.find("digits")
    images = source.read(data.Preprocess((8, 8), 1)).parts["train"]
    return np.asarray(images.pixels), images.labels


def test_evaluate_repeats_the_figures_of_training(run):
    judged = run.evaluate()
    assert judged.accuracy == run.results["test"]["accuracy"]
    assert judged.loss == pytest.approx(run.results["test"]["loss"], rel=1e-5)
    assert judged.n == run.results["test"]["n"]


def test_predict_reads_files_arrays_pictures_and_folders_alike(run, tmp_path):
    pixels, _ = digits()
    answers = []
    for i in range(3):
        picture = Image.fromarray(pixels[i, :, :, 0])
        picture.save(tmp_path / f"{i}.png")
        answers.append([run.predict(tmp_path / f"{i}.png"), run.predict(pixels[i]), run.predict(picture)])
    for by_file, by_array, by_picture in answers:
        assert by_file.top == by_array.top == by_picture.top
    in_folder = run.predict(tmp_path)
    assert [answer.path for answer in in_folder] == [str(tmp_path / f"{i}.png") for i in range(3)]
    for one, (several, *_) in zip(in_folder, answers, strict=True):
        assert one.label == several.label
        assert one.probability == pytest.approx(several.probability, rel=1e-5)


def test_predictions_are_mostly_right_and_probabilities_sum_to_one(run):
    pixels, labels = digits()
    found = run.predict(list(pixels[:200]), top=10)
    right = np.mean([answer.label == str(label) for answer, label in zip(found, labels, strict=False)])
    assert right > 0.9
    for answer in found:
        assert sum(p for _, p in answer.top) == pytest.approx(1, abs=1e-5)
        assert answer.probability == max(p for _, p in answer.top)


def test_an_unreadable_image_among_others_is_a_failure_alone_an_error(run, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    Image.fromarray(digits()[0][0, :, :, 0]).save(tmp_path / "good.png")
    bad, good = run.predict([tmp_path / "bad.png", tmp_path / "good.png"])
    assert isinstance(bad, Failure)
    assert "bad.png" in bad.error
    assert good.label
    with pytest.raises(InputError, match=r"bad\.png"):
        run.predict(tmp_path / "bad.png")


def test_evaluate_on_other_data_needs_the_same_classes(run):
    pixels = np.zeros((4, 28, 28), np.uint8)
    with pytest.raises(InputError, match="cat"):
        run.evaluate((pixels, ["cat", "dog", "cat", "dog"]))


def test_text_export_gives_every_number_back(run, tmp_path):
    path = tmp_path / "weights.txt"
    assert run.export("text", path) == (path, 0.0)
    arrays, _ = run.folder.read_weights()
    text = path.read_text()
    for name, array in arrays.items():
        assert f"{name} {'x'.join(map(str, array.shape))}" in text
    numbers = [line for line in text.splitlines() if line and not line[0].isalpha()]
    assert sum(len(line.split()) for line in numbers) == sum(array.size for array in arrays.values())


def test_a_strangers_network_is_never_run_from_run_json(copied, tmp_path):
    trap = tmp_path / "trap.py"
    trap.write_text(f"open({str(tmp_path / 'sprung')!r}, 'w').close()\ndef Net(): pass\n")
    record = json.loads(copied.run_json.read_text())
    for source in ("file", "zoo", "live"):
        record["model"] |= {"source": source, "name": f"{trap}:Net"}
        copied.run_json.write_text(json.dumps(record))
        with pytest.raises(InputError):
            cl.load(copied.path).predict(np.zeros((8, 8), np.uint8))
        record["results"] = None
        copied.run_json.write_text(json.dumps(record))
        with pytest.raises(InputError):
            cl.train(out=copied.path, resume=True, quiet=True)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"format_version": 99}, "format_version 99"),
        ({"surprise": 1}, "surprise"),
        ({"classes": []}, "classes"),
        ({"seed": "zero"}, "seed"),
        ({"model": {**NETWORK, "name": "../passwd"}}, "passwd"),
        ({"model": {**NETWORK, "input": [1, 28]}}, "model.input"),
        ({"preprocess": {"size": [-1, 10**9]}}, "preprocess"),
    ],
)  # fmt: skip
def test_odd_values_in_run_json_are_refused_in_one_line(copied, change, word):
    record = json.loads(copied.run_json.read_text()) | change
    copied.run_json.write_text(json.dumps(record))
    with pytest.raises(InputError) as refused:
        cl.load(copied.path).predict(np.zeros((8, 8), np.uint8))
    assert word in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_run_json_that_is_no_json_is_refused(copied):
    copied.run_json.write_bytes(b"\xff\xfe{")
    with pytest.raises(InputError, match=r"run\.json"):
        cl.load(copied.path)
    copied.run_json.write_text('{"format_version": 1,')
    with pytest.raises(InputError, match=r"run\.json"):
        cl.load(copied.path)


def test_weights_that_do_not_fit_are_refused_by_name(copied):
    copied.write_record(copied.read_record().model_copy(update={"weights_sha256": None}))
    arrays, _ = copied.read_weights()
    name = next(iter(arrays))
    for changed, word in (
        ({**arrays, name: np.zeros((2, 2), np.float32)}, name),
        ({key: value for key, value in arrays.items() if key != name}, name),
        ({**arrays, "intruder": np.zeros(3, np.float32)}, "intruder"),
        ({**arrays, name: np.full_like(arrays[name], np.nan)}, "not finite"),
    ):
        copied.weights.write_bytes(pack(changed, {}))
        with pytest.raises(InputError, match=word):
            cl.load(copied.path).predict(np.zeros((8, 8), np.uint8))
    copied.weights.write_bytes(copied.weights.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"weights\.safetensors"):
        cl.load(copied.path).predict(np.zeros((8, 8), np.uint8))
