"""The ledger: what the test accuracy becomes when its causes are taken away one by one."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.audits.base import Finding, Statement, Verdict, effect_verdict
from embedkit.audits.twins import Twins
from embedkit.heads.training import HEADS, clusters_in, labelled_rows
from embedkit.statistics import Estimate, clusters_of, mcnemar, paired_difference, proportion
from embedkit.store import Store
from embedkit.vectors import BoolArray, IntArray

# Lines that later audits add; until then the last figure is an upper estimate of the honest one.
NOT_COVERED = ("siblings", "shortcuts")


@dataclass(frozen=True, slots=True)
class Line:
    """One cause and what it is worth.

    Attributes:
        cause: `exact_twins` or `near_twins`.
        effect: accuracy before the purge minus after it, on the same test images.
        removed: training images that the purge takes out.
        left: training images that stay.
        accuracy: after the purge.
        p: of McNemar's exact test, before against after.
        reason: why the head could not be trained again; empty if it was.
    """

    cause: str
    effect: Estimate
    removed: int
    left: int
    accuracy: Estimate
    p: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class HeadLedger:
    """The ledger of one head.

    Attributes:
        head: its kind.
        reported: accuracy of the head trained on all of train.
        lines: one a purge, each on top of the one before.
        total: reported accuracy minus the accuracy after the last purge; NaN as `purged`.
    """

    head: str
    reported: Estimate
    lines: tuple[Line, ...]
    total: Estimate

    @property
    def purged(self) -> Estimate:
        """Accuracy after the last purge; NaN where that leaves too little to train on."""
        return self.lines[-1].accuracy

    @property
    def verdict(self) -> Verdict:
        """Whether the copies carry accuracy."""
        return effect_verdict(self.total, self.reported)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "head": self.head,
            "reported": self.reported.to_dict(),
            "lines": [
                {
                    "cause": line.cause,
                    **line.effect.to_dict(),
                    "control": None,
                    "removed_from_train": line.removed,
                    "left_in_train": line.left,
                    "accuracy_after": line.accuracy.to_dict(),
                    "mcnemar_p": None if np.isnan(line.p) else round(line.p, 6),
                    "reason": line.reason or None,
                }
                for line in self.lines
            ],
            "total": self.total.to_dict(),
            "honest": self.purged.to_dict(),
            "honest_covers": [line.cause for line in self.lines if not line.reason],
            "honest_does_not_cover": list(NOT_COVERED),
        }


@dataclass(frozen=True, kw_only=True)
class Ledger(Finding):
    """The ledgers of all heads on the same test images."""

    split: str
    heads: tuple[HeadLedger, ...]

    def details(self) -> dict[str, Any]:
        """Return the ledger of each head."""
        return {"split": self.split, "heads": [head.to_dict() for head in self.heads]}


def keep_ledger(
    store: Store,
    twins: Twins,
    *,
    split: str,
    label: str = "label",
    backbone: str | None = None,
    heads: tuple[str, ...] = tuple(HEADS),
    seed: int = 0,
) -> Ledger:
    """Train each head with and without the training images that are copies of test images.

    At each level every training image that shares a cluster with any test image is left out, the
    head is trained again with the same procedure (its hyper-parameter chosen anew), and scored on
    all of the same test images.

    Args:
        store: with labels, a train and a test split.
        twins: of that store.
        split: the test split.
        label: column with the class.
        backbone: which space.
        heads: kinds of heads.
        seed: of folds and bootstraps.

    Raises:
        InputError: a split has no labelled image.
    """
    bench = _Bench(store, twins, split=split, label=label, backbone=backbone, seed=seed)
    ledgers = tuple(bench.ledger(kind) for kind in heads)
    verdicts = [ledger.verdict for ledger in ledgers]
    order = (Verdict.PRESENT, Verdict.INCONCLUSIVE, Verdict.ABSENT)
    # The head that loses most is the headline; one that could not be trained again goes before all.
    worst = max(ledgers, key=lambda one: np.nan_to_num(one.total.value, nan=np.inf)).total
    return Ledger(
        name="ledger",
        verdict=next(verdict for verdict in order if verdict in verdicts),
        statement=Statement.CAUSAL,
        summary=" ".join(_sentence(ledger, split) for ledger in ledgers),
        estimate=worst,
        points=None if np.isnan(worst.value) else 100 * worst.value,
        split=split,
        heads=ledgers,
    )


class _Bench:
    """The rows, classes and clusters that every refit shares."""

    def __init__(
        self,
        store: Store,
        twins: Twins,
        *,
        split: str,
        label: str,
        backbone: str | None,
        seed: int,
    ) -> None:
        self.twins = twins
        self.seed = seed
        self.vectors = store.space(backbone).vectors
        self.train = labelled_rows(store, label, "train")
        self.test = labelled_rows(store, label, split)
        names = store.items.label_column(label)
        used = np.concatenate([self.train, self.test])
        self.labels = sorted({names[row] or "" for row in used})
        self.y = np.array(
            [self.labels.index(name) if name in self.labels else -1 for name in names], np.int64
        )
        self.clusters = clusters_of(clusters_in(store), twins.near)

    def ledger(self, kind: str) -> HeadLedger:
        """Return the ledger of one kind of head."""
        first = before = self.right(kind, self.train)
        nothing = Estimate(0.0, 0.0, 0.0, len(self.test))  # by construction, without uncertainty
        unknown = Estimate(np.nan, np.nan, np.nan, len(self.test))
        lines, total, gone = [], nothing, 0
        for cause, clusters in (("exact_twins", self.twins.exact), ("near_twins", self.twins.near)):
            rows = self.train[~np.isin(clusters[self.train], clusters[self.test])]
            removed = len(self.train) - len(rows)
            reason = self._too_little(rows)
            if reason:
                effect, accuracy, p, total = unknown, unknown, float("nan"), unknown
            elif removed == gone:
                effect, accuracy, p = nothing, self._accuracy(before), 1.0
            else:
                after = self.right(kind, rows)
                effect, accuracy = self._difference(before, after), self._accuracy(after)
                p, total = mcnemar(before, after), self._difference(first, after)
                before = after
            gone = removed
            lines.append(Line(cause, effect, removed, len(rows), accuracy, p, reason))
        return HeadLedger(kind, self._accuracy(first), tuple(lines), total)

    def right(self, kind: str, rows: IntArray) -> BoolArray:
        """Train on some rows and return whether each test image is answered rightly."""
        classes, y = np.unique(self.y[rows], return_inverse=True)
        fitted = HEADS[kind](
            self.vectors[rows],
            y.ravel().astype(np.int64),
            self.clusters[rows],
            n_classes=len(classes),
            seed=self.seed,
        )
        answers = classes[fitted.probabilities(self.vectors[self.test]).argmax(axis=1)]
        return np.asarray(answers == self.y[self.test])

    def _too_little(self, rows: IntArray) -> str:
        before, after = np.unique(self.y[self.train]), np.unique(self.y[rows])
        gone = [self.labels[place] for place in np.setdiff1d(before, after)]
        if gone:
            return f"the purge leaves no training image of {', '.join(gone)}"
        return ""

    def _accuracy(self, right: BoolArray) -> Estimate:
        return proportion(right, self.clusters[self.test], seed=self.seed)

    def _difference(self, before: BoolArray, after: BoolArray) -> Estimate:
        return paired_difference(before, after, self.clusters[self.test], seed=self.seed)


def _sentence(ledger: HeadLedger, split: str) -> str:
    reasons = [line.reason for line in ledger.lines if line.reason]
    if reasons:
        return (
            f"{ledger.head}: {ledger.reported.value:.1%} on {split}; what copies are worth cannot "
            f"be measured: {reasons[-1]}."
        )
    removed = ledger.lines[-1].removed
    if not removed:
        return f"{ledger.head}: {ledger.reported.value:.1%} on {split}, no copies of it in train."
    total = ledger.total
    return (
        f"{ledger.head}: {ledger.reported.value:.1%} on {split} becomes {ledger.purged.value:.1%} "
        f"without the {removed} training images that are copies of test images, a difference of "
        f"{100 * total.value:.1f} points [{100 * total.low:.1f}, {100 * total.high:.1f}]."
    )
