"""Weights from files: what loads, what is left fresh, what is refused."""

import collections
import os
import pickle
import zipfile
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from convlens import models
from convlens.base.errors import InputError
from convlens.models.weights import load_weights

UNCHECKED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


def network(seed=0, **arguments) -> Any:
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


# Foreign forms


def small(seed=0, classes=3):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, classes)
    )  # fmt: skip


PREFIXES = [
    "module.", "model.", "encoder.", "backbone.", "net.", "_orig_mod.", "module.model.", "module.encoder_q.",
    "_orig_mod.module.", "teacher.backbone.", "anything.at.all.",
]  # fmt: skip


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes_are_stripped_and_named(tmp_path, prefix, suffix):
    source, target = small(1), small(2)
    state = {f"{prefix}{name}": value for name, value in source.state_dict().items()}
    path = tmp_path / f"w.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    report = load_weights(target, path)
    assert equal(source, target, source.state_dict())
    assert report.notes == (f"{prefix!r} stripped from the names",)


@pytest.mark.parametrize("prefix", ["encoder.", "backbone.", "module.student.backbone."])
def test_what_stands_beside_a_known_prefix_is_left_out_and_counted(tmp_path, prefix):
    source, target = small(1), small(2)
    state = {f"{prefix}{name}": value for name, value in source.state_dict().items()}
    state |= {"projector.0.weight": torch.zeros(3, 3), "queue": torch.zeros(2)}
    torch.save(state, tmp_path / "w.pth")
    report = load_weights(target, tmp_path / "w.pth")
    assert equal(source, target, source.state_dict())
    assert report.unused == ("projector.0.weight", "queue")
    assert "2 arrays without that prefix left out" in report.notes[-1]


def test_an_unknown_prefix_beside_other_names_is_not_guessed(tmp_path):
    state = {f"branch.{name}": value for name, value in small(1).state_dict().items()}
    torch.save(state | {"other.weight": torch.zeros(3)}, tmp_path / "w.pth")
    with pytest.raises(InputError, match="another network"):
        load_weights(small(2), tmp_path / "w.pth")


@pytest.mark.parametrize("wrap", [
    lambda s: {"state_dict": s}, lambda s: {"model": s}, lambda s: {"model_state_dict": s, "optimizer": {"lr": 0.1}},
    lambda s: {"net": s, "acc": 0.93}, lambda s: {"ema": s}, lambda s: {"model": {"state_dict": s}},
    lambda s: {"my_own_name": s}, lambda s: {"epoch": torch.tensor(3), "state_dict": s},
    lambda s: {"optimizer": {"state": {0: {"momentum_buffer": torch.zeros(2)}}}, "state_dict": s},
    lambda s: {"state_dict": {"model": {f"module.{n}": v for n, v in s.items()}}},
    lambda s: {**s, "epoch": 3, "best": "yes"},
])  # fmt: skip
def test_state_dicts_are_found_wherever_trainers_put_them(tmp_path, wrap):
    source, target = small(1), small(2)
    torch.save(wrap(source.state_dict()), tmp_path / "w.pth")
    load_weights(target, tmp_path / "w.pth")
    assert equal(source, target, source.state_dict())


def test_a_compiled_network_takes_plain_names(tmp_path):
    source, target = small(1), nn.ModuleDict({"_orig_mod": small(2)})
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    assert load_weights(target, tmp_path / "w.safetensors").notes == ("'_orig_mod.' put before the names",)
    assert equal(source, target["_orig_mod"], source.state_dict())


@pytest.mark.parametrize("extra", ["0.total_ops", "1.total_params", "n_averaged", "9.num_batches_tracked"])
def test_counters_may_be_missing_or_too_many(tmp_path, extra):
    source, target = small(1), small(2)
    state = {name: value for name, value in source.state_dict().items() if not name.endswith("tracked")}
    torch.save(state | {extra: torch.zeros(1)}, tmp_path / "w.pth")
    load_weights(target, tmp_path / "w.pth")
    assert equal(source, target, state)


