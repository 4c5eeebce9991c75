"""Metrics on text: plain functions of samples and references that return names and numbers, NumPy only."""

from textforge.metrics.evaluate import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]
