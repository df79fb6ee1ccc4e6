"""Weights from files: what loads, what is left fresh, what is refused."""

import collections
import os

import pytest
import torch
from safetensors.torch import save_file

from convlens import models
from convlens.base.errors import InputError
from convlens.models.weights import load_weights


def network(seed=0, **arguments):
    torch.manual_seed(seed)
    return models.create("resnet20_cifar", **arguments)


def equal(one, other, names):
    one, other = one.state_dict(), other.state_dict()
    return all(torch.equal(one[name], other[name]) for name in names)


@pytest.mark.parametrize("kind", ["safetensors", "pth", "zipped checkpoint", "old pickle"])
def test_every_kind_of_file_loads(kind, tmp_path):
    source, target = network(1), network(2)
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    if kind == "safetensors":
        save_file(source.state_dict(), path)
    elif kind == "zipped checkpoint":
        state = {f"module.{name}": value for name, value in source.state_dict().items()}
        torch.save({"epoch": 3, "state_dict": state}, path)
    else:
        torch.save(source.state_dict(), path, _use_new_zipfile_serialization=kind == "pth")
    report = load_weights(target, path)
    assert equal(source, target, source.state_dict())
    assert set(report.loaded) == set(source.state_dict())
    assert report.fresh == report.unused == ()


def test_another_number_of_classes_keeps_the_output_layer_fresh(tmp_path):
    source, target = network(1, num_classes=100), network(2)
    head = target.fc.weight.clone()
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    report = load_weights(target, tmp_path / "w.safetensors")
    assert report.fresh == ("fc.weight", "fc.bias")
    assert equal(source, target, report.loaded)
    assert torch.equal(target.fc.weight, head)


def test_weights_of_the_library_with_auxiliary_heads_load_without_them(tmp_path):
    torch.manual_seed(0)
    source, target = models.create("googlenet_aux", num_classes=3), models.create("googlenet", num_classes=3)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    report = load_weights(target, tmp_path / "w.safetensors")
    assert report.unused
    assert all(name.startswith("aux") for name in report.unused)


def test_old_names_of_densenet_are_understood(tmp_path):
    torch.manual_seed(0)
    source, target = models.create("densenet_bc_40_12_cifar"), models.create("densenet_bc_40_12_cifar")
    old = {}
    for name, value in source.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            for part in ("norm1", "norm2", "conv1", "conv2"):
                name = name.replace(f".{part}.", f".{part[:-1]}.{part[-1]}.") if "denselayer" in name else name
            old[name] = value
    assert any(".norm.1." in name for name in old)
    torch.save(old, tmp_path / "w.pth")
    load_weights(target, tmp_path / "w.pth")
    assert equal(source, target, [name for name in source.state_dict() if "num_batches" not in name])


def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path, monkeypatch):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    torch.save({"fc.weight": Harmful()}, tmp_path / "w.pth")
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # nor may the environment open that door
    with pytest.raises(InputError, match="is refused"):
        load_weights(network(), tmp_path / "w.pth")
    assert not (tmp_path / "harm").exists()


def breakage(path, kind):
    state = network(1).state_dict()
    if kind == "shape":
        state["layer2.0.conv1.weight"] = torch.zeros(32, 16, 5, 5)
    elif kind == "missing":
        del state["layer1.0.bn1.weight"]
    elif kind == "unknown":
        state["layer9.weight"] = torch.zeros(1)
    elif kind == "nan":
        state["conv1.weight"][0, 0, 0, 0] = float("nan")
    elif kind == "nothing in common":
        state = {"x": torch.zeros(1)}
    elif kind == "no tensors":
        state = {"epoch": 3}
    elif kind == "list":
        state = [1, 2]
    torch.save(collections.OrderedDict(state) if isinstance(state, dict) else state, path)


@pytest.mark.parametrize(("kind", "message"), [
    ("shape", "'layer2.0.conv1.weight' is 32x16x5x5 in the file and 32x16x3x3 in the network"),
    ("missing", "lacks 'layer1.0.bn1.weight'"),
    ("unknown", "has no 'layer9.weight'"),
    ("nan", "'conv1.weight' holds values that are not finite"),
    ("nothing in common", "another network"),
    ("no tensors", "no state dict"),
    ("list", "no state dict"),
])  # fmt: skip
def test_weights_that_do_not_fit_are_refused_and_change_nothing(kind, message, tmp_path):
    target = network(2)
    before = {name: value.clone() for name, value in target.state_dict().items()}
    breakage(tmp_path / "w.pth", kind)
    with pytest.raises(InputError, match=message) as error:
        load_weights(target, tmp_path / "w.pth")
    assert "\n" not in str(error.value)
    assert all(torch.equal(before[name], value) for name, value in target.state_dict().items())


def test_a_deeper_network_of_equal_shapes_is_not_mistaken(tmp_path):
    save_file(models.create("resnet20_cifar", depth=26).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"has no 'layer1\.3"):
        load_weights(network(), tmp_path / "w.safetensors")


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"PK\x03\x04 broken", b"\x80\x02}q\x00", "truncated"])
def test_damaged_files_are_one_line_errors(name, content, tmp_path):
    path = tmp_path / name
    if content == "truncated":
        state = network().state_dict()
        save_file(state, path) if name.endswith("safetensors") else torch.save(state, path)
        content = path.read_bytes()[:-5000]
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        load_weights(network(), path)
    assert "\n" not in str(error.value)


def test_no_such_file_is_named(tmp_path):
    with pytest.raises(InputError, match="there is no weights file"):
        load_weights(network(), tmp_path / "none.pth")
