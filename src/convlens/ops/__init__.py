"""Operations of convolutional networks in NumPy: each a pair of pure functions, forward and backward.

To be read. Begin with `rectifier` (one formula each), `linear` and `convolution`, where the gradients of a matrix
product are derived; then `pooling` and `normalization`. `loops` has the same in the textbook's nested loops.

`operation(x, ...)` gives the output; `operation_backward(grad, x, ...)` takes the gradient of the loss with respect to
that output, the same arguments again, and gives the gradients of the arguments as a named tuple. Nothing is remembered
from forward to backward, no argument is written to, and float32 stays float32. Images are (N, C, H, W): number,
channels, height, width. `fast` holds threaded and tiled drop-ins, which need not be read.
"""

# ruff: noqa: F401 - everything here is re-exported

from convlens.ops import kernels, loops
from convlens.ops.activation import (
    gelu,
    gelu_backward,
    glu,
    glu_backward,
    log_sigmoid,
    log_sigmoid_backward,
    log_softmax,
    log_softmax_backward,
    mish,
    mish_backward,
    sigmoid,
    sigmoid_backward,
    silu,
    silu_backward,
    softmax,
    softmax_backward,
    softplus,
    softplus_backward,
    tanh,
    tanh_backward,
)
from convlens.ops.arithmetic import (
    absolute,
    absolute_backward,
    add,
    add_backward,
    divide,
    divide_backward,
    exp,
    exp_backward,
    log,
    log_backward,
    mean,
    mean_backward,
    multiply,
    multiply_backward,
    power,
    power_backward,
    scale_shift,
    scale_shift_backward,
    subtract,
    subtract_backward,
    total,
    total_backward,
)
from convlens.ops.batch_norm import (
    Statistics,
    batch_norm,
    batch_norm_backward,
    batch_norm_inference,
    batch_norm_inference_backward,
    batch_statistics,
    update_statistics,
)
from convlens.ops.classification_loss import (
    binary_cross_entropy,
    binary_cross_entropy_backward,
    cross_entropy,
    cross_entropy_backward,
    nll,
    nll_backward,
    one_hot,
)
from convlens.ops.convolution import (
    ConvolutionGradients,
    conv1d,
    conv1d_backward,
    conv1x1,
    conv1x1_backward,
    conv2d,
    conv2d_backward,
    true_conv2d,
    true_conv2d_backward,
)
from convlens.ops.dropout import dropout, dropout_backward, dropout_mask
from convlens.ops.fast import fast
from convlens.ops.global_pooling import (
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_backward,
    adaptive_max_pool2d,
    adaptive_max_pool2d_backward,
    adaptive_max_pool2d_with_indices,
    global_avg_pool2d,
    global_avg_pool2d_backward,
    global_max_pool2d,
    global_max_pool2d_backward,
)
from convlens.ops.linear import (
    linear,
    linear_backward,
    matmul,
    matmul_backward,
)
from convlens.ops.local_response import local_response_norm, local_response_norm_backward
from convlens.ops.locally_connected import (
    LocallyConnectedGradients,
    locally_connected2d,
    locally_connected2d_backward,
)
from convlens.ops.loss import (
    categorical_hinge,
    categorical_hinge_backward,
    cosine,
    cosine_backward,
    hinge,
    hinge_backward,
    huber,
    huber_backward,
    kl_divergence,
    kl_divergence_backward,
    log_cosh,
    log_cosh_backward,
    mae,
    mae_backward,
    mape,
    mape_backward,
    mse,
    mse_backward,
    msle,
    msle_backward,
    poisson,
    poisson_backward,
    smooth_l1,
    smooth_l1_backward,
    squared_hinge,
    squared_hinge_backward,
)
from convlens.ops.matrix import conv2d_matrix
from convlens.ops.normalization import (
    group_norm,
    group_norm_backward,
    instance_norm,
    instance_norm_backward,
    layer_norm,
    layer_norm_backward,
)
from convlens.ops.penalty import (
    l1_penalty,
    l1_penalty_backward,
    l2_penalty,
    l2_penalty_backward,
)
from convlens.ops.pooling import (
    PoolingGradients,
    avg_pool2d,
    avg_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
    max_pool2d_with_indices,
)
from convlens.ops.rectifier import (
    celu,
    celu_backward,
    clamp,
    clamp_backward,
    elu,
    elu_backward,
    leaky_relu,
    leaky_relu_backward,
    prelu,
    prelu_backward,
    relu,
    relu_backward,
    selu,
    selu_backward,
    threshold,
    threshold_backward,
)
from convlens.ops.separable import (
    SeparableGradients,
    depthwise_conv2d,
    depthwise_conv2d_backward,
    separable_conv2d,
    separable_conv2d_backward,
)
from convlens.ops.shape import (
    broadcast,
    broadcast_backward,
    concat,
    concat_backward,
    flatten,
    flatten_backward,
    pad,
    pad_backward,
    permute,
    permute_backward,
    pixel_shuffle,
    pixel_shuffle_backward,
    pixel_unshuffle,
    pixel_unshuffle_backward,
    put,
    put_backward,
    reshape,
    reshape_backward,
    take,
    take_backward,
)
from convlens.ops.transposed import conv_transpose2d, conv_transpose2d_backward
from convlens.ops.upsampling import (
    upsample_bicubic,
    upsample_bicubic_backward,
    upsample_bilinear,
    upsample_bilinear_backward,
    upsample_nearest,
    upsample_nearest_backward,
)
