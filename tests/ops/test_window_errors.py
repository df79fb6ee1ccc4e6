"""Every mistake in a convolution or pooling gets one line naming the argument, its value and what was expected."""

import numpy as np
import pytest
from checking import normal

from convlens import ops
from convlens.base.errors import InputError
from typed import wrong

X, W = normal(2, 4, 6, 6), normal(3, 4, 3, 3)
Y = normal(2, 3, 4, 4)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: ops.conv2d(X[0], W), r"^x: shape \(4, 6, 6\) has 3 axes, expected 4: \(N, C_in, H, W\)"),
        (lambda: ops.conv2d(X, W[0]), r"^w: shape \(4, 3, 3\) has 3 axes"),
        (lambda: ops.conv2d(X, W[:, :3]), r"^w: shape \(3, 3, 3, 3\) sees 3 input channels, expected 4"),
        (lambda: ops.conv2d(X, W, np.zeros(4)), r"^b: shape \(4,\), expected \(3,\)"),
        (lambda: ops.conv2d(X.astype(complex), W), r"^x: dtype complex128, expected float32, float64 or integers"),
        (lambda: ops.conv2d(X, W.astype(np.float16)), r"^w: dtype float16, expected"),
        (lambda: ops.conv2d(X, W, stride=0), r"^stride: 0, expected an integer of at least 1"),
        (lambda: ops.conv2d(X, W, stride=(1, -2)), r"^stride: -2, expected"),
        (lambda: ops.conv2d(X, W, stride=(1, 1, 1)), r"^stride: \(1, 1, 1\), expected one integer or 2"),
        (lambda: ops.conv2d(X, W, stride=wrong(1.5)), r"^stride: 1\.5, expected an integer"),
        (lambda: ops.conv2d(X, W, dilation=True), r"^dilation: True, expected an integer"),
        (lambda: ops.conv2d(X, W, padding=-1), r"^padding: -1, expected an integer of at least 0"),
        (lambda: ops.conv2d(X, W, padding="full"), r"^padding: 'full', expected 'same', 'valid'"),
        (lambda: ops.conv2d(X, W, padding=(1, 1, 1)), r"^padding: \(1, 1, 1\), expected"),
        (lambda: ops.conv2d(X, W, groups=2), r"^groups: 2, expected a divisor"),
        (lambda: ops.conv2d(X, W, dilation=3), r"^w: kernel \(3, 3\) with dilation \(3, 3\) spans 7 cells .* 0 \+ 6"),
        (lambda: ops.conv2d(X[:, :, :0], W), r"^x: shape \(2, 4, 0, 6\) is empty along H"),
        (lambda: ops.conv2d_backward(Y[:, :2], X, W), r"^grad: shape \(2, 2, 4, 4\), expected \(2, 3, 4, 4\)"),
        (lambda: ops.conv1d(X, W), r"^x: shape \(2, 4, 6, 6\) has 4 axes, expected 3: \(N, C_in, L\)"),
        (lambda: ops.conv1x1(X, W), r"^w: shape \(3, 4, 3, 3\) has 4 axes, expected 2"),
        (lambda: ops.depthwise_conv2d(X, W), r"^w: shape \(3, 4, 3, 3\), expected \(4 \* m, 1, K_h, K_w\)"),
        (lambda: ops.conv_transpose2d(X, W), r"^w: shape \(3, 4, 3, 3\) is for 3 input channels, expected 4"),
        (lambda: ops.conv_transpose2d(Y, W, output_padding=1), r"^output_padding: 1, expected less than the stride"),
        (lambda: ops.conv_transpose2d(Y, W, padding=3), r"^padding: 3 leaves an output of \(0, 0\)"),
        (lambda: ops.conv_transpose2d(Y, W, stride=2, output_size=(11, 9)), r"^output_size: \(11, 9\), expected bet"),
        (
            lambda: ops.conv_transpose2d(Y, W, stride=2, output_size=(9, 9), output_padding=1),
            r"^output_padding: 1, expected 0 where output_size is given",
        ),
        (
            lambda: ops.conv_transpose2d(Y, W, stride=2, padding="same", output_padding=1),
            r"^output_padding: 1, expected 0 for padding 'same'",
        ),
        (lambda: ops.conv_transpose2d_backward(Y, Y, W), r"^grad: shape \(2, 3, 4, 4\), expected \(2, 4, 6, 6\)"),
        (lambda: ops.locally_connected2d(X, normal(4, 5, 3, 4, 3, 3)), r"^w: shape .*, expected \(4, 4, C_out, 4"),
        (lambda: ops.conv2d_matrix(W, (2, 6)), r"^w: kernel \(3, 3\)"),
        (lambda: ops.conv2d_matrix(W, (0, 6)), r"^size: 0, expected an integer of at least 1"),
        (lambda: ops.max_pool2d(X, 0), r"^kernel: 0, expected an integer of at least 1"),
        (lambda: ops.max_pool2d(X, 7), r"^kernel: kernel \(7, 7\)"),
        (lambda: ops.max_pool2d(X, 2, padding=2), r"^padding: 2, expected less than the window's 2"),
        (lambda: ops.avg_pool2d_backward(Y, X, 2), r"^grad: shape \(2, 3, 4, 4\), expected \(2, 4, 3, 3\)"),
        (lambda: ops.adaptive_avg_pool2d(X, (0, 1)), r"^size: 0, expected"),
        (lambda: ops.global_avg_pool2d_backward(Y, X), r"^grad: shape"),
    ],
)
def test_a_mistake_is_named(call, said):
    with pytest.raises(InputError, match=said) as caught:
        call()
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)
