"""Sources: files that share a header or a border, how pure their labels are, and what is lost."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from embedkit.audits.associations import value_counts
from embedkit.audits.base import Statement, rounded
from embedkit.audits.columns import VALUES, Coded
from embedkit.audits.refits import Bench
from embedkit.audits.relabellings import Relabelled
from embedkit.statistics import Estimate, bootstrap, holm, proportion, weighted_means
from embedkit.vectors import BoolArray, DoubleArray, IntArray

SETS_OF_SOURCES = ("header", "geometry", "border")
LISTED = 10  # sources of a column
PARTS = 5  # of all sources, each left out once
MOST = 4000  # training images of a head that never sees a source
FEWEST = 30  # images in sources that could be left out


@dataclass(frozen=True, slots=True)
class Source:
    """One column whose values are sources.

    Attributes:
        name: of the column.
        values: (value, images, commonest class, its share), the largest first.
        n_values: of the column, rare ones as one.
        purity: share of images that have the commonest class of their source.
        by_chance: the same with labels permuted over clusters, on average.
        p: of the purity, by those permutations.
        adjusted: the same by Holm over such columns.
    """

    name: str
    values: tuple[tuple[str, int, str, float], ...]
    n_values: int
    purity: Estimate
    by_chance: float
    p: float
    adjusted: float

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "column": self.name,
            "sources": self.n_values,
            "largest": [
                {"value": value, "n": n, "label": label, "share": rounded(share)}
                for value, n, label, share in self.values
            ],
            "purity": self.purity.to_dict(),
            "purity_by_chance": rounded(self.by_chance),
            "p": rounded(self.p),
            "p_adjusted": rounded(self.adjusted),
            "statement": Statement.ASSOCIATION.value,
        }


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Accuracy on sources that the head never saw.

    Attributes:
        name: of the column.
        unseen: accuracy of heads trained without the image's source.
        seen: of heads trained on as many images of each class, from all sources.
        difference: seen less unseen, paired.
        unanswerable: images whose class no other source has; in no figure.
        reason: why nothing was measured; empty if it was.
    """

    name: str
    unseen: Estimate
    seen: Estimate
    difference: Estimate
    unanswerable: int
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "column": self.name,
            "source_unseen": self.unseen.to_dict(),
            "source_seen": self.seen.to_dict(),
            "difference": self.difference.to_dict(),
            "class_in_one_source_only": self.unanswerable,
            "statement": Statement.MATCHED.value,
            "reason": self.reason or None,
        }


def find_sources(
    coded: Sequence[Coded],
    y: IntArray,
    labels: Sequence[str],
    drawn: Relabelled,
    clusters: IntArray,
    *,
    seed: int,
) -> tuple[Source, ...]:
    """Return the columns that divide files into sources, with the purity of labels in them.

    Those are words, and numbers of few values, of header, geometry and border.

    Args:
        coded: columns of n images that vary.
        y: (n,) class numbers.
        labels: names of the classes.
        drawn: (draws, n) of `relabellings`.
        clusters: (n,) of relatives.
        seed: of the bootstraps.
    """
    found = []
    for one in coded:
        if not _divides(one):
            continue
        counts = value_counts(one.codes, y, len(one.names), len(labels))
        size, most = counts.sum(axis=1), counts.argmax(axis=1)
        pure = most[one.codes] == y
        by_chance = np.array(
            [
                value_counts(one.codes, other, len(one.names), len(labels)).max(axis=1).sum()
                for other in drawn
            ]
        )
        p = float((1 + (by_chance >= pure.sum()).sum()) / (1 + len(drawn)))
        largest = np.argsort(-size, kind="stable")[:LISTED].tolist()
        values = tuple(
            (one.names[v], int(size[v]), labels[most[v]], float(counts[v].max() / size[v]))
            for v in largest
        )
        purity = proportion(pure, clusters, seed=seed)
        chance = float(by_chance.mean() / len(y))
        found.append(Source(one.column.name, values, len(one.names), purity, chance, p, p))
    adjusted = holm([one.p for one in found])
    return tuple(replace(one, adjusted=p) for one, p in zip(found, adjusted, strict=True))


