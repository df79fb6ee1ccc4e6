"""The same network with random weights, for the randomization check of Adebayo et al. (2018).

A map that looks the same on a network that has learned nothing shows the picture, not what the network has learned.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from convlens.base.seeds import derive
from convlens.inspection.explain.subject import Subject


def randomized(subject: Subject, seed: int = 0) -> Subject:
    """The subject with a copy of its network whose weights are drawn anew; the network itself is not touched.

    Layers draw as they do when they are made (`reset_parameters`, and the zoo's own scheme); a parameter of a module
    that cannot do that gets its own values in random order. Running statistics begin anew.
    """
    import torch

    from convlens.classify.caller import undisturbed
    from convlens.models.lazy import settled_copy
    from convlens.models.network import Network

    with undisturbed(), torch.no_grad():
        copy = settled_copy(subject.module, subject.input_shape)
        torch.manual_seed(derive(seed, "randomized"))
        drawn: set[int] = set()
        for part in copy.modules():
            reset: Any = getattr(part, "reset_parameters", None)
            if callable(reset):
                reset()
                drawn |= {id(p) for p in part.parameters(recurse=False)}
        if isinstance(copy, Network):
            copy.initialize()
        for parameter in copy.parameters():
            if id(parameter) not in drawn:
                flat = parameter.flatten()
                parameter.copy_(flat[torch.randperm(len(flat)).to(flat.device)].reshape(parameter.shape))
    return replace(subject, classifier=replace(subject.classifier, network=copy))


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation of two arrays of one shape: 1 same order, 0 none. NaN where one is constant."""
    from scipy.stats import rankdata

    if a.min() == a.max() or b.min() == b.max():
        return math.nan
    return float(np.corrcoef(rankdata(a.ravel()), rankdata(b.ravel()))[0, 1])
