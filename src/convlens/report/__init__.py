"""The HTML report of a run: one file that opens offline. Reads a finished run folder, never the data."""

from convlens.report.page import write
from convlens.report.store import StoredEvaluation, load_evaluation, save_evaluation

__all__ = ["StoredEvaluation", "load_evaluation", "save_evaluation", "write"]
