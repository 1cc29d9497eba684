"""Heads: light classifiers on frozen vectors."""

from embedkit.heads.fitting import HEADS
from embedkit.heads.head import Head
from embedkit.heads.metrics import Evaluation
from embedkit.heads.saving import load_head
from embedkit.heads.training import evaluate, train

__all__ = ["HEADS", "Evaluation", "Head", "evaluate", "load_head", "train"]
