"""The passes of a network over the pictures of a block."""

from concurrent.futures import Executor, Future
from typing import Any

import numpy as np
import numpy.typing as npt

from embedkit.backbones import Backbone
from embedkit.vectors import FloatArray


class Passes:
    """The passes of one network over one block; at most `limit` of them wait or run at once."""

    def __init__(self, network: Backbone, lanes: Executor, limit: int) -> None:
        self._network = network
        self._lanes = lanes
        self._limit = limit
        self._batch: list[npt.NDArray[Any]] = []
        self._running: list[Future[FloatArray]] = []

    def add(self, prepared: npt.NDArray[Any]) -> None:
        """Take one image; start a pass when there is a batch of them."""
        self._batch.append(prepared)
        if len(self._batch) == self._network.card.batch:
            self._start()

    def finish(self) -> FloatArray:
        """Start what is left and return all vectors, (n, d), in the order of the images."""
        if self._batch:
            self._start()
        rows = [future.result() for future in self._running]
        return np.concatenate(rows) if rows else np.empty((0, self._network.card.dimension), "f4")

    def _start(self) -> None:
        if len(self._running) >= self._limit:
            self._running[-self._limit].result()
        self._running.append(self._lanes.submit(self._network.embed, np.stack(self._batch)))
        self._batch = []
