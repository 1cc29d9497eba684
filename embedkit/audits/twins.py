"""Twins: images that are copies of one photograph, within and across splits."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np

from embedkit.audits.base import MATERIAL, Finding, Statement, Verdict
from embedkit.images import mirrored_hash
from embedkit.statistics import Estimate, connected, upper_limit, wilson
from embedkit.store import Store
from embedkit.vectors import FloatArray, IntArray

# Two witnesses must agree: the perceptual hash (bits of 63 that differ, in the picture or its
# mirror image) and the cosine of centred vectors. `benchmarks/twin_candidates.py` shows on real and
# drawn sets what this finds and what it lets in; a threshold for each data set comes with
# calibration.
NEAR = ((2, 0.30), (6, 0.75), (20, 0.87))
ROWS = 1024
ALL_PAIRS = 20


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images that are, or may be, copies of one photograph.

    Attributes:
        a: id of the image that comes first in the store.
        b: id of the other.
        kind: `exact` (equal bytes or equal decoded pixels) or `near` (a candidate).
        score: cosine of the centred vectors; 1 for exact twins.
        splits: of the two images.
        labels: of the two images.
    """

    a: str
    b: str
    kind: str
    score: float
    splits: tuple[str | None, str | None]
    labels: tuple[str | None, str | None]

    @property
    def across_splits(self) -> bool:
        """Whether the two are in different splits."""
        return self.splits[0] != self.splits[1]

    @property
    def conflicting(self) -> bool:
        """Whether the two carry different labels."""
        return None not in self.labels and self.labels[0] != self.labels[1]


@dataclass(frozen=True, kw_only=True)
class Twins(Finding):
    """The pairs of a store, exact ones first, then by score.

    Attributes:
        pairs: every pair, each once.
        exact: (n,) cluster of each image by exact twins, numbered by its first row.
        near: (n,) cluster of each image by exact and near twins.
    """

    pairs: tuple[Pair, ...]
    exact: IntArray
    near: IntArray

    def details(self) -> dict[str, Any]:
        """Return counts and all pairs."""
        return {
            "exact_pairs": sum(pair.kind == "exact" for pair in self.pairs),
            "near_pairs": sum(pair.kind == "near" for pair in self.pairs),
            "pairs_across_splits": sum(pair.across_splits for pair in self.pairs),
            "pairs_with_conflicting_labels": sum(pair.conflicting for pair in self.pairs),
            "near_rule": [{"hash_bits": bits, "cosine": cosine} for bits, cosine in NEAR],
            "near_pairs_are": "candidates, not verified on the pixels",
            "pairs": [
                {
                    "a": pair.a,
                    "b": pair.b,
                    "kind": pair.kind,
                    "score": round(pair.score, 4),
                    "across_splits": pair.across_splits,
                    "splits": list(pair.splits),
                    "labels": list(pair.labels),
                }
                for pair in self.pairs
            ],
        }


def find_twins(store: Store, *, backbone: str | None = None, label: str = "label") -> Twins:
    """List the pairs of images in a store that are, or may be, copies of one photograph.

    Exact twins have equal bytes or equal decoded pixels. Near twins are candidates: every pair of
    images is compared (n * n * d multiplications, nothing approximate), by the cosine of their
    centred vectors and by perceptual hash, also of the mirror image. A pair is listed once.

    Args:
        store: to search.
        backbone: which space; can be left out where there is only one.
        label: column whose values are compared for conflicts.
    """
    items = store.items
    n = len(items)
    exact = _exact_pairs(items.column("sha256"), items.column("pixel_sha256"))
    hashes = np.array(items.column("phash"), np.uint64)
    clusters = connected(n, np.array(sorted(exact), np.int64).reshape(-1, 2))
    # One picture stands for all its exact copies: what is near it is near them.
    alone = np.flatnonzero(clusters == np.arange(n))
    near = {
        (int(alone[a]), int(alone[b])): score
        for (a, b), score in near_pairs(store.space(backbone).vectors[alone], hashes[alone])
    }
    scored = [(pair, "exact", 1.0) for pair in exact]
    scored += [(pair, "near", score) for pair, score in near.items()]
    ids, splits, labels = items.ids, items.splits, items.label_column(label)
    pairs = sorted(
        (
            Pair(ids[a], ids[b], kind, score, (splits[a], splits[b]), (labels[a], labels[b]))
            for (a, b), kind, score in scored
        ),
        key=lambda pair: (pair.kind != "exact", -round(pair.score, 6), pair.a, pair.b),
    )
    involved = {row for pair, _, _ in scored for row in pair}
    estimate = wilson(len(involved), n)
    if not involved:
        estimate = Estimate(0.0, 0.0, upper_limit(n), n)
    kinds = Counter(pair.kind for pair in pairs)
    return Twins(
        name="twins",
        verdict=_verdict(len(involved), estimate),
        statement=Statement.ASSOCIATION,
        summary=_summary(kinds, sum(pair.across_splits for pair in pairs), estimate),
        estimate=estimate,
        detectable=None if involved else 100 * estimate.high,
        pairs=tuple(pairs),
        exact=clusters,
        near=connected(n, np.array([pair for pair, _, _ in scored], np.int64).reshape(-1, 2)),
    )


