"""The store: items and vectors on disk, checked when opened, and the index over them."""

from embedkit.store.index import Neighbours
from embedkit.store.store import Neighbour, Space, Store

__all__ = ["Neighbour", "Neighbours", "Space", "Store"]
