"""`convlens trace` on a small LeNet, as a user would type it."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import convlens as cl
from convlens import data


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("traced")
    cl.train("lenet5", "digits", epochs=1, quiet=True, tensorboard=False, out=folder / "run")
    seven = data.find("digits").read(data.Preprocess((8, 8), 1)).parts["train"].pixels[7]
    Image.fromarray(seven[..., 0]).save(folder / "seven.png")
    return folder


def digest(folder: Path) -> dict[str, str]:
    return {str(f): hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_a_number_is_shown_with_its_terms_and_the_run_stays_as_it_is(cli, run):
    before = digest(run)
    told = cli(
        "trace", run / "run", "--image", run / "seven.png", "--layer", "features.c3", "--at", "2,3,4", "--json"
    ).json
    assert (told["node"], told["op"], told["cell"]) == ("features.c3", "conv2d", [2, 3, 4])
    assert len(told["terms"]) == 6 * 25
    assert told["bias"] + sum(row["product"] for row in told["terms"]) == pytest.approx(told["value"], abs=1e-4)
    assert sum(row["sum"] for row in told["partial_sums"]) + told["bias"] == pytest.approx(told["recomputed"])
    assert told["receptive_field"]["box"] == [[4, 17], [6, 19]]  # 14 pixels wide, 2 apart
    shown = cli("trace", run / "run", "--image", run / "seven.png", "--layer", "features.c3", "--at", "2,3,4").out
    assert "features.c3[2, 3, 4]" in shown
    assert f"{told['value']:.9g}" in shown
    assert digest(run) == before


def test_the_way_to_the_pixels_is_told_and_drawn_one_picture_a_level(cli, run, tmp_path):
    told = cli("trace", run / "run", "--image", run / "seven.png", "--to-pixels", "--out", "pictures", "--json").json
    levels = told["to_pixels"]["levels"]
    assert [level["op"] for level in levels][-2:] == ["input", "pixels"]
    for level in levels:
        assert level["shares"] + level["waiting"] + level["biases"] == pytest.approx(told["exact"], abs=1e-6)
    assert np.sum(told["to_pixels"]["pixels"]) + told["to_pixels"]["bias"] == pytest.approx(told["exact"], abs=1e-6)
    assert len(told["pictures"]) == 1 + len(levels)
    for path in told["pictures"]:
        with Image.open(tmp_path / path) as picture:
            assert min(picture.size) > 100
            assert np.asarray(picture.convert("L")).min() < 128  # something is drawn
    assert "down to the pixels" in cli("trace", run / "run", "--image", run / "seven.png", "--to-pixels").out


def test_the_gradient_of_a_weight_is_taken_apart(cli, run):
    asked = (
        "trace",
        run / "run",
        "--image",
        run / "seven.png",
        "--backward",
        "--layer",
        "classifier.f6",
        "--class",
        "3",
    )
    told = cli(*asked, "--json").json
    assert (told["parameter"], told["class_name"]) == ("classifier.f6.weight", "3")
    assert sum(row["product"] for row in told["terms"]) == pytest.approx(told["value"], rel=1e-4, abs=1e-7)
    assert "dL / d classifier.f6.weight" in cli(*asked).out


def test_a_network_of_the_registry_is_traced_with_random_weights_and_that_is_said(cli, run):
    told = cli("trace", "resnet20_cifar", "--image", run / "seven.png", "--layer", "layer1.0", "--json")
    assert "its weights are random (seed 0)" in told.err
    assert told.json["difference"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--layer", "features.c9"], "no layer 'features.c9'"),
        (["--layer", "features.c1", "--at", "9,9,99"], "out of range"),
        (["--at", "1,x"], "expected numbers from 0"),
        (["--class", "3"], "--class goes with --backward"),
        (["--backward", "--class", "ten"], "there is no class 'ten'"),
        (["--backward", "--to-pixels"], "neither --to-pixels nor --out"),
        (["--out", "seven.png/x"], "seven.png"),
        (["--input", "1x28x28"], "leave it out"),
    ],
)
def test_what_cannot_be_traced_is_refused_in_one_line(cli, run, tmp_path, words, said):
    (tmp_path / "seven.png").write_bytes((run / "seven.png").read_bytes())
    assert said in cli("trace", run / "run", "--image", "seven.png", *words).refused()


def test_pictures_and_runs_that_are_not_there_are_refused(cli, run, tmp_path):
    assert "nine.png" in cli("trace", run / "run", "--image", "nine.png").refused()
    (tmp_path / "text.png").write_text("no picture")
    assert "text.png" in cli("trace", run / "run", "--image", "text.png").refused()
    assert "nowhere" in cli("trace", "nowhere", "--image", run / "seven.png").refused()
