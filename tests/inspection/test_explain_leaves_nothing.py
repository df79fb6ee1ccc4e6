"""Whatever is explained, and however that ends, the network and the process are as before."""

import contextlib
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from explaining import Normed, images, pictures, subject_of
from torch import nn

from convlens.base.errors import InputError
from convlens.inspection.explain import METHODS, Options, explain

_HOOKS = (
    "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs",
)  # fmt: skip


def network() -> Normed:
    """In training mode, one part in evaluation mode, one frozen, with gradients from before, with a hook of its own."""
    torch.manual_seed(3)
    module = Normed().train()
    module.second.eval()
    module.out.weight.requires_grad_(False)
    module(torch.rand(4, 1, 14, 14)).sum().backward()
    module.pool.register_forward_hook(lambda *_: None)
    module.passes.begun = 0
    return module


def state(module: nn.Module) -> dict[str, Any]:
    """All that must not change."""
    parts = dict(module.named_modules())
    return {
        "hooks": {path: [list(getattr(part, name)) for name in _HOOKS] for path, part in parts.items()},
        "modes": {path: part.training for path, part in parts.items()},
        "values": {name: value.clone() for name, value in module.state_dict().items()},
        "same tensors": {name: id(p) for name, p in module.named_parameters()},
        "requires_grad": {name: p.requires_grad for name, p in module.named_parameters()},
        "grad": {name: None if p.grad is None else p.grad.clone() for name, p in module.named_parameters()},
        "attributes": {path: sorted(vars(part)) for path, part in parts.items()},
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state(legacy=False)["state"]["key"],  # type: ignore[index] # noqa: NPY002
        "python": random.getstate(),
        "threads": torch.get_num_threads(),
        "switches": (torch.is_grad_enabled(), torch.get_default_dtype(), torch.is_inference_mode_enabled()),
        "style": dict(mpl.rcParams),
    }


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    return a == b


def assert_untouched(module: Normed, work: Callable[[], Any]) -> None:
    before = state(module)
    try:
        work()
    finally:
        after = state(module)
        changed = [name for name in before if not same(before[name], after[name])]
        assert changed == []


@pytest.mark.parametrize("name", METHODS)
def test_use_leaves_nothing_behind(name):
    module = network()
    assert_untouched(module, lambda: explain(subject_of(module), pictures(), [name], Options(quiet=True)).draw())
    assert module.passes.begun > 0 or not METHODS[name].pictures


@pytest.mark.parametrize("name", [m.name for m in METHODS.values() if m.group == "attribution"])
def test_a_wrong_class_leaves_nothing_behind(name):
    module = network()

    def work() -> None:
        with pytest.raises(InputError, match="no class 'bea', did you mean 'bee'"):
            explain(subject_of(module), pictures(), [name], Options(target="bea", quiet=True))

    assert_untouched(module, work)


def _ended_by(told: type[BaseException], words: str, certain: bool) -> contextlib.AbstractContextManager[Any]:
    """Where a pass on shapes alone failed, a method may go on with one on numbers."""
    return pytest.raises(told, match=words) if certain else contextlib.suppress(told)


@pytest.mark.parametrize("call", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "error", [RuntimeError("a fault of the network"), KeyboardInterrupt("stop")], ids=["fault", "Ctrl-C"]
)
@pytest.mark.parametrize("name", METHODS)
def test_a_pass_that_is_broken_off_leaves_nothing_behind(name, error, call):
    """The first pass chooses the class; later ones are those of the method, or of the exporter."""
    module = network()
    explain(subject_of(module), pictures(), [name], Options(quiet=True))
    reached = module.passes.begun >= call
    module = network()
    module.passes.failing = {call: error}

    def work() -> None:
        told = InputError if isinstance(error, RuntimeError) else KeyboardInterrupt
        with _ended_by(told, str(error), reached and METHODS[name].group == "attribution"):
            explain(subject_of(module), pictures(), [name], Options(quiet=True))

    assert_untouched(module, work)


def test_a_method_that_cannot_be_used_on_a_network_is_left_out_of_all_with_a_line():
    module = nn.Sequential(nn.Flatten(), nn.Linear(196, 3))
    notes: list[str] = []
    subject = replace(subject_of(module), on_note=notes.append)
    found = explain(subject, pictures(), ["all"], Options(quiet=True))
    assert "grad-cam" not in found.found
    assert "lrp" in found.found
    assert [note for note in notes if note.startswith("grad-cam is left out: ")]
    with pytest.raises(InputError, match="maps of more than one cell"):
        explain(subject, pictures(), ["grad-cam"], Options(quiet=True))


def test_the_data_set_for_these_tests_has_every_class():
    assert images(1, 14, ("a", "b")).counts().all()
