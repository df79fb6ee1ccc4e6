import io
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from samples import encoded, picture

from convlens.base.errors import InputError
from convlens.data import Preprocess


def test_a_picture_of_the_right_size_and_mode_comes_through_untouched():
    for channels, mode in ((1, "L"), (3, "RGB")):
        image = picture(1, (7, 5), mode)
        expected = np.asarray(image).reshape(5, 7, channels)
        np.testing.assert_array_equal(Preprocess((5, 7), channels).prepare(image), expected)


def test_path_bytes_open_file_pillow_image_and_array_give_the_same(tmp_path):
    image = picture(2, (40, 33))
    path = tmp_path / "a.png"
    image.save(path)
    preprocess = Preprocess((16, 16), 3)
    expected = preprocess.prepare(image)
    for other in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), np.asarray(image)):
        np.testing.assert_array_equal(preprocess.prepare(other), expected)


@given(
    width=st.integers(1, 60),
    height=st.integers(1, 60),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    channels=st.sampled_from([1, 3]),
    mode=st.sampled_from(["L", "RGB", "RGBA", "LA"]),
    interpolation=st.sampled_from(["box", "bilinear", "bicubic", "lanczos"]),
)
@settings(deadline=None, max_examples=60)
def test_preparing_gives_the_size_asked_for_and_is_idempotent(width, height, size, channels, mode, interpolation):
    preprocess = Preprocess(size, channels, interpolation=interpolation)
    once = preprocess.prepare(picture(3, (width, height), mode))
    assert once.shape == (*size, channels)
    assert once.dtype == np.uint8
    np.testing.assert_array_equal(preprocess.prepare(once), once)


def test_the_short_side_is_scaled_and_the_center_is_kept():
    # a factor of exactly two: box filtering is the mean of 2x2 blocks, the crop starts at a whole pixel
    array = np.asarray(picture(4, (40, 20), "L")).astype(float)
    center = array[:, 10:30].reshape(10, 2, 10, 2).mean(axis=(1, 3))
    prepared = Preprocess((10, 10), 1, interpolation="box").prepare(array.astype(np.uint8))[..., 0]
    assert np.abs(prepared - center).max() <= 1  # rows and columns are rounded one after the other


def test_scaling_then_cropping_in_two_steps_agrees_in_the_interior():
    image = picture(5, (90, 60), "L").resize((360, 240), Image.Resampling.BICUBIC)
    prepared = Preprocess((24, 24), 1).prepare(image)[..., 0].astype(int)
    two_steps = np.asarray(image.resize((36, 24), Image.Resampling.BILINEAR)).astype(int)[:, 6:30]
    assert np.abs(prepared - two_steps)[:, 2:-2].max() <= 1


def test_an_extreme_aspect_ratio_costs_no_memory():
    image = Image.new("L", (1_000_000, 1), 77)
    assert (Preprocess((32, 32), 1).prepare(image) == 77).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_tag_turns_the_picture(orientation):
    # oracle: the matrices of the EXIF standard's eight orientations, as array operations on the stored rows
    stored = np.asarray(picture(6, (6, 4), "L"))
    upright = {
        1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1],
        5: stored.T, 6: np.rot90(stored, -1), 7: np.rot90(stored, 2).T, 8: np.rot90(stored),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = encoded(Image.fromarray(stored), "PNG", exif=exif)
    prepared = Preprocess(upright.shape, 1).prepare(file)[..., 0]
    np.testing.assert_array_equal(prepared, upright)


def test_an_unreadable_exif_block_does_not_spoil_the_picture():
    image = picture(7, (8, 8))
    file = encoded(image, "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")
    np.testing.assert_array_equal(Preprocess((8, 8), 3).prepare(file), np.asarray(image))


def test_transparent_pixels_are_laid_on_white():
    for mode, color in (("RGBA", (200, 0, 0, 0)), ("LA", (10, 0))):
        prepared = Preprocess((4, 4), 3).prepare(Image.new(mode, (4, 4), color))
        assert (prepared == 255).all()
    half = Preprocess((4, 4), 3).prepare(Image.new("RGBA", (4, 4), (0, 0, 0, 128)))
    assert np.abs(half.astype(int) - 127).max() <= 1


