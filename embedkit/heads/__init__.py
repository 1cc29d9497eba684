"""Heads: light classifiers on frozen vectors."""

from embedkit.heads.evaluate import Evaluation
from embedkit.heads.head import Head
from embedkit.heads.saving import load_head
from embedkit.heads.train import HEADS, evaluate, train

__all__ = ["HEADS", "Evaluation", "Head", "evaluate", "load_head", "train"]
