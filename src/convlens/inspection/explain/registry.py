"""The methods of explanation by name. A new one is a function with `@register`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from convlens.base.errors import InputError, nearest
from convlens.inspection.explain.explanation import Explanation
from convlens.inspection.explain.subject import Options, Pictures, Subject

GROUPS = ("attribution", "features")
Function = Callable[[Subject, Pictures, Options], Explanation]


@dataclass(frozen=True)
class Method:
    """name: what `--what` takes. group: of `GROUPS`. about: one line. pictures: whether it needs any."""

    name: str
    group: str
    about: str
    pictures: bool
    function: Function


_ORDER = (
    *("saliency", "integrated-gradients", "grad-cam", "occlusion", "guided-backprop", "deconvolution", "lrp"),
    *("features", "kernels", "patches", "deconvnet", "maximise", "embedding", "receptive-field"),
)
METHODS: dict[str, Method] = {}


def register(name: str, *, group: str, pictures: bool = True) -> Callable[[Function], Function]:
    """Enters a method `function(subject, pictures, options) -> Explanation`; the first line of its docstring is shown.

    Args:
        group: "attribution": it gives an `Attribution`, whose maps are drawn beside those of the others and tried on a
            network with random weights. "features": it draws its own pictures.
        pictures: whether it explains pictures that must be given; without, the pictures may be none.
    """
    if group not in GROUPS:
        raise InputError(f"unknown group {group!r}{nearest(group, GROUPS)}")
    if name in METHODS or name == "all":
        raise InputError(f"there is a method {name!r} already")

    def enter(function: Function) -> Function:
        about = (function.__doc__ or "").strip().split("\n")[0]
        METHODS[name] = Method(name, group, about, pictures, function)
        return function

    return enter


def known() -> list[Method]:
    """All methods in the order in which they are shown: those of `_ORDER` first."""
    order = {name: k for k, name in enumerate(_ORDER)}
    return sorted(METHODS.values(), key=lambda method: order.get(method.name, len(order)))


def find(names: Iterable[str]) -> list[Method]:
    """The methods of these names, each once; "all" is every attribution. Raises `InputError` for an unknown one."""
    found: dict[str, Method] = {}
    for name in names:
        if name == "all":
            found |= {m.name: m for m in known() if m.group == "attribution"}
        elif name in METHODS:
            found[name] = METHODS[name]
        else:
            names = ["all", *(m.name for m in known())]
            raise InputError(f"--what {name!r}: unknown{nearest(name, names)} (known: {', '.join(names)})")
    if not found:
        raise InputError(f"--what: name at least one of {', '.join(['all', *(m.name for m in known())])}")
    return list(found.values())
