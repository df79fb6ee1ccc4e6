"""Pooling, normalization, activations and losses of the worked examples; as `worked_convolutions`."""

import numpy as np
from worked_common import array, image, settings

from convlens import ops


def max_pool_window(i, p, e):
    return ops.max_pool2d(image(array(i["window"]).reshape(2, 2)), 2)[0, 0, 0, 0]


def avg_pool_window(i, p, e):
    return ops.avg_pool2d(image(array(i["window"]).reshape(2, 2)), 2)[0, 0, 0, 0]


def max_pool2d(i, p, e):
    x, options = image(i["x"]), settings(p, "stride", "padding")
    y = ops.max_pool2d(x, p["k"], **options)
    return y[0, 0], {"input": ops.max_pool2d_backward(np.ones_like(y), x, p["k"], **options).x[0, 0]}


def avg_pool2d(i, p, e):
    x, options = image(i["x"]), settings(p, "stride", "padding")
    y = ops.avg_pool2d(x, p["k"], **options)
    return y[0, 0], {"input": ops.avg_pool2d_backward(np.ones_like(y), x, p["k"], **options).x[0, 0]}


def max_and_avg_pool2d(i, p, e):
    (largest, d_max), (mean, d_avg) = max_pool2d(i, p, e), avg_pool2d(i, p, e)
    return {"max": largest, "avg": mean}, {"input_of_max": d_max["input"], "input_of_avg": d_avg["input"]}


def max_pool2d_channels(i, p, e):
    return ops.max_pool2d(array(i["x"]), p["k"], stride=tuple(p["stride"]), padding=p["padding"])


def pool_output_size(i, p, e):
    y = ops.max_pool2d(np.zeros((1, 1, i["h"], i["w"])), p["k"], stride=p["stride"], padding=p["padding"])
    return y.shape[2:]


def batch_norm_running_update(i, p, e):
    old = ops.Statistics(array(i["running_mean"]), np.ones(2))
    new = ops.update_statistics(old, ops.Statistics(array(i["batch_mean"]), np.ones(2)), 0, momentum=1 - p["momentum"])
    return {"new_running_mean": new.mean}


def batch_norm_train_and_test(i, p, e):
    x, w, b = array(i["x"]), array(i["gamma"]), array(i["beta"])
    old = ops.Statistics(array(i["running_mean"]), array(i["running_var"]))
    new = ops.update_statistics(old, ops.batch_statistics(x), 0, momentum=1 - p["momentum"])
    return {
        "train_output": ops.batch_norm(x, w, b, eps=p["eps"]),
        "new_running_mean": new.mean,
        "new_running_var": new.var,
        "test_output_with_new_running": ops.batch_norm_inference(x, *new, w, b, eps=p["eps"]),
    }


def batch_norm_gradient(i, p, e):
    x, w, b = array(i["x"]), array(i["gamma"]), array(i["beta"])
    g = ops.batch_norm_backward(array(i["output_grad"]), x, w, b, eps=p["eps"])
    return ops.batch_norm(x, w, b, eps=p["eps"]), {"input": g.x, "gamma": g.w, "beta": g.b}


def batch_norm_formula(i, p, e):
    return ops.batch_norm(array(i["H"])[:, None], array([i["gamma"]]), array([i["beta"]]), eps=p["delta"])[:, 0]


def normalisation_statistics(i, p, e):
    """Mean and variance are read off what each normalization does to the batch: x = x_hat * std + mean."""
    x = (np.arange(32.0) ** 1.5).reshape(i["x_shape"])
    n, c, h, w = x.shape
    cases = {
        "batch": (ops.batch_norm(x, eps=0), (0, 2, 3), x, [1, c, 1, 1]),
        "layer": (ops.layer_norm(x, axes=3, eps=0), (1, 2, 3), x, [n, 1, 1, 1]),
        "instance": (ops.instance_norm(x, eps=0), (2, 3), x, [n, c, 1, 1]),
    }
    split = (n, p["groups"], c // p["groups"], h, w)
    grouped = ops.group_norm(x, groups=p["groups"], eps=0).reshape(split)
    cases["group"] = (grouped, (2, 3, 4), x.reshape(split), [n, p["groups"], 1, 1, 1])
    found = {}
    for name, (normal, axes, values, shape) in cases.items():
        at_first = tuple(0 if a in axes else slice(None) for a in range(values.ndim))
        at_last = tuple(-1 if a in axes else slice(None) for a in range(values.ndim))
        std = (values[at_last] - values[at_first]) / (normal[at_last] - normal[at_first])
        mean = values[at_first] - normal[at_first] * std
        found[name] = {"mean_shape": shape, "mean": mean.reshape(-1), "var": (std**2).reshape(-1)}
    return found


def kernel(i, p, e):
    w = array(i["kernel"])
    ours = {
        "kernel_identity": ops.kernels.IDENTITY,
        "kernel_sharpen": ops.kernels.SHARPEN,
        "kernel_blur": ops.kernels.GAUSSIAN_BLUR,
        "kernel_edge": ops.kernels.EDGES,
        "kernel_laplacian": ops.kernels.LAPLACIAN,
    }[e["op"]]
    assert np.array_equal(ours, w)
    impulse = np.zeros((1, 1, 5, 5))
    impulse[0, 0, 2, 2] = 1
    return {
        "sum": ours.sum(),
        "output": ops.conv2d(image(i["x"]), ours[None, None])[0, 0],
        "impulse_response": ops.true_conv2d(impulse, ours[None, None])[0, 0],
    }


def sigmoid(i, p, e):
    x = array(i["x"])
    return {"y": ops.sigmoid(x), "dy": ops.sigmoid_backward(np.ones_like(x), x).x}


def sigmoid_derivative_range(i, p, e):
    x = np.linspace(i["x_from"], i["x_to"], 401)
    slope = ops.sigmoid_backward(np.ones_like(x), x).x
    return [slope.min(), slope.max()]


def tanh_identity(i, p, e):
    x = array(i["x"])
    difference = np.abs(ops.tanh(x) - (2 * ops.sigmoid(2 * x) - 1)).max()
    assert difference < 1e-15
    return {"max_difference": round(difference, 12), "tanh": ops.tanh(x)}


def softmax_jacobian(i, p, e):
    z = np.repeat(array(i["z"])[None], 3, axis=0)
    return ops.softmax_backward(np.eye(3), z).x


def softmax_cross_entropy_gradient(i, p, e):
    z, y = array(i["z"])[None], array(i["y"])[None]
    by_label = ops.cross_entropy_backward(1, z, y.argmax(1)).logits
    assert np.array_equal(by_label, ops.cross_entropy_backward(1, z, y).logits)
    return by_label[0]


def penalty(i, p, e):
    w, name = array(i["w"]), e["op"]
    return {"value": getattr(ops, name)(w), "gradient": getattr(ops, f"{name}_backward")(1, w).w}


def dropout_semantics(i, p, e):
    x = array(i["x"])
    y = ops.dropout(np.tile(x, 50), rate=p["rate"], seed=0)
    assert set(np.unique(y)) == {0, 2}
    assert np.array_equal(ops.dropout(x, training=False), x)
    return {"kept_values_scaled_by": y.max(), "test": "identity"}
