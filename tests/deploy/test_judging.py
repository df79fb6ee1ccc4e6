"""A run is judged on pictures that it has not seen, of classes that it knows, and says what does not count."""

import shutil
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import convlens as cl
from convlens.base.errors import InputError
from convlens.data import Images
from convlens.data.layout.known import match_names
from convlens.runs import RunFolder, pack

CLASSES = ("ant", "bee", "caf\u00e9", "Dog")
PER_CLASS = 20


def picture(label: int, seed: int) -> np.ndarray:
    """uint8 [12, 12]: a bright stripe whose place says the class, and noise."""
    noise = np.random.default_rng(1000 * label + seed).integers(0, 90, (12, 12), dtype=np.uint8)
    noise[3 * label : 3 * label + 3] += 120
    return noise


def write(folder: Path, classes=CLASSES, seeds=range(PER_CLASS), names=None) -> Path:
    for name in classes:
        inside = folder / (names or {}).get(name, name)
        inside.mkdir(parents=True)
        for seed in seeds:
            Image.fromarray(picture(CLASSES.index(name), seed)).save(inside / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="module")
def run(photos) -> cl.Run:
    return cl.train("mlp", photos, epochs=15, size=12, out=photos.parent / "run", quiet=True)


NEW = range(100, 106)  # seeds of pictures that no run has seen


def copied(photos: Path, to: Path) -> Path:
    return shutil.copytree(photos, to)


def renamed(photos: Path, to: Path) -> Path:
    for number, path in enumerate(sorted(photos.rglob("*.png"))):
        (to / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to / path.parent.name / f"{97 * number % 1000}.png")
    return to


def zipped(photos: Path, to: Path) -> Path:
    with zipfile.ZipFile(to.with_suffix(".zip"), "w") as archive:
        for path in photos.rglob("*.png"):
            archive.write(path, f"top/{path.parent.name}/x{path.name}")
    return to.with_suffix(".zip")


def recompressed(photos: Path, to: Path) -> Path:
    for path in photos.rglob("*.png"):
        (to / path.parent.name).mkdir(parents=True, exist_ok=True)
        Image.open(path).save(to / path.parent.name / f"{path.stem}.bmp")
    return to


def as_arrays(photos: Path, to: Path) -> tuple:
    paths = sorted(photos.rglob("*.png"))
    return np.stack([np.asarray(Image.open(path)) for path in paths]), [path.parent.name for path in paths]


@pytest.mark.parametrize("again", [copied, renamed, zipped, recompressed, as_arrays])
def test_pictures_that_the_run_was_trained_on_do_not_count(run, photos, tmp_path, again):
    own, judged = run.evaluate(), run.evaluate(again(photos, tmp_path / "again"))
    assert judged.n == own.n == run.record.data.counts["test"]
    assert judged.accuracy == own.accuracy
    assert judged.scope.trained == run.record.data.counts["train"] + run.record.data.counts["val"]
    assert any("64 pictures of 80 left out" in note for note in judged.scope.notes)


def test_new_pictures_all_count(run, tmp_path):
    judged = run.evaluate(write(tmp_path / "new", seeds=NEW))
    assert judged.n == 4 * len(NEW)
    assert judged.scope.trained == 0
    assert judged.scope.notes == ()
    assert judged.accuracy > 0.9


def test_only_pictures_of_training_are_an_error_that_says_what_to_give(run, photos):
    pixels, labels = as_arrays(photos, photos)
    trained = [k for k in range(80) if _is_trained(run, pixels[k], labels[k])]
    assert len(trained) == 64
    with pytest.raises(InputError, match=r"trained on all 64 pictures.*not seen.*leave --data away") as refused:
        run.evaluate((pixels[trained], [labels[k] for k in trained]))
    assert "\n" not in str(refused.value)


def _is_trained(run, pixels, label) -> bool:
    try:
        return run.evaluate((pixels[None], [label])).scope.trained == 1
    except InputError:
        return True


