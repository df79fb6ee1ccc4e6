"""The whitening layer: its output on the patches it was fitted to is uncorrelated and of variance one."""

import numpy as np
import pytest
import torch

from convlens.base.errors import InputError
from convlens.nn.whitening import WhiteningConv2d, patch_components
from typed import present


def images(n=40, channels=3, size=12) -> torch.Tensor:
    """Smooth colored images with a mean far from zero: neighbors and channels are correlated."""
    torch.manual_seed(0)
    x = torch.nn.functional.avg_pool2d(torch.randn(n, channels, size + 2, size + 2), 3, stride=1)
    return x + 0.7 * x[:, :1] + 0.5


@pytest.mark.parametrize(("channels", "size"), [(3, 2), (3, 3), (1, 3)])
def test_the_output_is_uncorrelated_and_of_variance_one(channels, size):
    x = images(channels=channels)
    layer = WhiteningConv2d(channels, size, epsilon=0.0)
    layer.fit(x)
    half = layer.out_channels // 2
    out = layer(x).detach().double()[:, :half].transpose(0, 1).reshape(half, -1)
    np.testing.assert_allclose(np.cov(out.numpy(), bias=True), np.eye(half), atol=1e-4)


def test_the_second_half_is_the_negated_first():
    layer = WhiteningConv2d(3, 2)
    layer.fit(images())
    assert layer.weight.shape == (24, 3, 2, 2)
    assert torch.equal(layer.weight[12:], -layer.weight[:12])


def test_components_match_numpys_principal_components():
    x = images(n=300, size=5)  # more than one part
    variances, components = (t.numpy() for t in patch_components(x, 2))
    windows = np.lib.stride_tricks.sliding_window_view(x.double().numpy(), (2, 2), axis=(2, 3))
    patches = windows.transpose(1, 4, 5, 0, 2, 3).reshape(12, -1)
    covariance = np.cov(patches, bias=True)
    np.testing.assert_allclose(variances, np.linalg.eigvalsh(covariance)[::-1], rtol=1e-9)
    np.testing.assert_allclose(components @ covariance @ components.T, np.diag(variances), atol=1e-9)
    np.testing.assert_allclose(components @ components.T, np.eye(12), atol=1e-9)
    largest = np.take_along_axis(components, abs(components).argmax(1, keepdims=True), axis=1)
    assert (largest > 0).all()


def test_epsilon_keeps_directions_without_variance_small():
    x = images(channels=1).expand(-1, 3, -1, -1)  # gray as color: two thirds of the directions are empty
    layer = WhiteningConv2d(3, 2, epsilon=1e-2)
    layer.fit(x)
    assert layer.weight.abs().max() <= 10


def test_the_weight_is_frozen_and_the_bias_learns():
    layer = WhiteningConv2d(3)
    assert [name for name, p in layer.named_parameters() if p.requires_grad] == ["bias"]
    assert not present(layer.bias).any()
    half = layer.weight[:12].flatten(1)
    torch.testing.assert_close(half @ half.T, torch.eye(12), rtol=0, atol=1e-5)
    layer(torch.randn(2, 3, 5, 5)).sum().backward()
    assert layer.weight.grad is None
    assert WhiteningConv2d(3, bias=False).bias is None


@pytest.mark.parametrize("shape", [(4, 1, 8, 8), (4, 3, 1, 8), (4, 3, 8)])
def test_images_that_do_not_fit_are_refused(shape):
    with pytest.raises(InputError, match="whitening: needs images"):
        WhiteningConv2d(3).fit(torch.zeros(shape))
