"""PyTorch's own samples of each claimed operator: the same values and gradients, or a refusal with its reason."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from inspect import signature
from typing import Any

import numpy as np
import pytest
import torch
from operator_table import OPERATORS, Call, NotClaimed

from convlens import ops
from convlens.base.errors import InputError
from torch_samples import operator_samples

Array = np.ndarray
SAMPLES = {f"{o.name}/{o.variant_test_name}" if o.variant_test_name else o.name: o for o in operator_samples()}
QUICK = ["add", "nn.functional.conv2d", "nn.functional.interpolate/nearest", "nn.functional.avg_pool2d", "softmax", "t"]
TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-5}
# PyTorch's gradients where the input is NaN depend on whether a cell meets its vectorized loop or the rest.
UNCLEAR_AT_NAN = {f"nn.functional.{name}" for name in ("elu", "selu", "celu", "hardtanh", "relu6")}
LOOSE = {  # how many times the tolerance, where PyTorch rounds more than we do
    "nn.functional.celu": 1000,  # 1 / alpha is float32 in its backward
    "nn.functional.layer_norm": 5,  # the mean of a single value is not quite that value
    **{f"nn.functional.interpolate/{mode}": 50 for mode in ("bilinear", "bicubic")},  # positions of float32 images
    "nn.functional.upsample_bilinear": 50,
}


class Twins:
    """Each tensor of a sample as a leaf of its own, and the array that has the same memory."""

    def __init__(self, sample: Any) -> None:
        self.pairs: list[tuple[Array, torch.Tensor]] = []
        self.tensors = self._leaves((sample.input, sample.args, sample.kwargs))
        self.arrays = self._arrays(self.tensors)

    def _leaves(self, value: Any) -> Any:
        def leaf(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.detach().requires_grad_(tensor.requires_grad)

        return mapped(value, leaf)

    def _arrays(self, value: Any) -> Any:
        def array(tensor: torch.Tensor) -> Array:
            self.pairs.append((tensor.detach().numpy(), tensor))
            return self.pairs[-1][0]

        return mapped(value, array)

    def tensor_of(self, array: Any) -> torch.Tensor | None:
        return next((tensor for other, tensor in self.pairs if other is array), None)

    @property
    def types(self) -> set[torch.dtype]:
        return {tensor.dtype for _, tensor in self.pairs if tensor.is_floating_point()}


def mapped(value: Any, of_tensor: Any) -> Any:
    """The same nest of tuples, lists and dictionaries with `of_tensor(tensor)` in place of each tensor."""
    if isinstance(value, torch.Tensor):
        return of_tensor(value)
    if isinstance(value, dict):
        return {key: mapped(v, of_tensor) for key, v in value.items()}
    return type(value)(mapped(v, of_tensor) for v in value) if type(value) in (list, tuple) else value


def assert_same(
    ours: Any, theirs: torch.Tensor, tolerance: float, what: str, *, same_type: bool = True, scale: float = 0
) -> None:
    """Same type, shape, infinities and NaN; other values to `tolerance` of the largest, or of `scale`."""
    expected = theirs.detach().numpy()
    assert isinstance(ours, np.ndarray), f"{what}: {type(ours)}, expected an array"
    if same_type and theirs.is_floating_point():
        assert ours.dtype == expected.dtype, f"{what}: {ours.dtype}, expected {expected.dtype}"
    assert ours.shape == expected.shape, f"{what}: shape {ours.shape}, expected {expected.shape}"
    scale = max(scale, float(np.abs(expected[np.isfinite(expected)]).max(initial=0)))
    np.testing.assert_allclose(ours, expected, rtol=tolerance, atol=tolerance * scale, err_msg=what)


def compare(name: str, sample: Any) -> str:
    """Which of the three it is: "agrees", "refused" or "not claimed". Anything else raises."""
    twins = Twins(sample)
    first, args, kwargs = twins.arrays
    try:
        call: Call = OPERATORS[name](first, *args, **kwargs)
    except NotClaimed:
        return "not claimed"
    try:
        ours = getattr(ops, call.name)(**call.arrays, **call.settings)
    except InputError as error:
        if not str(error) or "\n" in str(error):
            raise AssertionError("refused without a reason in one line") from error
        return "refused"
    # Integers become float64 here, and are never truncated.
    first, args, kwargs = twins.tensors if twins.types else mapped(twins.tensors, torch.Tensor.double)
    theirs = SAMPLES[name].op(first, *args, **kwargs)
    # Of Python numbers alone PyTorch makes float32, NumPy float64.
    tolerance = TOLERANCE[min(twins.types, key=str, default=torch.float32)] * LOOSE.get(name, 1)
    for one, other in zip(ours, theirs, strict=True) if isinstance(theirs, tuple) else [(ours, theirs)]:
        assert_same(
            one, other, tolerance, "value", same_type=bool(twins.pairs)
        )  # Python numbers alone are float32 in PyTorch
    if not isinstance(theirs, tuple) and theirs.requires_grad:
        compare_gradients(call, twins, theirs, tolerance, but_nan=name in UNCLEAR_AT_NAN)
    return "agrees"


def compare_gradients(call: Call, twins: Twins, theirs: torch.Tensor, tolerance: float, but_nan: bool) -> None:
    backward = getattr(ops, f"{call.name}_backward")
    taken = {name: array for name, array in call.arrays.items() if name in signature(backward).parameters}
    grad = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(0), dtype=theirs.dtype)
    ours = backward(grad.numpy(), **taken, **call.settings, **call.backward)._asdict()
    found = []  # (name, tensor, our gradient)
    for name, gradient in ours.items():
        lists = (call.arrays[name], gradient) if name == "xs" else ([call.arrays[name]], [gradient])
        found += [(name, twins.tensor_of(array), one) for array, one in zip(*lists, strict=True)]
    found = [(name, tensor, one) for name, tensor, one in found if tensor is not None and tensor.requires_grad]
    expected = torch.autograd.grad(theirs, [tensor for _, tensor, _ in found], grad, allow_unused=True)
    for (name, tensor, one), other in zip(found, expected, strict=True):
        other = torch.zeros_like(tensor) if other is None else other
        if but_nan:
            one, other = np.where(np.isnan(tensor.detach()), 0, one), other.masked_fill(tensor.isnan(), 0)
        assert_same(one, other, tolerance, f"gradient of {name}", scale=float(grad.abs().sum().clamp(max=1)))


def check_operator(name: str, samples: Iterable[Any]) -> Counter:
    counts: Counter = Counter()
    with np.errstate(all="ignore"):
        for sample in samples:
            try:
                counts[compare(name, sample)] += 1
            except Exception as error:
                error.add_note(f"{name} of {sample.summary()}")
                raise
    return counts


def samples_of(name: str, dtype: torch.dtype, many: bool = True) -> Iterator[Any]:
    operator = SAMPLES[name]
    wanted = {"device": "cpu", "dtype": dtype, "requires_grad": operator.supports_autograd and dtype.is_floating_point}
    if dtype in operator.dtypes:
        yield from operator.sample_inputs(**wanted)
        if many and dtype.is_floating_point:
            yield from operator.reference_inputs(**wanted)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", QUICK)
def test_some_operators_give_the_values_and_gradients_of_pytorch(name):
    assert check_operator(name, samples_of(name, torch.float32, many=False))["agrees"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", OPERATORS)
def test_every_claimed_operator_gives_the_values_and_gradients_of_pytorch_or_says_why_not(name):
    counts = Counter()
    for dtype in (torch.float64, torch.float32, torch.int64):
        counts += check_operator(name, samples_of(name, dtype))
    print(name, dict(counts))
    assert counts["agrees"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in OPERATORS if SAMPLES[name].error_inputs_func])
def test_what_pytorch_refuses_never_trips_numpy(name):
    for wrong in SAMPLES[name].error_inputs("cpu"):
        first, args, kwargs = Twins(wrong.sample_input).arrays
        try:
            call = OPERATORS[name](first, *args, **kwargs)
        except Exception:  # the arguments are not even those of PyTorch's signature: there is nothing to call
            continue
        with np.errstate(all="ignore"), suppress(InputError):
            getattr(ops, call.name)(**call.arrays, **call.settings)
