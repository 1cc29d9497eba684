"""Columns as numbers: nuisances of files as codes that can be counted, and as inputs of a head."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedkit.audits.nuisance import Column
from embedkit.vectors import DoubleArray, IntArray

RARE = 10  # images; words on fewer are one word, and a number on fewer is no property of a set
WORDS = 30  # of a column; all others are one
VALUES = 12  # different numbers; a column of more is cut into bins
# Where such a column is cut: a small class that is all dark lies in the tail, not in a fifth.
CUTS = (0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98)
FAR = 5.0  # spreads from the middle; what is farther counts as that far
NORMAL = 1.349  # a normal spread is the distance between the quartiles divided by this


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """A column of those images that are compared.

    Attributes:
        column: as given.
        rows: (n,) the images.
        codes: (n,) which value each image has, from 0 without a gap: a word, a number, or a bin of
            numbers; "missing" is a value too.
        features: (n, f) the same for a head: a word is a column of zeros and ones, a number is
            scaled by its quartiles, and missing is zero, with a mark beside it.
        names: of the codes, in words.
    """

    column: Column
    rows: IntArray
    codes: IntArray
    features: DoubleArray
    names: tuple[str, ...]

    @property
    def varies(self) -> bool:
        """Whether it has two values that are common enough to be compared."""
        return len(self.names) > 1 and int(np.sort(np.bincount(self.codes))[-2]) >= RARE


def code(column: Column, rows: IntArray) -> Coded:
    """Encode a column without a look at any label.

    Args:
        column: of n images.
        rows: (m,) those that are compared.
    """
    if isinstance(column.values, tuple):
        return _words(column, [column.values[row] for row in rows.tolist()], rows)
    return _numbers(column, np.asarray(column.values, np.float64)[rows], rows)


def matrix(coded: Sequence[Coded]) -> DoubleArray:
    """Return the (n, f) features of several columns, at least one."""
    return np.concatenate([one.features for one in coded], axis=1)


def _words(column: Column, words: list[str | None], rows: IntArray) -> Coded:
    counts = Counter(word for word in words if word is not None)
    frequent = sorted((-n, word) for word, n in counts.items() if n >= RARE)
    common = [word for _, word in frequent[:WORDS]]
    kept = set(common)
    named = ["missing" if w is None else repr(w) if w in kept else "another word" for w in words]
    present = set(named)
    order = (*(repr(word) for word in common), "another word", "missing")
    names = tuple(name for name in order if name in present)
    place = {name: number for number, name in enumerate(names)}
    codes = np.array([place[name] for name in named], np.int64)
    features = (codes[:, None] == np.arange(len(names))).astype(np.float64)
    return Coded(column, rows, codes, features, names)


def _numbers(column: Column, values: DoubleArray, rows: IntArray) -> Coded:
    missing = ~np.isfinite(values)
    known = values[~missing]
    if not len(known):
        return Coded(
            column, rows, np.zeros(len(rows), np.int64), np.zeros((len(rows), 0)), ("missing",)
        )
    distinct = np.unique(known)
    if len(distinct) <= VALUES:
        raw = np.searchsorted(distinct, values)
        names = [f"{value:.4g}" for value in distinct]
    else:
        edges = np.unique(np.quantile(known, CUTS, method="lower"))
        edges = edges[edges < distinct[-1]]
        raw = np.searchsorted(edges, values, side="left")
        limits = [f"{edge:.4g}" for edge in edges]
        names = [f"up to {limits[0]}"]
        names += [f"{low} to {high}" for low, high in itertools.pairwise(limits)]
        names.append(f"above {limits[-1]}")
    raw = np.where(missing, len(names), raw)
    used, codes = np.unique(raw, return_inverse=True)
    names.append("missing")
    quarter, middle, three = np.quantile(known, [0.25, 0.5, 0.75])
    spread = (three - quarter) / NORMAL or known.std() or 1.0
    scaled = np.where(missing, 0.0, np.clip((values - middle) / spread, -FAR, FAR))
    features = [scaled] if len(distinct) > 1 else []
    features += [missing.astype(np.float64)] if missing.any() else []
    return Coded(
        column,
        rows,
        codes.ravel().astype(np.int64),
        np.stack(features, axis=1) if features else np.zeros((len(rows), 0)),
        tuple(names[number] for number in used),
    )
