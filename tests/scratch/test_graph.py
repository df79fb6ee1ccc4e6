"""Graphs: forward, backward, branches, arrays by name, files."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from convlens import ops, scratch
from convlens.base.errors import InputError
from convlens.scratch.graph import Graph, Node
from typed import present


def close(a, b, tolerance=1e-12):
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape
    assert np.abs(a - b).max() <= tolerance * max(np.abs(b).max(), 1e-30)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def branching(seed=0):
    """A residual addition, an Inception concat and a dense block in one network."""
    x = scratch.image(3, 8, 8)
    stem = x.conv2d(4, 3, padding=1, name="stem").relu()
    residual = stem + stem.conv2d(4, 3, padding=1, name="residual").batch_norm(name="bn").relu()
    inception = scratch.concat(residual.conv2d(2, 1, name="one"), residual.max_pool2d(3, stride=1, padding=1))
    dense = scratch.concat(inception, inception.conv2d(3, 3, padding=1, name="grown").tanh())
    return scratch.network(dense.global_avg_pool2d().linear(5, name="head"), seed=seed, dtype=np.float64)


def branching_in_torch(x, p):
    stem = F.relu(F.conv2d(x, p["stem.weight"], p["stem.bias"], padding=1))
    inner = F.conv2d(stem, p["residual.weight"], p["residual.bias"], padding=1)
    residual = stem + F.relu(F.batch_norm(inner, None, None, p["bn.weight"], p["bn.bias"], training=True))
    pooled = F.max_pool2d(residual, 3, 1, 1)
    inception = torch.cat([F.conv2d(residual, p["one.weight"], p["one.bias"]), pooled], 1)
    grown = torch.tanh(F.conv2d(inception, p["grown.weight"], p["grown.bias"], padding=1))
    dense = torch.cat([inception, grown], 1)
    return F.linear(dense.mean((2, 3)), p["head.weight"], p["head.bias"])


def test_a_graph_with_every_kind_of_branch_agrees_with_pytorch():
    graph, x = branching(), normal(6, 3, 8, 8)
    tape = graph.run(x, training=True)
    p = {k: torch.tensor(a, requires_grad=True) for k, a in graph.parameters.items()}
    tx = torch.tensor(x, requires_grad=True)
    y = branching_in_torch(tx, p)
    close(tape.output, y.detach())
    grad = normal(*tape.output.shape, seed=1)
    y.backward(torch.tensor(grad))
    ours = tape.backward(grad, inputs=True)
    close(ours.inputs[0], tx.grad)
    assert ours.parameters.keys() == p.keys()
    largest = max(present(t.grad).abs().max().item() for t in p.values())
    for name, tensor in p.items():  # the bias before batch norm is zero but for rounding: hence the absolute limit
        assert np.abs(ours.parameters[name] - present(tensor.grad).numpy()).max() < 1e-12 * largest


def test_gradients_agree_with_central_differences():
    graph, x, step = branching(), normal(4, 3, 8, 8), 1e-6
    grad = normal(4, 5, seed=1)
    gradients = graph.run(x, training=True).backward(grad).parameters
    for name, parameter in graph.parameters.items():
        direction = normal(*parameter.shape, seed=2)
        start, values = parameter.copy(), []
        for sign in (1, -1):
            parameter[...] = start + sign * step * direction
            values.append((graph.run(x, training=True).output * grad).sum())
        parameter[...] = start
        slope, expected = (values[0] - values[1]) / (2 * step), (gradients[name] * direction).sum()
        assert abs(slope - expected) < 1e-6 * max(1, abs(expected)), name


def test_a_value_that_is_used_twice_receives_the_sum_of_both_gradients():
    x = scratch.image(3)
    graph = scratch.network(x.relu() + x * 2.0 + x)
    ones = np.ones((2, 3), np.float32)
    assert present(graph.run(ones).backward(ones, inputs=True).inputs[0]).tolist() == [[4.0] * 3] * 2


def test_tied_weights_receive_one_gradient():
    nodes = [
        Node("x", "input"),
        Node("w", "parameter"),
        Node("once", "linear", (0, 1)),
        Node("twice", "linear", (2, 1)),
    ]
    w, x = normal(3, 3), normal(2, 3)
    gradients = Graph(nodes, [3], {"w": w}).run(x).backward(np.ones((2, 3))).parameters
    t = torch.tensor(w, requires_grad=True)
    F.linear(F.linear(torch.tensor(x), t), t).sum().backward()
    close(gradients["w"], t.grad)


def test_an_unused_parameter_receives_zeros():
    nodes = [Node("x", "input"), Node("w", "parameter"), Node("y", "relu", (0,))]
    gradients = Graph(nodes, [2], {"w": np.ones(3)}).run(np.ones((1, 2))).backward(np.ones((1, 2))).parameters
    assert gradients["w"].tolist() == [0, 0, 0]


def test_batch_norm_moves_its_running_statistics_in_training_only():
    graph, x = branching(), normal(4, 3, 8, 8)
    before = dict(graph.buffers)
    graph(x)
    graph.run(x)
    assert all(np.array_equal(before[k], graph.buffers[k]) for k in before)
    graph.run(x, training=True)
    assert not np.array_equal(before["bn.running_mean"], graph.buffers["bn.running_mean"])


def test_dropout_masks_depend_on_seed_and_step_only():
    graph = scratch.network(scratch.image(100).dropout(0.5).dropout(0.25))
    x = np.ones((8, 100), np.float32)
    a, b = (graph.run(x, training=True, seed=1, step=2).output for _ in range(2))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, graph.run(x, training=True, seed=1, step=3).output)
    assert not np.array_equal(a, graph.run(x, training=True, seed=2, step=2).output)
    assert np.array_equal(graph(x), x)
    assert set(np.unique(a)) <= {np.float32(0), np.float32(1 / 0.5) * np.float32(1 / 0.75)}


def test_float32_stays_float32_on_the_whole_way():
    graph = branching().astype(np.float32)
    tape = graph.run(normal(4, 3, 8, 8).astype(np.float32), training=True)
    gradients = tape.backward(np.ones_like(tape.output), inputs=True)
    arrays = [tape.output, *gradients.parameters.values(), *gradients.inputs, *graph.buffers.values()]
    assert {a.dtype for a in arrays} == {np.dtype(np.float32)}


def test_inputs_and_parameters_are_never_written_to():
    graph, x = branching(), normal(4, 3, 8, 8)
    grad = normal(4, 5)
    for a in (x, grad, *graph.parameters.values()):
        a.setflags(write=False)
    graph.run(x, training=True).backward(grad, inputs=True)


def test_the_value_of_a_node_can_be_read_from_the_tape():
    graph, x = branching(), normal(2, 3, 8, 8)
    tape = graph.run(x)
    stem = ops.conv2d(x, graph.parameters["stem.weight"], graph.parameters["stem.bias"], padding=1)
    close(tape.value("stem"), stem)
    with pytest.raises(ValueError, match="no node 'stam'"):
        tape.value("stam")


def test_weights_survive_a_file(tmp_path):
    graph, other, x = branching(seed=1), branching(seed=2), normal(2, 3, 8, 8)
    graph.run(x, training=True)
    graph.save(tmp_path / "weights.safetensors")
    assert not np.array_equal(graph(x), other(x))
    other.load(tmp_path / "weights.safetensors")
    assert np.array_equal(graph(x), other(x))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda s: s.pop("stem.bias"), "the weights lack stem.bias"),
        (lambda s: s.update(extra=np.ones(1)), "this network has no extra"),
        (lambda s: s.update({"stem.bias": np.ones(7)}), r"stem.bias: shape \(7,\), expected \(4,\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(spoil, words):
    graph = branching()
    before, state = graph(np.ones((1, 3, 8, 8))), {k: a + 1 for k, a in graph.state().items()}
    spoil(state)
    with pytest.raises(ValueError, match=words):
        graph.load_state(state)
    assert np.array_equal(graph(np.ones((1, 3, 8, 8))), before)


def test_a_file_that_is_absent_or_no_safetensors_is_named(tmp_path):
    graph = branching()
    with pytest.raises(ValueError, match="there is no file"):
        graph.load(tmp_path / "none")
    (tmp_path / "text").write_text("weights")
    with pytest.raises(ValueError, match="not a safetensors file"):
        graph.load(tmp_path / "text")


def test_misuse_is_explained():
    graph = branching()
    with pytest.raises(ValueError, match=r"input: shape \(2, 3, 9, 8\), expected \(N, 3, 8, 8\)"):
        graph(np.ones((2, 3, 9, 8)))
    with pytest.raises(ValueError, match="inputs: 0 arrays, expected 1"):
        graph()
    tape = graph.run(normal(2, 3, 8, 8))
    with pytest.raises(ValueError, match="grads: shape"):
        tape.backward(np.ones((2, 4)))
    tape.backward(np.ones((2, 5)))
    with pytest.raises(ValueError, match="used already"):
        tape.backward(np.ones((2, 5)))
    with pytest.raises(ValueError, match="used already"):
        tape.value("stem")


def test_an_error_inside_names_the_node():
    nodes = [Node("x", "input"), Node("w", "parameter"), Node("the layer", "linear", (0, 1))]
    with pytest.raises(ValueError, match=r"the layer \(linear\): x: shape"):
        Graph(nodes, [2], {"w": np.ones((2, 3))})(np.ones((1, 4)))


def test_networks_are_built_and_trained_where_pytorch_cannot_be_imported():
    script = """
    import sys
    class Blocked:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == "torch":
                raise ImportError("torch is blocked")
    sys.meta_path.insert(0, Blocked())
    import numpy as np
    from convlens import ops, scratch
    assert ops.relu(np.array([-1.0, 1.0])).tolist() == [0, 1]
    x = scratch.image(1, 8, 8).conv2d(4, 3, padding=1).batch_norm().relu().max_pool2d(2).dropout(0.1)
    graph = scratch.network(x.flatten().linear(3), seed=0)
    x = np.random.default_rng(0).standard_normal((12, 1, 8, 8)).astype(np.float32)
    history = scratch.fit(graph, x, np.arange(12) % 3, epochs=30, batch_size=6)
    assert history.last.loss < 0.1, history.last
    assert not any(name.split(".")[0] == "torch" for name in sys.modules)
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr


def test_an_operation_of_a_name_that_is_taken_is_refused():
    with pytest.raises(InputError, match="'relu' already"):
        scratch.register("relu", np.negative, lambda grad, x: [-grad])
