"""Counts, shapes and arithmetic of the worked examples; as `worked_convolutions`."""

import numpy as np
from worked_common import array, filled, image

from convlens import geometry, ops, scratch


def dense_parameter_count(i, p, e):
    x = scratch.image(i["widths"][0])
    for width in i["widths"][1:]:
        x = x.linear(width, bias=p["bias"])
    sizes = [a.size for a in scratch.network(x).parameters.values()]
    layers = [weight + bias for weight, bias in zip(sizes[::2], sizes[1::2], strict=True)]
    return {"per_layer": layers} if isinstance(e["computed_value"], dict) else sum(layers)


def dense_shapes(i, p, e):
    graph = scratch.network(scratch.image(i["x_shape"][1]).linear(p["units"]))
    w, b = graph.parameters["linear_1.weight"], graph.parameters["linear_1.bias"]
    return {"out": graph(np.zeros(i["x_shape"], np.float32)).shape, "kernel": w.T.shape, "bias": b.shape}


def parameter_count(i, p, e):
    w = scratch.network(scratch.image(i["c1"], 4, 4).conv2d(i["c2"], i["k"], bias=False)).parameters
    conv = w["conv2d_1.weight"].size
    return {
        "conv": conv,
        "dense": geometry.linear_macs(i["c1"] * i["h1"] * i["w1"], i["c2"] * i["h2"] * i["w2"]),
    }


def conv_layer_counts(i, p, e):
    x = scratch.image(i["in_channels"], *i["image"])
    y = x.conv2d(i["channels"], i["k"], padding="same", bias=False)
    dense = geometry.linear_macs(int(np.prod(x.shape)), i["channels"])
    return {
        "parameters": scratch.network(y).parameters["conv2d_1.weight"].size,
        "neurons": np.prod(y.shape),
        "dense_784x32_weights": dense,
    }


def lenet5_parameter_table(i, p, e):
    x = scratch.image(1, 28, 28).conv2d(6, 3).relu().max_pool2d(2).conv2d(16, 3).relu().max_pool2d(2)
    sizes = [a.size for a in scratch.network(x.flatten().linear(120).linear(84).linear(10)).parameters.values()]
    return [weight + bias for weight, bias in zip(sizes[::2], sizes[1::2], strict=True)]


def lenet_shapes(i, p, e):
    last = e["op"] == "lenet5_1998_shapes"
    x = scratch.image(1, *i["input"][:2]) if last else scratch.image(*i["input"])
    a = x.conv2d(6, 5, padding=0 if last else 2)
    b = a.avg_pool2d(2)
    c = b.conv2d(16, 5)
    d = c.avg_pool2d(2)
    shapes = [v.shape for v in (a, b, c, d)]
    return [*((h, w, n) if last else (n, h, w) for n, h, w in shapes), d.flatten().shape]


def alexnet_flatten_size(i, p, e):
    x = scratch.image(*i["input"]).conv2d(96, 11, stride=4).max_pool2d(kernel=3, stride=2)
    x = x.conv2d(256, 5, padding=2).max_pool2d(kernel=3, stride=2)
    x = x.conv2d(384, 3, padding=1).conv2d(384, 3, padding=1).conv2d(256, 3, padding=1)
    return x.max_pool2d(kernel=3, stride=2).flatten().shape[0]


def flatten(i, p, e):
    x = filled(i["x_shape"], None)
    y = ops.flatten(x)
    return {"forward": y.shape, "backward": ops.flatten_backward(y, x).x.shape}


def receptive_field(i, p, e):
    field = geometry.ReceptiveField()
    areas = []
    for k, s in zip(i["kernels"], i["strides"], strict=True):
        field = field.window(k, s)
        areas.append(field.size**2)
    return {"on_Y": areas[0], "on_input": areas[-1]}


def two_3x3_against_one_5x5(i, p, e):
    def difference(x):
        return two_3x3(x) - one_5x5(x)

    crossover = next(x for x in range(6, 50) if difference(x) == 0)
    assert difference(crossover - 1) > 0 > difference(crossover + 1)
    return {"params": [2 * 3 * 3, 5 * 5], "crossover": crossover}


def two_3x3(x):
    first = geometry.conv_size(x, 3)
    second = geometry.conv_size(first, 3)
    return sum(geometry.conv_macs((1, n, n), 1, (3, 3)) for n in (first, second))


def one_5x5(x):
    n = geometry.conv_size(x, 5)
    return geometry.conv_macs((1, n, n), 1, (5, 5))


def compute_polynomials(i, p, e):
    return {"two3": [two_3x3(x) for x in i["x"]], "one5": [one_5x5(x) for x in i["x"]]}


