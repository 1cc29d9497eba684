"""Joins: all pairs of rows that are alike, every one of them or those that share a cell."""

from embedkit.joins.blocks import Pairs, every_pair
from embedkit.joins.cells import Recall, cells_of, pairs_in_cells, recall_on_sample
from embedkit.joins.hashes import close_hashes

__all__ = [
    "Pairs",
    "Recall",
    "cells_of",
    "close_hashes",
    "every_pair",
    "pairs_in_cells",
    "recall_on_sample",
]