def test_transparent_palette_and_color_key_are_laid_on_white():
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert (Preprocess((4, 4), 3).prepare(encoded(palette, "PNG", transparency=1)) == 255).all()
    assert Preprocess((4, 4), 3).prepare(encoded(palette, "PNG"))[0, 0].tolist() == [10, 20, 30]
    key = Image.new("RGB", (4, 4), (1, 2, 3))
    assert (Preprocess((4, 4), 3).prepare(encoded(key, "PNG", transparency=(1, 2, 3))) == 255).all()


def test_sixteen_bit_gray_is_scaled_and_not_cut_off():
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    file = encoded(Image.fromarray(values), "PNG")
    assert Preprocess((1, 4), 1).prepare(file).ravel().tolist() == [0, 1, 128, 255]


def test_bilevel_cmyk_and_float_pictures_are_converted():
    assert Preprocess((2, 2), 1).prepare(encoded(Image.new("1", (2, 2), 1), "PNG")).ravel().tolist() == [255] * 4
    cmyk = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF")
    assert Preprocess((8, 8), 3).prepare(cmyk)[0, 0].tolist() == [255, 0, 0]
    real = encoded(Image.fromarray(np.array([[0.0, 1.0]], np.float32)), "TIFF")
    assert Preprocess((1, 2), 1).prepare(real).ravel().tolist() == [0, 255]


@pytest.mark.parametrize(
    ("array", "said"),
    [(np.array([[-1, 70000]], np.int32), "0..65535"), (np.array([[0.0, 9.0]], np.float32), "0..1")],
)
def test_pixels_of_no_known_scale_are_refused(array, said):
    with pytest.raises(InputError, match=said):
        Preprocess((1, 2), 1).prepare(Image.fromarray(array))


def test_the_first_frame_of_an_animation_counts():
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    for kind in ("GIF", "PNG", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        file = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert Preprocess((4, 4), 3).prepare(file)[0, 0].tolist() == [255, 0, 0]


def test_what_a_file_is_is_told_by_its_content(tmp_path):
    path = tmp_path / "really_a_png.jpg"
    path.write_bytes(encoded(picture(8, (4, 4)), "PNG"))
    assert Preprocess((4, 4), 3).prepare(path).shape == (4, 4, 3)


def test_gray_becomes_color_and_color_becomes_luma():
    gray = np.array([[10, 20]], np.uint8)
    np.testing.assert_array_equal(Preprocess((1, 2), 3).prepare(gray), np.repeat(gray[..., None], 3, axis=2))
    rgb = np.array([[[100, 150, 200]]], np.uint8)
    luma = 0.299 * 100 + 0.587 * 150 + 0.114 * 200
    assert abs(int(Preprocess((1, 1), 1).prepare(rgb).item()) - luma) <= 1


PNG = encoded(picture(9, (16, 16)))
JPEG = encoded(picture(9, (64, 64)), "JPEG")


def bomb_png() -> bytes:
    """A PNG whose header announces 50,000 x 50,000 pixels."""
    import struct
    import zlib

    body = struct.pack(">IIBBBBB", 50000, 50000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + body
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + PNG[33:]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not an image"),
        (b"hello", "not an image"),
        (PNG[:60], "damaged"),
        (JPEG[: len(JPEG) // 2], "damaged.*truncated"),
        (bomb_png(), "refused"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    ],
    ids=["empty", "text", "cut png", "cut jpeg", "bomb", "postscript"],
)
def test_a_file_that_cannot_be_decoded_is_named_in_one_line(tmp_path, content, said):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        Preprocess((8, 8), 3).prepare(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_between_the_warning_and_the_error_level_of_pillow_we_refuse_too(monkeypatch):
    monkeypatch.setenv("CONVLENS_MAX_PIXELS", "200")
    with pytest.raises(InputError, match="16 x 16 is more than the 200 pixels of CONVLENS_MAX_PIXELS"):
        Preprocess((8, 8), 3).prepare(PNG)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        Preprocess((8, 8), 3).prepare(tmp_path / "none.png")
    with pytest.raises(InputError, match="a folder"):
        Preprocess((8, 8), 3).prepare(tmp_path)


@pytest.mark.parametrize("shape", [(4,), (4, 4, 5), (4, 4, 3, 1), (0, 4)])
def test_arrays_that_are_no_picture_are_refused(shape):
    with pytest.raises(InputError):
        Preprocess((8, 8), 3).prepare(np.zeros(shape, np.uint8))


def test_a_whole_array_of_the_right_size_is_returned_uncopied():
    pixels = np.zeros((5, 8, 8, 1), np.uint8)
    assert Preprocess((8, 8), 1).prepare_all(pixels) is pixels


@pytest.mark.parametrize("target", [((8, 8), 3), ((12, 10), 1), ((5, 5), 3)])
def test_preparing_all_is_preparing_each(target):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), dtype=np.uint8)
    preprocess = Preprocess(*target)
    expected = np.stack([preprocess.prepare(image) for image in pixels])
    seen = []
    np.testing.assert_array_equal(preprocess.prepare_all(pixels, lambda *now: seen.append(now)), expected)
    assert not seen or seen[-1] == (6, 6)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3]))
