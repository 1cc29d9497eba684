"""Trust: how far guesses agree with what was given, and whether their errors go with answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.audits.base import rounded
from embedkit.audits.guesses import Guess
from embedkit.audits.relabellings import relabellings
from embedkit.statistics import Estimate, bootstrap, proportion
from embedkit.vectors import BoolArray, DoubleArray, IntArray

DRAWS = 999


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far guesses agree with what was given, over the images of all splits that have both.

    Attributes:
        accuracy: share of the guesses that are what was given.
        kappa: the same beyond chance (Cohen, 1960).
        values: of the attribute.
        counts: (k, k) images, given by row, guessed by column.
        p: that errors have nothing to do with the answer, on the test images among them; NaN where
            there is nothing to tell it from.
    """

    accuracy: Estimate
    kappa: Estimate
    values: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    p: float

    @property
    def tested(self) -> bool:
        """Whether there was anything to tell that from."""
        return not np.isnan(self.p)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "accuracy": self.accuracy.to_dict(),
            "kappa": self.kappa.to_dict(),
            "values": list(self.values),
            "counts": [list(row) for row in self.counts],
            "p_errors_go_with_answers": rounded(self.p),
        }


def agreement_of(
    guess: Guess,
    given: Sequence[str | None],
    right: BoolArray,
    rows: IntArray,
    clusters: IntArray,
    *,
    seed: int,
) -> Agreement:
    """Compare guesses with what was given.

    Args:
        guess: of all images.
        given: likewise; None where nothing was.
        right: (m,) whether each test image is answered rightly.
        rows: (m,) the test images.
        clusters: (n,) of relatives.
        seed: of bootstraps and permutations.
    """
    both = np.array([None not in pair for pair in zip(given, guess.values, strict=True)])
    values = sorted({value for value in (*given, *guess.values) if value is not None})
    truth, said = (numbers_of(column, values)[both] for column in (given, guess.values))
    k = len(values)
    counts = np.bincount(truth * k + said, minlength=k * k).reshape(k, k)
    cells = (truth * k + said)[:, None] == np.arange(k * k)

    def kappa(weights: DoubleArray) -> DoubleArray:
        table = (weights @ cells).reshape(-1, k, k) / weights.sum(axis=1)[:, None, None]
        agreed = np.trace(table, axis1=1, axis2=2)
        chance = (table.sum(axis=1) * table.sum(axis=2)).sum(axis=1)
        out = np.full_like(agreed, np.nan)
        return np.asarray(np.divide(agreed - chance, 1 - chance, out=out, where=chance < 1))[
            :, None
        ]

    inside = both[rows]
    truth_in_test, said_in_test = (
        numbers_of(column, values)[rows[inside]] for column in (given, guess.values)
    )
    return Agreement(
        proportion(truth == said, clusters[both], seed=seed),
        bootstrap(kappa, clusters[both], seed=seed, lowest=-1.0)[0],
        tuple(values),
        tuple(tuple(int(one) for one in row) for row in counts),
        _errors_go_with_answers(
            truth_in_test == said_in_test,
            truth_in_test,
            right[inside],
            clusters[rows[inside]],
            seed=seed,
        ),
    )


def _errors_go_with_answers(
    agreed: BoolArray, given: IntArray, right: BoolArray, clusters: IntArray, *, seed: int
) -> float:
    """Return the p-value that guesses are wrong as often on images answered rightly as on others.

    Answers are permuted over clusters within the values given; groups whose guess errs more on
    wrong answers and groups whose guess errs less on them both count.
    """
    if not len(given):
        return float("nan")
    marked = given[:, None] == np.unique(given)  # (n, g)
    size = marked.sum(axis=0)
    share = agreed @ marked / size
    off = np.where(marked, agreed[:, None] - share, 0.0)
    answered = right @ marked / size
    spread = share * (1 - share) * answered * (1 - answered) * size
    tells = spread > 0
    if not tells.any():
        return float("nan")
    drawn = relabellings(
        right.astype(np.int64), clusters, draws=DRAWS, seed=seed, strata=given - given.min()
    )
    every = np.concatenate([right[None], drawn]).astype(np.float64)
    apart = ((every @ off[:, tells]) ** 2 / spread[tells]).sum(axis=1)
    return float((1 + (apart[1:] >= apart[0] - 1e-9).sum()) / (1 + DRAWS))


def numbers_of(column: Sequence[str | None], values: Sequence[str]) -> IntArray:
    """Return (n,) the place of each value; -1 for another, or none."""
    number = {value: place for place, value in enumerate(values)}
    return np.array([-1 if one is None else number.get(one, -1) for one in column], np.int64)