def _exact_pairs(*columns: list[object]) -> set[tuple[int, int]]:
    """Return the pairs of rows that share a value in any column.

    Where more than `ALL_PAIRS` rows share one, each is paired with the first of them only.
    """
    pairs: set[tuple[int, int]] = set()
    for column in columns:
        rows: dict[object, list[int]] = {}
        for row, value in enumerate(column):
            rows.setdefault(value, []).append(row)
        for same in rows.values():
            # Of a placeholder picture in a thousand places, every pair would be half a million.
            several = (
                combinations(same, 2) if len(same) <= ALL_PAIRS else product(same[:1], same[1:])
            )
            pairs.update(several)
    return pairs


def near_pairs(
    vectors: FloatArray, hashes: "np.typing.NDArray[np.uint64]"
) -> Iterator[tuple[tuple[int, int], float]]:
    """Yield each pair of rows that both witnesses call near, with its centred cosine.

    Args:
        vectors: (n, d) float32, unit rows.
        hashes: (n,) perceptual hashes of the same images.
    """
    if len(vectors) < 2:
        return
    centre = vectors.mean(axis=0, dtype=np.float64)
    centred = (vectors - centre).astype(np.float32)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    # A picture that is the mean itself has no direction and is near nothing.
    centred = np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 1e-6)
    mirrored = mirrored_hash(hashes)
    least = min(cosine for _, cosine in NEAR)
    most_bits = max(bits for bits, _ in NEAR)
    for start in range(0, len(centred), ROWS):
        block = centred[start : start + ROWS]
        # Only pairs within the block and below it: each pair is met once.
        first, second = np.nonzero(block @ centred[start:].T >= least - 1e-3)
        first, second = first + start, second + start
        bits = np.minimum(
            np.bitwise_count(hashes[first] ^ hashes[second]),
            np.bitwise_count(hashes[first] ^ mirrored[second]),
        )
        possible = (first < second) & (bits <= most_bits)
        first, second, bits = first[possible], second[possible], bits[possible]
        for piece in range(0, len(first), ROWS):
            a, b = first[piece : piece + ROWS], second[piece : piece + ROWS]
            # Scored again in float64: the product above depends on the block.
            cosine = np.round(np.einsum("ij,ij->i", centred[a], centred[b], dtype=np.float64), 6)
            near = np.any(
                [(bits[piece : piece + ROWS] <= most) & (cosine >= low) for most, low in NEAR],
                axis=0,
            )
            for i, j, score in zip(a[near], b[near], cosine[near], strict=True):
                yield (int(i), int(j)), float(score)


def _verdict(involved: int, estimate: Estimate) -> Verdict:
    if involved:
        return Verdict.PRESENT
    return Verdict.ABSENT if estimate.high <= MATERIAL else Verdict.INCONCLUSIVE


def _summary(kinds: Counter[str], across: int, estimate: Estimate) -> str:
    if not kinds:
        return (
            f"No copies among {estimate.n} images (at most {estimate.high:.1%} could have one and "
            "not be seen here)."
        )
    return (
        f"{kinds['exact']} pairs of exact copies and {kinds['near']} pairs that may be near "
        f"copies; {across} of these pairs lie in different splits. {estimate.value:.1%} of the "
        f"{estimate.n} images have a copy."
    )
