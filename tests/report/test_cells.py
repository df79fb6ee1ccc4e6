"""The cells of the confusion matrix open the images that they count."""

import re

import numpy as np
import pytest

from convlens.classify.evaluation import from_logits
from convlens.data.images import Images
from convlens.report import load_evaluation, save_evaluation, write
from convlens.report.cells import chosen


def _judged(n=600, classes=4, sharpness=1.5, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) * 2
    logits[np.arange(n), labels] += sharpness
    return from_logits(logits, labels, tuple(f"c{k}" for k in range(classes)))


def test_every_cell_that_has_images_shows_its_own_the_surest_mistakes_and_the_least_sure_right_ones():
    judged = _judged()
    index = chosen(judged, 64)
    assert len(set(index.tolist())) == len(index)
    for i in range(4):
        for j in range(4):
            members = np.flatnonzero((judged.labels == i) & (judged.predicted == j))
            shown = [k for k in index if judged.labels[k] == i and judged.predicted[k] == j]
            sure = judged.probabilities[members, j]
            expected = members[np.argsort(sure if i == j else -sure, kind="stable")][:12]
            assert shown == expected.tolist()
            assert shown or not len(members)


@pytest.mark.parametrize(("classes", "n"), [(30, 20_000), (100, 5000), (2, 10)])
def test_all_cells_together_keep_few_pictures(classes, n):
    judged = _judged(n, classes, 0.5)
    index = chosen(judged, 64)
    assert 0 < len(index) <= 400
    if classes == 100:
        cells = {(int(judged.labels[k]), int(judged.predicted[k])) for k in index}
        assert cells == {(i, j) for i, j, _ in judged.confused(12)}


def test_each_button_opens_a_panel_that_can_be_closed_and_holds_the_pictures_of_its_cell(tmp_path, pretend_run):
    run, judged = pretend_run(tmp_path / "run", sharpness=2)
    page = write(run.path).read_text("utf-8")
    buttons = re.findall(r'<td class="(?:hit|miss)[^>]*><button type="button" popovertarget="([\w-]+)"', page)
    panels = re.findall(r'<div class="cell" id="([\w-]+)" popover>(.*?)</div>\n  </div>', page, re.S)
    assert len(buttons) == np.count_nonzero(judged.confusion)
    assert set(buttons) == {name for name, _ in panels}
    assert len(panels) == len(set(buttons))
    kept = load_evaluation(run.path).cells.index
    for name, content in panels:
        _, i, j = name.split("-")
        count = judged.confusion[int(i), int(j)]
        assert content.count("<img") == ((judged.labels[kept] == int(i)) & (judged.predicted[kept] == int(j))).sum()
        assert f'popovertarget="{name}" popovertargetaction="hide">Close</button>' in content
        assert f"{count:,} image" in content


def test_pictures_in_cells_are_small_and_carry_the_names_of_their_files(tmp_path, pretend_run):
    run, judged = pretend_run(tmp_path / "run", sharpness=2)
    names = np.array([f"test/{i}.png" for i in range(judged.n)], object)
    save_evaluation(run.path, judged, Images(np.zeros((judged.n, 200, 100, 3), np.uint8), judged.labels, judged.classes,
                                             paths=names))  # fmt: skip
    cells = load_evaluation(run.path).cells
    assert cells.pixels.shape[1:] == (64, 32, 3)
    assert cells.paths == tuple(names[cells.index])
    page = write(run.path).read_text("utf-8")
    assert all(f'title="{name}"' in page for name in cells.names)


def test_the_page_stays_under_5_mb_with_thirty_classes_of_large_pictures_of_noise(tmp_path, pretend_run):
    classes = tuple(f"a class with a long name {k}" for k in range(30))
    run, judged = pretend_run(
        tmp_path / "run", classes, n=3000, size=(160, 160), channels=3, sharpness=1, finished=False
    )
    noise = np.random.default_rng(0).integers(0, 256, (500, 160, 160, 3), dtype=np.uint8)
    pixels = np.concatenate([noise] * 6)
    save_evaluation(run.path, judged, Images(pixels, judged.labels, classes))
    assert write(run.path).stat().st_size < 5_000_000
