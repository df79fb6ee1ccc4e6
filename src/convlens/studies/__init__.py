"""The experiments of the teaching texts, each a file that reads like the lesson's listing.

A study is a function here with `@register(name, ...)`; importing this package enters all of them. It says what is
claimed, does the experiment with the public functions of Convlens, and judges each claim by what it measured.
"""

# ruff: noqa: F401
from convlens.studies import (
    activations,
    batch_norm,
    capacity,
    convolution,
    data_in_hand,
    degradation,
    families,
    gan,
    kernels,
    regularisation,
    scaling,
    textbook_results,
    transfer,
)
from convlens.studies.findings import Findings
from convlens.studies.record import PAGE, Record
from convlens.studies.registry import STUDIES, Options, Study, find, register
from convlens.studies.run import default_folder, run
from convlens.studies.trials import Trained, Trial

__all__ = [
    "PAGE",
    "STUDIES",
    "Findings",
    "Options",
    "Record",
    "Study",
    "Trained",
    "Trial",
    "default_folder",
    "find",
    "register",
    "run",
]