def same_valid_formulas(i, p, e):
    for n in i["n"]:
        for k in i["k"]:
            for s in i["s"]:
                x, w = np.zeros((1, 1, n)), np.zeros((1, 1, k))
                assert ops.conv1d(x, w, stride=s, padding="same").shape[2] == -(-n // s)
                assert ops.conv1d(x, w, stride=s, padding="valid").shape[2] == -(-(n - k + 1) // s)
    return True


def output_size_formulas_agree(i, p, e):
    return all(
        geometry.conv_size(n, k, s, (t // 2, t - t // 2)) == (n + t - k + s) // s
        for n in range(5, 12)
        for k in range(1, 5)
        for s in range(1, 4)
        for t in range(4)
    )


def transposed_restores_values(i, p, e):
    x, w = image(i["x"]), array(i["kernel"])[None, None]
    back = ops.conv_transpose2d(ops.conv2d(x, w, stride=p["stride"]), w, stride=p["stride"])
    assert back.shape == x.shape
    return bool(np.allclose(back, x))


def mnist_preprocess(i, p, e):
    pixels = np.arange(np.prod(i["x_shape"])).astype(np.uint8).reshape(i["x_shape"])
    x = ops.flatten(ops.scale_shift(pixels, scale=1 / 255))
    labels = np.arange(len(x)) % 10
    return {"x_shape": x.shape, "y_shape": ops.one_hot(labels, 10).shape, "x_range": [x.min(), x.max()]}


def add_sub_mul_div(i, p, e):
    a, b = i["a"], i["b"]
    found = {"add": ops.add, "sub": ops.subtract, "mul": ops.multiply, "div": ops.divide}
    return {name: f(a, b) for name, f in found.items()} | {"div_dtype": str(ops.divide(a, b).dtype)}


def slices(i, p, e):
    def index(text):
        return slice(*(int(part) if part else None for part in text.split(":")))

    return {text: ops.take(np.arange(10), index=(index(text),)) for text in e["computed_value"]}


def expand_dims(i, p, e):
    x = np.zeros(i["shape"])
    lead = (slice(None), slice(None))
    both = ops.take(ops.take(x, index=(*lead, None)), index=(*lead, slice(None), None))
    front = ops.take(both, index=(None,))
    return [ops.take(x, index=(*lead, None)).shape, both.shape, front.shape]


def reshape(i, p, e):
    y = ops.reshape(np.arange(96), shape=i["shape"])
    return {"first": y[0, 0], "last": y[-1, -1]}


SIMPLE = {
    "elementwise_product_then_sum": lambda i, p, e: {
        "product": (product := ops.multiply(i["patch"], i["kernel"])),
        "sum": ops.total(product),
    },
    "multi_channel_sum": lambda i, p, e: ops.total(i["channel_outputs"], axis=-1),
    "channel_mean_shape": lambda i, p, e: {
        "flattened": ops.reshape(np.zeros(i["x_shape"]), shape=(-1, i["x_shape"][-1])).shape,
        "mean": ops.mean(np.zeros(i["x_shape"]), axis=(0, 1, 2)).shape,
    },
    "dilated_kernel_extent": lambda i, p, e: [geometry.effective_kernel(i["k"], d) for d in p["dilation"]],
    "preprocess_to_minus1_1": lambda i, p, e: ops.scale_shift(i["x"], scale=2 / 255, shift=-1),
    "conv_output_size_formula": lambda i, p, e: geometry.conv_size(i["h"], p["k"], p["stride"], p["padding"]),
    "population_variance_from_batches": lambda i, p, e: ops.mean(i["batch_variances"]),
    "pow": lambda i, p, e: ops.power(i["x"], exponent=i["a"]),
    "matmul": lambda i, p, e: ops.matmul(i["a"], i["b"]),
    "one_hot": lambda i, p, e: ops.one_hot(i["x"], i["depth"]),
    "broadcast_to": lambda i, p, e: ops.broadcast(i["x"], shape=i["shape"]),
    "squeeze": lambda i, p, e: ops.take(np.zeros(i["shape"]), index=(*(slice(None),) * i["axis"], 0)).shape,
    "transpose": lambda i, p, e: ops.permute(np.zeros(i["shape"]), axes=i["perm"]).shape,
    "concat": lambda i, p, e: ops.concat([np.zeros(s) for s in i["shapes"]], axis=i["axis"]).shape,
    "stack": lambda i, p, e: ops.concat([np.zeros((1, *s)) for s in i["shapes"]], axis=i["axis"]).shape,
    "relu_gradient_at_zero": lambda i, p, e: ops.relu_backward(np.ones(3), i["x"]).x,
    "leaky_relu_gradient_at_zero": lambda i, p, e: ops.leaky_relu_backward(np.ones(3), i["x"], slope=i["p"]).x,
    "mse_gradient": lambda i, p, e: ops.mse_backward(1, i["o"], i["y"]).prediction,
    "mae": lambda i, p, e: ops.mae(i["o"], i["y"]),
    "pad_1d": lambda i, p, e: ops.pad(i["x"], padding=((i.get("num", p["num"]),) * 2,)),
}
