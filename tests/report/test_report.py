"""The report: complete, self-contained, escaped, and made of nothing but the run folder."""

import base64
import io
import json
import re
import shlex
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from convlens.base.errors import InputError
from convlens.classify.evaluation import from_logits
from convlens.data.images import Images
from convlens.data.preprocess import Preprocess
from convlens.report import language, load_evaluation, save_evaluation, write
from convlens.report.again import again
from convlens.report.drawings import confused_pairs, first_layer
from convlens.runs import LeftOut, RunFolder
from convlens.training import recipe as recipes

_VOID = {"meta", "img"}


class _Page(HTMLParser):
    """Tags with their attributes, the text, and whether every tag was closed."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == [], self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def pictures(self) -> list[Image.Image]:
        sources = [attributes["src"] for tag, attributes in self.tags if tag == "img"]
        return [Image.open(io.BytesIO(base64.b64decode(s.partition("base64,")[2]))) for s in sources]


def _page(run: RunFolder) -> _Page:
    return _Page(write(run.path).read_text("utf-8"))


def test_the_report_shows_what_the_run_holds(tmp_path, pretend_run):
    run, judged = pretend_run(tmp_path / "run")
    page = _page(run)
    assert f"{100 * judged.accuracy:.2f} %" in page.text
    low, high = judged.interval
    assert f"95 % interval {100 * low:.2f} % to {100 * high:.2f} %" in page.text
    for words in ("61,706", "12,346", "1 min 02 s", "1,300 images for training", "lenet5", "Learning rate", "bfloat16"):
        assert words in page.text
    assert len([tag for tag, _ in page.tags if tag == "svg"]) == 4
    wrong = int((judged.predicted != judged.labels).sum())
    assert len(page.pictures()) == min(36, wrong) + 6 + len(load_evaluation(run.path).cells.index)


def test_the_report_needs_nothing_from_outside(tmp_path, pretend_run):
    run, _ = pretend_run(tmp_path / "run", tuple("abcdefgh"), channels=3, size=(80, 100))
    page = _page(run)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert attributes.get("src", "data:").startswith("data:")
        assert attributes.get("href", "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)
    assert "url(" not in run.report.read_text("utf-8")
    assert "@import" not in run.report.read_text("utf-8")


def test_the_contents_lead_to_every_section_that_is_there(tmp_path, pretend_run):
    run, _ = pretend_run(tmp_path / "run", sharpness=60)
    page = _page(run)
    sections = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert [attributes["href"] for tag, attributes in page.tags if tag == "a"] == [f"#{name}" for name in sections]
    assert "mistakes" not in sections  # nothing was classified wrongly
    assert {"training", "confusion", "classes", "kernels", "left", "settings"} < set(sections)


def test_what_scrolls_can_be_reached_by_keyboard_and_has_a_name(tmp_path, pretend_run):
    run, _ = pretend_run(tmp_path / "run")
    scrolling = [attributes for tag, attributes in _page(run).tags if attributes.get("class") == "scroll"]
    assert scrolling
    assert all(attributes["tabindex"] == "0" and attributes["aria-label"] for attributes in scrolling)


def test_names_from_a_stranger_are_text_and_nothing_else(tmp_path, pretend_run):
    evil = "</style><script>alert(1)</script>"
    run, _ = pretend_run(tmp_path / "run", ("a", evil, '"><img src=x onerror=alert(2)>', "{{ 7 * 7 }}"), sharpness=1)
    record = json.loads(run.run_json.read_text())
    record["model"]["name"] = evil
    record["data"].update(name=evil, source=evil, split=evil, fingerprint=evil)
    record["versions"][evil] = record["created"] = evil
    record["recipe"][evil] = {"x": [evil]}
    run.run_json.write_text(json.dumps(record))
    page = _page(run)
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert all(a["src"].startswith("data:image/") for tag, a in page.tags if tag == "img")
    assert evil in page.text
    assert "{{ 7 * 7 }}" in page.text


def test_every_picture_has_a_text_for_those_who_cannot_see_it(tmp_path, pretend_run):
    run, _ = pretend_run(tmp_path / "run")
    page = _page(run)
    assert all(attributes["alt"] for tag, attributes in page.tags if tag == "img")
    assert all(attributes["aria-label"] for tag, attributes in page.tags if tag == "svg")
    assert page.tags[0] == ("html", {"lang": "en"})


def test_the_confusion_matrix_is_a_table_of_all_counts(tmp_path, pretend_run):
    run, judged = pretend_run(tmp_path / "run", sharpness=2)
    cells = re.findall(r'<td class="(?:hit|miss)[^>]*>(?:<button[^>]*>)?(\d*)<', write(run.path).read_text("utf-8"))
    assert [int(cell or 0) for cell in cells] == judged.confusion.ravel().tolist()


def test_a_hundred_classes_become_a_picture_and_the_worst_classes(tmp_path, pretend_run):
    classes = tuple(f"species {i}" for i in range(100))
    run, judged = pretend_run(tmp_path / "run", classes, n=1000, sharpness=4)
    page = _page(run)
    matrix = page.pictures()[0]
    assert matrix.size == (100, 100)
    alpha = np.array(matrix)[..., 3]
    np.testing.assert_array_equal(alpha > 0, judged.confusion > 0)
    assert "The other 90 classes" in page.text
    worst = min(judged.per_class, key=lambda row: row["f1"])
    assert page.text.index(worst["class"] + " 10 ") < page.text.index("The other 90 classes")


def test_two_classes_and_a_perfect_result_make_a_report(tmp_path, pretend_run):
    run, judged = pretend_run(tmp_path / "run", ("no", "yes"), sharpness=60)
    assert judged.accuracy == 1
    page = _page(run)
    assert "None: every test image was classified correctly." in page.text
    assert "The surest mistakes" not in page.text


def test_a_run_that_is_not_finished_shows_its_curves(tmp_path, pretend_run):
    run, _ = pretend_run(tmp_path / "run", finished=False)
    page = _page(run)
    assert "not finished" in page.text
    assert len([tag for tag, _ in page.tags if tag == "svg"]) == 3


def test_a_run_without_epochs_weights_or_evaluation_makes_a_report(tmp_path, pretend_run):
    run, _ = pretend_run(tmp_path / "run", finished=False)
    run.metrics.unlink()
    run.weights.unlink()
    assert "Settings" in _page(run).text


@pytest.mark.parametrize(
    "line", ['{"epoch": 1, "lr": "<b>"}', '{"epoch": 2, "lr": 1e400}', "7", "[]", "{}", '{"epoch": 1, "lr": NaN}']
)
def test_senseless_metrics_are_refused_by_their_line(tmp_path, pretend_run, line):
    run, _ = pretend_run(tmp_path / "run", epochs=2)
    run.metrics.write_text(run.metrics.read_text() + line + "\n")
    with pytest.raises(InputError, match=r"line 3 of .*metrics\.jsonl"):
        write(run.path)


def test_the_command_in_the_report_asks_for_the_same_recipe(tmp_path, pretend_run):
    changes = (
        "optimizer.lr=0.002",
        "optimizer.betas=[0.8, 0.9]",
        "schedule.name=cosine",
        "ema=0.99",
        "augment.flip=true",
    )
    run, _ = pretend_run(tmp_path / "run", settings=changes)
    record = run.read_record()
    words = shlex.split(again(record).command or "")
    assert words[:4] == ["convlens", "train", "lenet5", "--data"]
    assert words[words.index("--seed") + 1] == "3"
    settings = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    assert len(settings) == len(changes)
    loaded = recipes.load(words[words.index("--recipe") + 1], settings=settings)
    assert loaded == recipes.parse(record.recipe, "record")


def _pairs(judged, k):
    found = confused_pairs(judged, k, {}, language.english())
    return [{key: pair[key] for key in ("true", "predicted", "n", "share")} for pair in found]


def test_the_most_frequent_confusions_come_first():
    labels = np.array([0] * 10 + [1] * 5 + [2] * 5)
    said = np.array([0] * 6 + [1] * 3 + [2] + [0] * 2 + [1] * 3 + [2] * 5)
    judged = from_logits(np.eye(3)[said] * 9, labels, ("a", "b", "c"))
    assert _pairs(judged, 2) == [
        {"true": "a", "predicted": "b", "n": 3, "share": 0.3},
        {"true": "b", "predicted": "a", "n": 2, "share": 0.4},
    ]
    assert len(confused_pairs(judged, 99, {}, language.english())) == 3


@pytest.mark.parametrize(
    ("shapes", "channels", "expected"),
    [
        ({"stem.weight": (32, 3, 7, 7), "block.weight": (64, 32, 3, 3), "fc.weight": (10, 64)}, 3, "stem.weight"),
        ({"a.depthwise": (64, 1, 3, 3), "stem": (16, 1, 3, 3), "b": (16, 16, 1, 1)}, 1, "stem"),
        ({"layers.10.weight": (6, 1, 5, 5), "layers.2.weight": (6, 1, 5, 5)}, 1, "layers.2.weight"),
        ({"layers.0.weight": (20, 64), "layers.2.weight": (10, 20)}, 1, "layers.0.weight"),
        ({"fc.weight": (10, 20), "bias": (10,)}, 1, None),
    ],
)
def test_the_layer_that_sees_the_image_is_found_by_its_shape(tmp_path, shapes, channels, expected):
    run = RunFolder(tmp_path)
    arrays = {name: np.random.default_rng(1).normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    run.write_arrays(run.weights, arrays, {})
    found = first_layer(run.weights, Preprocess((8, 8), channels))
    assert (found[0] if found else None) == expected
    if found:
        assert found[1].ndim == 4
        np.testing.assert_array_equal(found[1].ravel(), arrays[expected].ravel())


def test_a_folder_that_is_no_run_and_files_that_are_broken_are_named(tmp_path, pretend_run):
    with pytest.raises(InputError, match=r"no run\.json"):
        write(tmp_path)
    run, _ = pretend_run(tmp_path / "run")
    stored = tmp_path / "run" / "evaluation.safetensors"
    whole = stored.read_bytes()
    stored.write_bytes(whole[:100])
    with pytest.raises(InputError, match=r"evaluation\.safetensors is not a readable"):
        write(run.path)
    stored.write_bytes(whole)
    run.weights.write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"weights\.safetensors is not a readable"):
        write(run.path)


def test_an_evaluation_comes_back_as_it_was_saved(tmp_path):
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, 200)
    judged = from_logits(rng.normal(size=(200, 4)), labels, tuple("abcd"))
    images = Images(rng.integers(0, 256, (200, 10, 12, 3), dtype=np.uint8), labels, tuple("abcd"))
    save_evaluation(tmp_path, judged, images)
    found = load_evaluation(tmp_path)
    np.testing.assert_array_equal(found.evaluation.probabilities, judged.probabilities)
    np.testing.assert_array_equal(found.evaluation.labels, labels)
    assert (found.evaluation.classes, found.evaluation.loss) == (judged.classes, judged.loss)
    np.testing.assert_array_equal(found.mistakes.index, judged.mistakes(36))
    np.testing.assert_array_equal(found.mistakes.pixels, images.pixels[found.mistakes.index])


def test_large_pictures_are_kept_smaller_and_in_shape(tmp_path):
    labels = np.arange(6) % 2
    judged = from_logits(np.eye(2)[1 - labels], labels, ("a", "b"))
    images = Images(np.full((6, 400, 200, 1), 90, np.uint8), labels, ("a", "b"))
    save_evaluation(tmp_path, judged, images)
    pixels = load_evaluation(tmp_path).mistakes.pixels
    assert pixels.shape == (6, 128, 64, 1)
    assert (pixels == 90).all()


def test_an_evaluation_of_other_images_is_refused(tmp_path):
    judged = from_logits(np.eye(2), np.arange(2), ("a", "b"))
    with pytest.raises(InputError, match="judged 2 images, but 3 were given"):
        save_evaluation(tmp_path, judged, Images(np.zeros((3, 4, 4, 1), np.uint8), np.zeros(3, np.int64), ("a", "b")))


@pytest.mark.parametrize(
    "change",
    [
        {"labels": np.zeros(2, np.int32)},
        {"labels": np.array([0, 9])},
        {"probabilities": np.zeros((2, 5), np.float32)},
        {"mistakes.index": np.array([7])},
        {"mistakes.pixels": np.zeros((1, 0, 4, 1), np.uint8)},
        {"mistakes.pixels": np.zeros((4, 4, 4, 1), np.uint8)},
        {"cells.index": np.array([0, 1])},
        None,
    ],
)
def test_an_evaluation_file_that_does_not_fit_together_is_refused(tmp_path, change):
    arrays = {
        "labels": np.array([0, 1]),
        "probabilities": np.full((2, 2), 0.5, np.float32),
        "mistakes.index": np.array([1]),
        "mistakes.pixels": np.zeros((1, 4, 4, 1), np.uint8),
        "cells.index": np.array([0]),
        "cells.pixels": np.zeros((1, 4, 4, 1), np.uint8),
    }
    path = tmp_path / "evaluation.safetensors"
    run = RunFolder(tmp_path)
    run.write_arrays(path, arrays, {"classes": ["a", "b"], "loss": 0.5})
    assert load_evaluation(tmp_path).evaluation.n == 2
    if change is None:
        run.write_arrays(path, arrays, {"classes": 3})
    else:
        run.write_arrays(path, arrays | change, {"classes": ["a", "b"], "loss": 0.5})
    with pytest.raises(InputError, match="is not an evaluation"):
        load_evaluation(tmp_path)


def test_the_command_line_writes_the_report_again(tmp_path, pretend_run):
    from convlens.cli import app

    run, _ = pretend_run(tmp_path / "run")
    result = CliRunner().invoke(app, ["report", str(run.path), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout.splitlines()[-1]) == {"report": str(run.report)}
    assert run.report.exists()


def test_mistakes_carry_the_names_of_their_files(tmp_path, pretend_run):
    run, judged = pretend_run(tmp_path / "run", sharpness=2)
    names = np.array([f"test/{k}/<b>{i}.png" for i, k in enumerate(judged.labels)], object)
    images = Images(np.zeros((judged.n, 8, 8, 1), np.uint8), judged.labels, judged.classes, paths=names)
    save_evaluation(run.path, judged, images)
    assert load_evaluation(run.path).mistakes.paths == tuple(names[judged.mistakes(36)])
    page = _page(run)
    for i in judged.mistakes(36):
        assert f"<b>{i}.png" in page.text
        assert ("span", {"class": "file", "title": names[i]}) in page.tags


def test_what_was_left_out_of_the_data_is_counted_and_named(tmp_path, pretend_run):
    run, _ = pretend_run(tmp_path / "run")
    assert "left out" not in _page(run).text
    record = run.read_record()
    files = [[f"cat/{i}.heic", "HEIC cannot be read"] for i in range(20)]
    left_out = LeftOut(count=25, reasons={"HEIC cannot be read": 25}, files=files)
    run.write_record(record.model_copy(update={"data": record.data.model_copy(update={"left_out": left_out})}))
    text = _page(run).text
    assert "25 picture files were left out: HEIC cannot be read." in text
    assert "cat/19.heic: HEIC cannot be read" in text
    assert "and 5 more" in text


def test_pictures_that_were_turned_are_counted(tmp_path, pretend_run):
    run, _ = pretend_run(tmp_path / "run")
    assert "EXIF" not in _page(run).text
    record = run.read_record()
    run.write_record(record.model_copy(update={"data": record.data.model_copy(update={"turned": 1200})}))
    assert "1,200 pictures were turned as their EXIF tags say." in _page(run).text


def test_a_file_name_that_is_no_text_does_not_stop_the_report(tmp_path, pretend_run):
    run, judged = pretend_run(tmp_path / "run", sharpness=2)
    names = np.array(["a\udcff.png"] * judged.n, object)
    images = Images(np.zeros((judged.n, 8, 8, 1), np.uint8), judged.labels, judged.classes, paths=names)
    save_evaluation(run.path, judged, images)
    assert "a?.png" in _page(run).text
