"""Upsampling against PyTorch and central differences."""

import numpy as np
import pytest
import torch.nn.functional as F
from checking import check_operation, normal

from convlens import ops


@pytest.mark.parametrize(
    ("kwargs", "torch_kwargs"),
    [
        ({"scale": 2}, {"scale_factor": 2}),
        ({"scale": (1.5, 2.3)}, {"scale_factor": (1.5, 2.3)}),
        ({"size": (7, 3)}, {"size": (7, 3)}),
        ({"size": (2, 9)}, {"size": (2, 9)}),
        ({"size": 1}, {"size": 1}),
    ],
)
def test_upsampling_agrees_with_pytorch(kwargs, torch_kwargs):
    for mode, extra, torch_extra in [
        ("nearest", {}, {}),
        ("bilinear", {}, {"align_corners": False}),
        ("bilinear", {"align_corners": True}, {"align_corners": True}),
    ]:
        settings = {**kwargs, **extra}
        if extra and "scale" in settings:
            continue
        check_operation(
            lambda x, s=settings, m=mode: getattr(ops, f"upsample_{m}")(x, **s),
            lambda grad, x, s=settings, m=mode: getattr(ops, f"upsample_{m}_backward")(grad, x, **s),
            lambda x, m=mode, t=torch_extra: F.interpolate(x, mode=m, **torch_kwargs, **t),
            {"x": normal(2, 3, 4, 5)},
        )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ops.upsample_nearest(np.ones((1, 1, 2, 2))), "size: None and scale: None"),
        (lambda: ops.upsample_nearest(np.ones((1, 2, 2)), scale=2), "x: shape"),
    ],
)
def test_a_bad_argument_is_named_with_what_was_expected(call, words):
    with pytest.raises(ValueError, match=words):
        call()
