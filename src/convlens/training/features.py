"""What a trained network makes of pictures before its output layer: computed once, and kept in the cache."""

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from convlens.base.errors import InputError
from convlens.classify.forward import at_work
from convlens.data.images import Images
from convlens.data.preprocess import Preprocess
from convlens.data.store import cache
from convlens.inspection.probe import Probe
from convlens.models.network import Network

BATCH = 4
"""Pictures at a time: memory for the maps of more is asked of the system anew each time, which doubles the time."""
_LARGEST = 1 << 29  # bytes of features that are kept: beyond it, they would push the cache's pictures out

Advance = Callable[[int, int], None]


def output_layer(module: nn.Module, classes: int) -> tuple[str, nn.Linear]:
    """Path and layer: the dense one that gives the logits. Raises `InputError` where there is none, or several."""
    if isinstance(module, Network):
        paths = list(module.output_layers)
    else:
        dense = [path for path, layer in module.named_modules() if isinstance(layer, nn.Linear)]
        paths = [path for path in dense if module.get_submodule(path).out_features == classes][-1:]
    layer = module.get_submodule(paths[0]) if len(paths) == 1 else None
    if not isinstance(layer, nn.Linear) or layer.bias is None:
        raise InputError(
            'head="features" needs a network that ends in one dense layer with biases; '
            "train this one from the weights as they are, with --weights"
        )
    return paths[0], layer


def features(
    module: nn.Module,
    path: str,
    images: Images,
    preprocess: Preprocess,
    *,
    mirrored: bool = False,
    device: str = "cpu",
    advance: Advance = lambda done, total: None,
) -> np.ndarray:
    """float32 [N, D]: the input of the layer at `path` for N pictures, in evaluation mode.

    They come from the cache where the same weights have seen the same pictures, prepared in the same way.

    mirrored: the pictures are turned left to right. advance: is told (done, total) now and then.
    """
    key = _key(module, path, images, preprocess, mirrored)
    if (kept := cache.load_arrays("features", key)) is not None and len(kept[0]["features"]) == len(images):
        return kept[0]["features"]
    found: list[np.ndarray] = []
    probe = Probe(module, [path], keep=lambda _, tensor: tensor.float().cpu().numpy())
    with at_work(module), torch.inference_mode():
        for start in range(0, len(images), BATCH):
            x = torch.from_numpy(preprocess.normalize(images.pixels[start : start + BATCH])).to(device)
            x = x.to(memory_format=torch.channels_last)
            with probe:
                module(x.flip(3) if mirrored else x)
            found.append(probe.inputs[path][0][0])
            advance(min(start + BATCH, len(images)), len(images))
    result = np.concatenate(found)
    if not np.isfinite(result).all():
        raise InputError("the network gives features that are not finite: its weights are of no use")
    if result.nbytes <= _LARGEST:
        cache.save_arrays("features", key, {"features": result}, {})
    return result


def _key(module: nn.Module, path: str, images: Images, preprocess: Preprocess, mirrored: bool) -> str:
    """What features depend on: the weights but those of the output layer, the pictures, and their preparation."""
    digest = hashlib.blake2b(digest_size=20)
    for name, tensor in sorted(module.state_dict().items()):
        if not name.startswith(f"{path}."):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    text = (repr(type(module)), preprocess.to_dict(), path, mirrored, len(images), torch.__version__)
    digest.update(repr(text).encode())
    digest.update(np.ascontiguousarray(images.fingerprints()).tobytes())
    return digest.hexdigest()
