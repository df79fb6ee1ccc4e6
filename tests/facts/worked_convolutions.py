"""Convolutions of the worked examples: one function (inputs, params, example) -> value, or (value, gradients)."""

import numpy as np
from worked_common import array, conv_padding, filled, image, nhwc, settings

from convlens import geometry, ops, scratch


def conv2d(i, p, e):
    options = settings(p, "stride", "dilation") | {"padding": conv_padding(p["padding"])}
    x, w = image(i["x"]), array(i["kernel"])[None, None]
    b = array([i["bias"]]) if "bias" in i else None
    y = ops.conv2d(x, w, b, **options)
    grad = image(i["output_grad"]) if "output_grad" in i else np.ones_like(y)
    g = ops.conv2d_backward(grad, x, w, **options)
    value = {"first_two_outputs": y[0, 0, 0, :2]} if isinstance(e["computed_value"], dict) else y[0, 0]
    return value, {"input": g.x[0, 0], "kernel": g.w[0, 0], "bias": g.b[0]}


def conv2d_shape(i, p, e):
    if "kernel_shape" in i:
        w = filled(i["kernel_shape"], None).transpose(3, 2, 0, 1)
        return nhwc(ops.conv2d(filled(i["x_shape"]), w, stride=p["stride"], padding=conv_padding(p["padding"])))
    x = scratch.image(*i["x_shape"][1:]).conv2d(p["out_channels"], tuple(p["kernel"]), padding=tuple(p["padding"]))
    graph = scratch.network(x)
    parameters = graph.parameters
    y = graph(np.zeros(i["x_shape"], np.float32))
    return {"y": y.shape, "weight": parameters["conv2d_1.weight"].shape, "bias": parameters["conv2d_1.bias"].shape}


def conv_layer_shape(i, p, e):
    w = np.ones((p["filters"], i["x_shape"][3], *p["kernel"]))
    return nhwc(ops.conv2d(filled(i["x_shape"]), w, stride=tuple(p["stride"]), padding=p["padding"].lower()))


def conv_layer_variables(i, p, e):
    h, w, c = i["x_shape"][1:]
    parameters = scratch.network(scratch.image(c, h, w).conv2d(p["filters"], p["kernel"], padding="same")).parameters
    weight = parameters["conv2d_1.weight"].transpose(2, 3, 1, 0)
    return {"kernel": weight.shape, "bias": parameters["conv2d_1.bias"].shape}


def dilated_conv_shape(i, p, e):
    return nhwc(ops.conv2d(filled(i["x_shape"]), np.ones((1, 1, p["k"], p["k"])), dilation=p["dilation"]))


