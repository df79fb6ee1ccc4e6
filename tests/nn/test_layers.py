"""Layers against hand-made or loop oracles."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convlens.nn import (
    AvgPool2dSame,
    Conv2dSame,
    KerasBatchNorm2d,
    LocallyConnected2d,
    LocalResponseNorm,
    MaxPool2dSame,
    SeparableConv2d,
)
from typed import present

SIZES = {"n": st.integers(1, 9), "m": st.integers(1, 9), "k": st.integers(1, 5), "s": st.integers(1, 3)}


def windows(x, k, s):
    """TensorFlow's rule spelt out: each output cell's window of the image, clipped to the image, with its offset."""
    height, width = x.shape[-2:]
    for i in range(-(-height // s)):
        for j in range(-(-width // s)):
            top = i * s - max((-(-height // s) - 1) * s + k - height, 0) // 2
            left = j * s - max((-(-width // s) - 1) * s + k - width, 0) // 2
            rows = slice(max(top, 0), min(top + k, height))
            columns = slice(max(left, 0), min(left + k, width))
            yield (
                i,
                j,
                rows,
                columns,
                slice(rows.start - top, rows.stop - top),
                slice(columns.start - left, columns.stop - left),
            )


@given(**SIZES)
@settings(max_examples=40, deadline=None)
def test_same_convolution_equals_a_loop_over_clipped_windows(n, m, k, s):
    torch.manual_seed(n * 1000 + m * 100 + k * 10 + s)
    layer = Conv2dSame(2, 3, k, s).double()
    x = torch.randn(1, 2, n, m, dtype=torch.float64)
    y = layer(x)
    assert y.shape[2:] == (-(-n // s), -(-m // s))
    for i, j, rows, columns, krows, kcolumns in windows(x, k, s):
        expected = (layer.weight[:, :, krows, kcolumns] * x[0, :, rows, columns]).sum((1, 2, 3)) + present(layer.bias)
        torch.testing.assert_close(y[0, :, i, j], expected)


@given(**SIZES)
@settings(max_examples=40, deadline=None)
def test_same_pooling_never_counts_the_padding(n, m, k, s):
    x = torch.from_numpy(np.random.default_rng(n + 10 * m).standard_normal((1, 2, n, m))) - 5
    largest, mean = MaxPool2dSame(k, s)(x), AvgPool2dSame(k, s)(x)
    for i, j, rows, columns, _, _ in windows(x, k, s):
        torch.testing.assert_close(largest[0, :, i, j], x[0, :, rows, columns].amax((1, 2)))
        torch.testing.assert_close(mean[0, :, i, j], x[0, :, rows, columns].mean((1, 2)))


def test_same_padding_with_stride_two_differs_from_padding_one():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    weight = torch.zeros(1, 1, 3, 3)
    weight[..., 1, 1] = 1
    layer = Conv2dSame(1, 1, 3, 2, bias=False)
    layer.weight.data.copy_(weight)
    assert layer(x).flatten().tolist() == [5, 7, 13, 15]  # centers at (1, 1), (1, 3), (3, 1), (3, 3)
    assert F.conv2d(x, weight, stride=2, padding=1).flatten().tolist() == [0, 2, 8, 10]


def test_same_padding_with_dilation_keeps_the_size():
    assert Conv2dSame(1, 1, 3, dilation=2)(torch.zeros(1, 1, 7, 6)).shape == (1, 1, 7, 6)


def test_locally_connected_with_equal_kernels_is_a_convolution():
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
    layer = LocallyConnected2d(3, 4, 3, (7, 5), stride=2, padding=1)
    with torch.no_grad():
        layer.weight.copy_(conv.weight.flatten(1)[:, None].expand_as(layer.weight))
        bias = present(layer.bias)
        bias.copy_(present(conv.bias)[:, None, None].expand_as(bias))
    x = torch.randn(2, 3, 7, 5)
    torch.testing.assert_close(layer(x), conv(x))


def test_locally_connected_has_a_kernel_for_each_position():
    layer = LocallyConnected2d(1, 1, 3, (5, 5), bias=False)
    assert sum(p.numel() for p in layer.parameters()) == 9 * 9  # nine positions of nine weights, against nine shared
    layer.weight.data.zero_()
    layer.weight.data[0, 4, 0] = 1  # the middle position looks at its upper left cell
    x = torch.arange(25.0).view(1, 1, 5, 5)
    assert layer(x).flatten().tolist() == [0, 0, 0, 0, 6, 0, 0, 0, 0]


def test_locally_connected_refuses_another_image_size():
    with pytest.raises(ValueError, match="one kernel per position"):
        LocallyConnected2d(1, 1, 3, (5, 5))(torch.zeros(1, 1, 6, 5))


def test_separable_convolution_counts_39_weights_where_a_full_one_has_108():
    layer = SeparableConv2d(3, 4, 3, bias=False)
    assert sum(p.numel() for p in layer.parameters()) == 39
    assert sum(p.numel() for p in nn.Conv2d(3, 4, 3, bias=False).parameters()) == 108


@pytest.mark.parametrize("padding", [0, 1, "same"])
def test_separable_convolution_is_a_full_convolution_of_rank_one_kernels(padding):
    torch.manual_seed(0)
    layer = SeparableConv2d(3, 4, 3, stride=2, padding=padding)
    weight = layer.pointwise.weight * layer.depthwise.weight.permute(1, 0, 2, 3)  # (4, 3, 3, 3)
    x = torch.randn(2, 3, 8, 8)
    padded = F.pad(x, (0, 1, 0, 1)) if padding == "same" else x
    expected = F.conv2d(padded, weight, layer.pointwise.bias, 2, 0 if padding == "same" else padding)
    torch.testing.assert_close(layer(x), expected)


def test_local_response_norm_follows_the_formula_of_the_paper():
    x = torch.randn(2, 7, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = LocalResponseNorm(5, alpha=0.1, beta=0.75, k=2)(x)
    for i in range(7):
        near = x[:, max(0, i - 2) : min(6, i + 2) + 1]
        torch.testing.assert_close(y[:, i], x[:, i] / (2 + 0.1 * (near**2).sum(1)) ** 0.75)


def test_keras_batch_norm_keeps_99_percent_of_its_averages():
    layer = KerasBatchNorm2d(1)
    layer(torch.tensor([0.0, 2.0]).view(2, 1, 1, 1))
    assert present(layer.running_mean).item() == pytest.approx(0.01)  # 0.99 * 0 + 0.01 * mean 1
    assert layer.eps == 1e-3
