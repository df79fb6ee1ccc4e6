"""What is set for OpenMP is set for PyTorch's start alone; the caller's environment stays as it was."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
before = dict(os.environ)
import convlens as cl
cl.train
assert "torch" in sys.modules
assert dict(os.environ) == before, set(os.environ) ^ set(before)
from convlens import cli
sys.argv = ["convlens", "models"]
cli.main()
assert dict(os.environ) == before
"""


@pytest.mark.parametrize("own", [{}, {"GOMP_SPINCOUNT": "77"}, {"OMP_WAIT_POLICY": "active"}])
def test_the_environment_is_as_before(own):
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=plain | own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_variable_is_there_while_pytorch_starts():
    program = (
        "import os\nfrom convlens.base.threads import limited_spinning\n"
        "with limited_spinning():\n    assert os.environ['GOMP_SPINCOUNT'] == '10000'\n"
        "assert 'GOMP_SPINCOUNT' not in os.environ"
    )
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    assert subprocess.run([sys.executable, "-c", program], env=plain, check=False).returncode == 0
