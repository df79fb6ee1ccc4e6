"""A network from what a person names: an entry of the zoo, or a function in a file of their own."""

import hashlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections import OrderedDict
from collections.abc import Collection
from pathlib import Path
from typing import Any

from torch import nn

from convlens.base.errors import ConvlensError, InputError, nearest
from convlens.models import registry
from convlens.models.lazy import settle_lazy_layers
from convlens.models.network import Network
from convlens.models.whitened import Whitened
from convlens.nn import WhiteningConv2d

_UNEXPECTED = re.compile(r"unexpected keyword argument '(\w+)'")


def is_file_reference(reference: str) -> bool:
    """Whether `reference` looks like `path/to/file.py:Function`."""
    path, colon, name = reference.rpartition(":")
    return bool(colon) and path.endswith(".py") and bool(name)


def build(
    reference: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    image_size: tuple[int, int] | None = None,
    whitening: int = 0,
    **arguments: Any,
) -> nn.Module:
    """Builds the network that `reference` names. A file reference runs that file: only pass what the user typed.

    `whitening` (3 or 5, needs `in_channels`) puts a frozen `WhiteningConv2d` of that patch size before the network,
    which then sees its 2 * C * k * k maps, of the image's own size.

    The function (or class) in a file is called with those of `num_classes`, `in_channels` and `image_size`
    that it takes; a module that stands in the file is taken as it is. Lazy layers get their shapes.

    Raises:
        InputError: unknown name, no such file or function, or something that is no `nn.Module`.
    """
    if whitening:
        if in_channels is None:
            raise InputError("whitening needs to know in_channels")
        layer = WhiteningConv2d(in_channels, whitening, padding=whitening // 2)
        network = build(
            reference, num_classes=num_classes, in_channels=layer.out_channels, image_size=image_size, **arguments
        )
        if isinstance(network, Network):
            return Whitened(layer, network)
        return nn.Sequential(OrderedDict(whitening=layer, network=network))
    if not is_file_reference(reference):
        return registry.create(
            reference, num_classes=num_classes, in_channels=in_channels, image_size=image_size, **arguments
        )
    offered = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
    module = _call(reference, {key: value for key, value in offered.items() if value is not None}, arguments)
    if in_channels is not None and image_size is not None:
        settle_lazy_layers(module, (in_channels, *image_size))
    return module


def _call(reference: str, offered: dict[str, Any], arguments: dict[str, Any]) -> nn.Module:
    function = _load(reference)
    if isinstance(function, nn.Module):  # made when the file was run
        if arguments:
            raise InputError(f"{reference} is a network already: it takes no argument {next(iter(arguments))!r}")
        return function
    known, takes_all = _parameters(function)
    for key in arguments:
        if key not in known and not takes_all:
            raise InputError(f"{reference} has no argument {key!r}{nearest(key, known)}")
    accepted = {key: value for key, value in offered.items() if key in known or takes_all}
    try:
        module = _tried(function, accepted, arguments, known)
    except ConvlensError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"{reference} failed: {_in_words(error, reference.rpartition(':')[0])}") from error
    if not isinstance(module, nn.Module):
        raise InputError(f"{reference} must return a torch.nn.Module, it returned a {type(module).__name__}")
    return module


def _parameters(function: Any) -> tuple[list[str], bool]:
    """Names that can be given by keyword, and whether any other can be given, too."""
    try:
        found = inspect.signature(function).parameters.values()
    except ValueError:  # no signature is known
        return [], True
    return [p.name for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)], any(
        p.kind is p.VAR_KEYWORD for p in found
    )


def _tried(function: Any, accepted: dict[str, Any], arguments: dict[str, Any], known: Collection[str]) -> Any:
    """Calls a function; what its `**kwargs` only handed on to a place that does not know it is left out."""
    while True:
        try:
            return function(**accepted, **arguments)
        except TypeError as error:
            unknown = _UNEXPECTED.search(str(error))
            if unknown is None or unknown[1] not in accepted or unknown[1] in known:
                raise
            del accepted[unknown[1]]


def _load(reference: str) -> Any:
    file, _, name = reference.rpartition(":")
    path = Path(file).resolve()
    if not path.is_file():
        raise InputError(f"there is no file {file} (from {reference!r})")
    digest = hashlib.blake2b(str(path).encode(), digest_size=6).hexdigest()
    spec = importlib.util.spec_from_file_location(f"convlens_user_{path.stem}_{digest}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickling look it up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise InputError(f"{file} cannot be loaded: {_in_words(error, file)}") from error
    function = getattr(module, name, None)
    if function is None:
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise InputError(f"{file} has no function or class {name!r}{nearest(name, public)}")
    if not callable(function):
        raise InputError(f"{name!r} in {file} is not a function or class")
    return function


def _in_words(error: BaseException, file: str) -> str:
    """An exception out of a user's file on one line, with the last line of that file that it passed through."""
    path = Path(file).resolve()
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename) == path:
        message, lines = error.msg, [error.lineno]
    else:
        message = " ".join(str(error).split())
    where = f" (line {lines[-1]} of {file})" if lines else ""
    return f"{type(error).__name__}{': ' if message else ''}{message}{where}"
