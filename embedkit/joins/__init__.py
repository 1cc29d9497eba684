"""Joins: all pairs of rows that are alike, every one of them or those that share a cell."""

from embedkit.joins.blocks import Pairs, every_pair
from embedkit.joins.cells import Recall, pairs_in_cells, recall_on_sample

__all__ = ["Pairs", "Recall", "every_pair", "pairs_in_cells", "recall_on_sample"]
