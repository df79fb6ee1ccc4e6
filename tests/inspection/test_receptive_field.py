"""Theoretical receptive fields against brute force, and effective ones against what theory says of them."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from probing import Span, probed_spans
from torch import nn

from convlens.base.errors import InputError
from convlens.geometry import FieldMap, ReceptiveField
from convlens.inspection.execution import execute
from convlens.inspection.fields.follow import follow
from convlens.inspection.summary import summarize
from convlens.nn import Conv2dSame, LocallyConnected2d, MaxPool2dSame, SeparableConv2d


def followed(module: nn.Module, input_shape: tuple[int, ...]) -> tuple[FieldMap, ...]:
    graph = execute(module, input_shape)
    fields = follow(graph).fields(graph.output)
    assert fields is not None
    return fields


def assert_as_probed(module: nn.Module, input_shape: tuple[int, ...], *, exactly: bool = False) -> None:
    """Cells that see no padding must see exactly what probing finds; no cell may see more than we say."""
    fields = followed(module, input_shape)
    for field, n, probed in zip(fields, input_shape[1:], probed_spans(module, input_shape), strict=True):
        alike = field.advance is None and len(field.cells) == 1
        for cell, truth in enumerate(probed):
            span = field.at(0 if alike else cell)
            if exactly or (span is not None and span[0] >= 0 and span[1] < n):
                assert _inside(span, n) == truth, f"cell {cell}"
            elif truth is not None:
                assert span is not None, f"cell {cell}"
                assert span[0] <= truth[0] <= truth[1] <= span[1], f"cell {cell}"


def _inside(span: Span | None, n: int) -> Span | None:
    return span and (max(span[0], 0), min(span[1], n - 1))


class Net(nn.Module):
    """A network from a function of its parts and the input."""

    def __init__(self, forward, **parts: nn.Module):
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        self.body = forward

    def forward(self, x):
        return self.body(self.parts, x)


NETWORKS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "stride, padding and dilation, other on each axis": (
        nn.Sequential(
            nn.Conv2d(1, 2, (3, 5), stride=(2, 1), padding=(1, 2)),
            nn.ReLU(),
            nn.Conv2d(2, 2, 3, dilation=(1, 2), padding=(0, 2)),
            nn.MaxPool2d((2, 3), stride=(1, 2)),
        ),
        (1, 17, 21),
    ),
    "residual addition": (
        Net(lambda p, x: F.relu(p["a"](x)) + p["b"](x), a=nn.Conv2d(1, 1, 5, 2, 2), b=nn.Conv2d(1, 1, 1, 2)),
        (1, 15, 15),
    ),
    "concatenation of unlike branches": (
        Net(
            lambda p, x: torch.cat([p["a"](x), p["b"](x), p["c"](x)], 1),
            a=nn.Conv2d(1, 2, (1, 3)),
            b=nn.Conv2d(1, 2, 3, padding=(1, 0)),
            c=nn.Sequential(nn.MaxPool2d(5, 1, (2, 1)), nn.Conv2d(1, 1, 1)),
        ),
        (1, 12, 9),
    ),
    "dense block": (
        Net(
            lambda p, x: (lambda y: torch.cat([y, p["b"](y)], 1))(torch.cat([x, p["a"](x)], 1)),
            a=nn.Conv2d(1, 2, 3, padding=1),
            b=nn.Conv2d(3, 2, 3, padding=1),
        ),
        (1, 11, 11),
    ),
    "asymmetric padding and average pooling": (
        Net(lambda p, x: F.avg_pool2d(p["a"](F.pad(x, (0, 1, 2, 3))), 3, 2), a=nn.Conv2d(1, 1, 2, 2)),
        (1, 16, 18),
    ),
    "grouped and depthwise": (
        nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, 2, groups=4)),
        (2, 13, 13),
    ),
    "transposed, kernel larger than stride": (nn.ConvTranspose2d(1, 1, 4, 2, 1), (1, 7, 7)),
    "transposed, stride larger than kernel": (nn.ConvTranspose2d(1, 1, 1, 2, bias=False), (1, 5, 5)),
    "transposed with dilation": (nn.ConvTranspose2d(1, 1, 3, 2, dilation=2), (1, 6, 6)),
    "encoder and decoder with a bridge": (
        Net(
            lambda p, x: p["out"](torch.cat([x, p["up"](p["down"](x))], 1)),
            down=nn.Conv2d(1, 2, 3, 2, 1),
            up=nn.ConvTranspose2d(2, 2, 2, 2),
            out=nn.Conv2d(3, 1, 3),
        ),
        (1, 16, 16),
    ),
    "nearest upsampling": (
        nn.Sequential(nn.Conv2d(1, 1, 3, 2), nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3)),
        (1, 15, 15),
    ),
    "bilinear upsampling": (
        nn.Sequential(nn.Conv2d(1, 1, 3), nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(1, 1, 2)),
        (1, 9, 8),
    ),
    "pixel shuffle": (nn.Sequential(nn.Conv2d(1, 4, 3), nn.PixelShuffle(2), nn.Conv2d(1, 1, 3)), (1, 9, 9)),
    "pixel unshuffle": (nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4, 1, 2)), (1, 8, 10)),
    "shuffled channels": (
        Net(lambda p, x: p["b"](F.channel_shuffle(p["a"](x), 2)), a=nn.Conv2d(1, 4, 3), b=nn.Conv2d(4, 4, 3, groups=4)),
        (1, 9, 9),
    ),
    "local response norm": (nn.Sequential(nn.Conv2d(1, 4, 3), nn.LocalResponseNorm(3), nn.AvgPool2d(2)), (1, 10, 10)),
    "cropping": (Net(lambda p, x: p["a"](x)[:, :, 1:-1, 2:], a=nn.Conv2d(1, 1, 3)), (1, 9, 9)),
    "every second column": (Net(lambda p, x: p["a"](x)[..., ::2], a=nn.Conv2d(1, 1, 3)), (1, 6, 11)),
    "mirrored": (Net(lambda p, x: p["a"](x).flip(3), a=nn.Conv2d(1, 1, 3, 2)), (1, 9, 11)),
    "channels last by hand": (
        Net(lambda p, x: p["a"](x).permute(0, 2, 3, 1).relu().permute(0, 3, 1, 2), a=nn.Conv2d(1, 2, 3)),
        (1, 8, 7),
    ),
    "adaptive pooling, uneven": (nn.AdaptiveAvgPool2d((5, 3)), (1, 12, 7)),
    "squeeze and excite sees everything": (
        Net(lambda p, x: x * p["a"](x).mean((2, 3), keepdim=True).sigmoid(), a=nn.Conv2d(1, 1, 1)),
        (1, 6, 5),
    ),
    "one axis": (nn.Sequential(nn.Conv1d(1, 2, 5, 2), nn.MaxPool1d(2), nn.Conv1d(2, 1, 2, dilation=2)), (1, 40)),
    "three axes": (nn.Sequential(nn.Conv3d(1, 1, (1, 2, 3)), nn.AvgPool3d(2)), (1, 5, 6, 7)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_field_of_every_cell_is_what_probing_pixel_by_pixel_finds(name):
    assert_as_probed(*NETWORKS[name])


@pytest.mark.parametrize(
    "name", ["adaptive pooling, uneven", "squeeze and excite sees everything", "mirrored", "cropping"]
)
def test_without_padding_border_cells_agree_too(name):
    assert_as_probed(*NETWORKS[name], exactly=True)


class Unshared(nn.Module):
    """Convolution with weights of its own at each place, through an unfolded image and one matrix product per place."""

    def __init__(self, size: int):
        super().__init__()
        self.w = nn.Parameter(torch.rand((size - 2) ** 2, 9, 4))
        self.size = size

    def forward(self, x):
        places = F.unfold(x, 3).permute(2, 0, 1)  # [places, n, 9]
        y = torch.bmm(places, self.w).permute(1, 2, 0)
        return y.reshape(len(x), 4, self.size - 2, self.size - 2)


def test_the_layers_that_pytorch_lacks_have_their_fields_too():
    net = nn.Sequential(
        Conv2dSame(1, 2, 3, 2),
        MaxPool2dSame(3, 2),
        SeparableConv2d(2, 3, 2),
        LocallyConnected2d(3, 2, 2, (4, 3), stride=1),
    )
    assert_as_probed(net, (1, 19, 14))
    assert summarize(net, (1, 19, 14)).layers[-1].kind == "LocallyConnected2d"


def test_unshared_convolution_through_unfolding_keeps_its_field():
    assert_as_probed(nn.Sequential(nn.Conv2d(1, 1, 3), Unshared(7)), (1, 9, 9), exactly=True)


class Patches(nn.Module):
    """Each patch of 2x2 pixels becomes a token, which a dense layer works on."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(4, 3)

    def forward(self, x):
        n, _, h, w = x.shape
        tokens = x.reshape(n, h // 2, 2, w // 2, 2).permute(0, 1, 3, 2, 4).reshape(n, h * w // 4, 4)
        return self.dense(tokens).transpose(1, 2).reshape(n, 3, h // 2, w // 2)


def test_tokens_of_patches_keep_the_field_of_their_patch():
    assert_as_probed(Patches(), (1, 8, 6), exactly=True)


def test_a_dense_layer_sees_the_whole_image():
    fields = followed(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 4 * 5, 3)), (1, 6, 7))
    assert [(field.cells, field.advance) for field in fields] == [(((0, 5),), None), (((0, 6),), None)]


