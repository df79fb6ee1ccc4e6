"""The same pictures get the same answers through the command line, Python, ONNX and HTTP."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from serving import served

import convlens as cl
from convlens import data

N = 1_000


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist", "cifar10-jpeg"])
def test_a_thousand_test_images_get_the_same_answers_by_every_way(real_data, tmp_path, name):
    source = "mnist" if name == "mnist" else str(real_data / "cifar10-jpeg.tar.gz")
    run = cl.train("lenet5", data=source, epochs=1, out=tmp_path / "run", quiet=True)
    images = data.find(source).read(run.classifier().preprocess).parts["test"]
    chosen = np.random.default_rng(0).choice(len(images), N, replace=False)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, index in enumerate(chosen):
        pixels = np.asarray(images.pixels[index])
        Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0]).save(folder / f"{number:04}.png")
    files = sorted(folder.iterdir())
    in_python = [(one.label, one.probability) for one in run.predict(folder)]
    onnx = cl.Classifier.from_onnx(run.export("onnx", tmp_path / "network.onnx").path)
    by_onnx = [(one.label, one.probability) for one in onnx.predict(files)]
    command = [
        sys.executable,
        "-c",
        "from convlens.cli import run; run()",
        "predict",
        str(run.path),
        str(folder),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    by_command = [(one["label"], one["probability"]) for one in json.loads(done.stdout)["predictions"]]
    with served(onnx) as service:
        by_http = []
        for start in range(0, N, 100):
            answer = service.form(*((file.name, file.read_bytes()) for file in files[start : start + 100]))
            by_http += [(one["label"], one["probability"]) for one in answer.json["predictions"]]
    for found in (by_onnx, by_command, by_http):
        assert len(found) == N
        assert [label for label, _ in found] == [label for label, _ in in_python]
        assert max(abs(a - b) for (_, a), (_, b) in zip(found, in_python, strict=True)) < 1e-4
