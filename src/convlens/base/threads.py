"""How the threads of numerical libraries wait for each other."""

import contextlib
import os
import sys
from collections.abc import Iterator


def limit_spinning() -> bool:
    """Lets idle OpenMP threads sleep after a tenth of a millisecond instead of spinning for many.

    Spinning wins nothing measurable on an idle machine, but where another program shares the cores a spinning thread
    keeps the one that it waits for from running: training becomes ten times slower. Only takes effect before PyTorch
    is imported; a user's own OMP_WAIT_POLICY or GOMP_SPINCOUNT is respected. Returns whether a variable was set.
    """
    if "torch" in sys.modules or {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        return False
    os.environ["GOMP_SPINCOUNT"] = "10000"
    return True


@contextlib.contextmanager
def limited_spinning() -> Iterator[None]:
    """`limit_spinning` for a PyTorch that is imported inside; afterwards the environment is the caller's again."""
    ours = limit_spinning()
    try:
        yield
    finally:
        if ours:
            os.environ.pop("GOMP_SPINCOUNT", None)
