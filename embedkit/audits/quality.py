"""Quality: pictures that are broken, spoilt or unlike all others, and the class they are in."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from embedkit.audits.base import (
    MATERIAL,
    Finding,
    Statement,
    Verdict,
    rounded,
    share_verdict,
)
from embedkit.audits.defects import Check, measure
from embedkit.audits.prevalence import Prevalence, count_defects
from embedkit.store import Store
from embedkit.vectors import IntArray


@dataclass(frozen=True, slots=True)
class Fault:
    """One check that an image fails.

    Attributes:
        check: its name.
        value: of the image; NaN where its file could not be taken.
        limit: that it is beyond.
        words: value beside limit, or why the file could not be taken.
    """

    check: str
    value: float
    limit: float
    words: str


@dataclass(frozen=True, slots=True)
class Flagged:
    """An image to look at, with every check that it fails.

    Attributes:
        id: of the image.
        label: that it carries, or that its folder's images do; None for none.
        split: that it belongs to; None for none, or where its file could not be taken.
        faults: the surest one first.
    """

    id: str
    label: str | None
    split: str | None
    faults: tuple[Fault, ...]

    @property
    def readable(self) -> bool:
        """Whether there is a picture to look at."""
        return any(not np.isnan(one.value) for one in self.faults)

    @property
    def reason(self) -> str:
        """Every fault in words."""
        return "; ".join(f"{one.check} ({one.words})" for one in self.faults)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "id": self.id,
            "label": self.label,
            "split": self.split,
            "faults": [
                {
                    "check": one.check,
                    "value": rounded(one.value),
                    "threshold": rounded(one.limit),
                    "words": one.words,
                }
                for one in self.faults
            ],
        }


@dataclass(frozen=True, kw_only=True)
class Quality(Finding):
    """What is wrong with the pictures.

    Attributes:
        checks: every check with what it found, the defect that spoils a picture most surely first.
        flagged: images that fail a check, in the same order, those that are farthest beyond first.
        unreadable: files that could not be taken.
        clusters: (n,) images that are related, those files after the others.
    """

    checks: tuple[tuple[Check, Prevalence], ...]
    flagged: tuple[Flagged, ...]
    unreadable: int
    clusters: IntArray = field(repr=False, compare=False)

    def details(self) -> dict[str, Any]:
        """Return every check and every flagged image."""
        return {
            "files_not_taken": self.unreadable,
            "checks": [
                {
                    "check": check.name,
                    "figure": check.figure,
                    "fails": "below" if check.below else "above",
                    "threshold": rounded(check.limit),
                    "looked_at": found.share.n,
                    **found.to_dict(),
                    "whole_set_is_so": check.by_nature,
                    "not_run_reason": check.reason or None,
                }
                for check, found in self.checks
            ],
            "flagged": [one.to_dict() for one in self.flagged],
        }


def check_quality(
    store: Store,
    clusters: IntArray,
    *,
    label: str = "label",
    backbone: str | None = None,
    material: float = MATERIAL,
    seed: int = 0,
) -> Quality:
    """List the pictures that are broken, spoilt or unlike all others.

    What was read off files and pixels when they were embedded is compared with limits (see
    `measure`); no picture is opened again.

    Args:
        store: to check.
        clusters: (n,) images that are related.
        label: column with the class.
        backbone: the space that distances are taken in; can be left out where there is only one.
        material: share of images, 0 to 1, that is worth a headline.
        seed: of permutations and bootstrap.
    """
    items, n = store.items, len(store.items)
    given = [*items.label_column(label), *_labels_of_folders(store, label)]
    labels = sorted({one for one in given if one is not None})
    numbers = {name: number for number, name in enumerate(labels)}
    y = np.array([-1 if one is None else numbers[one] for one in given], np.int64)
    vectors = store.space(backbone).vectors
    checks = measure(items, store.unreadable, vectors, clusters, y[:n])
    ids = [*items.ids, *(one.id for one in store.unreadable)]
    rows = {id_: row for row, id_ in enumerate(ids)}
    every = np.concatenate([clusters, np.arange(n, len(ids)) + int(clusters.max(initial=0)) + 1])
    marks = []
    for check in checks:
        failing, judged = np.zeros((2, len(ids)), bool)
        failing[:n] = check.failing
        judged[:n] = np.isfinite(check.values) if not np.isnan(check.limit) else not check.reason
        taken = [rows[one.id] for one in check.files]
        failing[taken] = judged[taken] = True
        marks.append((failing, judged))
    found = count_defects(marks, y, labels, every, material=material, seed=seed)
    wrong = np.any([failing for failing, _ in marks], axis=0)
    estimate, verdict = share_verdict(wrong, every, material=material, seed=seed)
    sits = [one for one in zip(checks, found, strict=True) if one[1].sits_in]
    if wrong.any() and not sits and estimate.value < material:
        verdict = Verdict.ABSENT if estimate.high <= material else Verdict.INCONCLUSIVE
    pairs = tuple(zip(checks, found, strict=True))
    return Quality(
        name="quality",
        verdict=verdict,
        statement=Statement.ASSOCIATION,
        summary=_summary(pairs, int(wrong.sum()), len(ids), estimate.high),
        estimate=estimate,
        detectable=None if wrong.any() else 100 * estimate.high,
        checks=pairs,
        flagged=_flagged(store, checks, given),
        unreadable=len(store.unreadable),
        clusters=every,
    )


def _labels_of_folders(store: Store, label: str) -> list[str | None]:
    """Return, of each file that could not be taken, the label of all others in its folder."""
    there: dict[str, set[str | None]] = {}
    for id_, given in zip(store.items.ids, store.items.label_column(label), strict=True):
        there.setdefault(str(PurePosixPath(id_).parent), set()).add(given)
    found = [there.get(str(PurePosixPath(one.id).parent), set()) for one in store.unreadable]
    return [next(iter(one)) if len(one) == 1 else None for one in found]


def _flagged(
    store: Store, checks: Sequence[Check], given: Sequence[str | None]
) -> tuple[Flagged, ...]:
    """List the images that fail, each once."""
    items = store.items
    faults: dict[str, list[Fault]] = {}
    first: dict[str, tuple[int, float]] = {}
    for place, check in enumerate(checks):
        for one in check.files:
            fault = Fault(check.name, float("nan"), float("nan"), one.reason)
            faults.setdefault(one.id, []).append(fault)
            first.setdefault(one.id, (place, -np.inf))
        side = "below" if check.below else "above"
        for row in np.flatnonzero(check.failing).tolist():
            value = float(check.values[row])
            words = f"{check.figure}: {value:.3g}, {side} {check.limit:.3g}"
            faults.setdefault(items.ids[row], []).append(
                Fault(check.name, value, check.limit, words)
            )
            first.setdefault(items.ids[row], (place, -abs(value - check.limit)))
    ids = [*items.ids, *(one.id for one in store.unreadable)]
    labels = dict(zip(ids, given, strict=True))
    splits = dict(zip(items.ids, items.splits, strict=True))
    order = sorted(faults, key=lambda id_: (first[id_][0], -len(faults[id_]), first[id_][1], id_))
    return tuple(Flagged(id_, labels[id_], splits.get(id_), tuple(faults[id_])) for id_ in order)


def _summary(pairs: Sequence[tuple[Check, Prevalence]], wrong: int, n: int, highest: float) -> str:
    parts = [
        f"'{check.name}' sits in {found.sits_in!r}: {found.inside:.1%} of its images, "
        f"{found.outside:.1%} of the others; such a defect is a shortcut (see shortcuts)."
        for check, found in pairs
        if found.sits_in
    ]
    counts = ", ".join(f"{found.failing} {check.name}" for check, found in pairs if found.failing)
    parts.append(
        f"{wrong} of {n} images have a defect ({wrong / n:.1%}): {counts}."
        if wrong
        else f"None of {n} images has a defect that was looked for (at most {highest:.1%} could "
        "have one and not be seen here)."
    )
    natural = [check.name for check, _ in pairs if check.by_nature]
    if natural:
        parts.append(
            f"Most images of every class are: {', '.join(natural)}; so is the set, and "
            "none is listed for it."
        )
    skipped: dict[str, list[str]] = {}
    for check, _ in pairs:
        if check.reason:
            skipped.setdefault(check.reason, []).append(check.name)
    parts += [f"Not checked: {', '.join(names)} ({why})." for why, names in skipped.items()]
    return " ".join(parts)
