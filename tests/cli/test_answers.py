"""`convlens evaluate` and `predict`: what they print, and the exit code where a part could not be done."""

import io
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import convlens as cl
from convlens.base.errors import InputError
from convlens.classify.calibration import calibration
from typed import present


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
    own = cli("evaluate", run.path, "--json").json
    assert own["accuracy"] == said["accuracy"]
    found = present(calibration(run.evaluate()))
    assert own["calibration"]["error"] == found.error
    assert own["calibration"]["temperature"] == found.temperature
    assert f"calibration error {100 * found.error:.2f} %" in cli("evaluate", run.path).out


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


def test_predicting_files_prints_one_line_each(cli, run, new):
    shown = cli("predict", run.path, new / "bee", new / "ant" / "100.png")
    assert shown.code == 0
    assert shown.err == ""
    lines = shown.out.splitlines()
    assert [line.split()[0] for line in lines] == ["bee"] * 4 + ["ant"]
    assert str(new / "ant" / "100.png") in lines[-1]


def test_where_some_files_fail_the_others_are_predicted_and_the_last_line_counts(cli, run, new):
    (new / "ant" / "broken.png").write_bytes(b"no picture")
    (new / "ant" / "phone.heic").write_bytes(b"no picture")
    (new / "ant" / ".hidden.png").write_bytes(b"no picture")
    (new / "empty").mkdir()
    given = (new / "ant", new / "none.png", new / "empty")
    shown = cli("predict", run.path, *given)
    assert shown.code == 4
    assert len(shown.out.splitlines()) == 4
    errors = shown.err.splitlines()
    assert errors[-1] == "4 of 8 files could not be read"
    for name in ("broken.png", "phone.heic", "none.png", "in the folder"):
        assert sum(line.startswith("error: ") and name in line for line in errors) == 1
    said = cli("predict", run.path, *given, "--json")
    assert said.code == 4
    assert said.json["failed"] == 4
    assert sum("error" in row for row in said.json["predictions"]) == 4
    assert [row["label"] for row in said.json["predictions"] if "label" in row] == ["ant"] * 4


def test_where_no_file_can_be_read_the_command_fails_in_one_line(cli, run, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "empty").mkdir()
    for given in (["broken.png"], ["none.png"], ["empty"], ["broken.png", "none.png"]):
        for form in ([], ["--json"]):
            said = cli("predict", run.path, *given, *form)
            assert given[0] in said.refused()
            assert said.out == ""
    assert "(and 1 more)" in cli("predict", run.path, "broken.png", "none.png").refused()


def test_a_picture_from_stdin_is_predicted(cli, run, new, monkeypatch):
    with (new / "bee" / "100.png").open("rb") as file:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(file.read())))
    assert cli("predict", run.path, "-", "--json").json["predictions"][0]["label"] == "bee"


def test_in_python_an_answer_comes_for_each_picture_and_guesses_are_said(run, new, capsys):
    pixels = np.stack([np.asarray(picture(label, 100)) for label in (0, 1, 1)])
    assert [answer.label for answer in run.predict(pixels[..., None])] == ["ant", "bee", "bee"]
    assert [answer.label for answer in run.predict(one for one in pixels)] == ["ant", "bee", "bee"]
    assert run.predict(pixels[1][None]).label == "bee"
    assert run.predict((new / "ant" / "100.png").read_bytes()).label == "ant"
    assert run.predict([]) == []
    assert capsys.readouterr().err == ""
    assert [a.label for a in run.predict(np.stack([pixels] * 3, axis=1))] == ["ant", "bee", "bee"]
    assert "is taken as [N, C, H, W]" in capsys.readouterr().err
    for nothing in (new / "none.png", b"no picture", 0):
        with pytest.raises(InputError):
            run.predict(nothing)
    with pytest.raises(InputError, match="top"):
        run.predict(pixels[0], top=0)


def test_answers_of_a_generator_come_while_it_goes_on(run):
    def endless():
        while True:
            yield np.asarray(picture(1, 0))

    answers = run.stream(endless())
    assert [next(answers).label for _ in range(300)] == ["bee"] * 300


def test_a_run_that_is_not_finished_says_how_far_it_is(cli, run, tmp_path, new):
    begun = shutil.copytree(run.path, tmp_path / "begun")
    record = json.loads((begun / "run.json").read_text())
    (begun / "run.json").write_text(json.dumps(record | {"results": None, "weights_sha256": None}))
    lines = (begun / "metrics.jsonl").read_text().splitlines(keepends=True)
    (begun / "metrics.jsonl").write_text("".join(lines[:4]))
    for words in (("predict", begun, new / "ant" / "100.png"), ("evaluate", begun)):
        done = cli(*words)
        assert done.code == 0
        assert "is not finished: 4 of 10 epochs are done" in done.err
        assert done.err.count("not finished") == 1
        assert "not finished" not in cli(words[0], run.path, *words[2:]).err
    (begun / "metrics.jsonl").write_text("damaged")
    assert "0 of 10 epochs" in cli("evaluate", begun, "--json").err


def test_what_pillow_remarks_about_a_damaged_picture_is_no_line_of_ours(cli, run, tmp_path):
    whole = io.BytesIO()
    picture(1, 5).save(whole, "TIFF", compression="tiff_lzw")
    (tmp_path / "cut.tif").write_bytes(whole.getvalue()[:-30])
    with pytest.warns(UserWarning, match="Corrupt EXIF"), Image.open(tmp_path / "cut.tif"):
        pass
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        cli("predict", run.path, "cut.tif")
    assert seen == []