def conv_output_size(i, p, e):
    if "n" in i:  # here the padding counts both sides together
        cases = zip(i["n"], p["k"], p["total_padding"], p["stride"], strict=True)
        return [geometry.conv_size(n, k, s, (t // 2, t - t // 2)) for n, k, t, s in cases]
    padding = conv_padding(p["padding"])
    strides = p["stride"] if isinstance(p["stride"], list) else [p["stride"]]
    sizes = [[geometry.conv_size(i[axis], p["k"], s, padding) for axis in ("h", "w") if axis in i] for s in strides]
    sizes = sizes if isinstance(p["stride"], list) else sizes[0]
    return sizes[0] if "w" not in i else sizes


def conv2d_transpose(i, p, e):
    x, w = image(i["x"]), array(i["kernel"])[None, None]
    options = settings(p, "stride", "padding", "output_padding")
    y = ops.conv_transpose2d(x, w, **options)
    assert y.shape[2:] == tuple(p["output_size"])
    assert np.array_equal(y, ops.conv_transpose2d(x, w, stride=p["stride"], output_size=tuple(p["output_size"])))
    g = ops.conv_transpose2d_backward(np.ones_like(y), x, w, **options)
    value = {"first_row": y[0, 0, 0]} if isinstance(e["computed_value"], dict) else y[0, 0]
    return value, {"input": g.x[0, 0], "kernel": g.w[0, 0]}


def conv2d_transpose_by_zero_insertion(i, p, e):
    x, w = array(i["x"]), array(i["kernel"])
    step = p["insert"] + 1
    spread = np.zeros([step * (n - 1) + 1 for n in x.shape])
    spread[::step, ::step] = x
    return ops.true_conv2d(image(spread), w[None, None], padding=p["pad"], stride=p["stride"])[0, 0]


def conv2d_transpose_intermediate_sizes(i, p, e):
    after_insertion = (i["i"] - 1) * i["s"] + 1
    after_padding = after_insertion + 2 * (i["k"] - i["p"] - 1)
    size = geometry.transposed_size(i["i"], i["k"], i["s"], i["p"])
    assert size == geometry.conv_size(after_padding, i["k"])
    return {"after_insertion": after_insertion, "after_padding": after_padding, "output": size}


def conv2d_transpose_zero_border(i, p, e):
    y = ops.conv_transpose2d(
        image(i["x"]), array(i["kernel"])[None, None], stride=p["stride"], output_size=tuple(p["output_size"])
    )
    assert not y[..., -1].any()
    assert not y[..., -1, :].any()
    return {"last_column_first_row": y[0, 0, 0, -1]}


def conv2d_transpose_remainder(i, p, e):
    targets = i["o"] if isinstance(i["o"], list) else [i["o"]]
    rest = [geometry.transposed_remainder(o, i["k"], i["s"], i["p"]) for o in targets]
    small = [geometry.conv_size(o, i["k"], i["s"], i["p"]) for o in targets]
    sizes = [geometry.transposed_size(n, i["k"], i["s"], i["p"], 1, a) for n, a in zip(small, rest, strict=True)]
    assert sizes == targets
    return {"a": rest, "size": sizes} if isinstance(i["o"], list) else rest[0]


def conv_transpose_output_size(i, p, e):
    return geometry.transposed_size(i["i"], i["k"], p["stride"], conv_padding(p["padding"]))


def conv_transpose_layer_shape(i, p, e):
    w = np.ones((i["x_shape"][3], p["filters"], p["k"], p["k"]))
    y = ops.conv_transpose2d(filled(i["x_shape"]), w, stride=p["stride"], padding=conv_padding(p["padding"]))
    return nhwc(y)


def conv_as_sparse_matrix(i, p, e):
    w, size = array(i["kernel"])[None, None], tuple(i["input_size"])
    x = np.arange(float(np.prod(size))).reshape(1, 1, *size)
    matrix = ops.conv2d_matrix(w, size, stride=p["stride"], padding=p["padding"])
    y = ops.conv2d(x, w, stride=p["stride"])
    forward = np.allclose(matrix @ x.reshape(-1), y.reshape(-1))
    back = ops.conv_transpose2d(y, w, stride=p["stride"], output_size=size)
    transposed = np.allclose(matrix.T @ y.reshape(-1), back.reshape(-1))
    assert forward
    assert transposed
    return {
        "W_shape": matrix.shape,
        "WT_shape": matrix.T.shape,
        "X_shape": [x.size, 1],
        "O_shape": [y.size, 1],
        "nonzero": matrix.nnz,
        "reproduces_forward": forward,
        "reproduces_transposed": transposed,
    }


def conv2d_true(i, p, e):
    if "f" in i:
        x, w = image(i["f"]), array(i["g"])[None, None]
        flipped, straight = ops.true_conv2d(x, w, padding=1), ops.conv2d(x, w, padding=1)
        return {"true_convolution": flipped[0, 0], "cross_correlation": straight[0, 0]}
    return ops.true_conv2d(image(i["x"]), array(i["kernel"])[None, None], **settings(p, "stride", "padding"))[0, 0]


def conv1d(i, p, e):
    x, w = array(i["x"]), array(i["kernel"])[None, None]
    x = x[:, None] if x.ndim == 2 else x[None, None]
    options = {"stride": p.get("stride", 1), "padding": p.get("padding", 1)}
    y = ops.conv1d(x, w, **options)
    g = ops.conv1d_backward(np.ones_like(y), x, w, **options)
    squeeze = (lambda a: a[:, 0]) if len(x) > 1 else (lambda a: a[0, 0])
    return squeeze(y), {"input": squeeze(g.x), "kernel": g.w[0, 0]}


def conv1d_sum(i, p, e):
    return ops.total(conv1d(i, p, e)[0])


def gradient_check_by_perturbation(i, p, e):
    changed, cell = i["changed"].split("[")[0], int(i["changed"].split("[")[1].split("]")[0])
    moved = {**i, changed: list(i[changed])}
    moved[changed][cell] += 1
    slope = conv1d(i, p, e)[1]["input" if changed == "x" else "kernel"][cell]
    difference = conv1d_sum(moved, p, e) - conv1d_sum(i, p, e)
    assert difference == slope
    return difference


def conv1d_same_stride2(i, p, e):
    x, w = array(i["x"])[None, None], array(i["kernel"])[None, None]
    return {
        "tensorflow_SAME": ops.conv1d(x, w, stride=2, padding="same")[0, 0],
        "symmetric_padding_1": ops.conv1d(x, w, stride=2, padding=1)[0, 0],
    }


def conv2d_multi(i, p, e):
    w = array(i["kernel"])
    y = ops.conv2d(image(i["x"]), w if w.ndim == 4 else w[None], stride=p["stride"], padding=p["padding"])[0]
    return y if w.ndim == 4 else y[0]


def conv2d_multi_channel_batch(i, p, e):
    x, w, grad = array(i["x"]), array(i["kernel"]).swapaxes(0, 1), array(i["output_grad"])
    g = ops.conv2d_backward(grad, x, w, padding=p["padding"])
    return ops.conv2d(x, w, padding=p["padding"]), {"input": g.x, "kernel": g.w.swapaxes(0, 1)}


def conv2d_1x1(i, p, e):
    w = array(i["kernel"])
    y = ops.conv1x1(image(i["x"]), np.atleast_2d(w))[0]
    return y if w.ndim == 2 else y[0]


def separable_conv2d(i, p, e):
    depthwise, pointwise = array(i["depthwise"])[:, None], array(i["pointwise"])
    x = image(i["x"])
    staged = ops.conv1x1(ops.depthwise_conv2d(x, depthwise), pointwise)[0]
    assert np.array_equal(staged, ops.conv2d(ops.conv2d(x, depthwise, groups=3), pointwise[:, :, None, None])[0])
    return staged


def separable_parameter_count(i, p, e):
    k, c_in, c_out = i["k"], i["c_in"], i["c_out"]
    x = scratch.image(c_in, 8, 8)
    ordinary = scratch.network(x.conv2d(c_out, k, bias=False))
    both = scratch.network(x.conv2d(c_in, k, groups=c_in, bias=False).conv2d(c_out, 1, bias=False))
    depthwise, pointwise = (a.size for a in both.parameters.values())
    (weight,) = ordinary.parameters.values()
    return {"ordinary": weight.size, "depthwise": depthwise, "pointwise": pointwise, "total": depthwise + pointwise}


def locally_connected2d(i, p, e):
    x, kernels = image(i["x"]), array(i["kernels"])
    side = int(len(kernels) ** 0.5)
    k = kernels.shape[1]
    patches = ops.conv2d(x, np.eye(k * k).reshape(k * k, 1, k, k), stride=p["stride"], padding=p["padding"])[0]
    by_hand = (patches.reshape(k * k, -1) * kernels.reshape(-1, k * k).T).sum(0).reshape(side, side)
    ours = ops.locally_connected2d(x, kernels.reshape(side, side, 1, 1, k, k), stride=p["stride"])
    assert np.array_equal(ours[0, 0], by_hand)
    return ours[0, 0]


def connection_parameter_counts(i, p, e):
    sizes = [geometry.conv_size(i[a], p["k"], p["stride"], p["padding"]) for a in ("h", "w")]
    outputs, area = sizes[0] * sizes[1], p["k"] ** 2
    x = scratch.image(1, i["h"], i["w"])
    dense = scratch.network(x.flatten().linear(outputs, bias=False)).parameters["linear_1.weight"].size
    shared = scratch.network(x.conv2d(1, p["k"], bias=False)).parameters["conv2d_1.weight"].size
    return {
        "outputs": outputs,
        "fully_connected": dense,
        "locally_connected": area * outputs,
        "shared": shared,
    }
