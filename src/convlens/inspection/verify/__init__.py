"""Both engines on the same batch: is PyTorch's network the one that the NumPy operations spell out?"""

from convlens.inspection.verify.compare import Comparison, Verification, relative_difference, verify

__all__ = ["Comparison", "Verification", "relative_difference", "verify"]
