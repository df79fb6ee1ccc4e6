"""VGG-19, plain-34 and ResNet-34 side by side, and the five networks of the slides, counted."""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from convlens import models
from convlens.base.words import percent
from convlens.inspection import style
from convlens.inspection.drawing import Drawing, drawing, paint
from convlens.models.resnet import BasicBlock
from convlens.studies.drawing import panel
from convlens.studies.findings import Findings
from convlens.studies.registry import register

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Known(NamedTuple):
    """A network of the slides: its name in the zoo, in the form for 32×32 pixels, and what is printed of it.

    depth: layers with weights. error: top-5 on ImageNet, per cent, as the slides print it.
    """

    title: str
    name: str
    small: str
    year: int
    depth: int
    error: float | None


SLIDES = (
    Known("LeNet-5", "lenet5_1998_described", "lenet5_cifar", 1998, 5, None),
    Known("AlexNet", "alexnet_2012", "alexnet8_cifar", 2012, 8, 16.4),
    Known("VGG-16", "vgg16", "vgg16_bn_cifar", 2014, 16, 7.3),
    Known("GoogLeNet", "googlenet_2014", "inception10_cifar", 2014, 22, 6.67),
    Known("ResNet-152", "resnet152", "resnet18_cifar", 2015, 152, 3.57),
)
FAMILIES = {"VGG-19": 19, "plain-34": 34, "ResNet-34": 34}


