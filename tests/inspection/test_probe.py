"""The probe against hooks written by hand, and its promise to leave everything as it was."""

import collections
import copy
import dataclasses
import random
import sys
import threading
import weakref
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn
from torch.utils.checkpoint import checkpoint

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from foreign import CHANNELS, NETWORKS, SIDE

import convlens as cl
from convlens.base.errors import InputError
from convlens.inspection.probe import Probe
from convlens.models.modes import evaluation_mode
from convlens.training.events import Listener


def hooks_of(module: nn.Module) -> list[tuple[int, ...]]:
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    names += ("_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs", "_forward_hooks_always_called")
    return [tuple(len(getattr(part, name)) for name in names) for part in module.modules()]


def a_pass(network: nn.Module, x: torch.Tensor) -> Any:
    """One forward and backward pass, from a fixed random state: what it returned, all gradients, the state after it."""
    torch.manual_seed(3)
    x = x.clone().requires_grad_()
    outputs = network(x)
    first = outputs if isinstance(outputs, torch.Tensor) else next(iter(tensors(outputs)))
    first.square().sum().backward()
    gradients = [x.grad, *(p.grad for p in network.parameters())]
    for p in network.parameters():
        p.grad = None
    return first.detach(), gradients, torch.get_rng_state(), network.state_dict()


def tensors(value: Any) -> list[torch.Tensor]:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [value] if isinstance(value, torch.Tensor) else [t for item in items for t in tensors(item)]


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return a is b or a == b


