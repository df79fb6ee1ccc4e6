"""A walk backward through the network's graph, from the logits to the pixels, with rules in place of derivatives.

In the graph an activation is a node, whether the network wrote a module, `F.relu`, an operation in place, or one module
for all of its activations; so a rule for activations meets each of them.
"""

from collections.abc import Iterator

import numpy as np

from convlens import ops
from convlens.base.errors import InputError
from convlens.inspection.explain.attribution import Aims
from convlens.inspection.explain.subject import PAIR, Pictures, Subject
from convlens.scratch.graph import Rules, Tape

Array = np.ndarray
_APART = 1e-3  # of the largest logit: more is no rounding of float32


def walk(
    subject: Subject, pictures: Pictures, aims: Aims, seeds: Array, rules: Rules
) -> Iterator[tuple[list[int], Array]]:
    """Numbers of pictures, and what arrives at the network's input for them, float64 [n, C, H, W]; two at a time.

    Args:
        seeds: float64 [N, K], what each logit sends out.
        rules: for each node what replaces its derivative, see `Tape.backward`.
    """
    for rows, tape in tapes(subject, pictures):
        which = logits_output(tape, aims.logits[rows], subject)
        grads: list[Array | None] = [None] * len(tape.outputs)
        grads[which] = seeds[rows].reshape(tape.outputs[which].shape)
        with ops.fast():
            arrived = tape.backward(*grads, inputs=True, rules=rules).inputs[0]
        if arrived is None:
            raise InputError("the logits of this network do not depend on its input")
        n = len(set(rows))
        yield rows[:n], arrived[:n]


def tapes(subject: Subject, pictures: Pictures) -> Iterator[tuple[list[int], Tape]]:
    """Forward passes of the graph, two pictures each: their numbers (of a last one alone twice), and the tape."""
    for start in range(0, len(pictures), PAIR):
        rows = [start, min(start + 1, len(pictures) - 1)]
        x = subject.preprocess.normalize(pictures.pixels[rows]).astype(np.float64)
        with ops.fast():
            tape = subject.graph.run(x)
        yield rows, tape


def logits_output(tape: Tape, logits: Array, subject: Subject) -> int:
    """Which output of the graph the logits are: the one with their values."""
    errors = {
        i: float(np.abs(output.reshape(logits.shape) - logits).max())
        for i, output in enumerate(tape.outputs)
        if output.size == logits.size
    }
    if not errors:
        raise InputError("the exported network gives no logits: one number for each class and picture")
    best = min(errors, key=errors.__getitem__)
    scale = max(float(np.abs(logits).max()), 1e-30)
    if not errors[best] <= _APART * scale:
        subject.on_note(f"the logits of the exported network differ by {errors[best] / scale:.1e} of the largest")
    return best