def test_group_norm_sees_the_whole_image_and_batch_norm_only_the_place():
    assert [f.size for f in followed(nn.Sequential(nn.Conv2d(1, 2, 3), nn.GroupNorm(1, 2)), (1, 9, 8))] == [9, 8]
    assert [f.size for f in followed(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), (1, 9, 8))] == [3, 3]


def test_an_operation_without_a_rule_counts_as_seeing_everything():
    fields = followed(Net(lambda p, x: torch.fft.fft2(p["a"](x)).real, a=nn.Conv2d(1, 1, 3)), (1, 8, 8))
    assert [f.size for f in fields] == [8, 8]


def test_writing_into_a_part_of_a_tensor_is_not_overlooked():
    def body(p, x):
        y = torch.zeros(x.shape[0], 2, 6, 6, dtype=x.dtype)
        y[:, :1] = p["a"](x)
        return y.relu()

    fields = followed(Net(body, a=nn.Conv2d(1, 1, 3)), (1, 8, 8))
    assert [f.size for f in fields] == [8, 8]


def test_what_does_not_come_from_the_image_has_no_field():
    assert summarize(nn.Sequential(nn.Linear(4, 3)), (4,)).layers[0].fields is None
    assert summarize(nn.Sequential(nn.Linear(4, 3)), (4,)).last_map is None


