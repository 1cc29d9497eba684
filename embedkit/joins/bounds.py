"""Bounds: short rows in bf16 whose products are never below the cosine, but for a proven margin.

Let x be a row, Q an orthonormal basis of the h directions in which the rows vary most, u = Q'x what
x has in them and r = |x - Qu| the length of the rest. By Cauchy and Schwarz, with w = (u, r),

    x.y  =  u_x.u_y + (x - Qu_x).(y - Qu_y)  <=  u_x.u_y + r_x r_y  =  w_x.w_y .

Rounded to bf16, w becomes w' with |w - w'| = e. That length is computed for each row, not assumed
(it is at most 2^-8 |w|; about 0.0017 as a rule). With E the greatest e and L the greatest |w|,

    |w_x.w_y - w'_x.w'_y|  <=  E L + E (L + E)  =  E (2 L + E) .

A product of K numbers that is summed in float32, in whatever order and however each step is
rounded, is off by at most 1.01 K 2^-23 (L + E)^2. The sum of both is the margin: where x.y >= t,
the product is at least t - margin before it is rounded to bf16 and, as rounding keeps the order, at
least t - margin rounded down to bf16 after it. So no pair is lost; what passes is scored again in
float64.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from embedkit.hardware import has_bf16
from embedkit.rows import Rows
from embedkit.vectors import DoubleArray, IntArray
from embedkit.workers import workers

CHUNK = 8192
SAMPLE = 4096  # rows that the directions are learned from; any directions keep the bound
FLOAT64 = 1e-9  # more than what float64 rounds off rows, products and the root of a difference


@dataclass(frozen=True, slots=True)
class Bounds:
    """Short rows, and by how much their products may be below the cosine.

    Attributes:
        rows: (n, K) bf16, or float32 where the machine does not multiply bf16.
        margin: of a product, see above.
    """

    rows: torch.Tensor
    margin: float

    def cutoff(self, threshold: float) -> float:
        """Return what the product of each pair with a cosine of `threshold` or more reaches."""
        least = torch.tensor(threshold - self.margin, dtype=torch.float64).float()
        least = torch.nextafter(least, torch.tensor(-2.0))
        if self.rows.dtype == torch.bfloat16:
            # Without the last 16 bits a positive number is rounded down.
            least = (least.view(torch.int32) >> 16 << 16).view(torch.float32)
        return float(least)


def bounds_of(rows: Rows, directions: DoubleArray | None, *, threads: int | None = None) -> Bounds:
    """Return short rows for all rows.

    Args:
        rows: (n, d).
        directions: (d, h) orthonormal; None keeps the rows as they are.
        threads: that compute; the result does not depend on it.
    """
    n, d = rows.shape
    width = d if directions is None else directions.shape[1] + 1
    made = torch.empty((n, width), dtype=torch.bfloat16 if has_bf16() else torch.float32)

    def shorten(start: int) -> tuple[float, float]:
        exact = torch.from_numpy(rows.between(start, start + CHUNK).astype(np.float64))
        squares = exact.square().sum(dim=1)
        if directions is not None:
            head = exact @ torch.from_numpy(directions)
            rest = (squares - head.square().sum(dim=1)).clamp(min=0) + FLOAT64**2
            exact = torch.cat([head, rest.sqrt()[:, None]], dim=1)
        rounded = made[start : start + CHUNK]
        rounded.copy_(exact)
        error = (exact - rounded.double()).square().sum(dim=1)
        return float(squares.max()), float(error.max())

    with single_threads(threads) as run:
        found = np.array([(0.0, 0.0), *run(shorten, range(0, n, CHUNK))])
    longest, error = np.sqrt(found.max(axis=0)) + FLOAT64
    summed = 1.01 * width * 2.0**-23 * (longest + error) ** 2
    return Bounds(made, float(error * (2 * longest + error) + summed + FLOAT64))


def directions_of(rows: Rows, h: int, *, seed: int) -> DoubleArray:
    """Return the `h` directions in which a sample of the rows varies most, (d, h) orthonormal."""
    wide = torch.from_numpy(rows[sample_of(len(rows), SAMPLE, seed=seed)].astype(np.float64))
    with single_threads(1):  # the last bits of a factorisation depend on the number of threads
        # Not about the mean: the products are of the rows as they are.
        vectors = torch.linalg.eigh(wide.T @ wide)[1]
    return np.ascontiguousarray(vectors.flip(1)[:, :h].numpy())


def sample_of(n: int, most: int, *, seed: int) -> IntArray:
    """Return at most so many of n row numbers, drawn without return, in order."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, most, replace=False))


@contextmanager
def single_threads(threads: int | None) -> Iterator[Callable[..., Iterator[Any]]]:
    """Give a `map` over threads that each multiply alone, so that no figure depends on how many."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with workers(threads, "join") as pool:
            yield pool.map
    finally:
        torch.set_num_threads(before)
