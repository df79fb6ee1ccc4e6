"""The sliding window: every number of every frame, as SciPy and PyTorch give it."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.signal import convolve2d, correlate2d
from torch.nn import functional as F

from convlens import studies
from convlens.base.errors import InputError
from convlens.studies.convolution import gallery, paths, plain, share_seen
from convlens.studies.moving.film import film
from convlens.studies.moving.scene import number, shown_values, sliding


@pytest.fixture(scope="module")
def scenes():
    return {scene.key: scene for scene, _ in gallery()}


def test_correlation_and_true_convolution_are_those_of_scipy(scenes):
    x, w = scenes["correlation"].grids["input0"].values, scenes["correlation"].grids["kernel0"].values
    assert np.array_equal(scenes["correlation"].output("output0"), correlate2d(x, w, "valid"))
    assert np.array_equal(scenes["true-convolution"].output("output0"), convolve2d(x, w, "valid"))


def test_the_texts_numbers_appear(scenes):
    assert scenes["correlation"].output("output0").ravel()[:4].tolist() == [7, 10, 3, -1]
    assert scenes["channels"].output("output0")[0, :2].tolist() == [-5, 50]
    assert scenes["stride"].output("output0")[0].tolist() == [7, 3]
    assert scenes["padding"].output("output0")[0].tolist() == [1, 0, -3, -7, 1]
    assert scenes["uneven-padding"].output("output0").shape == (5, 7)
    assert scenes["dilation-2"].output("output0").tolist() == [
        [-173, -178, -183],
        [-208, -213, -218],
        [-243, -248, -253],
    ]
    assert scenes["transposed"].output("output0")[4].tolist() == [819, -936, 1942, -1016, 1143]
    assert scenes["matrix"].output("output").ravel().tolist() == [-56, -61, -76, -81]
    assert scenes["matrix-transposed"].output("output").reshape(4, 4)[3].tolist() == [532, -41, 36, 729]


def test_each_frame_shows_patch_products_sum_and_cell(scenes):
    scene = scenes["channels"]
    frame = scene.frames[1]
    x = np.stack([scene.grids[f"input{c}"].values for c in range(3)])
    w = np.stack([frame.values[f"kernel{c}"] for c in range(3)])
    products = np.stack([frame.values[f"products{c}"] for c in range(3)])
    assert np.array_equal(products, x[:, 0:3, 1:4] * w)
    assert frame.on["input2"] == [(r, c) for r in range(3) for c in range(1, 4)]
    assert frame.value == products.sum() == 50
    assert frame.sum == "channels: 10 + 20 + 20 = 50"
    assert scenes["correlation"].frames[0].sum == "−1 − 1 + 0 − 1 + 2 + 6 + 0 − 2 + 4 = 7"


@pytest.mark.parametrize("seed", range(6))
def test_a_scene_of_any_setting_is_pytorchs_convolution(seed):
    rng = np.random.default_rng(seed)
    channels, kernels, bias = int(rng.integers(1, 4)), int(rng.integers(1, 3)), float(rng.integers(-2, 3))
    stride, dilation = (int(rng.integers(1, 4)), int(rng.integers(1, 3))), (int(rng.integers(1, 3)), 1)
    top, bottom, left, right = (int(n) for n in rng.integers(0, 3, 4))
    x, w = rng.standard_normal((channels, 8, 7)), rng.standard_normal((kernels, channels, 3, 2))
    scene = sliding(
        "s", "s", "", x, w, bias=bias, stride=stride, padding=((top, bottom), (left, right)), dilation=dilation
    )
    padded = F.pad(torch.tensor(x)[None], (left, right, top, bottom))
    real = F.conv2d(padded, torch.tensor(w), torch.full((kernels,), bias).double(), stride, 0, dilation)[0].numpy()
    np.testing.assert_allclose([scene.output(key) for key in scene.groups[-1]], real, atol=1e-12)


def test_cells_that_are_not_found_yet_are_empty(scenes):
    states = list(shown_values(scenes["correlation"]))
    assert [int(np.isfinite(state["output0"]).sum()) for state in states] == list(range(1, 10))


def test_dilation_two_three_times_sees_a_grid_and_one_two_three_sees_all():
    seen = torch.zeros(1, 1, 13, 13, dtype=torch.float64, requires_grad=True)
    y, ones = seen, torch.ones(1, 1, 3, 3, dtype=torch.float64)
    for _ in range(3):
        y = F.conv2d(y, ones, dilation=2)
    y.sum().backward()
    assert seen.grad is not None
    assert np.array_equal(paths((2, 2, 2)), seen.grad[0, 0].numpy())
    assert share_seen((2, 2, 2)) == ("13×13", 49, 49 / 169)
    assert share_seen((1, 2, 3)) == ("13×13", 169, 1.0)


def test_the_film_has_a_frame_for_each_cell_and_moves(scenes, tmp_path):
    path = tmp_path / "film.webp"
    path.write_bytes(film(scenes["stride"]))
    with Image.open(path) as moving:
        assert moving.n_frames == 4  # type: ignore[attr-defined]
        first = np.asarray(moving.convert("RGB"))
        moving.seek(3)
        assert not np.array_equal(first, np.asarray(moving.convert("RGB")))


def test_the_study_holds_and_its_page_of_steps_is_complete(do):
    done = do("convolution")
    assert done.record.verdict == "holds"
    assert done.figure("cells") == sum(len(scene.frames) for scene, _ in gallery())
    page = (done.folder / "steps.html").read_text("utf-8")
    assert not re.search(r"(src|href)\s*=|url\(|https?:|import ", page)
    stored = json.loads(re.search(r'<script type="application/json" id="scenes">(.*?)</script>', page, re.S)[1])  # type: ignore[index]
    assert [scene["title"] for scene in stored] == done.record.setting["scenes"]
    assert stored[0]["frames"][0]["sum"].endswith("= 7")
    assert (
        done.page.count("prefers-reduced-motion") == len(list(done.folder.glob("*.webp"))) - 1
    )  # dilation 3: one frame


def test_an_input_kernel_and_setting_of_ones_own(do, tmp_path):
    (tmp_path / "rows.csv").write_text("1,2,3\n4,5,6\n7,8,9\n")
    settings = [f"input={tmp_path / 'rows.csv'}", "kernel=1 0; 0 -1", "padding=[1, 0]", "bias=2", "mode=convolution"]
    done = do("convolution", settings=settings)
    assert [one.verdict for one in done.record.claims] == ["holds", "not run", "not run", "not run"]
    assert done.figure("cells") == 8
    assert sorted(path.name for path in done.folder.glob("*.webp")) == ["own.webp"]
    assert "--set 'kernel=1 0; 0 -1'" in done.page.replace("&#39;", "'")


def test_a_picture_is_made_small_and_the_page_says_so(do, tmp_path):
    Image.new("RGB", (40, 20), (200, 10, 10)).save(tmp_path / "photo.png")
    done = do("convolution", settings=[f"input={tmp_path / 'photo.png'}", "kernel=sharpen", "size=6"])
    assert done.figure("cells") == 1 * 4
    assert "reduced to 6×3" in done.record.notes[0]


@pytest.mark.parametrize("mode", ["transposed", "matrix"])
def test_the_other_modes_take_ones_own_numbers(do, mode):
    done = do("convolution", settings=[f"mode={mode}", "input=1 2 3; 4 5 6; 7 8 9", "kernel=1 2; 3 4"])
    assert done.figure("cells") == {"transposed": 16, "matrix": 4}[mode]
    assert done.record.claims[0].verdict == "holds"


def test_a_row_of_a_matrix_without_any_weight_is_nothing_to_add(do):
    done = do("convolution", settings=["mode=matrix", "input=1 2 3; 4 5 6; 7 8 9", "kernel=0 0; 0 0"])
    assert done.record.claims[0].verdict == "holds"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["kernel=sharpn"], "did you mean 'sharpen'"),
        (["input=1 2; 3"], "expected rows of equal length"),
        (["input=gone.png"], "nor a file that is here"),
        (["stride=0"], "stride"),
        (["mode=transposed", "padding=3"], "a padding smaller than it"),
        (["mode=matrix", "stride=[1, 2]"], "whole numbers"),
        (["mode=corelation"], "'correlation'"),
        (["padding=9"], "more than the 256"),
        (["dilation=4"], "spans 9 cells"),
        (["input=[[[1]], [[1]], [[1]], [[1]], [[1]]]"], "too large to be shown"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_line(tmp_path, settings, message):
    with pytest.raises(InputError, match=re.escape(message)):
        studies.run("convolution", out=tmp_path / "c", settings=settings)


def test_numbers_are_short():
    assert [number(v) for v in (-3.0, 0.0, -0.0, 0.12345, 1210.0, 1234567.8)] == [
        "−3",
        "0",
        "0",
        "0.123",
        "1210",
        "1.23e+06",
    ]


def test_a_bias_stands_in_the_sum():
    (scene, real) = plain("s", "s", np.ones((1, 2, 2)), np.ones((1, 1, 2, 2)), bias=-3)
    assert scene.frames[0].sum == "1 + 1 + 1 + 1 − bias 3 = 1"
    assert real.tolist() == [[[1.0]]]
