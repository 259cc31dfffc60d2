"""Evaluation: reasoning, harmful compliance and over-refusal of one model.

A suite is data, prompt and scorer: a JSONL file of questions, k samples each, and the name of
the scorer (reasoning) or judge (safety) that reads them.
"""

from dgr.decoding import SuiteSampling
from dgr.evaluate.config import EvaluateConfig, SuiteConfig
from dgr.evaluate.sampling import Subject
from dgr.evaluate.step import evaluate, evaluate_arms, evaluate_together, merge

__all__ = [
    "EvaluateConfig",
    "Subject",
    "SuiteConfig",
    "SuiteSampling",
    "evaluate",
    "evaluate_arms",
    "evaluate_together",
    "merge",
]
