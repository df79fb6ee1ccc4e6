"""Import this before NumPy: it lets every library choose its kernels for this processor.

OPENBLAS_CORETYPE and its like hold NumPy's matrix products to an older processor's instructions, so that they give the
same bits everywhere. PyTorch's kernels know no such variable; a comparison would measure the handicap.
"""

import os

for pinned in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(pinned, None)


def blas() -> list[str]:
    """The kernels behind NumPy's matrix products, such as ["SkylakeX"]."""
    from threadpoolctl import threadpool_info

    return [library.get("architecture", "unknown") for library in threadpool_info() if library["user_api"] == "blas"]