# Random networks. Sizes that do not fit drop a layer, so that every drawing is a network.


@st.composite
def layer(draw: st.DrawFn, channels: int) -> nn.Module:
    kind = draw(st.sampled_from(["conv", "max", "average", "sum", "concatenation"]))
    k, s, d = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    if kind == "conv":
        return nn.Conv2d(channels, channels, (k, draw(st.integers(1, 3))), s, draw(st.integers(0, 2)), d)
    if kind in ("max", "average"):
        p = draw(st.integers(0, k // 2))
        ceil = draw(st.booleans())
        return nn.MaxPool2d(k, s, p, d, ceil_mode=ceil) if kind == "max" else nn.AvgPool2d(k, s, p, ceil_mode=ceil)
    odd = 2 * draw(st.integers(0, 2)) + 1
    branch = nn.Conv2d(channels, channels, odd, s, d * (odd // 2), d)
    other = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(channels, channels, 1, s))
    if kind == "sum":
        return Net(lambda p, x: p["a"](x) + p["b"](x), a=branch, b=other)
    return Net(lambda p, x: p["c"](torch.cat([p["a"](x), p["b"](x)], 1)), a=branch, b=other, c=nn.Conv2d(4, 2, 1))


@st.composite
def network(draw: st.DrawFn) -> nn.Module:
    return _fitting([nn.Conv2d(1, 2, 1), *draw(st.lists(layer(2), min_size=1, max_size=4))])


def _fitting(layers: list[nn.Module], size: tuple[int, int] = (19, 16)) -> nn.Sequential:
    x, kept = torch.rand(1, 1, *size), []
    for each in layers:
        try:
            x = each(x)
        except RuntimeError:  # the kernel does not fit any more
            continue
        kept.append(each)
    return nn.Sequential(*kept)


@given(network())
@settings(deadline=None, max_examples=40)
def test_fields_of_random_networks_are_what_probing_finds(net):
    assert_as_probed(net, (1, 19, 16))


@st.composite
def decoder(draw: st.DrawFn) -> nn.Module:
    makers = {
        "convolution": lambda: nn.Conv2d(
            2, 2, draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(0, 1))
        ),
        "transposed": lambda: nn.ConvTranspose2d(
            2,
            2,
            draw(st.integers(1, 4)),
            draw(st.integers(1, 3)),
            draw(st.integers(0, 1)),
            dilation=draw(st.integers(1, 2)),
        ),
        "nearest": lambda: nn.Upsample(scale_factor=2),
        "shuffle": lambda: nn.Sequential(nn.Conv2d(2, 8, 1), nn.PixelShuffle(2)),
        "padding": lambda: nn.ZeroPad2d((1, 2, 0, 1)),
        "cropping": lambda: nn.ZeroPad2d((-1, 0, 0, -2)),
        "adaptive": lambda: nn.AdaptiveAvgPool2d((5, 7)),
    }
    kinds = draw(st.lists(st.sampled_from(sorted(makers)), min_size=1, max_size=4))
    return _fitting([nn.Conv2d(1, 2, 1), *(makers[kind]() for kind in kinds)], (9, 8))


@given(decoder())
@settings(deadline=None, max_examples=25)
def test_whatever_the_network_no_cell_sees_more_than_its_field(net):
    for field, probed in zip(followed(net, (1, 9, 8)), probed_spans(net, (1, 9, 8)), strict=True):
        for cell, truth in enumerate(probed):
            span = field.at(cell)
            if truth is not None:
                assert span is not None
                assert span[0] <= truth[0] <= truth[1] <= span[1]


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(0, 2), st.integers(1, 3)), max_size=5))
def test_in_a_chain_the_map_of_fields_is_the_closed_formula(windows):
    formula, fields = ReceptiveField(), FieldMap()
    for k, s, before, d in windows:
        formula, fields = formula.window(k, s, before, d), fields.window(k, s, before, d, 10)
    assert (fields.size, fields.jump, fields.start) == (formula.size, formula.jump, formula.start)
    assert [fields.at(i) for i in range(5)] == [formula.span(i) for i in range(5)]


