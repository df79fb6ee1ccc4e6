"""`convlens explain`, as a person types it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import convlens as cl
from convlens.data import find
from convlens.inspection.explain import METHODS, Attribution


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run on digits, and two of its pictures beside it."""
    folder = tmp_path_factory.mktemp("trained")
    cl.train("lenet5", data="digits", epochs=2, out=folder / "run", quiet=True)
    run = cl.load(folder / "run")
    test = find("digits").read(run.classifier().preprocess).parts["train"]
    for k in range(2):
        Image.fromarray(test.pixels[k][..., 0]).save(folder / f"digit {k}.png")
    return folder


def test_a_sheet_a_picture_and_the_figures_as_json(cli, trained):
    images = sorted(trained.glob("*.png"))
    done = cli("explain", trained / "run", *images, "--what", "saliency,lrp", "--json")
    assert done.code == 0, done.err
    found = done.json
    assert [Path(path).name for path in found["paths"]] == ["digit-0-why.png", "digit-1-why.png"]
    assert all(Path(path).parent == trained / "run" / "explain" for path in found["paths"])
    with Image.open(found["paths"][0]) as sheet:
        assert sheet.size[0] > 500
    first = found["pictures"][0]
    assert first["picture"].endswith("digit 0.png")
    assert set(first["maps"]) == {"saliency", "lrp"}
    row = first["maps"]["saliency"]
    assert 0 <= row["minimum"] < row["maximum"]
    assert -1 <= row["rank_correlation_random"] <= 1
    assert row["randomization_check"] in ("passed", "failed")
    assert first["maps"]["lrp"]["biases"] + first["maps"]["lrp"]["sum"] == pytest.approx(first["score"], rel=1e-4)


def test_the_terminal_shows_the_raw_range_and_the_check(cli, trained, tmp_path):
    done = cli("explain", trained / "run", trained / "digit 0.png", "--what", "all", "--out", "there", "--class", "3")
    assert done.code == 0, done.err
    assert (tmp_path / "there" / "digit-0-why.png").is_file()
    for word in ("saliency", "occlusion", "lrp", "minimum", "maximum", "passed", "there/digit-0-why.png"):
        assert word in done.out
    assert ": 3, score" in done.out


def test_methods_are_listed(cli, trained):
    listed = cli("explain", trained / "run", "--what", "list")
    assert all(name in listed.out for name in METHODS)
    methods = cli("explain", trained / "run", "--what", "list", "--json").json["methods"]
    assert [m["name"] for m in methods][:3] == ["saliency", "integrated-gradients", "grad-cam"]
    assert {m["name"] for m in methods} == set(METHODS)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["--what", "saliencey"], "unknown, did you mean 'saliency'?"),
        (["--class", "11"], "there is no class '11'"),
        (["--against", "zero"], "there is no class 'zero'"),
        (["--what", "grad-cam", "--layer", "features.c9"], "no module 'features.c9', did you mean 'features.c"),
        (["missing.png"], "missing.png"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(cli, trained, more, why):
    assert why in cli("explain", trained / "run", trained / "digit 0.png", *more).refused()


def test_attributions_need_a_picture(cli, trained):
    assert "name at least one image file" in cli("explain", trained / "run", "--what", "saliency").refused()


def test_python_gives_the_numbers_and_writes_nothing_unless_asked(trained):
    before = sorted(trained.rglob("*"))
    run = cl.load(trained / "run")
    found = run.explain(trained / "digit 0.png", what=["saliency", "occlusion"], target="4", quiet=True)
    saliency = found["saliency"]
    assert isinstance(saliency, Attribution)
    assert saliency.maps.shape == (1, *run.classifier().preprocess.size)
    assert list(found) == ["saliency", "occlusion"]
    assert list(found.draw()) == ["digit-0-why"]
    assert sorted(trained.rglob("*")) == before
    json.dumps(found.to_dict())


def test_arrays_are_explained_like_files(trained):
    run = cl.load(trained / "run")
    pixels = np.asarray(Image.open(trained / "digit 1.png"))
    one = run.explain(pixels, what="saliency", quiet=True)["saliency"]
    two = run.explain(trained / "digit 1.png", what="saliency", quiet=True)["saliency"]
    assert np.array_equal(one.arrays["maps"], two.arrays["maps"])


def test_what_channels_look_for_is_drawn_and_told_as_json(cli, trained, tmp_path):
    methods = [m.name for m in METHODS.values() if m.group == "features"]
    assert len(methods) == 7
    words = (
        "--what",
        ",".join(methods),
        "--layer",
        "features.c3",
        "--channel",
        1,
        "--count",
        60,
        "--out",
        "there",
        "-q",
    )
    done = cli("explain", trained / "run", trained / "digit 0.png", *words, "--json")
    assert done.code == 0, done.err
    assert {Path(path).name for path in done.json["paths"]} == {
        "digit-0-features.png", "kernels-features.c3.png", "patches-features.c3.png", "digit-0-deconvnet.png",
        "maximise-features.c3.png", "embedding.png", "digit-0-receptive-field.png",
    }  # fmt: skip
    for path in done.json["paths"]:
        with Image.open(path) as sheet:
            assert np.asarray(sheet.convert("L")).min() < 128
    assert list(done.json["patches"]["channels"]) == ["1"]
    assert done.json["embedding"]["n"] == 60
    assert "--channel 16" in cli("explain", trained / "run", "--what", "patches", "--channel", 16, "-q").refused()
    assert "name at least one image" in cli("explain", trained / "run", "--what", "features", "-q").refused()


def test_a_network_of_the_registry_is_looked_into_with_random_weights_and_that_is_said(cli, trained, tmp_path):
    done = cli("explain", "resnet20_cifar", trained / "digit 0.png", "--what", "features,saliency", "--json", "-q")
    assert done.code == 0, done.err
    assert "its weights are random (seed 0)" in done.err
    assert (tmp_path / "explain" / "digit-0-features.png").is_file()
    assert done.json["features"]["shape"] == [64, 8, 8]
    assert "name a data set by --data" in cli("explain", "lenet5", "--what", "patches").refused()
    assert cli("explain", "lenet5", "--what", "patches", "--data", "digits", "-q", "--json").json["patches"]["searched"]
    assert "nowhere" in cli("explain", "nowhere", trained / "digit 0.png").refused()
