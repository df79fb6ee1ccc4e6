"""Networks in the shapes of public repositories: the engines agree, or one line says why they cannot be compared."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))

from foreign import CHANNELS, NETWORKS, SIDE

from convlens.base.errors import InputError
from convlens.inspection.verify import verify

# The only ones that the NumPy engine cannot run, and what it says.
REFUSED = {"spectral norm": r"0\.parametrizations\.weight\.0 \(_SpectralNorm\)"}
FAST = {"MobileNetV2", "dict output", "pre-activation", "weight norm"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in NETWORKS]
)
def test_a_network_of_a_public_repository_is_the_same_in_both_engines_or_refused_in_one_line(name):
    torch.manual_seed(0)
    module = NETWORKS[name]()
    if name in REFUSED:
        with pytest.raises(InputError, match=REFUSED[name]) as caught:
            verify(module, (CHANNELS, SIDE, SIDE))
        assert "\n" not in str(caught.value)
        return
    found = verify(module, (CHANNELS, SIDE, SIDE))
    assert found.agrees(1e-10), found