def fresh(name: str) -> nn.Module:
    torch.manual_seed(0)
    random.seed(0)
    return NETWORKS[name]()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_pass_under_the_probe_is_the_pass_without_it(name):
    x = torch.randn(4, CHANNELS, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    network, plain = fresh(name), fresh(name)
    flags = [part.training for part in network.modules()]
    with Probe(network, gradients=True, operations=True) as probe:
        watched = a_pass(network, x)
    assert equal(watched, a_pass(plain, x))
    assert [part.training for part in network.modules()] == flags
    assert hooks_of(network) == hooks_of(plain)  # lazy layers take hooks of their own away
    (whole,) = probe.outputs[""]
    assert equal(tensors(whole)[0], watched[0])
    assert len(probe.operations) > 1
    assert probe.calls[0].path == ""


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_kept_is_what_hooks_by_hand_see(name):
    x = torch.randn(4, CHANNELS, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    network = fresh(name)
    with Probe(network) as probe:
        a_pass(network, x)
    network = fresh(name)
    names = collections.defaultdict(list)
    for path, part in network.named_modules(remove_duplicate=False):
        names[part].append(path)
    seen = collections.defaultdict(list)
    for part in names:
        part.register_forward_hook(
            lambda part, args, out: seen[part].append([t.detach().clone() for t in tensors(out)])
        )
    a_pass(network, x)
    for part, paths in names.items():
        kept = [tensors(out) for path in paths for out in probe.outputs[path]]
        assert len(kept) == len(seen[part])
        for mine in kept:
            assert any(equal(mine, theirs) for theirs in seen[part])
        if len(paths) == 1:
            assert equal(kept, seen[part])


LAYERS = {
    "linear": lambda _: nn.Linear(4, 4), "relu": lambda inplace: nn.ReLU(inplace=inplace),
    "elu": lambda inplace: nn.ELU(inplace=inplace), "dropout": lambda inplace: nn.Dropout(0.5, inplace=inplace),
    "identity": lambda _: nn.Identity(), "tanh": lambda _: nn.Tanh(),
}  # fmt: skip


@given(st.lists(st.sampled_from(list(LAYERS)), min_size=1, max_size=8), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_a_chain_in_place_is_seen_as_the_chain_of_new_tensors(names, seed):
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(3, 4), *(LAYERS[name](True) for name in names))
    twin = nn.Sequential(nn.Linear(3, 4), *(LAYERS[name](False) for name in names))
    twin.load_state_dict(network.state_dict())
    x = torch.randn(5, 3)
    torch.manual_seed(seed)
    with Probe(network, gradients=True) as probe:
        try:
            network(x).square().sum().backward()
        except RuntimeError as error:  # PyTorch needs what was overwritten: no such network trains
            if "inplace operation" not in str(error):
                raise
            return
    torch.manual_seed(seed)
    steps = [x]
    for layer in twin:
        steps.append(layer(steps[-1]))
    for step in steps[1:]:
        step.retain_grad()
    steps[-1].square().sum().backward()
    for number, (before, after) in enumerate(pairwise(steps)):
        assert equal(probe.inputs[str(number)], [(before.detach(),)])
        assert equal(probe.outputs[str(number)], [after.detach()])
        torch.testing.assert_close(probe.gradients[str(number)], [after.grad])


class Steps(nn.Module):
    """Each way to write in place behind a layer."""

    def __init__(self):
        super().__init__()
        self.conv, self.act, self.second = nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Conv2d(2, 2, 3)

    def forward(self, x):
        x = self.act(self.conv(x))
        return self.second(x).mul_(2).sum((1, 2, 3))


def test_values_and_gradients_are_those_before_the_network_writes_in_place():
    torch.manual_seed(0)
    network, x = Steps(), torch.randn(2, 1, 7, 7)
    with Probe(network, gradients=True) as probe:
        network(x).sum().backward()
    conv = network.conv(x)
    act = F.relu(conv)
    second = network.second(act)
    gradients = torch.autograd.grad((2 * second).sum(), (conv, act, second))
    for path, value, gradient in zip(("conv", "act", "second"), (conv, act, second), gradients, strict=True):
        torch.testing.assert_close(probe.outputs[path], [value.detach()])
        torch.testing.assert_close(probe.gradients[path], [gradient])
    assert equal(probe.inputs["act"], [(conv.detach(),)])
    assert not any(t.requires_grad for path in probe.outputs for t in probe.outputs[path])


def test_each_call_has_its_place_in_the_lists():
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            for _ in range(3):
                x = self.layer(x)
            return x

    network, x = Loop(), torch.randn(2, 3)
    with Probe(network, ["layer"], gradients=True) as probe:
        network(x).sum().backward()
    first = network.layer(x)
    second = network.layer(first)
    assert equal(probe.inputs["layer"], [(x,), (first.detach(),), (second.detach(),)])
    assert equal(probe.outputs["layer"], [t.detach() for t in (first, second, network.layer(second))])
    ones = torch.ones(2, 3)
    by_hand = [ones @ network.layer.weight.matrix_power(n) for n in (2, 1, 0)]
    torch.testing.assert_close(probe.gradients["layer"], [t.detach() for t in by_hand])


def test_a_shared_module_is_seen_under_the_name_by_which_it_is_called():
    relu = nn.ReLU()
    network = nn.Sequential(nn.Linear(2, 2), relu, nn.Linear(2, 2), relu)
    with Probe(network, ["1", "3"]) as probe:
        y = network(torch.randn(4, 2))
    assert equal(probe.outputs["3"], [y])
    assert len(probe.outputs["1"]) == 1


def test_a_module_within_itself_keeps_inputs_and_outputs_together():
    class Nested(nn.Module):
        def forward(self, x, depth):
            return x * 10 if depth == 0 else self(x + 1, depth - 1) + 1

    network = Nested()
    with Probe(network) as probe:
        network(torch.zeros(()), 2)
    assert [args[0].item() for args in probe.inputs[""]] == [0, 1, 2]
    assert [output.item() for output in probe.outputs[""]] == [22, 21, 20]


Pair = collections.namedtuple("Pair", ["one", "two"])


@dataclasses.dataclass(frozen=True)
class Answer:
    logits: torch.Tensor
    parts: dict[str, Any]


class Nests(nn.Module):
    """Takes and returns tensors in every nesting."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Identity()

    def forward(self, batch, *, scale):
        x = batch["image"] * scale
        return Answer(x, {"pair": Pair(x + 1, [x + 2, None, "text"]), "best": torch.max(x, 1)})


def test_nested_values_keep_their_nesting():
    network, x = Nests(), torch.randn(2, 3)
    with Probe(network, gradients=True) as probe:
        answer = network({"image": x.clone().requires_grad_()}, scale=torch.tensor(2.0))
        (answer.logits.sum() + 3 * answer.parts["pair"].two[0].sum()).backward()
    (inputs,), (kept,), (gradients,) = probe.inputs[""], probe.outputs[""], probe.gradients[""]
    assert equal(inputs, ({"image": x}, torch.tensor(2.0)))
    assert isinstance(kept, Answer)
    assert equal(kept.logits, 2 * x)
    assert isinstance(kept.parts["pair"], Pair)
    assert equal(kept.parts["pair"].two, [2 * x + 2, None, "text"])
    assert equal(kept.parts["best"][1], x.argmax(1))
    assert answer.logits.requires_grad
    torch.testing.assert_close(gradients.logits, torch.full((2, 3), 4.0))  # of x, on which all else stands
    torch.testing.assert_close(gradients.parts["pair"].two[0], torch.full((2, 3), 3.0))
    assert gradients.parts["pair"].one is None


def test_what_is_not_called_has_an_empty_list_and_what_the_loss_does_not_reach_no_gradient():
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.main, self.aux, self.idle = nn.Linear(2, 1), nn.Linear(2, 1), nn.Linear(2, 1)

        def forward(self, x):
            return self.main(x), self.aux(x).relu_()

    network = Heads()
    with Probe(network, gradients=True) as probe:
        assert probe.gradients["main"] == []
        y, _ = network(torch.ones(1, 2))
        assert probe.gradients["main"] == [None]
        y.sum().backward()
    assert probe.outputs["idle"] == probe.gradients["idle"] == []
    assert probe.gradients["aux"] == [None]
    assert equal(probe.gradients["main"], [torch.ones(1, 1)])


def test_a_gradient_that_pytorch_loses_is_said_and_not_left_out():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.ReLU(inplace=True), nn.Linear(18, 1))
    with Probe(network, gradients=True) as probe:
        network(torch.randn(2, 1, 5, 5)).sum().backward()
    for found in (probe.gradients, probe.gradients):  # the graph is gone by now
        with pytest.raises(InputError, match=r"gradient of '1' cannot be seen.*view.*inplace"):
            found["1"]
    assert probe.gradients["0"][0].shape == (2, 2, 3, 3)
    assert probe.outputs["1"][0].min() < 0


# What is looked at, and with what


def test_an_unknown_path_is_refused_with_the_nearest():
    network = nn.Sequential(collections.OrderedDict(features=nn.Sequential(nn.ReLU(), nn.ReLU()), head=nn.ReLU()))
    with pytest.raises(InputError, match=r"Sequential has no module 'featuers\.1', did you mean 'features\.1'\?"):
        Probe(network, ["featuers.1"])
    with Probe(network, "features.1", inputs=False) as probe:
        network(torch.zeros(1))
    with pytest.raises(InputError, match=r"does not look at 'features\.2', did you mean 'features\.1'\?"):
        probe.outputs["features.2"]
    for ask in (lambda: probe.gradients, lambda: probe.operations, lambda: probe.inputs["features.1"]):
        with pytest.raises(InputError, match=r"not kept|not recorded"):
            ask()


def test_something_else_than_a_copy_can_be_kept():
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    x = torch.randn(5, 4)
    with Probe(network, ["0"], gradients=True, operations=True, keep=lambda path, t: (path, t.std().item())) as probe:
        y = network(x)
        y.sum().backward()
    assert probe.inputs["0"] == [((("0", x.std().item()),))]
    assert probe.outputs["0"] == [("0", network[0](x).std().item())]
    assert probe.gradients["0"] == [("0", (y > 0).float().std().item())]
    assert "std" not in " ".join(op.name for op in probe.operations)


def test_a_probe_that_is_opened_again_begins_anew():
    network = nn.Linear(1, 1)
    probe = Probe(network, operations=True)
    for _ in range(2):
        with probe:
            network(torch.zeros(1, 1))
            with pytest.raises(InputError, match="open already"), probe:
                pass
        assert len(probe.outputs[""]) == 1
        assert [op.name for op in probe.operations] == ["t", "addmm"]
    network(torch.zeros(1, 1))
    assert len(probe.outputs[""]) == 1


def test_operations_know_who_asked_for_them():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 1, bias=False)

        def forward(self, x):
            assert x.shape[0] == 2
            y = self.conv(x).relu_()
            y += x
            return F.log_softmax(y, 1)

    network = Net()
    with torch.no_grad(), Probe(network, operations=True) as probe:  # with gradients, values are put aside, too
        torch.zeros(1).add(1)  # not the network's
        y = network(torch.randn(2, 1, 3, 3))
        torch.zeros(1).add(1)
    asked = [None if op.function is None else probe.calls[op.function].kind for op in probe.operations]
    assert [(op.name, probe.calls[op.module].path) for op in probe.operations] == [
        ("convolution", "conv"), ("relu_", ""), ("add_", ""), ("_log_softmax", ""),
    ]  # fmt: skip
    assert asked == ["conv2d", "relu", "add", "log_softmax"]
    assert probe.operations[-1].outputs[0] is probe.calls[0].output
    assert probe.operations[1].inputs[0] is probe.operations[0].outputs[0]
    assert equal(y.detach(), probe.outputs[""][0])


# Nothing is left behind


class Failing(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.bad = nn.Linear(2, 2), nn.Linear(3, 3)

    def forward(self, x):
        return self.bad(self.body(x))


class Careful(Failing):
    """Goes on where a layer of it fails."""

    def forward(self, x):
        try:
            return super().forward(x)
        except RuntimeError:
            return self.body(x)


def test_nothing_stays_after_an_error_in_the_pass():
    network = Failing().train()
    network.body.eval()
    state, hooks = torch.get_rng_state(), hooks_of(network)
    with pytest.raises(RuntimeError, match="shapes"), Probe(network, gradients=True, operations=True) as probe:
        network(torch.zeros(1, 2))
    assert hooks_of(network) == hooks
    assert [part.training for part in network.modules()] == [True, False, True]
    assert torch.equal(torch.get_rng_state(), state)
    assert (len(probe.outputs["body"]), probe.outputs["bad"], probe.outputs[""]) == (1, [None], [None])
    with Probe(nn.Linear(1, 1), operations=True) as other:
        torch.zeros(1).add(1)
    assert other.operations == []


def test_nothing_stays_after_an_error_in_what_is_kept():
    network = nn.Sequential(nn.Linear(1, 1))
    with pytest.raises(ZeroDivisionError), Probe(network, keep=lambda path, t: 1 / 0):
        network(torch.zeros(1, 1))
    assert set(hooks_of(network)) == {(0,) * 7}


def test_a_network_that_goes_on_after_a_failure_is_followed():
    network = Careful()
    with Probe(network, operations=True) as probe:
        y = network(torch.ones(1, 2))
    assert probe.outputs["bad"] == [None]
    assert equal(probe.outputs["body"], [y, y])
    assert [(call.path, call.parent) for call in probe.calls if not call.is_function] == [
        ("", None), ("body", 0), ("bad", 0), ("body", 0),
    ]  # fmt: skip


def test_hooks_of_gradients_end_with_the_probe():
    network = nn.Linear(2, 1)
    count = []
    with Probe(network, gradients=True, keep=lambda path, tensor: count.append(path)):
        y = network(torch.zeros(1, 2))
    before = len(count)
    y.sum().backward()
    assert len(count) == before


def test_a_closed_probe_lets_the_graph_go():
    network = nn.Linear(2, 1)
    with Probe(network, gradients=True) as probe:
        y = network(torch.zeros(1, 2))
    held = weakref.ref(y)
    del y
    assert held() is None
    assert probe.gradients[""] == [None]


def test_normalized_weights_and_hooks_of_the_user_run_once():
    def make():
        torch.manual_seed(0)
        old, new = nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm
        return nn.Sequential(old(nn.Linear(3, 3)), new(nn.Linear(3, 3)))

    network, plain, fired = make(), make(), []
    for part in network.modules():
        part.register_forward_pre_hook(lambda *_: fired.append("pre"))
        part.register_forward_hook(lambda *_: fired.append("post"))
    for part in (network, *network):
        part.register_full_backward_hook(lambda *_: fired.append("backward"))
    x = torch.randn(2, 3, requires_grad=True)
    network(x).sum().backward()
    once = collections.Counter(fired)
    fired.clear()
    with Probe(network, gradients=True, operations=True):
        network(x).sum().backward()
    assert collections.Counter(fired) == once
    plain(x)
    plain(x)
    assert equal(network.state_dict(), plain.state_dict())


def test_what_a_users_hook_changes_is_what_is_seen():
    network = nn.Sequential(nn.Identity())
    network[0].register_forward_pre_hook(lambda part, args: (args[0] + 1,))

    def ten_times(_part: nn.Module, _args: Any, output: torch.Tensor) -> torch.Tensor:
        return output * 10

    network[0].register_forward_hook(ten_times)
    with Probe(network, ["0"]) as probe:
        network(torch.zeros(1))
    assert (probe.inputs["0"][0][0].item(), probe.outputs["0"][0].item()) == (1, 10)


# Passes that are not straight


@pytest.mark.parametrize("reentrant", [False, True])
def test_what_a_backward_pass_computes_again_is_not_recorded_twice(reentrant):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.block, self.head = nn.Sequential(nn.Linear(2, 2), nn.Tanh()), nn.Linear(2, 1)

        def forward(self, x):
            return self.head(checkpoint(self.block, x, use_reentrant=reentrant))

    network, x = Net(), torch.randn(3, 2, requires_grad=True)
    network(x).sum().backward()
    plain = [p.grad for p in network.parameters()]
    network.zero_grad()
    with Probe(network, gradients=True, operations=True) as probe:
        network(x).sum().backward()
    assert equal(plain, [p.grad for p in network.parameters()])
    assert all(len(calls) == 1 for calls in probe.outputs.values())
    assert [op.name for op in probe.operations if op.name in ("addmm", "tanh")] == ["addmm", "tanh", "addmm"]
    assert (probe.gradients["block.0"][0] is None) == reentrant


def test_a_copy_that_the_network_makes_of_a_layer_is_part_of_the_module_around_it():
    class Copying(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x):
            return copy.deepcopy(self.layer)(self.layer(x))

    network, x = Copying(), torch.randn(1, 2)
    with torch.no_grad(), Probe(network, operations=True) as probe:
        network(x)
    assert equal(probe.outputs["layer"], [network.layer(x).detach()])
    assert [call.path for call in probe.calls if not call.is_function] == ["", "layer"]
    products = [probe.calls[op.module].path for op in probe.operations if op.name == "addmm"]
    assert products == ["layer", ""]


def test_calls_from_other_threads_are_none_of_the_pass():
    network = nn.Sequential(nn.Linear(1, 1))

    def elsewhere():
        with torch.no_grad():
            network(torch.ones(1, 1))

    with Probe(network, gradients=True, operations=True) as probe:
        other = threading.Thread(target=elsewhere)
        other.start()
        other.join()
        network(torch.zeros(1, 1))
    assert probe.inputs["0"] == [(torch.zeros(1, 1),)]
    assert len(probe.calls) == len({call.path for call in probe.calls if not call.is_function}) + 1


class Looking(Listener):
    """Looks at the network after each epoch, as docs/inside.md does."""

    def __init__(self):
        self.deviations = []

    def epoch(self, run: Any, record: dict[str, Any]) -> None:
        network, images = run.engine.module, torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
        keep = lambda path, tensor: tensor.std().item()  # noqa: E731
        with evaluation_mode(network), torch.no_grad(), Probe(network, ["features.c1"], keep=keep) as probe:
            network(images)
        self.deviations += probe.outputs["features.c1"]


def test_a_run_that_is_looked_at_has_the_bits_of_one_that_is_not(tmp_path):
    looking, how = Looking(), {"data": "digits", "epochs": 2, "quiet": True, "recipe": {"batch_size": 256}}
    seen = cl.train("lenet5", out=tmp_path / "seen", listeners=[looking], **how)
    plain = cl.train("lenet5", out=tmp_path / "plain", **how)
    weights = [load_file(tmp_path / name / "weights.safetensors") for name in ("seen", "plain")]
    assert equal(*weights)
    assert seen.results["test"]["loss"] == plain.results["test"]["loss"]
    assert len(set(looking.deviations)) == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler's own imports
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("operations", [True, False])
def test_a_compiled_network_runs_without_its_compiler_while_it_is_looked_at(whole, operations):
    class Net(nn.Module):  # the compiler leaves PyTorch's own out unless it is told to wrap them
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 1)

        def forward(self, x):
            return self.layer(x).relu()

    network, x, compiled_calls = Net(), torch.zeros(1, 1), []

    def backend(graph, _inputs):
        def forward(*args):
            compiled_calls.append(graph)
            return graph(*args)

        return forward

    if whole:
        compiled: Any = torch.compile(network, backend=backend)
    else:
        network.compile(backend=backend)
        compiled = network
    with torch.no_grad():
        compiled(x)
        with Probe(compiled, ["layer"], operations=operations) as probe:
            compiled(x)
        assert len(compiled_calls) == 1
        compiled(x)
    assert len(compiled_calls) == 2
    assert equal(probe.outputs["layer"], [network.layer(x).detach()])
    if operations:
        assert [op.name for op in probe.operations] == ["t", "addmm", "relu"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_network_is_refused():
    with pytest.raises(InputError, match="scripted"):
        Probe(nn.Sequential(torch.jit.script(nn.Linear(1, 1))))