class PlainBlock(BasicBlock):
    """The block of ResNet-34 without its shortcut."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.downsample = None

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))


@register(
    "families",
    title="Families of networks, side by side",
    texts=("book 10.9", "book 10.12", "slides classic networks"),
    claims={
        "depth": "Counted along the longest path, each network has as many layers with weights as it is said to have.",
        "deeper": "From AlexNet to VGG, GoogLeNet and ResNet the depth grows and the error falls.",
        "half": "GoogLeNet has half as many parameters as AlexNet.",
        "dense": "In AlexNet and VGG most parameters are in the dense layers, most of the work is in the convolutions.",
        "fifth": "ResNet-34 is deeper than VGG-19 with less than a fifth of its multiply-adds.",
        "shortcuts": "The shortcuts cost ResNet-34 less than 1 % more parameters and multiply-adds than plain-34 has.",
    },
    measures="parameters, multiply-adds and depth, counted on one pass of each network; errors as printed",
)
def families(findings: Findings) -> None:
    """The networks of a family are one idea at several depths. VGG is 3×3 convolutions and a pooling whenever there
    are enough of them; plain-34 takes this further, with strides for pooling; ResNet-34 adds a way around every two
    layers. What the idea costs can be counted without training: the networks here have shapes and no numbers.
    """
    drawn = {known.title: count(known.name) for known in findings.steps("networks of the slides", SLIDES)}
    small = {known.title: count(known.small) for known in findings.steps("their small forms", SLIDES)}
    three = {title: family(title) for title in FAMILIES}
    findings.set(networks="as published, for 1000 classes", counted="layers with weights on the longest path; "
                 "multiply-adds of convolutions and dense layers for one image")  # fmt: skip
    path = paint(list(three.values()), findings.folder / "families.png")
    findings.file(path.name, path.read_bytes(), "VGG-19, plain-34 and ResNet-34, layer by layer. Each box is a layer "
                  "with what follows it at once: normalisation, activation.")  # fmt: skip
    path = paint(list(three.values()), findings.folder / "families.svg")
    findings.file(path.name, path.read_bytes(), "The same drawing, sharp at any size.")
    findings.picture("parts", bars(drawn | three), "Where parameters and work are: dense layers in orange, "
                     "convolutions in blue.")  # fmt: skip
    columns = ["network", "parameters", "in dense layers", "multiply-adds", "depth"]
    findings.table("VGG-19, plain-34, ResNet-34", columns, [row(title, one) for title, one in three.items()])
    findings.table("The five of the slides", [*columns, "year", "top-5 error, %"],
                   [[*row(known.title, drawn[known.title]), str(known.year), known.error] for known in SLIDES],
                   "As published. Each error is that of several networks together, five of them with AlexNet; LeNet-5 "
                   "is from before ImageNet.")  # fmt: skip
    findings.table("Their forms for CIFAR-10 in the slides", columns,
                   [row(known.small, small[known.title]) for known in SLIDES],
                   "By their names in the zoo. None is as deep as its model, but for the first three.")  # fmt: skip
    judge(findings, drawn, three)


def judge(findings: Findings, drawn: dict[str, Drawing], three: dict[str, Drawing]) -> None:
    said = {known.title: known.depth for known in SLIDES} | FAMILIES
    depths = {title: depth(one) for title, one in (drawn | three).items()}
    findings.judge("depth", depths == said, ", ".join(f"{title} {number}" for title, number in depths.items()))
    judged = [known for known in SLIDES if known.error is not None]
    rising = [depths[known.title] for known in judged]
    falling = [-known.error for known in judged if known.error is not None]
    both = rising == sorted(set(rising)) and falling == sorted(set(falling))
    findings.judge("deeper", both, "; ".join(f"{known.title}: {depths[known.title]} layers, {known.error} %"
                                             for known in judged))  # fmt: skip
    google, alex = drawn["GoogLeNet"].parameters, drawn["AlexNet"].parameters
    findings.judge("half", 0.45 < google / alex < 0.55,
                   f"{google:,} of {alex:,}: one part in {alex / google:.1f}")  # fmt: skip
    parts = {title: dense(drawn[title]) for title in ("AlexNet", "VGG-16")}
    findings.judge("dense", all(own > 0.5 > work for own, work in parts.values()), "; ".join(
        f"{title}: {percent(own, 0)} of the parameters, {percent(work, 1)} of the multiply-adds in dense layers"
        for title, (own, work) in parts.items()))  # fmt: skip
    vgg, plain, residual = three.values()
    share = residual.macs / vgg.macs
    findings.judge("fifth", share < 0.2 and depth(residual) > depth(vgg), f"{percent(share, 1)}: {residual.macs:,} "
                   f"against {vgg.macs:,}")  # fmt: skip
    more = [residual.parameters / plain.parameters - 1, residual.macs / plain.macs - 1]
    findings.judge("shortcuts", max(more) < 0.01, f"{percent(more[0])} more parameters, {percent(more[1])} more "
                   "multiply-adds: where the size changes, a shortcut is a 1×1 convolution")  # fmt: skip


def count(name: str) -> Drawing:
    """A network of the zoo as boxes, each layer one; made of shapes alone, so that no weights take memory."""
    with torch.device("meta"):
        return drawing(models.create(name), models.get(name).input, title=name, fold=False)


def family(title: str) -> Drawing:
    """One of `FAMILIES`."""
    with torch.device("meta"):
        made: nn.Module
        if title == "VGG-19":
            made = models.vgg19()
        else:
            made = models.resnet34(**({"block": PlainBlock} if title == "plain-34" else {}))  # pyright: ignore[reportArgumentType]
        return drawing(made, (3, 224, 224), title=title, fold=False)


def depth(drawn: Drawing) -> int:
    """Layers with weights on the longest path."""
    longest = [0] * len(drawn.boxes)
    for before, after in sorted(drawn.arrows, key=lambda arrow: arrow[1]):
        weighs = drawn.boxes[after].family in ("convolution", "linear")
        longest[after] = max(longest[after], longest[before] + weighs)
    return max(longest)


def dense(drawn: Drawing) -> tuple[float, float]:
    """(share of the parameters, share of the multiply-adds) that are in dense layers."""
    inside = [box for box in drawn.boxes if box.family == "linear"]
    return sum(box.parameters for box in inside) / drawn.parameters, sum(box.macs for box in inside) / drawn.macs


def row(title: str, drawn: Drawing) -> list:
    return [title, drawn.parameters, percent(dense(drawn)[0], 1), drawn.macs, depth(drawn)]


def bars(drawn: dict[str, Drawing]) -> "Figure":
    """Parameters in millions and multiply-adds in billions, dense layers apart."""
    with style.styled():
        figure, axes = style.sheet(1, 2, cell=2.6, width=3.8)
        titles = list(drawn)[::-1]
        for side, (one, name, unit) in enumerate(
            zip(axes[0], ("parameters, millions", "multiply-adds, billions"), (1e6, 1e9), strict=True)
        ):
            panel(one, x=name)
            whole = [(drawn[title].parameters if side == 0 else drawn[title].macs) / unit for title in titles]
            inside = [dense(drawn[title])[side] * size for title, size in zip(titles, whole, strict=True)]
            rest = [size - part for size, part in zip(whole, inside, strict=True)]
            one.barh(titles, rest, color="#2f6ba8")
            one.barh(titles, inside, left=rest, color="#D55E00")
            for at, size in enumerate(whole):
                one.text(size, at, f" {size:.3g}", va="center", fontsize=7)
            one.set_xlim(0, max(whole) * 1.15)
        return figure
