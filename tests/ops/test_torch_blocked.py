"""The operations work where PyTorch cannot be imported."""

import subprocess
import sys

CODE = """
import sys
sys.modules["torch"] = None  # any import of it raises ImportError
import numpy as np
from convlens import ops

x, w, b = np.ones((2, 3, 8, 8), np.float32), np.ones((4, 3, 3, 3), np.float32), np.zeros(4, np.float32)
y = ops.conv2d(x, w, b, padding=1)
assert y[0, 0, 4, 4] == 27 and y[0, 0, 0, 0] == 12 and y.dtype == np.float32
assert ops.conv2d_backward(y, x, w, padding=1).w.shape == w.shape
assert ops.conv_transpose2d(y, w, padding=1).shape == x.shape
assert (ops.conv2d_matrix(w, (8, 8), padding=1) @ x[0].ravel() == y[0].ravel()).all()
assert ops.max_pool2d(y, 2).shape == (2, 4, 4, 4)
assert not any(name.split(".")[0] == "torch" for name in sys.modules if sys.modules[name])
print("works")
"""


def test_operations_work_with_torch_blocked_from_import():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.stdout == "works\n", done.stderr
