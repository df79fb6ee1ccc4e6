"""A closer look at a run: planted wrong labels, planted duplicates, planted dead units, and what goes wrong said."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import convlens as cl
from convlens.base.errors import InputError
from convlens.classify.classifier import Classifier
from convlens.data import Images, Preprocess, Splits, find
from convlens.report import load_evaluation, write
from convlens.report.examine import Subject, duplicates, examine, record
from convlens.report.examine.doubts import TABLE
from convlens.report.examine.labels import rank
from typed import present

CLASSES = ("a", "b", "c", "d")


def _images(n: int, seed: int, side: int = 12) -> Images:
    """Pictures whose brightest quarter tells the class, with noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n)
    pixels = rng.integers(0, 120, (n, side, side, 1), dtype=np.uint8)
    half = side // 2
    for picture, label in zip(pixels, labels, strict=True):
        picture[half * (label // 2) :][:half, half * (label % 2) :][:, :half] += 100
    return Images(pixels, labels, CLASSES, "quarters")


def _quarters(x: np.ndarray) -> np.ndarray:
    """Logits: how bright each quarter is."""
    n, _, side, _ = x.shape
    return 4 * x.reshape(n, 2, side // 2, 2, side // 2).mean((2, 4)).reshape(n, 4)


def _subject(train: Images, test: Images, network=_quarters) -> Subject:
    side = train.shape[1]
    classifier = Classifier(network, Preprocess((side, side), 1, (0.5,), (0.25,)), CLASSES)
    val = _images(40, 99, side)
    return Subject(classifier, Splits(train, val, test), classifier.evaluate(test), 32)


def _flipped(images: Images, share: float, seed: int) -> tuple[Images, np.ndarray]:
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(images), int(share * len(images)), replace=False)
    labels = images.labels.copy()
    labels[chosen] = (labels[chosen] + rng.integers(1, 4, len(chosen))) % 4
    return Images(images.pixels, labels, images.classes, images.name), chosen


def test_planted_wrong_labels_stand_first_in_the_list_and_in_the_table(tmp_path):
    train, wrong = _flipped(_images(800, 1), 0.03, 2)
    found = examine(tmp_path, _subject(train, _images(200, 3)), deep=True)
    labels = present(found.labels)
    assert (labels.images, labels.doubted) == (800 + 40 + 200, len(wrong))
    assert {(d.part, d.index) for d in labels.doubts[: len(wrong)]} == {("train", i) for i in wrong.tolist()}
    for doubt in labels.doubts[: len(wrong)]:
        assert doubt.given == train.labels[doubt.index] != doubt.suggested
    rows = list(csv.DictReader((tmp_path / TABLE).read_text().splitlines()))
    assert len(rows) == labels.listed == 52
    assert {int(row["index"]) for row in rows[: len(wrong)]} == set(wrong.tolist())
    assert [float(r["probability_of_label"]) for r in rows[: len(wrong)]] == sorted(
        float(r["probability_of_label"]) for r in rows[: len(wrong)]
    )
    stored, pictures = present(record.load(tmp_path))
    assert stored == found
    np.testing.assert_array_equal(pictures["labels"][0], train.pixels[labels.doubts[0].index])


def test_classes_of_which_a_part_has_no_image_are_no_obstacle():
    probabilities = np.full((6, 4), 0.05) + 0.8 * np.eye(4)[[0, 0, 0, 2, 2, 2]]
    ranking = rank(np.array([0, 0, 2, 2, 2, 2]), probabilities)
    assert ranking.order[0] == 2
    assert rank(np.zeros(6, np.int64), probabilities).doubted.sum() == 0


def test_without_the_deep_look_no_labels_are_ranked(tmp_path):
    found = examine(tmp_path, _subject(_images(80, 1), _images(20, 2)), deep=False)
    assert found.labels is None
    assert present(found.duplicates).why == "quick"
    assert not (tmp_path / TABLE).exists()


def test_what_is_no_module_has_no_layers_and_the_reason_is_said(tmp_path):
    found = examine(tmp_path, _subject(_images(80, 1), _images(20, 2)), deep=False)
    assert (found.network, found.units) == (None, None)
    assert "no PyTorch module" in found.left_out["network"]


class _Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.act, self.fc = nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Linear(600, 4)
        with torch.no_grad():
            self.norm.bias[2] = -100

    def forward(self, x):
        return self.fc(self.act(self.norm(self.conv(x))).flatten(1))


def test_layers_have_their_statistics_and_the_memory_of_training(tmp_path):
    found = examine(tmp_path, _subject(_images(80, 1), _images(20, 2), _Net()), deep=False)
    network = present(found.network)
    rows = {row.name: row for row in network.layers}
    assert (rows["conv"].parameters, rows["norm"].parameters, rows["norm"].buffers) == (60, 12, 12)
    assert network.parameters == 60 + 12 + 2404
    assert network.training == network.state + 32 * present(network.image)
    units = present(found.units)
    assert [(r.name, r.after, r.units, r.dead) for r in units.rectifiers] == [("act", "norm", 6, 1)]
    assert units.images == 20
    assert found.left_out == {}


def test_an_object_of_the_callers_is_run_only_when_he_asks_for_it(tmp_path, pretend_run):
    run, _ = pretend_run(tmp_path / "run", CLASSES)
    network, calls = _Net(), []
    network.conv.register_forward_hook(lambda *_: calls.append(1))
    subject = _subject(_images(80, 1), _images(20, 2), network)
    calls.clear()
    found = examine(run.path, subject, deep=False, own_object=True)
    assert (calls, found.network, found.units) == ([], None, None)
    assert "the network is an object of yours" in write(run.path).read_text("utf-8")
    assert examine(run.path, subject, deep=True, own_object=True).network is not None


class _Raises(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.calls = nn.Linear(144, 4), 0

    def forward(self, x):
        self.calls += 1
        if self.calls > 1:
            raise ValueError("only \x1b[31monce")
        return self.fc(x.flatten(1))


def test_a_network_that_raises_is_no_obstacle_and_its_words_are_kept(tmp_path):
    found = examine(tmp_path, _subject(_images(80, 1), _images(20, 2), _Raises()), deep=False)
    assert set(found.left_out) == {"network", "units"}
    assert "only" in found.left_out["units"]
    assert "\x1b" not in found.left_out["units"]
    assert present(found.duplicates).equal == 0


def test_equal_pictures_are_found_in_both_parts_with_their_labels_and_the_accuracy_without_them(tmp_path):
    train, test = _images(100, 1), _images(50, 2)
    pixels, labels = np.array(test.pixels), test.labels.copy()
    pixels[[4, 30]] = train.pixels[[70, 9]]
    labels[4] = train.labels[70]
    labels[30] = (train.labels[9] + 1) % 4
    test = Images(pixels, labels, CLASSES, paths=np.array([f"test/{i}.png" for i in range(50)], object))
    subject = _subject(train, test)
    found = present(examine(tmp_path, subject, deep=True).duplicates)
    assert (found.equal, found.alike, found.why, found.conflicts) == (2, None, "small", 1)
    assert [(p.test, p.part, p.index, p.path) for p in found.pairs] == [
        (30, "train", 9, "test/30.png"), (4, "train", 70, "test/4.png"),
    ]  # fmt: skip
    others = np.setdiff1d(np.arange(50), [4, 30])
    assert found.without == (subject.evaluation.predicted == labels)[others].mean()
    _, pictures = present(record.load(tmp_path))
    np.testing.assert_array_equal(pictures["duplicates.test"], pictures["duplicates.other"])


def test_pictures_that_only_look_alike_are_found_among_large_ones(tmp_path):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (30, 8, 8), dtype=np.uint8)
    pixels = np.stack([np.asarray(Image.fromarray(c).resize((64, 64), Image.Resampling.BICUBIC)) for c in coarse])
    pixels[25] = np.clip(pixels[7].astype(int) + 3, 0, 255)
    pixels[26] = pixels[3]
    images = Images(pixels[..., None], np.arange(30) % 4, CLASSES)
    train, test = images.select(slice(0, 20)), images.select(slice(20, 30))
    twins = duplicates.alike(test, {"train": train})
    assert [(t.test, t.part, t.index) for t in twins] == [(5, "train", 7), (6, "train", 3)]
    assert [(t.test, t.index) for t in duplicates.equal(test, {"train": train})] == [(6, 3)]


def test_no_picture_of_independent_ones_is_called_a_twin():
    train, test = _images(300, 1), _images(300, 2)
    assert duplicates.equal(test, {"train": train, "val": train.select(slice(0, 0))}) == []


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A run on the built-in digits with one test image in the training part and 3 % of the labels wrong."""
    parts = find("digits").read(Preprocess((8, 8), 1)).parts["train"]
    train, _ = _flipped_digits(parts.select(slice(0, 1400)))
    pixels = np.concatenate([train.pixels, parts.pixels[1500:1501]])
    train = Images(pixels, np.append(train.labels, parts.labels[1500]), parts.classes, "digits")
    data = {"train": train, "test": parts.select(slice(1400, None))}
    out = tmp_path_factory.mktemp("examined") / "run"
    return cl.train("mlp", data, recipe="fast", settings=["epochs=12"], out=out, quiet=True), data


def _flipped_digits(images: Images) -> tuple[Images, np.ndarray]:
    labels = images.labels.copy()
    chosen = np.arange(0, len(labels), 33)
    labels[chosen] = (labels[chosen] + 5) % 10
    return Images(images.pixels, labels, images.classes, images.name), chosen


def test_a_training_ends_with_layers_units_and_duplicates_on_the_page(digits):
    run, _ = digits
    page = run.report().read_text("utf-8")
    assert "1 of 397 test images equals one of training or validation" in page
    assert "Units that never fire" in page
    assert "<h2>Layers</h2>" in page
    assert "convlens report RUN --examine" in page


def test_an_examined_run_shows_its_doubtful_labels_in_both_languages(digits):
    run, data = digits
    with pytest.raises(InputError, match="does not keep; pass the data"):
        run.report(examine=True)
    other = {**data, "test": data["test"].select(slice(0, 200))}
    with pytest.raises(InputError, match="the images of these images are not"):
        run.report(examine=True, data=other)
    page = run.report(examine=True, data=data).read_text("utf-8")
    found, _ = present(record.load(run.path))
    assert f"{present(found.labels).doubted:,} of 1,798 labels are likely to be wrong" in page
    assert "convlens report RUN --examine" not in page
    chinese = run.report(language="zh").read_text("utf-8")
    assert "可能有误的标签" in chinese
    assert "训练中见过的测试图像" in chinese


def test_the_command_examines_a_run_on_named_data(tmp_path):
    from convlens.cli import app

    out = str(tmp_path / "run")
    cl.train("mlp", "digits", recipe="fast", settings=["epochs=2"], out=out, quiet=True)
    result = CliRunner().invoke(app, ["report", out, "--examine", "--json", "--quiet"])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout.splitlines()[-1])
    assert said["labels"]["images"] == 1797
    assert said["labels"]["list"] == str(tmp_path / "run" / TABLE)
    assert said["duplicates"]["equal"] == 0
    assert [one["name"] for one in said["units"]["rectifiers"]]
    assert (tmp_path / "run" / TABLE).exists()


def test_a_run_without_an_examination_says_how_to_get_one(tmp_path, pretend_run):
    run, _ = pretend_run(tmp_path / "run")
    assert "does not lie in this run folder: convlens report RUN --examine" in write(run.path).read_text("utf-8")


@pytest.mark.parametrize(
    "change",
    [
        {"labels": {"images": 1, "doubted": -1}},
        {"duplicates": 3},
        {"unknown": 1},
        {"left_out": {"network": 3}},
    ],
)
def test_an_examination_that_does_not_fit_is_refused(tmp_path, pretend_run, change):
    run, _ = pretend_run(tmp_path / "run")
    run.write_arrays(run.path / record.FILE, {}, change)
    with pytest.raises(InputError, match="is not an examination of Convlens"):
        write(run.path)


def test_an_examination_of_other_classes_or_without_its_pictures_is_refused(tmp_path, pretend_run):
    run, _ = pretend_run(tmp_path / "run", ("a", "b"))
    train, _wrong = _flipped(_images(200, 1), 0.1, 2)
    examine(run.path, _subject(train, _images(50, 3)), deep=True)
    with pytest.raises(InputError, match="names classes that the run does not have"):
        write(run.path)
    found, _pictures = present(record.load(run.path))
    record.save(run.path, found, {})
    with pytest.raises(InputError, match="the pictures of labels do not fit"):
        write(run.path)


def test_words_from_a_stranger_in_an_examination_are_text(tmp_path, pretend_run):
    run, _ = pretend_run(tmp_path / "run", CLASSES)
    found = examine(run.path, _subject(_images(80, 1), _images(20, 2), _Net()), deep=False)
    evil = "<script>alert(1)</script>"
    present(found.network).layers[0].name = evil
    found.left_out["labels"] = evil
    record.save(run.path, found, {})
    page = write(run.path).read_text("utf-8")
    assert evil not in page
    assert page.count("&lt;script&gt;alert(1)") == 2


def test_an_evaluation_that_is_damaged_is_made_anew(digits, tmp_path):
    run, data = digits
    copy = shutil.copytree(run.path, tmp_path / "copy")
    (copy / "evaluation.safetensors").write_bytes((run.path / "weights.safetensors").read_bytes())
    with pytest.raises(InputError, match="`convlens report --examine` makes it anew"):
        write(copy)
    cl.load(copy).report(examine=True, data=data)
    found, before = (load_evaluation(path).evaluation for path in (copy, run.path))
    assert found.predicted.tolist() == before.predicted.tolist()


@pytest.mark.parametrize(("sharpness", "warned"), [(2, True), (8, False)])
def test_a_network_that_errs_often_is_not_believed_about_labels(tmp_path, pretend_run, sharpness, warned):
    run, judged = pretend_run(tmp_path / "run", CLASSES, sharpness=sharpness)
    assert (judged.accuracy < 0.9) == warned
    examine(run.path, _subject(_images(200, 1), _images(50, 3)), deep=True)
    assert (f"errs on {100 - 100 * judged.accuracy:.2f} %" in write(run.path).read_text("utf-8")) == warned


def test_a_network_that_answers_all_training_images_as_labeled_may_have_learned_them_by_heart(tmp_path, pretend_run):
    run, _ = pretend_run(tmp_path / "run", CLASSES)
    found = examine(run.path, _subject(_images(200, 1), _images(50, 3)), deep=True)
    assert present(found.labels).learned == 1
    assert "Where it learned labels by heart" in write(run.path).read_text("utf-8")
    present(found.labels).learned = 0.9
    record.save(run.path, found, present(record.load(run.path))[1])
    assert "Where it learned labels by heart" not in write(run.path).read_text("utf-8")


@pytest.mark.slow
def test_of_3_per_cent_wrong_labels_of_mnist_at_least_80_stand_in_the_first_5_per_cent(tmp_path, real_data):
    parts = find("mnist", root=real_data).read(Preprocess((28, 28), 1)).parts
    train, rng = parts["train"], np.random.default_rng(0)
    wrong = rng.choice(len(train), int(0.03 * len(train)), replace=False)
    labels = train.labels.copy()
    labels[wrong] = (labels[wrong] + rng.integers(1, 10, len(wrong))) % 10
    data = {"train": Images(train.pixels, labels, train.classes, "mnist"), "test": parts["test"]}
    run = cl.train("lenet5", data, recipe="fast", out=tmp_path / "run", quiet=True)
    run.report(examine=True, data=data)
    found, _ = present(record.load(run.path))
    with (run.path / TABLE).open() as file:
        listed = list(csv.DictReader(file))
    pixels = {train.pixels[i].tobytes() for i in wrong}
    splits = _splits(run, data)
    first = listed[: round(0.05 * present(found.labels).images)]
    hits = sum(splits[row["part"]].pixels[int(row["index"])].tobytes() in pixels for row in first)
    assert hits >= 0.8 * len(wrong)


def _splits(run, data) -> dict[str, Images]:
    from convlens.deploy.judging import own_parts

    return own_parts(run.classifier().preprocess, run.record, data)._asdict()