def test_another_number_of_classes_keeps_the_last_layer_of_a_users_network_fresh(tmp_path):
    source, target = small(1, classes=5), small(2)
    head = target.get_parameter("3.weight").clone()
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    assert load_weights(target, tmp_path / "w.safetensors").fresh == ("3.weight", "3.bias")
    assert torch.equal(target.get_parameter("3.weight"), head)
    assert torch.equal(target.get_parameter("0.weight"), source.get_parameter("0.weight"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_types_are_converted(tmp_path, dtype):
    source, target = small(1), small(2)
    torch.save({name: v.to(dtype) if v.is_floating_point() else v for name, v in source.state_dict().items()},
               tmp_path / "w.pth")  # fmt: skip
    load_weights(target, tmp_path / "w.pth")
    torch.testing.assert_close(target[0].weight, source[0].weight, rtol=1e-2, atol=1e-3)


ODD = {
    "complex": (lambda w: w.to(torch.complex64), "is complex"),
    "sparse": (lambda w: w.to_sparse(), "is sparse"),
    "compressed": (lambda w: w.flatten(1).to_sparse_csr().clone(), "is sparse|4x9 in the file"),
    "quantized": (lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8), "is quantized|is not a whole"),
    "float8": (lambda w: w.to(torch.float8_e4m3fn), "float8_e4m3fn"),
    "meta": (lambda w: w.to("meta"), "has no values"),
    "integers": (lambda w: w.to(torch.int32), "is int32 where the network has float32"),
    "booleans": (lambda w: w > 0, "is bool where the network has float32"),
    "too large for float32": (lambda w: w.double() * 1e300, "not finite"),
    "infinite": (lambda w: w * float("inf"), "not finite"),
    "announced": (lambda w: torch.zeros(1).expand(10**9, 10**9), "1000000000x1000000000 in the file"),
    "text": (lambda w: "weights", "lacks '0.weight'"),
    "a list": (lambda w: w.tolist(), "lacks '0.weight'"),
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ODD)
def test_arrays_that_are_no_dense_floating_point_numbers_are_refused(tmp_path, kind):
    make, words = ODD[kind]
    target = small(2)
    before = {name: value.clone() for name, value in target.state_dict().items()}
    state = small(1).state_dict()
    state["0.weight"] = make(state["0.weight"])
    torch.save(dict(state), tmp_path / "w.pth")
    with pytest.raises(InputError, match=words) as refused:
        load_weights(target, tmp_path / "w.pth")
    assert "\n" not in str(refused.value)
    assert all(torch.equal(before[name], value) for name, value in target.state_dict().items())


def test_a_dictionary_within_itself_ends(tmp_path):
    state = {"a": {}}
    state["a"]["again"] = state
    (tmp_path / "w.pth").write_bytes(pickle.dumps(state))
    with pytest.raises(InputError):
        load_weights(small(), tmp_path / "w.pth")


def test_a_zip_that_announces_more_than_it_holds_is_refused(tmp_path):
    torch.save(small().state_dict(), tmp_path / "w.pth")
    deflated = zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(tmp_path / "w.pth") as old, deflated as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
        new.writestr("archive/data/99", b"\0" * 10_000_000)
    with pytest.raises(InputError, match="announces"):
        load_weights(small(), tmp_path / "b.pth")


@pytest.mark.parametrize(("start", "words"), [
    (b"\x89HDF\r\n\x1a\n", "HDF5"), (b"\x93NUMPY", "NumPy"), (b"\x1f\x8b", "gzip"),
])  # fmt: skip
def test_other_kinds_of_files_are_named(tmp_path, start, words):
    (tmp_path / "w.pth").write_bytes(start + b"\0" * 50)
    with pytest.raises(InputError, match=words):
        load_weights(small(), tmp_path / "w.pth")


def test_a_fifo_is_refused(tmp_path):
    os.mkfifo(tmp_path / "w.pth")
    with pytest.raises(InputError):
        load_weights(small(), tmp_path / "w.pth")


def whole(kind, tmp_path):
    path = tmp_path / f"whole-{kind}"
    state = small(1).state_dict()
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    return path.read_bytes()


def outcome(network, path):
    """ "loaded", or the words of the refusal."""
    try:
        load_weights(network, path)
    except InputError as refused:
        return str(refused)
    return "loaded"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_damaged_file_is_one_line_or_finite_weights(kind, tmp_path):
    """Bits turned over, bytes put in, ends cut off: never another exception, never a weight that is not finite."""
    content = whole(kind, tmp_path)
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")

    @settings(max_examples=150, deadline=None, suppress_health_check=UNCHECKED, database=None, derandomize=True)
    @given(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=8),
           st.integers(0, len(content)), st.booleans())  # fmt: skip
    def damaged(changes, end, cut):
        data = bytearray(content)
        for place, byte in changes:
            data[place] ^= byte
        path.write_bytes(data[:end] if cut else data)
        target = small(2)
        assert "\n" not in outcome(target, path)
        assert all(torch.isfinite(value).all() for value in target.state_dict().values())

    damaged()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_each_bit_of_the_first_bytes_turned_over(kind, tmp_path):
    content = whole(kind, tmp_path)
    path = tmp_path / "w.pth"
    for bit in range(min(len(content), 1200) * 8):
        data = bytearray(content)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        assert "\n" not in outcome(small(2), path)


def test_a_bit_turned_over_in_a_zip_is_noticed(tmp_path):
    """PyTorch itself does not compare the checksums of a file's members: most flips would give other weights."""
    source = nn.Linear(64, 64)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    content = (tmp_path / "w.pth").read_bytes()
    start = content.index(source.weight.detach().numpy().tobytes()[:64])
    for place in range(start, start + 16000, 1000):
        data = bytearray(content)
        data[place] ^= 4
        (tmp_path / "w.pth").write_bytes(data)
        assert "is damaged" in outcome(nn.Linear(64, 64), tmp_path / "w.pth")


def test_a_file_saved_without_checksums_loads(tmp_path):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(small(1).state_dict(), tmp_path / "w.pth")
    finally:
        torch.serialization.set_crc32_options(before)
    assert outcome(small(2), tmp_path / "w.pth") == "loaded"
