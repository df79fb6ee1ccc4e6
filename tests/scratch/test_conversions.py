"""Functions and layers that networks use, converted: values and gradients of PyTorch for any batch, one of none too."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convlens.base.errors import InputError
from convlens.inspection.verify import verify
from convlens.scratch.from_torch import from_torch
from typed import present

SHAPE = (4, 8, 6)


class Applied(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function, self.stem = function, nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.function(self.stem(x))


FUNCTIONS = {
    # activations
    "elu": lambda x: F.elu(x, 0.7),
    "selu": F.selu,
    "celu": lambda x: F.celu(x, 0.6),
    "mish": F.mish,
    "softplus": lambda x: F.softplus(x, 2.0, 1.0),
    "glu": lambda x: F.glu(x, 1),
    "log sigmoid": F.logsigmoid,
    "threshold": lambda x: F.threshold(x, 0.1, -2.0),
    "shrink": lambda x: F.hardshrink(x, 0.3) + F.softshrink(x, 0.2),
    "softsign and tanhshrink": lambda x: F.softsign(x) + F.tanhshrink(x),
    "in place": lambda x: F.silu(x * 1, inplace=True) + F.elu_(x * 1) + F.leaky_relu_(x * 2, 0.3),
    # pooling
    "max pool 1-D": lambda x: F.max_pool1d(x.flatten(2), 3, 2, 1, ceil_mode=True),
    "max pool 1-D, dilated": lambda x: F.max_pool1d(x.flatten(2), 3, dilation=2),
    "average pool 1-D": lambda x: F.avg_pool1d(x.flatten(2), 3, 2, 1, count_include_pad=False),
    "adaptive pools 1-D": lambda x: F.adaptive_avg_pool1d(x.flatten(2), 5) + F.adaptive_max_pool1d(x.flatten(2), 5),
    "places of maxima": lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True),
    "places of adaptive maxima": lambda x: F.adaptive_max_pool1d(x.flatten(2), 5, return_indices=True),
    "divisor": lambda x: F.avg_pool2d(x, 3, 2, 1, divisor_override=5),
    "maxima, indices unused": lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
    "adaptive maxima, indices unused": lambda x: F.adaptive_max_pool2d(x, 3, return_indices=True)[0],
    # resizing
    "nearest exact": lambda x: F.interpolate(x, size=(5, 11), mode="nearest-exact"),
    "bicubic": lambda x: F.interpolate(x, scale_factor=1.5, mode="bicubic"),
    "resizing 1-D": lambda x: F.interpolate(x.flatten(2), size=30) + F.interpolate(x.flatten(2), 30, mode="linear"),
    "pixel shuffle": lambda x: F.pixel_shuffle(x, 2),
    "pixel unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "channel shuffle": lambda x: F.channel_shuffle(x, 2) * x,
    # norms and moments
    "normalize": lambda x: F.normalize(x, dim=1) + F.normalize(x, 1, dim=2) + F.normalize(x, float("inf"), dim=1),
    "rms norm": lambda x: F.rms_norm(x, (8, 6)) + F.rms_norm(x, (6,), torch.linspace(1, 2, 6, dtype=x.dtype), 0.1),
    "norm": lambda x: x.norm(dim=1, keepdim=True) + torch.linalg.vector_norm(x, 3, dim=(2, 3), keepdim=True),
    "cosine similarity": lambda x: F.cosine_similarity(x, x.flip(1) * x, dim=1),
    "variance": lambda x: x.var((2, 3)) + x.std(1, unbiased=False)[:, :4, 0] + x.var(dim=(1, 2, 3))[:, None],
    "log of a sum of exponentials": lambda x: x.logsumexp((2, 3)) + torch.logsumexp(x, 1, keepdim=True).mean((2, 3)),
    "running sums": lambda x: x.cumsum(1) + x.cumsum(-1),
    # choices
    "largest": lambda x: x.amax(1) + x.amin((1,)) + x.amax((1, 2), keepdim=True)[:, 0],
    "largest along an axis": lambda x: x.max(1)[0] + x.min(dim=1).values + x.max(2, keepdim=True)[0][:, 0],
    "larger and smaller": lambda x: torch.maximum(x, -x * 2) + torch.minimum(x, x.flip(2)) + torch.max(x, x * x),
    "ties": lambda x: torch.maximum(x.relu(), torch.zeros_like(x)) + x.relu().amax((2, 3), keepdim=True),
    "where": lambda x: torch.where(x > 0, x * 2, x.exp()) + torch.where((x < 0.1) & (x > -0.2) | (x != x), x, 0.0),
    "masked fill": lambda x: x.masked_fill(x <= 0, -1.5) + x.masked_fill(~(x >= 0.2), 0),
    "limits that are arrays": lambda x: x.clamp(x.mean() - 0.1, x.mean() + 0.2) + torch.clamp(x, min=-x),
    "steps": lambda x: x.round() + x.floor() * x + x.ceil() + x.sign() * x,
    "triangles": lambda x: x.tril() + x.triu(1),
    # shapes
    "zeros and ones": lambda x: x * torch.ones_like(x) + torch.zeros_like(x) + torch.full_like(x, 0.3),
    "new arrays": lambda x: torch.cat([x, x.new_zeros(x.shape[0], 1, 8, 6), x.new_full((x.shape[0], 1, 8, 6), 2)], 1),
    "repeat": lambda x: x.repeat(1, 2, 1, 3) + x.tile(1, 2, 1, 3),
    "expand as": lambda x: x.mean(1, keepdim=True).expand_as(x) * x,
    "view as": lambda x: x.view_as(x.transpose(2, 3)) + x.flatten(1).reshape_as(x.transpose(2, 3)),
    "narrow": lambda x: x.narrow(1, 1, 2) + x.narrow(1, -2, 2),
    "unbind": lambda x: sum(x.unbind(1)),
    "flip and roll": lambda x: x.flip(1, 3) + x.roll(2, 1) + x.roll((1, -2), (2, 3)),
    "transposes": lambda x: x.mT.contiguous() + x.transpose(-1, -2),
    "indices": lambda x: x[:, [0, 2, 2]] + x[:, torch.tensor([3, 1, 0])] + x.index_select(1, torch.tensor([0, 0, 1])),
    "pairs of indices": lambda x: x[:, :, torch.arange(6)[:, None], torch.arange(5)],
    "gather": lambda x: x.gather(1, x.new_zeros(x.shape[0], 1, 8, 6).long()),
    "positions": lambda x: x + torch.arange(6, dtype=x.dtype) + torch.linspace(0, 1, 8, dtype=x.dtype)[:, None].cos(),
    # products
    "einsum": lambda x: torch.einsum("nchw,ndhw->ncd", x, x.exp()) + torch.einsum("nc...,nd...->ncd", x, x * 2),
    "einsum of three": lambda x: torch.einsum("nchw,ch,wk->nk", x, x[0, :, :, 0], x[0, 0].T),
    "addmm": lambda x: torch.baddbmm(x[:, 0], x[:, 1, :, :1], x[:, 2, :1], beta=0.5, alpha=2),
    "vectors": lambda x: x @ torch.ones(6, dtype=x.dtype) + (torch.linspace(0, 1, 8, dtype=x.dtype) @ x)[..., :1],
    "attention": lambda x: F.scaled_dot_product_attention(x, x * 2, x.tanh()),
    "attention to the past": lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True, dropout_p=0.2),
    "masked attention": lambda x: F.scaled_dot_product_attention(x, x, x, torch.eye(8, dtype=torch.bool), scale=0.3),
    "biased attention": lambda x: F.scaled_dot_product_attention(x, x, x, x @ x.mT),
    "power of a number": lambda x: 2**x,
}  # fmt: skip

# Those whose value depends on other samples, is undefined for none, or draws.
ONE_BATCH = {"einsum of three", "limits that are arrays", "variance", "pixel unshuffle"}
DRAWS = {"attention to the past"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_a_network_is_the_same_in_both_engines(name):
    torch.manual_seed(0)
    found = verify(Applied(FUNCTIONS[name]), (3, 8, 6))
    assert found.agrees(1e-11), found


@pytest.mark.parametrize("name", sorted(FUNCTIONS.keys() - ONE_BATCH - DRAWS))
def test_a_converted_function_takes_batches_of_any_size_in_float32(name):
    torch.manual_seed(0)
    module = Applied(FUNCTIONS[name]).eval()
    graph = from_torch(module, (3, 8, 6))
    for n in (0, 1, 3):
        x = torch.randn(n, 3, 8, 6)
        results = as_tuple(graph(x.numpy())), as_tuple(module(x))
        for ours, tensor in zip(*results, strict=True):
            theirs = tensor.detach().numpy()
            assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


LAYERS = {
    "transposed conv 1-D": lambda: nn.Sequential(
        nn.Flatten(2), nn.ConvTranspose1d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, dilation=2)
    ),
    "prelu": lambda: nn.Sequential(nn.PReLU(), nn.PReLU(4, 0.1)),
    "instance norm with running statistics": lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
    "cumulative batch norm": lambda: nn.BatchNorm2d(4, momentum=None),
    "batch norm twice": lambda: twice(nn.BatchNorm2d(4)),
    "rms norm": lambda: nn.RMSNorm([6]),
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 3, 3)),
    "upsampling": lambda: nn.Sequential(nn.Upsample(scale_factor=2, mode="bicubic"), nn.UpsamplingBilinear2d(size=5)),
    "shuffles": lambda: nn.Sequential(nn.PixelShuffle(2), nn.PixelUnshuffle(2), nn.ChannelShuffle(2)),
    "encoder": lambda: nn.Sequential(
        nn.Flatten(2), nn.TransformerEncoderLayer(48, 4, 32, dropout=0.1, activation="gelu", batch_first=True)
    ),
    "bilinear": lambda: nn.Sequential(nn.Flatten(1), nn.Linear(192, 3), nn.LogSigmoid(), nn.CELU(), nn.GLU(0)),
}


def twice(layer):
    return nn.Sequential(layer, nn.Tanh(), layer)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_of_a_network_is_the_same_in_both_engines(name):
    torch.manual_seed(0)
    layer = LAYERS[name]()
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(0.1 * torch.randn_like(p))
    found = verify(layer, SHAPE)
    assert found.agrees(1e-10), found


def test_a_cumulative_batch_norm_averages_over_all_batches():
    module = nn.BatchNorm2d(3, momentum=None)
    graph = from_torch(module, (3, 4, 4))
    assert module.momentum is None
    x = np.random.default_rng(0).standard_normal((3, 5, 3, 4, 4)).astype(np.float32)
    for batch in x:
        graph.run(batch, training=True)
        module(torch.from_numpy(batch))
    assert graph.buffers["num_batches_tracked"] == module.num_batches_tracked == 3
    np.testing.assert_allclose(
        graph.buffers["running_mean"], present(module.running_mean).numpy(), rtol=1e-5, atol=1e-7
    )
    np.testing.assert_allclose(graph.buffers["running_var"], present(module.running_var).numpy(), rtol=1e-5)


class Rounding(torch.autograd.Function):
    """Rounds, and passes the gradient straight through."""

    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, grad):
        return grad


def hooked(x):
    x.register_hook(lambda grad: grad * 2)
    return x


def with_backward_hook():
    module = nn.Sequential(nn.Conv2d(4, 3, 1), nn.ReLU())
    module[0].register_full_backward_hook(lambda *_: None)
    return module


def autocast(x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return x @ x.mT


REFUSED = {
    "a derivative of its own": (lambda: Applied(Rounding.apply), "uses Rounding, a function with a derivative"),
    "a hook on a tensor": (lambda: Applied(hooked), "by a hook on a tensor"),
    "a backward hook": (with_backward_hook, r"0 \(Conv2d\) has backward hooks"),
    "data": (lambda: Applied(lambda x: x.data * 2), r"uses \.data.*detach"),
    "autocast": (lambda: Applied(autocast), "no operation wrap_with_autocast"),
    "conv 3-D": (lambda: nn.Sequential(nn.Unflatten(1, (2, 2)), nn.Conv3d(2, 3, 1)), r"1 \(Conv3d\): .*'conv3d'"),
    "indices that are used": (lambda: Applied(lambda x: x.max(1, keepdim=True)[1] + x), "the indices of max"),
    "selection by a mask": (lambda: Applied(lambda x: x[x > 0].sum() + x), "cannot be traced|by a mask"),
    "size by len": (lambda: Applied(lambda x: x / len(x)), r"fixes the size of the batch.*`x\.shape\[0\]`"),
    "scripted": (lambda: torch.jit.script(nn.ReLU()), "a scripted network hides what it executes"),
    "lazy": (lambda: nn.LazyLinear(3), "a lazy layer"),
}


def test_single_numbers_and_counts_are_saved_and_loaded(tmp_path):
    module = nn.Sequential(nn.BatchNorm2d(3, momentum=None), Temperature())
    graph = from_torch(module, (3, 4, 4))
    graph.run(np.ones((2, 3, 4, 4), np.float32), training=True)
    graph.save(tmp_path / "weights.safetensors")
    other = from_torch(module, (3, 4, 4))
    other.load(tmp_path / "weights.safetensors")
    assert other.parameters["1.scale"].shape == ()
    assert other.buffers["0.num_batches_tracked"] == 1


class Temperature(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        return x * self.scale


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_what_the_numpy_engine_lacks_is_refused_in_one_line(name):
    make, words = REFUSED[name]
    module = make()
    shape = (3, 8, 6) if isinstance(module, Applied) else SHAPE
    with pytest.raises(InputError, match=words) as caught:
        from_torch(module, shape)
    assert "\n" not in str(caught.value)
