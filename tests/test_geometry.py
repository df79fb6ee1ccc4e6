"""The integer formulas against the shapes that PyTorch really produces, and against each other."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from convlens import geometry as g

N, K, S, D, P = st.integers(1, 40), st.integers(1, 7), st.integers(1, 5), st.integers(1, 4), st.integers(0, 6)


def line(n: int) -> torch.Tensor:
    return torch.zeros(1, 1, n)


@settings(deadline=None, max_examples=200)
@given(N, K, S, P, D)
def test_convolution_size_is_pytorchs(n, k, s, p, d):
    if n + 2 * p < g.effective_kernel(k, d):
        with pytest.raises(ValueError, match="larger than the padded input"):
            g.conv_size(n, k, s, p, d)
    else:
        assert g.conv_size(n, k, s, p, d) == F.conv1d(line(n), line(k), stride=s, padding=p, dilation=d).shape[-1]


@settings(deadline=None, max_examples=200)
@given(N, K, S, P, D)
def test_pooling_size_rounded_up_is_pytorchs(n, k, s, p, d):
    assume(p <= k // 2)
    assume(n + 2 * p >= g.effective_kernel(k, d))
    y = F.max_pool1d(line(n), k, s, p, d, ceil_mode=True)
    assert g.conv_size(n, k, s, p, d, ceil=True) == y.shape[-1]


@settings(deadline=None, max_examples=200)
@given(N, K, S, P, D, st.integers(0, 4))
def test_transposed_size_is_pytorchs(n, k, s, p, d, extra):
    assume(extra < max(s, d))
    size = g.transposed_size(n, k, s, p, d, extra)
    assume(size > 0)
    y = F.conv_transpose1d(line(n), line(k), stride=s, padding=p, dilation=d, output_padding=extra)
    assert size == y.shape[-1]


@settings(deadline=None, max_examples=200)
@given(N, K, S, D)
def test_same_padding_gives_the_size_divided_by_the_stride_rounded_up(n, k, s, d):
    before, after = g.same_padding(n, k, s, d)
    assert 0 <= after - before <= 1
    assert g.conv_size(n, k, s, "same", d) == -(-n // s)
    y = F.conv1d(F.pad(line(n), (before, after)), line(k), stride=s, dilation=d)
    assert y.shape[-1] == -(-n // s)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@settings(deadline=None, max_examples=100)
@given(N, K, D)
def test_same_padding_without_stride_is_pytorchs(n, k, d):
    assert g.conv_size(n, k, 1, "same", d) == F.conv1d(line(n), line(k), padding="same", dilation=d).shape[-1] == n


@settings(deadline=None, max_examples=200)
@given(N, K, S, P, D)
def test_the_remainder_lets_a_transposed_convolution_give_the_size_back(n, k, s, p, d):
    assume(n + 2 * p >= g.effective_kernel(k, d))
    remainder = g.transposed_remainder(n, k, s, p, d)
    assert 0 <= remainder < s
    assert g.transposed_size(g.conv_size(n, k, s, p, d), k, s, p, d, remainder) == n


@given(N, K, S, D)
def test_named_padding_of_a_transposed_convolution_is_tensorflows(n, k, s, d):
    same, valid = g.transposed_size(n, k, s, "same", d), g.transposed_size(n, k, s, "valid", d)
    assert same == n * s
    assert valid == (n - 1) * s + max((k - 1) * d + 1, s)
    assert g.conv_size(same, k, s, "same", d) == n
    assert g.conv_size(valid, k, s, "valid", d) == n


def test_padding_can_be_written_in_every_way():
    assert g.resolve_padding(2, 9, 3) == (2, 2)
    assert g.resolve_padding((1, 0), 9, 3) == (1, 0)
    assert g.resolve_padding("valid", 9, 3) == (0, 0)
    assert g.resolve_padding("same", 9, 4) == (1, 2)
    with pytest.raises(ValueError, match="padding: 'full'"):
        g.resolve_padding("full", 9, 3)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 2))
def test_multiply_accumulates_are_those_that_pytorch_counts(groups, c_in, c_out, k, s):
    from torch.utils.flop_counter import FlopCounterMode

    x, w = torch.zeros(1, groups * c_in, 7, 6), torch.zeros(groups * c_out, c_in, k, k)
    with FlopCounterMode(display=False) as counter:
        y = F.conv2d(x, w, stride=s, groups=groups)
        F.linear(torch.zeros(5, 3), torch.zeros(4, 3))
    convolution = g.conv_macs(tuple(y.shape[1:]), groups * c_in, (k, k), groups)
    assert 2 * (convolution + g.linear_macs(3, 4, 5)) == counter.get_total_flops()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2)), max_size=3))
def test_the_receptive_field_is_where_the_gradient_goes(layers):
    x = torch.zeros(1, 1, 40, dtype=torch.float64, requires_grad=True)
    y, field = x, g.ReceptiveField()
    for k, s, p, d in layers:
        assume(y.shape[-1] + 2 * p >= g.effective_kernel(k, d))
        y = F.conv1d(y, torch.ones(1, 1, k, dtype=torch.float64), stride=s, padding=p, dilation=d)
        field = field.window(k, s, p, d)
    index = y.shape[-1] // 2
    first, last = field.span(index)
    assert last - first + 1 == field.size
    y[0, 0, index].backward()
    assert x.grad is not None
    seen = x.grad[0, 0].nonzero().flatten().tolist()
    # Padding of an inner layer hides cells at the border; away from it the ends of the span are seen exactly.
    assert all(max(first, 0) <= cell <= last for cell in seen)
    if first >= 0 and last < 40 and all(p == 0 for _, _, p, _ in layers):
        assert (seen[0], seen[-1]) == (first, last)