def leave_sources_out(bench: Bench, one: Coded) -> LeftOut:
    """Test every source on a head that never saw it, beside one that saw as many images of all.

    The sources are put into at most `PARTS` parts, whole ones, and each part is left out once, with
    everything related to it. Beside each such head stand two that are trained on as many images of
    each class, drawn from all sources but for the half of the part that is asked.

    Args:
        bench: of a head; its hyper-parameter is that of all of train.
        one: the column.
    """
    rows, part = one.rows, _parts(one.codes)
    y, clusters = bench.y[rows], bench.clusters[rows]
    value = bench.whole.classifier.choice.value
    generator = np.random.default_rng(bench.seed)
    unseen, seen = np.zeros(len(rows)), np.zeros(len(rows))
    judged = np.zeros(len(rows), bool)
    for number in range(int(part.max()) + 1):
        asked = part == number
        free = ~asked & ~np.isin(clusters, clusters[asked])
        # A class that only this source has could be learned from no other.
        asked &= np.isin(y, y[free])
        if len(np.unique(y[free])) < 2 or not asked.any():
            continue
        wanted = _thin(np.bincount(y[free], minlength=len(bench.labels)))
        judged |= asked
        unseen[asked] = _right(bench, rows, asked, _draw(free, y, wanted, generator), value)
        half = generator.permutation(np.unique(clusters[asked]))[::2]
        for side in (asked & np.isin(clusters, half), asked & ~np.isin(clusters, half)):
            if side.any():
                others = ~np.isin(clusters, clusters[side])
                used = _draw(others, y, wanted, generator)
                seen[side] = _right(bench, rows, side, used, value)
    nothing = Estimate(np.nan, np.nan, np.nan, 0)
    lost = int((~judged).sum())
    name = one.column.name
    if judged.sum() < FEWEST:
        reason = "hardly any class is in more than one source, so none can be left out"
        return LeftOut(name, nothing, nothing, nothing, lost, reason)
    figures = np.stack([unseen, seen, seen - unseen])[:, judged]
    made = bootstrap(weighted_means(figures), clusters[judged], seed=bench.seed, lowest=-1.0)
    return LeftOut(name, made[0], made[1], made[2], lost)


def _divides(one: Coded) -> bool:
    if one.column.set not in SETS_OF_SOURCES:
        return False
    values = one.column.values
    return isinstance(values, tuple) or len(np.unique(values[~np.isnan(values)])) <= VALUES


def _parts(codes: IntArray) -> IntArray:
    """Put values into parts of about the same number of images, the largest value first."""
    size = np.bincount(codes)
    filled = np.zeros(min(PARTS, len(size)))
    part = np.zeros(len(size), np.int64)
    for value in np.argsort(-size, kind="stable"):
        part[value] = filled.argmin()
        filled[part[value]] += size[value]
    return np.asarray(part[codes])


def _thin(counts: IntArray) -> IntArray:
    """Return as many of each class in proportion, `MOST` at most, and one of each that occurs."""
    share = min(1.0, MOST / counts.sum())
    return np.asarray(np.ceil(counts * share), np.int64)


def _draw(
    among: BoolArray, y: IntArray, wanted: IntArray, generator: np.random.Generator
) -> IntArray:
    """Draw so many of each class, or all there are."""
    drawn = [
        generator.permutation(np.flatnonzero(among & (y == label)))[:n]
        for label, n in enumerate(wanted)
    ]
    return np.sort(np.concatenate(drawn))


def _right(
    bench: Bench, rows: IntArray, asked: BoolArray, used: IntArray, value: float
) -> DoubleArray:
    answers = bench.answers_for(rows[asked], rows[used], value=value)
    return np.asarray(answers == bench.y[rows[asked]], np.float64)
