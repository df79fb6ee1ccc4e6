"""Layer-wise relevance propagation: the logit is handed down, layer by layer, until it lies on the pixels.

At each layer what arrives at an output is shared among the inputs that made it, in proportion to what they brought, so
that nothing is lost: what lies on the pixels, and what the biases have kept, add up to the logit. The rules, the
composite "epsilon plus" of Kohlbrenner et al. (2020) after Bach et al. (2015) and Montavon et al. (2019), with z_ij the
product of input i and weight ij, b_j the bias, and z_j = sum_i z_ij + b_j:

- dense layers, and the last convolution where no dense layer follows (epsilon rule): R_i = sum_j z_ij / (z_j + e) R_j,
  e = 1e-6 with the sign of z_j;
- other convolutions (alpha-beta rule with alpha = 1, beta = 0): R_i = sum_j z_ij+ / (sum_i z_ij+ + b_j+) R_j, of the
  positive parts alone; where there is none, of the negative parts alone;
- batch normalization behind a convolution is part of its weights and bias; elsewhere, and other normalizations, and
  activations: what arrives at a number goes on to the number that it was made of;
- maxima: all to the largest; averages: as the epsilon rule; additions: as the alpha-beta rule; a product of two maps
  (squeeze and excitation): all to the larger map, nothing to its gate (Arras et al. 2017).
"""

import numpy as np

from convlens.inspection.explain.attribution import Attribution, aims
from convlens.inspection.explain.lrp_rules import Ledger, rules_for
from convlens.inspection.explain.registry import register
from convlens.inspection.explain.subject import Options, Pictures, Subject
from convlens.inspection.explain.walk import walk


@register("lrp", group="attribution")
def lrp(subject: Subject, pictures: Pictures, options: Options) -> Attribution:
    """Layer-wise relevance propagation: the logit shared out among the pixels and biases (Bach et al. 2015)."""
    wanted = aims(subject, pictures, options)
    ledger = Ledger()
    rules = rules_for(subject.graph, ledger)
    pixels, biases = [], []
    for rows, arrived in walk(subject, pictures, wanted, wanted.logits * wanted.weights(), rules):
        pixels.append(arrived)
        biases.append(ledger.take(len(rows))[: len(rows)])
    relevance, kept = np.concatenate(pixels), np.concatenate(biases)
    return Attribution(
        what="lrp",
        arrays={"maps": relevance.sum(1), "relevance": relevance, "biases": kept},
        facts={"biases": kept.tolist()},
        notes=("epsilon rule for dense layers, alpha-beta rule (1, 0) for convolutions",),
        signed=True,
        unit="share of the logit",
    )