def test_a_run_without_fingerprints_says_that_it_cannot_tell(run, photos, tmp_path):
    older = cl.load(shutil.copytree(run.path, tmp_path / "older"))
    (older.path / "trained.safetensors").unlink()
    judged = older.evaluate(photos)
    assert judged.n == 80
    assert judged.scope.trained is None
    assert "not known" in judged.scope.notes[0]


@pytest.mark.parametrize(
    "content",
    [b"", b"x" * 100, pack({"other": np.zeros(3)}, {}), pack({"fingerprints": np.zeros((2, 2), np.uint64)}, {}),
     pack({"fingerprints": np.zeros(3, np.float32)}, {})],
)  # fmt: skip
def test_damaged_fingerprints_are_named(run, photos, tmp_path, content):
    damaged = cl.load(shutil.copytree(run.path, tmp_path / "damaged"))
    (damaged.path / "trained.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"trained\.safetensors"):
        damaged.evaluate(photos)


def test_a_resumed_old_run_gets_its_fingerprints(tmp_path, photos):
    first = cl.train("mlp", photos, epochs=1, size=12, out=tmp_path / "run", quiet=True)
    kept = (first.path / "trained.safetensors").read_bytes()
    (first.path / "trained.safetensors").unlink()
    (first.path / "report.html").unlink()
    cl.train(out=first.path, resume=True, quiet=True)
    assert (first.path / "trained.safetensors").read_bytes() == kept


def test_fewer_classes_are_judged_and_the_absent_ones_named(run, tmp_path):
    judged = run.evaluate(write(tmp_path / "fewer", CLASSES[:2], NEW))
    assert judged.scope.absent == CLASSES[2:]
    assert "2 of the run's 4 classes" in judged.scope.notes[0]
    assert "caf\u00e9, Dog" in judged.scope.notes[0]
    assert judged.accuracy > 0.9
    assert [row["n"] for row in judged.per_class] == [6, 6, 0, 0]


@pytest.mark.parametrize(
    "names",
    [
        {"ant": "ANT", "bee": "Bee", "Dog": "dog"},
        {"caf\u00e9": unicodedata.normalize("NFD", "caf\u00e9")},
        {"ant": " ant"},
    ],
)
def test_names_in_another_case_or_form_are_the_same_classes(run, tmp_path, names):
    pixels = np.stack([picture(k, seed) for k in range(4) for seed in NEW])
    labels = [names.get(name, name) for name in CLASSES for _ in NEW]
    expected = run.evaluate((pixels, [name for name in CLASSES for _ in NEW]))
    judged = run.evaluate((pixels, labels))
    np.testing.assert_array_equal(judged.labels, np.repeat(np.arange(4), 6))
    np.testing.assert_allclose(judged.probabilities, expected.probabilities)


def test_an_order_of_its_own_changes_nothing(run):
    pixels = np.stack([picture(k, 100) for k in range(4)])
    images = Images(pixels[::-1, ..., None], np.arange(4), CLASSES[::-1])
    judged = run.evaluate(images)
    assert judged.classes == CLASSES
    assert judged.labels.tolist() == [3, 2, 1, 0]
    assert judged.accuracy > 0.7


def test_pictures_of_a_class_that_the_run_does_not_know_are_left_out_and_named(run, tmp_path):
    data = write(tmp_path / "more", seeds=NEW)
    shutil.copytree(data / "ant", data / "wasp")
    judged = run.evaluate(data)
    assert judged.n == 24
    assert judged.scope.other_classes == {"wasp": 6}
    assert "6 pictures left out" in judged.scope.notes[0]
    assert "wasp" in judged.scope.notes[0]


def test_every_class_that_differs_is_named_not_only_the_first(run):
    names = [f"new{k}" for k in range(60)]
    pixels = np.stack([picture(k % 4, 100 + k) for k in range(61)])
    judged = run.evaluate((pixels, [*names, "ant"]))
    assert all(name in judged.scope.notes[0] for name in names)


@pytest.mark.parametrize(
    ("labels", "said"),
    [(["x", "y", "z", "z"], "none of the run's classes, but x, y, z; .*ant, bee, caf\u00e9, Dog.*rename"),
     ([0, 1, 2, 3], "give the labels as these names")],
)  # fmt: skip
def test_names_of_which_none_fits_are_an_error_that_lists_both(run, labels, said):
    with pytest.raises(InputError, match=said) as refused:
        run.evaluate((np.stack([picture(k, 100) for k in range(4)]), labels))
    assert "\n" not in str(refused.value)


def test_names_that_could_mean_two_classes_are_left_unmatched():
    assert match_names(["A", "b", "C"], ["a", "A", "B", "c"]).tolist() == [1, 2, 3]
    assert match_names(["X", "x "], ["x"]).tolist() == [-1, -1]
    assert match_names(["x", "X"], ["x"]).tolist() == [0, -1]
    assert match_names(["ab"], ["AB", "Ab"]).tolist() == [-1]


def test_data_that_moved_are_asked_for_by_option(tmp_path, photos):
    moving = shutil.copytree(photos, tmp_path / "here")
    run = cl.train("mlp", moving, epochs=1, size=12, out=tmp_path / "run", quiet=True)
    own = run.evaluate()
    moving.rename(tmp_path / "there")
    with pytest.raises(InputError, match=r"no longer at .*here.*--data"):
        run.evaluate()
    assert run.evaluate(tmp_path / "there").accuracy == own.accuracy


def test_files_that_cannot_be_read_are_counted_and_named(run, tmp_path):
    data = write(tmp_path / "some", seeds=NEW)
    (data / "ant" / "broken.png").write_bytes(b"no picture")
    judged = run.evaluate(data)
    assert judged.n == 24
    assert [path for path, _ in judged.scope.unreadable] == ["ant/broken.png"]
    assert "1 picture could not be judged, such as ant/broken.png" in judged.scope.notes[0]


def test_weights_that_are_finite_but_give_no_finite_output_are_refused(run, photos, tmp_path):
    folder = RunFolder(shutil.copytree(run.path, tmp_path / "run"))
    arrays, _ = folder.read_weights()
    folder.weights.write_bytes(pack({name: np.full_like(a, 3e38) for name, a in arrays.items()}, {}))
    folder.write_record(folder.read_record().model_copy(update={"weights_sha256": None}))
    for use in (lambda run: run.evaluate(), lambda run: run.predict(np.full((12, 12), 200, np.uint8))):
        with pytest.raises(InputError, match="not finite") as refused:
            use(cl.load(folder.path))
        assert "\n" not in str(refused.value)


def test_a_folder_that_could_not_be_trained_on_can_be_judged(run, tmp_path):
    one = write(tmp_path / "one", ["bee"], NEW)
    parts = tmp_path / "parts"
    write(parts / "train", CLASSES[:2], NEW)
    write(parts / "test", ["bee", "Dog"], NEW)
    for place, n, classes in (
        (one, 6, {"bee"}),
        (one / "bee", 6, {"bee"}),
        (parts, 12, {"bee", "Dog"}),
        (write(tmp_path / "alone" / "test", ["ant"], NEW).parent, 6, {"ant"}),
        (write(tmp_path / "deep" / "a" / "b", ["Dog"], NEW, {"Dog": "DOG"}).parent.parent, 6, {"Dog"}),
    ):
        judged = run.evaluate(place)
        assert judged.n == n
        assert {CLASSES[k] for k in judged.labels} == classes
        assert set(judged.scope.absent) == set(CLASSES) - classes
        assert judged.accuracy > 0.7


def test_a_class_of_which_nothing_can_be_read_is_counted_and_nothing_at_all_is_an_error(run, tmp_path):
    data = write(tmp_path / "some", seeds=NEW)
    for path in (data / "ant").iterdir():
        path.write_bytes(b"no picture")
    judged = run.evaluate(data)
    assert len(judged.scope.unreadable) == 6
    assert judged.scope.absent == ("ant",)
    for path in data.rglob("*.png"):
        path.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"no picture that the run can be judged on.*\.png") as refused:
        run.evaluate(data)
    assert "\n" not in str(refused.value)


def test_a_folder_without_any_name_that_the_run_knows_is_an_error(run, tmp_path):
    with pytest.raises(InputError, match="only one class"):
        run.evaluate(write(tmp_path / "other", ["ant"], NEW, {"ant": "zebra"}))
