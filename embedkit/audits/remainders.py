"""Remainders: what is new beside a baseline, and figures counted again without what is known."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.audits import Audit
from embedkit.audits.base import share_verdict
from embedkit.audits.baselines import Baseline, Key, images_in, listed, pair_key
from embedkit.audits.labels import Labels
from embedkit.audits.leakage import Leakage, shared
from embedkit.audits.paths import Figure
from embedkit.audits.quality import Quality
from embedkit.audits.twins import Twins
from embedkit.statistics import connected
from embedkit.vectors import BoolArray, IntArray


@dataclass(frozen=True, slots=True)
class Remainder:
    """An audit beside a baseline.

    Attributes:
        known: by audit, findings of now that the baseline lists, of images that are unchanged.
        new: the others.
        gone: findings of the baseline that are not listed any more.
        figures: those that are counts or shares of what is listed, without what is known.
    """

    known: dict[str, frozenset[Key]]
    new: dict[str, frozenset[Key]]
    gone: dict[str, frozenset[Key]]
    figures: dict[str, Figure]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "known": {name: len(keys) for name, keys in self.known.items()},
            "new": {name: sorted(map(list, keys)) for name, keys in self.new.items()},
            "gone": {name: sorted(map(list, keys)) for name, keys in self.gone.items()},
        }


def take_off(result: Audit, baseline: Baseline) -> Remainder:
    """Compare what an audit lists with a baseline, and count again without what is known.

    A pair is known if known pairs join its two images; so a picture in a thousand places, of which
    not every pair is listed, is known as a whole.

    Raises:
        InputError: the baseline is not for this data set.
    """
    label = result.settings["label"]
    baseline.check(result.store, label)
    same = baseline.unchanged(result.store, label)
    now = listed(result)
    still = {
        name: frozenset(
            key for key in baseline.known.get(name, ()) if set(images_in(name, key)) <= same
        )
        for name in now
    }
    joined = _joined(result, still.get("twins", frozenset()))
    known = {name: keys & still[name] for name, keys in now.items()}
    if "twins" in now:
        row = {id_: place for place, id_ in enumerate(result.store.items.ids)}
        alike = {key for key in now["twins"] if joined[row[key[0]]] == joined[row[key[1]]]}
        known["twins"] = frozenset(alike)
    new = {name: keys - known[name] for name, keys in now.items()}
    gone = {name: baseline.known.get(name, frozenset()) - keys for name, keys in now.items()}
    counted = {one.name: one for one in _counted(result, joined, new)}
    return Remainder(known, new, gone, counted)


def _joined(result: Audit, pairs: frozenset[Key]) -> IntArray:
    """Return (n,) clusters of images that known pairs join."""
    row = {id_: place for place, id_ in enumerate(result.store.items.ids)}
    linked = [[row[a], row[b]] for a, b in sorted(pairs)]
    return connected(len(row), np.array(linked, np.int64).reshape(-1, 2))


def _counted(result: Audit, joined: IntArray, new: dict[str, frozenset[Key]]) -> Iterator[Figure]:
    """Yield the figures that can be counted again without what is known."""
    seed = result.settings["seed"]
    twins = next((one for one in result.findings if isinstance(one, Twins)), None)
    for finding in result.findings:
        if isinstance(finding, Twins):
            yield from _of_twins(finding, joined, new["twins"], seed)
        elif isinstance(finding, Leakage) and twins is not None:
            yield from _of_leakage(finding, twins, result, joined)
        elif isinstance(finding, Labels):
            yield Figure("labels.issues", len(new["labels"]), whole=True)
        elif isinstance(finding, Quality):
            yield from _of_quality(finding, result, new["quality"])


def _of_twins(found: Twins, joined: IntArray, new: frozenset[Key], seed: int) -> Iterator[Figure]:
    pairs = [pair for pair in found.pairs if pair_key(pair) in new]
    counts = {
        "pairs": len(pairs),
        "exact_pairs": sum(pair.kind == "exact" for pair in pairs),
        "near_pairs": sum(pair.kind == "near" for pair in pairs),
        "pairs_across_splits": sum(pair.across_splits for pair in pairs),
        "pairs_with_conflicting_labels": sum(pair.conflicting for pair in pairs),
        "clusters": sum(len(set(joined[list(one.rows)])) > 1 for one in found.clusters),
    }
    for name, n in counts.items():
        yield Figure(f"twins.{name}", n, whole=True)
    marked = _several(found.near) & ~_several(joined)
    yield _share("twins", marked, found.near, seed)


def _of_leakage(found: Leakage, twins: Twins, result: Audit, joined: IntArray) -> Iterator[Figure]:
    """Count the test images that known pairs do not join with train.

    With people, others are related too, and no list names those: the share stays as it is.
    """
    splits = np.array([side or "" for side in result.store.items.splits])
    test, train = splits == found.split, splits == "train"
    marked = shared(twins.near, test, train) & ~shared(joined, test, train)
    yield Figure("leakage.with_twin_in_train", int(marked.sum()), whole=True)
    if found.related is None:
        yield _share("leakage", marked[test], twins.near[test], result.settings["seed"])


def _of_quality(found: Quality, result: Audit, new: frozenset[Key]) -> Iterator[Figure]:
    yield Figure("quality.flagged", len({id_ for id_, _ in new}), whole=True)
    for check, _ in found.checks:
        n = sum(name == check.name for _, name in new)
        yield Figure(f"quality.checks.{check.name}.failing", n, whole=True)
    ids = [*result.store.items.ids, *(one.id for one in result.store.unreadable)]
    failing = {id_ for id_, _ in new}
    marked = np.array([id_ in failing for id_ in ids], bool)
    yield _share("quality", marked, found.clusters, result.settings["seed"])


def _several(clusters: IntArray) -> BoolArray:
    """Mark the images whose cluster holds another."""
    return np.asarray(np.bincount(clusters, minlength=len(clusters))[clusters] > 1)


def _share(name: str, marked: BoolArray, clusters: IntArray, seed: int) -> Figure:
    estimate, _ = share_verdict(marked, clusters, seed=seed)
    return Figure(name, estimate.value, estimate.low, estimate.high)
