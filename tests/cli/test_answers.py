"""`convlens evaluate` and `predict`: what they print, and the exit code where a part could not be done."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import convlens as cl


def picture(label: int, seed: int) -> Image.Image:
    noise = np.random.default_rng(1000 * label + seed).integers(0, 90, (12, 12), dtype=np.uint8)
    noise[4 * label : 4 * label + 4] += 120
    return Image.fromarray(noise)


def write(folder: Path, seeds: range) -> Path:
    for label, name in enumerate(("ant", "bee")):
        (folder / name).mkdir(parents=True)
        for seed in seeds:
            picture(label, seed).save(folder / name / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> cl.Run:
    folder = tmp_path_factory.mktemp("answers")
    return cl.train("mlp", write(folder / "pictures", range(20)), epochs=10, size=12, out=folder / "run", quiet=True)


@pytest.fixture
def new(tmp_path) -> Path:
    return write(tmp_path / "new", range(100, 104))


def test_evaluating_on_the_training_set_judges_the_rest_and_says_so(cli, run):
    same = run.path.parent / "pictures"
    shown = cli("evaluate", run.path, "--data", same)
    assert shown.code == 0
    assert "32 pictures of 40 left out: the run was trained on them" in shown.out
    said = cli("evaluate", run.path, "--data", same, "--json").json
    assert (said["n"], said["left_out_as_trained"]) == (8, 32)
    assert cli("evaluate", run.path, "--json").json["accuracy"] == said["accuracy"]


def test_evaluating_where_files_cannot_be_read_is_done_in_part(cli, run, new):
    (new / "ant" / "broken.png").write_bytes(b"no picture")
    shown = cli("evaluate", run.path, "--data", new)
    assert shown.code == 4
    assert "1 picture could not be judged, such as ant/broken.png" in shown.out
    said = cli("evaluate", run.path, "--data", new, "--json")
    assert said.code == 4
    assert said.json["n"] == 8
    assert [row["path"] for row in said.json["unreadable"]] == ["ant/broken.png"]


def test_the_object_of_evaluate_holds_the_matrix_and_the_pairs(cli, run, new):
    said = cli("evaluate", run.path, "--data", new, "--json").json
    assert np.sum(said["confusion"]) == said["n"] == 8
    assert sum(pair["n"] for pair in said["confused"]) == np.sum(said["confusion"]) - np.trace(said["confusion"])


@pytest.mark.parametrize("words", [("evaluate",), ("predict", "x.png")])
def test_a_folder_that_is_no_run_is_refused_in_one_line(cli, run, tmp_path, words):
    assert "there is no run folder" in cli(words[0], tmp_path / "none", *words[1:]).refused()
    (tmp_path / "empty").mkdir()
    assert "not a run folder" in cli(words[0], tmp_path / "empty", *words[1:]).refused()
    begun = shutil.copytree(run.path, tmp_path / "begun")
    (begun / "weights.safetensors").unlink()
    assert "no weights yet" in cli(words[0], begun, *words[1:]).refused()


def test_data_without_pictures_are_refused_in_one_line(cli, run, tmp_path):
    (tmp_path / "nothing").mkdir()
    assert "no images" in cli("evaluate", run.path, "--data", tmp_path / "nothing").refused()
    assert "no data set" in cli("evaluate", run.path, "--data", tmp_path / "none").refused()
