"""The summary of a network: layer by layer its shapes, parameters, multiply-accumulates, memory, receptive fields."""

from convlens.inspection.summary.count import summarize
from convlens.inspection.summary.summary import Layer, Summary

__all__ = ["Layer", "Summary", "summarize"]
