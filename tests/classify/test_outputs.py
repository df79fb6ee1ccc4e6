"""What a forward may return: each form is taken where its meaning is plain, else refused in one line."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import convlens as cl
from convlens.base.errors import InputError
from convlens.classify.outputs import (
    answering,
    first_look,
    logits_of,
    read_outputs,
    refuse_probabilities,
    tensors_in,
)  # fmt: skip

N, K = 5, 3
LOGITS, HEAD, FEATURES = torch.randn(N, K), torch.randn(N, K), torch.randn(N, 7)
Named = namedtuple("Named", "logits aux_logits")
Unnamed = namedtuple("Unnamed", "features scored")


@dataclass
class ModelOutput:
    logits: torch.Tensor
    hidden_states: torch.Tensor | None = None


class Mapped(OrderedDict):
    @property
    def logits(self):
        return self["logits"]


TAKEN = {
    "tensor": LOGITS,
    "dict": {"logits": LOGITS},
    "out": {"out": LOGITS, "aux": HEAD},
    "upper case": {"features": FEATURES, "Logits": LOGITS},
    "with a loss": {"loss": torch.tensor(1.0), "logits": LOGITS},
    "one that fits": {"emb": FEATURES, "cls": LOGITS},
    "tuple": (LOGITS,),
    "list": [LOGITS],
    "nested": ((LOGITS, FEATURES),),
    "features behind": (LOGITS, FEATURES),
    "features before": (FEATURES, LOGITS),
    "None behind": (LOGITS, None),
    "head": (LOGITS, HEAD),
    "named tuple": Named(LOGITS, HEAD),
    "named tuple without a head": Named(LOGITS, None),
    "named tuple of other names": Unnamed(FEATURES, LOGITS),
    "dataclass": ModelOutput(LOGITS),
    "mapping with attributes": Mapped(logits=LOGITS, hidden=FEATURES),
    "object": SimpleNamespace(logits=LOGITS, attentions=None),
    "1x1 maps": LOGITS[:, :, None, None],
    "an axis between": LOGITS[:, None],
    "bfloat16": LOGITS.bfloat16(),
}


@pytest.mark.parametrize("form", TAKEN)
def test_each_form_gives_its_logits(form):
    found = read_outputs(TAKEN[form], N, K)
    assert found.logits.shape == (N, K)
    torch.testing.assert_close(found.logits.float(), LOGITS, rtol=1e-2, atol=1e-2)
    heads = 1 if form in ("out", "head", "named tuple") else 0
    assert len(found.auxiliary) == heads
    assert all(torch.equal(head, HEAD) for head in found.auxiliary)
    guessed = form in ("one that fits", "features before", "named tuple of other names")
    assert bool(found.note) == guessed


REFUSED = {
    "other count": (torch.randn(N, 4), "last layer needs 3 outputs"),
    "loss": (torch.tensor(0.3), "not a loss"),
    "maps": (torch.randn(N, K, 8, 8), r"x\.mean\(\(2, 3\)\)"),
    "tokens": (torch.randn(N, 9, K), r"x\.mean\(1\)"),
    "batch axis mixed": (torch.randn(4 * N, K), r"x\.flatten\(1\)"),
    "integers": (torch.zeros(N, K, dtype=torch.long), "int64"),
    "complex": (torch.zeros(N, K, dtype=torch.complex64), "complex64"),
    "None": (None, "it gave None"),
    "text": ("logits", "a str"),
    "number": (0.5, "a float"),
    "array": (np.zeros((N, K)), "a ndarray"),
    "empty tuple": ((), "tuple of nothing"),
    "empty dict": ({}, "nothing"),
    "two that fit": ({"a": LOGITS, "b": HEAD}, "'a' .* 'b' .* call the entry with the logits 'logits'"),
    "named but of another shape": ({"logits": torch.randn(N, 10), "other": LOGITS}, "'logits' of what it gave"),
    "tuple without logits": ((FEATURES, None), r"\(5, 7\), None"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_what_is_not_plain_is_refused_in_one_line(form):
    value, words = REFUSED[form]
    with pytest.raises(InputError, match=words) as refused:
        read_outputs(value, N, K)
    assert "\n" not in str(refused.value)
    assert f"shape ({N}, {K})" in str(refused.value)


def test_one_output_for_two_classes_is_explained():
    for shape in [(8, 1), (8,)]:
        with pytest.raises(InputError, match="give the last layer 2 outputs, without a sigmoid"):
            read_outputs(torch.zeros(shape), 8, 2)


def test_one_picture_may_lose_its_batch_axis():
    torch.testing.assert_close(read_outputs(LOGITS[0], 1, K).logits, LOGITS[:1])


class Squeezing(nn.Module):
    """Loses the batch axis in the middle: what follows fails on one picture, or takes it for another axis."""

    def __init__(self, end):
        super().__init__()
        self.head, self.end = nn.Conv2d(1, K, 4), end

    def forward(self, x):
        return self.end(self.head(x).squeeze())


ENDS = {
    "as it is": lambda x: x,
    "log-softmax over axis 1": lambda x: F.log_softmax(x, dim=1),
    "flattened from the second axis": lambda x: x.view(x.size(0), -1),
    "mean over axis 1 taken off": lambda x: x - x.mean(1, keepdim=True),
}


@pytest.mark.parametrize("end", ENDS)
def test_one_picture_is_answered_as_among_others(end):
    torch.manual_seed(0)
    network = Squeezing(ENDS[end]).eval()
    x = torch.randn(4, 1, 4, 4)
    with torch.inference_mode():
        together = logits_of(network, x, K)
        alone = torch.cat([logits_of(network, one[None], K) for one in x])
    torch.testing.assert_close(alone, together)


def conv(end=None, *, outputs=K):
    return nn.Sequential(nn.Conv2d(1, outputs, 4), nn.Flatten(), *([] if end is None else [end]))


@pytest.mark.parametrize("end", [nn.Softmax(1), nn.Softmax(dim=-1), nn.Sigmoid()])
def test_a_network_that_ends_in_probabilities_is_refused_with_what_to_change(end):
    with pytest.raises(InputError, match=f"ends in {type(end).__name__.lower()}.* leave the .* out"):
        first_look(conv(end), torch.randn(2, 1, 4, 4), K)
    with pytest.raises(InputError, match="ends in"):
        refuse_probabilities(conv(nn.Sequential(end, nn.Unflatten(1, (K, 1)), nn.Flatten()))(torch.randn(9, 1, 4, 4)))


def test_probabilities_are_recognized_by_their_sums_where_no_gradient_is_noted():
    with pytest.raises(InputError, match="ends in softmax"):
        refuse_probabilities(torch.randn(16, K).softmax(1))


class TenTimes(nn.Module):
    def forward(self, x):
        return 10 * torch.tanh(x)


@pytest.mark.parametrize("end", [None, nn.LogSoftmax(1), nn.SiLU(), nn.ReLU(), TenTimes(), nn.Hardtanh(-9, 9)])
def test_other_ends_are_taken_without_a_word(end):
    assert first_look(conv(end), torch.randn(2, 1, 4, 4), K) == []


@pytest.mark.parametrize(("end", "classes"), [
    (nn.Tanh(), 3), (nn.Tanh(), 100), (nn.Hardtanh(), 10), (nn.Hardtanh(-1, 2), 10), (nn.ReLU6(), 10),
    (nn.Hardsigmoid(), 3),
])  # fmt: skip
def test_logits_within_bounds_are_taken_with_a_line_on_how_sure_a_class_can_be(end, classes):
    (note,) = first_look(conv(nn.Sequential(end, nn.Flatten()), outputs=classes), torch.randn(2, 1, 4, 4), classes)
    surest = end(torch.full((classes,), -1e4).index_fill(0, torch.tensor(0), 1e4)).softmax(0)[0].item()
    assert note.startswith(f"the network ends in {type(end).__name__.lower()[:4]}") or isinstance(end, nn.ReLU6)
    assert f"more than {100 * surest:.1f} %" in note


def test_attention_within_a_network_is_no_end():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = conv(), conv(nn.Softmax(1))

        def forward(self, x):
            return self.a(x) * self.b(x)

    first_look(Gated(), torch.randn(2, 1, 4, 4), K)


def test_probabilities_beside_the_logits_are_no_auxiliary_head():
    logits = torch.randn(N, K, requires_grad=True) * 2
    assert read_outputs((logits, logits.softmax(1)), N, K).auxiliary == ()


def test_a_look_changes_nothing():
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5), conv()).train()
    network[1].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    first_look(network, torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0)), K)
    assert [part.training for part in network] == [True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def frozen():
    return conv().requires_grad_(False)


@pytest.mark.parametrize(("network", "words"), [
    (frozen, "all are frozen"),
    (lambda: nn.Sequential(nn.AvgPool2d(4), nn.Flatten()), "it has none"),
    (lambda: conv(outputs=4), "last layer needs 3 outputs"),
    (lambda: nn.Linear(7, 3), "cannot take a batch of shape"),
    (nn.Module, "NotImplementedError"),
])  # fmt: skip
def test_a_look_refuses_what_cannot_be_trained(network, words):
    module = network()
    if not list(module.parameters()) and words == "NotImplementedError":
        module.register_parameter("w", nn.Parameter(torch.zeros(1)))
    with pytest.raises(InputError, match=words) as refused:
        first_look(module, torch.randn(2, 1, 4, 4), K)
    assert "\n" not in str(refused.value)


def test_an_error_in_a_forward_names_its_line():
    class Wrong(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return {}["missing"]

    with pytest.raises(InputError, match=r"KeyError: 'missing' \(line \d+ of .*test_outputs\.py\)"):
        first_look(Wrong(), torch.randn(2, 1, 4, 4), K)


def test_an_answering_network_gives_its_logits_and_then_its_old_form():
    class Dictionary(nn.Module):
        def forward(self, x):
            return {"features": x, "logits": x[:, :K]}

    module, x = Dictionary(), torch.randn(4, 6)
    with answering(module, K):
        assert torch.equal(module(x), x[:, :K])
    assert set(module(x)) == {"features", "logits"}


def test_all_tensors_are_found_in_whatever_holds_them():
    held = {"a": (LOGITS, [HEAD]), "b": ModelOutput(FEATURES), "c": SimpleNamespace(logits=LOGITS), "d": 3}
    assert [id(t) for t in tensors_in(held)] == [id(t) for t in (LOGITS, HEAD, FEATURES, LOGITS)]


# Training


def pictures(n):
    labels = np.arange(n) % 2
    noise = np.random.default_rng(0).integers(0, 60, (n, 8, 8))
    return (noise + labels[:, None, None] * 150).astype(np.uint8), labels


def train(network, tmp_path, **more):
    parts = {"train": pictures(9), "test": pictures(5)}
    return cl.train(
        network, parts, epochs=1, out=tmp_path / "run", quiet=True, device="cpu", size=8,
        recipe={"val_fraction": 0.0, "batch_size": 4, "eval_batch_size": 4}, **more,
    )  # fmt: skip


class Ending(nn.Module):
    def __init__(self, end):
        super().__init__()
        self.body, self.end = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)), end

    def forward(self, x):
        return self.end(self.body(x), self)


def to_nan(x, module):
    return x * float("nan") if module.training else x


@pytest.mark.parametrize(("end", "words"), [
    (lambda x, m: x.softmax(1), "ends in softmax"),
    (lambda x, m: x if m.training else x.softmax(1), "ends in softmax"),
    (lambda x, m: x.softmax(1) if m.training else x, "ends in softmax"),
    (lambda x, m: x.detach(), "depend on none of its trainable parameters"),
    (lambda x, m: x.detach().requires_grad_(), "depend on none of its trainable parameters"),
    (lambda x, m: torch.from_numpy(x.detach().float().numpy()), "depend on none"),
    (lambda x, m: x.tolist(), "a list of"),
    (lambda x, m: x.numpy(), "cannot take a batch"),
    (to_nan, "not finite"),
    (lambda x, m: x[:, :1], "give the last layer 2 outputs"),
])  # fmt: skip
def test_a_forward_that_cannot_be_trained_is_refused_in_one_line(tmp_path, end, words):
    with pytest.raises(InputError, match=words) as refused:
        train(Ending(end), tmp_path)
    assert "\n" not in str(refused.value)


def test_parameters_that_no_gradient_reaches_are_named(tmp_path, capsys):
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Conv2d(1, 4, 8), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.body(x).flatten(1).detach())

    cl.train(
        Half(), {"train": pictures(9), "test": pictures(5)}, epochs=1, out=tmp_path / "run", device="cpu", size=8,
        settings=["val_fraction=0", "batch_size=4"],
    )  # fmt: skip
    said = " ".join(capsys.readouterr().err.split())
    assert "no gradient reached 2 of the network's 4 parameters in the first step, such as 'body.weight'" in said


def test_a_network_that_can_never_work_leaves_no_run_folder_behind(tmp_path):
    with pytest.raises(InputError):
        train(Ending(lambda x, m: x.softmax(1)), tmp_path)
    run = train(Ending(lambda x, m: x), tmp_path)  # the corrected one goes into the same folder
    assert run.results["test"]["n"] == 5


def test_log_softmax_trains_to_the_same_weights_as_logits(tmp_path):
    weights = []
    for i, end in enumerate((lambda x, m: x, lambda x, m: x.log_softmax(1))):
        torch.manual_seed(0)
        network = Ending(end)
        run = train(network, tmp_path / str(i), precision="float32")
        weights.append(network.state_dict())
        pixels, labels = pictures(5)
        assert run.evaluate((pixels + 1, labels)).n == 5  # others than it was trained on
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], rtol=1e-4, atol=1e-5)


def test_the_numpy_engine_reads_outputs_by_the_same_rules(tmp_path):
    torch.manual_seed(0)
    run = train(Ending(lambda x, m: {"features": x * 2, "logits": x}), tmp_path, engine="numpy")
    torch.manual_seed(0)
    plain = train(Ending(lambda x, m: x), tmp_path / "plain", engine="numpy")
    assert run.results["test"]["loss"] == pytest.approx(plain.results["test"]["loss"], rel=1e-5)


def test_a_view_that_needs_contiguous_maps_trains(tmp_path):
    class Viewing(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.again, self.fc = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(64, 2)

        def forward(self, x):
            return self.fc(self.again(self.conv(x)).view(-1, 64))

    run = train(Viewing(), tmp_path)
    assert run.record.numeric["channels_last"] is False
