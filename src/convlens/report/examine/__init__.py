"""A closer look at a finished run: at its network and at its images, for the report."""

from convlens.report.examine.examine import Subject, examine
from convlens.report.examine.labels import require_cleanlab

__all__ = ["Subject", "examine", "require_cleanlab"]
