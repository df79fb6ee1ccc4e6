"""Test-time views against the average written out, picture by picture."""

import numpy as np
import pytest
import torch
from torch import nn

from convlens.classify.views import Views


def network(height: int = 6, width: int = 7) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Flatten(), nn.Linear(3 * height * width, 4)).eval()


def moved(picture: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """[C H W] seen from a place that is so many pixels further; beyond the border lies its mirror image."""
    _, height, width = picture.shape
    result = np.empty_like(picture)
    for i in range(height):
        for j in range(width):
            a, b = abs(i + rows), abs(j + columns)
            result[:, i, j] = picture[:, min(a, 2 * (height - 1) - a), min(b, 2 * (width - 1) - b)]
    return result


@pytest.mark.parametrize("kind", ["mirror", "mirror+shift"])
@pytest.mark.parametrize("size", [(6, 7), (1, 5), (5, 1), (1, 1), (2, 1)])
def test_the_logits_are_the_weighted_mean_over_the_views(kind, size):
    plain, images = network(*size), np.random.default_rng(0).standard_normal((3, 2, *size)).astype(np.float32)
    weighted = {(0, 0): 1.0} if kind == "mirror" else {(0, 0): 0.5, (-1, -1): 0.25, (1, 1): 0.25}
    expected = np.zeros((3, 4))
    for n, picture in enumerate(images):
        for (rows, columns), weight in weighted.items():
            seen = moved(picture, rows, columns)
            for view in (seen, seen[:, :, ::-1]):
                with torch.no_grad():
                    expected[n] += weight / 2 * plain(torch.tensor(view.copy())[None])[0].numpy()
    with torch.no_grad():
        found = Views(plain, kind)(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    if size == (6, 7):
        assert np.abs(found - plain(torch.from_numpy(images)).detach().numpy()).max() > 0.01
