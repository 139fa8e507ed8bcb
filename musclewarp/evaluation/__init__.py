"""How well a policy tracks."""

from __future__ import annotations

from musclewarp.evaluation.evaluator import evaluate
from musclewarp.evaluation.trial import Trial

__all__ = ["Trial", "evaluate"]
