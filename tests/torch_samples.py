"""PyTorch's own samples of its operators, which it tests itself with. They may move: where they are not, tests skip."""

import pytest
import torch


def operator_samples() -> list:
    """PyTorch's `op_db`. Skips the calling module where it cannot be imported."""
    pytest.importorskip("expecttest", reason="PyTorch's samples need it")
    database = pytest.importorskip("torch.testing._internal.common_methods_invocations", exc_type=ImportError)
    # Importing it forbids the whole process to set a switch of PyTorch's, which other tests do.
    torch.backends.disable_global_flags.__globals__["__allow_nonbracketed_mutation_flag"] = True
    return database.op_db
