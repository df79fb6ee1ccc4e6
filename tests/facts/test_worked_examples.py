"""The worked examples of five texts on convolutional networks, against the values that running them gives.

`worked_examples.json` holds, for each example, its operation, inputs, settings, the value (not always the printed one:
13 printed values are wrong) and gradients. Every example is either computed here by our own operations, or listed in
`NOT_OURS` with the reason.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import worked_convolutions
import worked_layers
import worked_networks
from worked_common import array

EXAMPLES = {e["id"]: e for e in json.loads((Path(__file__).parent / "worked_examples.json").read_text())}

TENSORS = "an exercise in tensor types or indexing, no operation of a network"
DATA = "a fact about a data set"
ZOO = "counts a network of the zoo, which is tested there"
TEXT = "a statement without an instance to compute"
SYMBOLIC = "an expression in symbols"
MISSING = "its numbers are in a lost picture"

NOT_OURS = {
    "S0-W02": "memory in rounded megabytes",
    "S0-W03": SYMBOLIC,
    "S0-W06": SYMBOLIC,
    "S0-W37": ZOO,
    "S0-W38": DATA,
    "S0-W60": MISSING,
    "S0-W63": ZOO,
    "S0-W64": "published error rates",
    "S0-W65": ZOO,
    "S0-W66": "geometry of discs of pixels, no operation of a network",
    "S1-W10": DATA,
    "S1-W11": ZOO,
    **dict.fromkeys([f"S2-W{i:02}" for i in (*range(1, 21), 22, 26, *range(30, 37), 41)], TENSORS),
    "S2-W55": "counts weights; has no gradient",
    "S4-W15": DATA,
    "S4-W16": TEXT,
}

TESTED = sorted(EXAMPLES.keys() - NOT_OURS.keys())


NAMES = {
    "conv2d_gradient": worked_convolutions.conv2d,
    "conv1d_batch": worked_convolutions.conv1d,
    "conv2d_multi_in": worked_convolutions.conv2d_multi,
    "conv2d_multi_in_out": worked_convolutions.conv2d_multi,
    "lenet5_1998_shapes": worked_networks.lenet_shapes,
    "normalisation_statistics": worked_layers.normalisation_statistics,
    "l1_penalty": worked_layers.penalty,
    "l2_penalty": worked_layers.penalty,
    **dict.fromkeys(
        ["kernel_identity", "kernel_sharpen", "kernel_blur", "kernel_edge", "kernel_laplacian"], worked_layers.kernel
    ),
}


def agrees(ours, expected, where):
    """Figures were printed with 7 digits; names and shapes must be equal."""
    if isinstance(expected, dict):
        assert set(expected) <= set(ours), f"{where}: {sorted(ours)} lacks some of {sorted(expected)}"
        for key, value in expected.items():
            agrees(ours[key], value, f"{where}.{key}")
    elif isinstance(expected, list) and any(isinstance(e, list) and len(e) != len(expected[0]) for e in expected):
        assert [list(a) for a in ours] == expected, where
    elif isinstance(expected, str | bool):
        assert ours == expected, where
    else:
        a, b = array(ours), array(expected)
        assert a.shape == b.shape, f"{where}: shape {a.shape}, expected {b.shape}"
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6 * max(np.abs(b).max(initial=0), 1e-3), err_msg=where)


def _named(op):
    modules = (worked_convolutions, worked_layers, worked_networks)
    return next(getattr(module, op) for module in modules if hasattr(module, op))


@pytest.mark.parametrize("name", TESTED)
def test_a_worked_example_gives_its_value_and_gradients(name):
    example = EXAMPLES[name]
    op = example["op"]
    compute = worked_networks.SIMPLE.get(op) or NAMES.get(op) or _named(op)
    found = compute(example["inputs"], example.get("params", {}), example)
    value, gradients = found if isinstance(found, tuple) and isinstance(found[-1], dict) else (found, {})
    agrees(value, example["computed_value"], name)
    for of, expected in example.get("gradients", {}).items():
        agrees(gradients[of], expected, f"{name}: gradient of {of}")


def test_every_example_is_computed_or_listed_with_a_reason():
    assert len(EXAMPLES) == 181
    assert set(NOT_OURS) <= set(EXAMPLES)
    assert all(NOT_OURS.values())
    assert all(EXAMPLES[name]["computed_value"] is not None for name in TESTED)
    assert len(TESTED) >= 130
