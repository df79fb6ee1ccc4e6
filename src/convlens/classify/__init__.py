"""Classifiers and what they are worth: logits, evaluation, test-time views. Knows modules and arrays, no trainer."""