@settings(deadline=None, max_examples=20)
def test_normalizing_follows_the_formula(seed, channels):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (3, 4, 5, channels), dtype=np.uint8)
    mean, std = rng.uniform(0, 1, channels), rng.uniform(0.1, 1, channels)
    preprocess = Preprocess((4, 5), channels, tuple(mean), tuple(std))
    expected = ((pixels.astype(np.float64) / 255 - mean) / std).transpose(0, 3, 1, 2)
    x = preprocess.normalize(pixels)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-5)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3]))
@settings(deadline=None, max_examples=20)
def test_fitted_statistics_are_those_of_numpy(seed, channels):
    pixels = np.random.default_rng(seed).integers(0, 256, (7, 6, 5, channels), dtype=np.uint8)
    fitted = Preprocess((6, 5), channels).fitted(pixels)
    scaled = pixels.astype(np.float64) / 255
    np.testing.assert_allclose(fitted.mean, scaled.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(fitted.std, scaled.std(axis=(0, 1, 2)), rtol=1e-9)


def test_a_channel_that_never_varies_gets_standard_deviation_one():
    assert Preprocess((2, 2), 1).fitted(np.full((3, 2, 2, 1), 51, np.uint8)).std == (1.0,)
    assert Preprocess((2, 2), 1).fitted(np.full((3, 2, 2, 1), 51, np.uint8)).mean == (0.2,)


def test_json_brings_back_the_same():
    import json

    preprocess = Preprocess((24, 32), 3, (0.1, 0.2, 0.3), (0.5, 0.25, 1 / 3), "bicubic")
    assert Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict()))) == preprocess


GOOD = Preprocess((8, 8), 1).to_dict()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([], "must be an object"),
        ({**GOOD, "chanels": 1}, "did you mean 'channels'"),
        ({key: value for key, value in GOOD.items() if key != "std"}, "'std' is missing"),
        ({**GOOD, "size": [8]}, "size"),
        ({**GOOD, "size": [8, 10**9]}, "size"),
        ({**GOOD, "size": [8, True]}, "size"),
        ({**GOOD, "size": "88"}, "size"),
        ({**GOOD, "channels": 2}, "channels"),
        ({**GOOD, "channels": "1"}, "channels"),
        ({**GOOD, "mean": [0, 0]}, "mean"),
        ({**GOOD, "mean": "a"}, "mean"),
        ({**GOOD, "mean": [float("nan")]}, "mean"),
        ({**GOOD, "std": [0]}, "std must be positive"),
        ({**GOOD, "interpolation": "bilinaer"}, "did you mean 'bilinear'"),
        ({**GOOD, "interpolation": ["bilinear"]}, "interpolation"),
    ],
)
def test_values_from_a_strangers_file_are_checked(values, said):
    with pytest.raises(InputError, match=said) as caught:
        Preprocess.from_dict(values)
    assert "\n" not in str(caught.value)


def test_the_data_room_imports_neither_torch_nor_scikit_learn_nor_matplotlib():
    code = (
        "import sys; from convlens import data; data.find('digits').read(data.Preprocess((8, 8), 1)); "
        "print([m for m in ('torch', 'sklearn', 'scipy', 'matplotlib', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
