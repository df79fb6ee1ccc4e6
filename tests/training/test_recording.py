"""What `run.json` says of the data."""

import io

import numpy as np
from PIL import Image

import convlens as cl


def jpeg(seed: int, orientation: int = 1) -> bytes:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8), np.uint8)
    Image.fromarray(pixels).save(file, "JPEG", exif=exif)
    return file.getvalue()


def test_pictures_that_were_left_out_or_turned_are_counted(tmp_path, capsys):
    for name in "ab":
        (tmp_path / "set" / name).mkdir(parents=True)
        for k in range(5):
            (tmp_path / "set" / name / f"{k}.jpg").write_bytes(jpeg(k, 6 if k < 2 else 1))
    (tmp_path / "set" / "a" / "bad.png").write_bytes(b"no picture")
    run = cl.train("mlp", tmp_path / "set", epochs=1, out=tmp_path / "run")
    assert run.record.data.turned == 4
    assert run.record.data.left_out.count == 1
    assert "4 pictures are turned as the EXIF tag says" in capsys.readouterr().err
    assert "4 pictures were turned as their EXIF tags say." in (tmp_path / "run" / "report.html").read_text("utf-8")