# Published: Araujo, Norris and Sim, "Computing receptive fields of convolutional neural networks", 2019.


@pytest.mark.parametrize(
    ("name", "size"), [("alexnet", 195), ("vgg16", 212), ("keras_resnet101", 1027), ("mobilenet_v1", 315)]
)
def test_fields_of_classic_networks_are_the_published_ones(name, size):
    from convlens import models

    with torch.device("meta"):
        found = summarize(models.create(name), models.get(name).input).last_map
    assert found is not None
    assert found.fields is not None
    assert [f.size for f in found.fields] == [size, size]


# Effective receptive fields


def test_the_effective_field_of_a_stack_is_smaller_than_the_theoretical_one_and_its_share_shrinks():
    torch.manual_seed(0)
    shares = []
    for depth in (3, 12):
        net = nn.Sequential(*(nn.Conv2d(4 if i else 1, 4, 3, padding=1, bias=False) for i in range(depth)))
        for weight in net.parameters():
            nn.init.constant_(weight, 1.0)
        (measured,) = summarize(net, (1, 41, 41), effective=True).effective.values()
        assert measured.theoretical == pytest.approx(2 * depth + 1)
        shares.append(measured.ratio)
    assert shares[1] < shares[0] <= 1


def test_the_effective_field_of_equal_weights_is_the_repeated_box_filter():
    # n boxes of width 3 convolved: the gradient of the middle cell, along each axis (Luo et al., section 2.2).
    net = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(4)))
    for weight in net.parameters():
        nn.init.constant_(weight, 1.0)
    (measured,) = summarize(net, (1, 21, 21), effective=True).effective.values()
    line = torch.ones(1)
    for _ in range(4):
        line = F.conv1d(line[None, None], torch.ones(1, 1, 3), padding=2)[0, 0]
    expected = torch.outer(line, line) / line.max() ** 2
    torch.testing.assert_close(measured.map[6:15, 6:15], expected)
    assert measured.size == pytest.approx(float((expected >= 0.0455).sum()) ** 0.5)


def test_measuring_changes_neither_weights_nor_gradients_nor_modes_nor_the_random_state():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.ReLU(inplace=True)).train()
    net[2].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    summarize(net, (1, 9, 9), effective=True)
    assert [part.training for part in net.modules()] == [True, True, True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


class Squeezing(nn.Module):
    """Loses the batch axis of a single image, and writes into its input."""

    def __init__(self, spoils):
        super().__init__()
        self.conv, self.last, self.spoils = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 2, 3), spoils

    def forward(self, x):
        if self.spoils:
            x.mul_(1)
        y = self.conv(x)
        return self.last(y.squeeze() if self.spoils else y).log_softmax(1)


def test_an_effective_field_is_that_of_one_image_also_where_a_network_needs_two():
    torch.manual_seed(0)
    spoiling, plain = Squeezing(True), Squeezing(False)
    plain.load_state_dict(spoiling.state_dict())
    a, b = (list(summarize(net, (1, 9, 9), effective=True).effective.values()) for net in (spoiling, plain))
    for one, other in zip(a, b, strict=True):
        assert (one.size, one.theoretical) == (other.size, other.theoretical)
        torch.testing.assert_close(one.map, other.map)


def test_effective_fields_of_layers_that_values_choose_are_refused():
    class Choosing(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)

        def forward(self, x):
            return self.one(x) if x.sum() > 0 else self.other(x)

    with pytest.raises(InputError, match="other layers for another image"):
        summarize(Choosing(), (1, 8, 8), effective=True)


def test_effective_fields_need_an_image_and_weights():
    with pytest.raises(InputError, match="vector"):
        summarize(nn.Sequential(nn.Linear(3, 2)), (3,), effective=True)
    with torch.device("meta"):
        net = nn.Sequential(nn.Conv2d(1, 1, 3))
    with pytest.raises(InputError, match="meta"):
        summarize(net, (1, 5, 5), effective=True)
