"""Twins: images that are copies of one photograph, within and across splits."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np

from embedkit.audits.base import MATERIAL, Finding, Statement, Verdict, share_verdict
from embedkit.audits.calibration import SAMPLE, Calibration, calibrate
from embedkit.audits.candidates import Candidates, find_candidates, witnessed
from embedkit.audits.pictures import read_again
from embedkit.audits.registration import SIDE, Planes, blank, plane, register
from embedkit.errors import UnreadableImageError
from embedkit.images import decode_pixels, strict_pillow
from embedkit.joins import Recall
from embedkit.statistics import Estimate, connected
from embedkit.store import Store
from embedkit.vectors import BoolArray, IntArray, Pixels
from embedkit.workers import workers

ALL_PAIRS = 20


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images that are copies of one photograph.

    Attributes:
        a: id of the image that comes first in the store.
        b: id of the other.
        kind: `exact` (equal bytes or equal decoded pixels) or `near` (they agree once one is laid
            onto the other).
        score: how well they agree, see `Registered`; 1 for exact twins.
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


@dataclass(frozen=True, slots=True)
class Cluster:
    """All copies of one photograph.

    Attributes:
        rows: of the images, in order.
        keep: row of the one to keep.
        reason: why that one.
    """

    rows: tuple[int, ...]
    keep: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Twins(Finding):
    """The pairs of a store, exact ones first, then by score.

    Attributes:
        pairs: every pair, each once.
        exact: (n,) cluster of each image by exact twins, numbered by its first row.
        near: (n,) cluster of each image by exact and near twins.
        clusters: of two images and more, with the one to keep.
        calibration: of the threshold for near copies; None where no picture could be looked at.
        plain: ids of images too plain to compare, which are near nothing.
        unseen: images whose file is gone or is another now, which are near nothing.
        nearest: how many of the nearest of a sample of pictures were looked at; None where every
            picture was compared with all.
        alike: whether every pair with like vectors was looked at.
    """

    pairs: tuple[Pair, ...]
    exact: IntArray
    near: IntArray
    clusters: tuple[Cluster, ...]
    calibration: Calibration | None
    plain: tuple[str, ...]
    unseen: int
    ids: tuple[str, ...]
    nearest: Recall | None = None
    alike: bool = True

    def details(self) -> dict[str, Any]:
        """Return counts, the calibration, all pairs and clusters."""
        return {
            "exact_pairs": sum(pair.kind == "exact" for pair in self.pairs),
            "near_pairs": sum(pair.kind == "near" for pair in self.pairs),
            "pairs_across_splits": sum(pair.across_splits for pair in self.pairs),
            "pairs_with_conflicting_labels": sum(pair.conflicting for pair in self.pairs),
            "near_copies": None if self.calibration is None else self.calibration.to_dict(),
            "too_plain_to_compare": list(self.plain),
            "not_looked_at": self.unseen,
            "candidates": {
                "all_compared": self.nearest is None,
                "nearest": self.nearest and self.nearest.to_dict(),
                "every_alike_pair": self.alike,
            },
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
            "clusters": [
                {
                    "images": [self.ids[row] for row in cluster.rows],
                    "keep": self.ids[cluster.keep],
                    "reason": cluster.reason,
                }
                for cluster in self.clusters
            ],
        }


def find_twins(
    store: Store, *, backbone: str | None = None, label: str = "label", seed: int = 0
) -> Twins:
    """List the pairs of images in a store that are copies of one photograph.

    Exact twins have equal bytes or equal decoded pixels. For near twins, every pair that may be one
    (see `find_candidates`) is looked at: one picture is laid onto the other, and what overlaps is
    compared (see `register`), against a threshold that is learned from this data set (see
    `calibrate`). The pictures are read for it, so they have to be where they were.

    Args:
        store: to search.
        backbone: which space; can be left out where there is only one.
        label: column whose values are compared for conflicts.
        seed: of the copies that the threshold is set by.
    """
    items = store.items
    n = len(items)
    exact = _exact_pairs(items.column("sha256"), items.column("pixel_sha256"))
    clusters = connected(n, np.array(sorted(exact), np.int64).reshape(-1, 2))
    # One picture stands for all its exact copies: what is a copy of it is one of them.
    alone = np.flatnonzero(clusters == np.arange(n))
    planes, seen, plain, originals = _look(store, alone, seed)
    # Plain pictures all have like hashes: every pair of them would be a candidate.
    usable = np.flatnonzero(seen & ~plain)
    vectors = store.space(backbone).vectors[alone[usable]]
    hashes = np.array(items.column("phash"), np.uint64)[alone[usable]]
    splits, labels = items.splits, items.label_column(label)
    candidates = find_candidates(vectors, hashes, [splits[row] for row in alone[usable]])
    pairs = usable[candidates.pairs]
    scores = register(planes, pairs).score
    calibration = None
    near: dict[tuple[int, int], float] = {}
    if len(originals):
        witness = witnessed(vectors, hashes, np.searchsorted(usable, pairs))
        calibration = calibrate(scores, planes, pairs, originals, seed=seed)
        passed = (scores >= calibration.threshold) & (witness | (scores >= calibration.sure))
        near = {
            (int(alone[a]), int(alone[b])): float(score)
            for (a, b), score in zip(pairs[passed], scores[passed], strict=True)
        }
    scored = [(pair, "exact", 1.0) for pair in exact]
    stands_for = _stands_for(clusters, near, [*zip(splits, labels, strict=True)])
    scored += [
        ((min(pair), max(pair)), "near", score)
        for (a, b), score in near.items()
        for pair in product(stands_for[a], stands_for[b])
    ]
    ids = items.ids
    found = sorted(
        (
            Pair(ids[a], ids[b], kind, score, (splits[a], splits[b]), (labels[a], labels[b]))
            for (a, b), kind, score in scored
        ),
        key=lambda pair: (pair.kind != "exact", -round(pair.score, 6), pair.a, pair.b),
    )
    every = connected(n, np.array([pair for pair, _, _ in scored], np.int64).reshape(-1, 2))
    sizes = np.bincount(every, minlength=n)
    estimate, verdict = share_verdict(sizes[every] > 1, every, seed=seed)
    unseen = int((~seen)[np.searchsorted(alone, clusters)].sum())
    missed = _missed(calibration, unseen, n)
    if missed and verdict is Verdict.ABSENT:
        verdict = Verdict.INCONCLUSIVE
    return Twins(
        name="twins",
        verdict=verdict,
        statement=Statement.ASSOCIATION,
        summary=_summary(found, estimate, calibration, missed) + _looked_for(candidates),
        estimate=estimate,
        detectable=None if sizes.max(initial=1) > 1 else 100 * estimate.high,
        pairs=tuple(found),
        exact=clusters,
        near=every,
        clusters=_clusters(store, every, sizes),
        calibration=calibration,
        plain=tuple(ids[row] for row in alone[plain]),
        unseen=unseen,
        missed=missed,
        ids=tuple(ids),
        nearest=candidates.nearest,
        alike=candidates.alike,
    )


def _look(
    store: Store, rows: IntArray, seed: int
) -> tuple[Planes, BoolArray, BoolArray, list[Pixels]]:
    """Read pictures: planes, which could be read, which are plain, and some others in full."""
    chosen = set(np.random.default_rng(seed).permutation(len(rows))[:SAMPLE].tolist())
    ids, hashes = store.items.ids, store.items.column("sha256")

    def read(place: int) -> tuple[Planes, Pixels | None] | None:
        try:
            row = rows[place]
            pixels = decode_pixels(read_again(store.items.path(ids[row]), hashes[row]))
        except UnreadableImageError:
            return None
        return plane(pixels), pixels if place in chosen else None

    planes, seen = np.zeros((len(rows), SIDE, SIDE), np.uint8), np.zeros(len(rows), bool)
    originals = {}
    with strict_pillow(), workers() as pool:
        for place, made in enumerate(pool.map(read, range(len(rows)))):
            if made is not None:
                planes[place], seen[place] = made[0], True
                if made[1] is not None:
                    originals[place] = made[1]
    plain = seen & blank(planes)
    return planes, seen, plain, [one for place, one in originals.items() if not plain[place]]


def _clusters(store: Store, every: IntArray, sizes: IntArray) -> tuple[Cluster, ...]:
    """Return the clusters of several images, with the one to keep of each."""
    items = store.items
    splits = items.splits
    width, height, size = (np.array(items.column(name)) for name in ("width", "height", "bytes"))
    areas = width * height
    made = []
    order = np.argsort(every, kind="stable")
    for rows in np.split(order, np.cumsum(sizes[sizes > 0])[:-1]):
        if len(rows) < 2:
            continue
        # Out of train, it stays among those that the accuracy is measured on.
        held = [row for row in rows if splits[row] not in ("train", None)]
        eligible = np.array(held) if held else rows
        large = eligible[areas[eligible] == areas[eligible].max()]
        keep = int(large[size[large].argmax()])
        reasons = (
            (len(eligible) < len(rows), f"in {splits[keep]}"),
            (len(large) < len(eligible), "the most pixels"),
            (bool(np.ptp(size[large])), "the least compressed"),
        )
        reason = ", ".join(words for decides, words in reasons if decides)
        made.append(Cluster(tuple(rows.tolist()), keep, reason or "the first of equals"))
    return tuple(made)


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


def _stands_for(
    exact: IntArray, near: Iterable[tuple[int, int]], kinds: list[tuple[str | None, str | None]]
) -> dict[int, list[int]]:
    """Return, of rows in near pairs, the first exact copy of every split and label, theirs too.

    Else a near pair across splits would not be seen where a copy in the same split comes first.
    """
    first: dict[int, dict[tuple[str | None, str | None], int]]
    first = {row: {} for pair in near for row in pair}
    for row, stands in enumerate(exact.tolist()):
        if stands in first:
            first[stands].setdefault(kinds[row], row)
    return {row: list(rows.values()) for row, rows in first.items()}


def _missed(calibration: Calibration | None, unseen: int, n: int) -> str:
    """Say why finding no near copies would mean little; empty where it means something."""
    if unseen > MATERIAL * n:
        return f"{unseen} of {n} pictures are not where they were or have changed"
    if calibration is None:
        return "the pictures are too plain to compare"
    found, planted = calibration.found
    if found < planted / 2:
        return "other pictures of this set are as alike as copies are"
    return ""


def _looked_for(candidates: Candidates) -> str:
    """Say how completely the candidates were looked for; nothing where all were compared."""
    nearest = candidates.nearest
    if nearest is None:
        return ""
    said = (
        f" Not every picture was compared with all: {nearest.value:.1%} of the nearest of "
        f"{nearest.rows} pictures were looked at"
    )
    # Where the network finds nearly all pictures alike, its vectors are no witness.
    alike = ", and every pair with like hashes" + (" or like vectors" if candidates.alike else "")
    return f"{said}{alike}."


def _summary(
    pairs: list[Pair], estimate: Estimate, calibration: Calibration | None, missed: str
) -> str:
    kinds = Counter(pair.kind for pair in pairs)
    across = sum(pair.across_splits for pair in pairs)
    parts = [
        f"{kinds['exact']} pairs of exact and {kinds['near']} of near copies; {across} of these "
        f"pairs lie in different splits. {estimate.value:.1%} of the {estimate.n} images have a "
        "copy."
        if pairs
        else f"No copies among {estimate.n} images (at most {estimate.high:.1%} could have one and "
        "not be seen here)."
    ]
    if calibration is not None:
        found, planted = calibration.found
        least = "at least " if calibration.crowded else ""
        said = f"Of {planted} planted copies {least}{found / planted:.0%} pass the threshold"
        if calibration.false_pairs is None:
            parts.append(f"{said}; there are too few pictures to tell what false pairs do.")
        else:
            expected = f"{max(calibration.false_pairs, 0.01):.2g} false pairs expected"
            agreed = ""
            if calibration.crowded:
                agreed = (
                    ". Other pictures here are as alike as some copies are, so hash or vectors "
                    "had to agree"
                )
            parts.append(f"{said}; {expected}{agreed}.")
    if missed:
        parts.append(f"Near copies may have been missed: {missed}.")
    return " ".join(parts)
