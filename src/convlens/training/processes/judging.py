"""Judging images in several processes: each batch is judged by one of them, and each image counts once."""

from collections.abc import Sequence

import torch
from torch import nn

from convlens.classify.evaluation import Evaluation, evaluate, from_logits, logits_over
from convlens.data.loader import Loader
from convlens.training.processes.world import World


def judge_together(module: nn.Module, loader: Loader, classes: Sequence[str], world: World) -> Evaluation:
    """`evaluate` over the batches of a loader that does not shuffle, which the processes take in turn.

    All of them get the whole evaluation. Batches stay as they are, and so do the bits of what comes out of them.
    """
    if world.size == 1:
        return evaluate(module, loader.epoch(0), classes)
    size, batches = loader.batch_size, len(loader)
    own, _ = logits_over(module, loader.epoch(0, start=world.rank, every=world.size), classes)
    rounds = -(-batches // world.size)  # of batches, in the last of which some have none
    sent = torch.zeros(rounds * size, len(classes))
    sent[: len(own)] = torch.from_numpy(own)
    found = world.gather(sent).view(world.size, rounds, size, -1).transpose(0, 1).flatten(0, 2)
    labels = loader.images.labels  # full batches in the order of the images, and the small last one at its place
    return from_logits(found[: len(labels)].numpy(), labels, classes)
