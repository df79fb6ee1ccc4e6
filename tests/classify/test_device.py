"""Names of devices, and that the device that was chosen is where the arithmetic happens.

No GPU is needed: a GPU that is "there" is a word of `torch.cuda` that is changed for a test, and the device `meta`,
which computes nothing, stands for it: what arrives there has been sent there.
"""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import convlens as cl
from convlens.base.errors import InputError
from convlens.classify import device as devices
from convlens.cli import app
from convlens.inspection import verify as verifying
from convlens.models import create
from convlens.training import engines

PIXELS, UNSEEN = np.random.default_rng(0).integers(0, 256, (2, 20, 8, 8), dtype=np.uint8)
IMAGES = {"train": (PIXELS, np.arange(20) % 2), "test": (UNSEEN, np.arange(20) % 2)}


@pytest.fixture
def gpus(monkeypatch):
    """A machine with two GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Imaginary 1")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("device") / "run"
    return cl.train("mlp", IMAGES, epochs=1, out=folder, quiet=True, tensorboard=False).path


NAMES = [("auto", "cuda"), ("cuda", "cuda"), ("cuda:1", "cuda:1"), ("cpu", "cpu"), ("cpu:0", "cpu"),
         (torch.device("cuda:0"), "cuda:0")]  # fmt: skip
NO_NAMES = [
    "cuda:2",
    "mps",
    "gpu",
    "CUDA",
    "cuda:",
    "cuda:-1",
    "cuda:x",
    "cuda:1:1",
    "meta",
    "",
    "cpu:zero",
    "cuda:\u0661",
]


@pytest.mark.parametrize(("wanted", "expected"), NAMES)
def test_a_name_is_a_device(gpus, wanted, expected):
    assert devices.choose(wanted)[0] == expected


@pytest.mark.parametrize("wanted", NO_NAMES)
def test_what_is_not_here_or_no_device_is_one_line(gpus, monkeypatch, wanted):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError, match="device") as refused:
        devices.choose(wanted)
    assert "\n" not in str(refused.value)


def test_a_run_is_used_where_it_was_trained_or_else_a_line_says_where(gpus, monkeypatch):
    assert devices.for_run(None, "cuda:1") == ("cuda:1", None)
    assert devices.for_run(None, "cpu") == ("cpu", None)
    assert devices.for_run("cpu", "cuda") == ("cpu", None)
    assert devices.for_run("auto", "cpu") == ("cuda", None)
    device, note = devices.for_run(None, "cuda:2")
    assert device == "cuda"
    assert "cuda:2" in str(note)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    device, note = devices.for_run(None, "cuda")
    assert device == "cpu"
    assert "trained on cuda" in str(note)


class ArrivedError(BaseException):
    """Nobody who catches errors of networks catches this."""


@pytest.fixture
def on_meta(monkeypatch):
    """The device `meta` counts as a GPU; the first call of a network there raises `ArrivedError`."""
    monkeypatch.setattr(devices, "NAMES", (*devices.NAMES, "meta"))
    monkeypatch.setattr(devices, "available", lambda device: True)

    def arrived(module, inputs):
        where = {t.device.type for t in (*module.parameters(), *inputs) if isinstance(t, torch.Tensor)}
        if where == {"meta"}:
            raise ArrivedError
        assert where <= {"cpu"}, f"half of a network on {where}"

    handle = torch.nn.modules.module.register_module_forward_pre_hook(arrived)
    yield
    handle.remove()


@pytest.mark.parametrize("use", [
    lambda path: cl.load(path, device="meta").predict(PIXELS[0]),
    lambda path: cl.load(path, device="meta").evaluate(IMAGES["test"]),
    lambda path: verifying.verify(create("lenet5"), (1, 28, 28), device="meta", mode="inference"),
])  # fmt: skip
def test_weights_and_images_arrive_on_the_device(on_meta, trained, use):
    with pytest.raises(ArrivedError):
        use(trained)


def test_a_run_goes_to_the_device_that_it_was_trained_on(on_meta, trained, monkeypatch):
    monkeypatch.setattr("convlens.classify.device.for_run", lambda wanted, trained_on: ("meta", None))
    with pytest.raises(ArrivedError):
        cl.load(trained).predict(PIXELS[0])


@pytest.mark.parametrize("command", [["predict", "RUN", "PICTURE"], ["evaluate", "RUN", "--data", "digits"],
                                     ["verify", "lenet5"], ["train", "mlp"]])  # fmt: skip
def test_each_command_hands_the_device_on(command, trained, tmp_path):
    """A device that is no device is refused wherever it is looked at, and nothing is done before."""
    words = [{"RUN": str(trained), "PICTURE": str(tmp_path)}.get(word) or word for word in command]
    answer = CliRunner().invoke(app, [*words, "--device", "abacus"])
    assert isinstance(answer.exception, InputError)
    assert "'abacus'" in str(answer.exception)


def test_a_run_from_a_machine_with_a_gpu_is_judged_here_and_one_line_says_so(trained, tmp_path, capsys):
    record = json.loads((trained / "run.json").read_text())
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes((trained / "weights.safetensors").read_bytes())
    (folder / "run.json").write_text(json.dumps(record | {"numeric": record["numeric"] | {"device": "cuda"}}))
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    cl.load(folder).predict(PIXELS[0])
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "the run was trained on cuda, which is not here; it is used on cpu\n"
    cl.load(folder, device="cpu").predict(PIXELS[0])
    assert capsys.readouterr().err == ""


def test_a_run_is_trained_validated_and_judged_on_one_device(monkeypatch, tmp_path):
    """ "cpu:0" is another word for the CPU that only a device that was handed on can be called."""
    seen = []
    true = engines.Loader.__init__

    def init(self, *args, **more):
        true(self, *args, **more)
        seen.append(self.device)

    monkeypatch.setattr(engines.Loader, "__init__", init)
    monkeypatch.setattr("convlens.training.settings.choose", lambda wanted: ("cpu:0", "for this test"))
    run = cl.train("mlp", IMAGES, epochs=1, out=tmp_path / "run", quiet=True, tensorboard=False)
    assert seen == [torch.device("cpu:0")] * 3  # training, validation, test
    assert run.classifier().device == "cpu:0"
    assert run.evaluate(IMAGES["test"]).accuracy == run.results["test"]["accuracy"]


def test_the_numpy_engine_computes_on_the_cpu_in_float32_and_says_so(monkeypatch, tmp_path, capsys, gpus):
    images = {"data": IMAGES, "engine": "numpy", "epochs": 1, "tensorboard": False}
    run = cl.train("mlp", device="cuda:1", out=tmp_path / "run", **images)
    assert "the NumPy engine computes on the CPU, not on cuda:1" in capsys.readouterr().err
    assert (run.record.numeric["device"], run.record.numeric["dtype"]) == ("cpu", "float32")
    with pytest.raises(InputError, match="abacus"):
        cl.train("mlp", device="abacus", out=tmp_path / "other", **images)
