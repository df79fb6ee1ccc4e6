"""How the threads of numerical libraries wait for each other."""

import os
import sys


def wait_calmly() -> None:
    """Lets idle OpenMP threads sleep after a tenth of a millisecond instead of spinning for many.

    Spinning wins nothing measurable on an idle machine, but where another program shares the cores a spinning thread
    keeps the one that it waits for from running: training becomes ten times slower. Only takes effect before PyTorch
    is imported; a user's own OMP_WAIT_POLICY or GOMP_SPINCOUNT is respected.
    """
    if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
