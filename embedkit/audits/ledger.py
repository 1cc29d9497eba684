"""The ledger: what the test accuracy becomes when its causes are taken away one by one."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np

from embedkit.audits.base import MATERIAL, Finding, Statement, Verdict, effect_verdict, rounded
from embedkit.audits.controls import PIXELS, Controls, check_controls, run_controls
from embedkit.audits.crossval import CrossValidation, cross_validate
from embedkit.audits.floor import Floor, check_floor, random_label_floor
from embedkit.audits.novelty import Novelty, novelty_curve
from embedkit.audits.predictions import Yours, judge
from embedkit.audits.refits import CONTROLS, Bench
from embedkit.audits.resplits import Resplits, compare_with_resplits
from embedkit.audits.siblings import Siblings
from embedkit.audits.twins import Twins
from embedkit.heads.training import HEADS
from embedkit.statistics import (
    Estimate,
    benjamini_hochberg,
    detectable,
    effective_size,
    holm,
    mcnemar,
    proportion,
    sign_flip,
)
from embedkit.store import Store
from embedkit.vectors import BoolArray, DoubleArray, FloatArray, IntArray

CAUSES = ("exact_twins", "near_twins", "siblings")
UNMEASURED = ("shortcuts",)


@dataclass(frozen=True, slots=True)
class Line:
    """One cause and what it is worth.

    Attributes:
        cause: one of `CAUSES`.
        effect: accuracy that the cause carries beyond the causes above it: control minus purged,
            less the same of the line above.
        removed: training images that the purge takes out, those of the lines above included.
        left: training images that stay.
        accuracy: of the head trained on them.
        control: accuracy of heads trained without as many random images; None where a class would
            be left without an image, and the effect then includes what fewer images cost.
        mixed: whether related images are among the random ones, for too few others were there.
        alone: what the cause is worth if only its own images are taken out.
        shapley: its share when causes overlap: its worth averaged over every order of them.
        mcnemar: p of McNemar's exact test, the head on all of train against the purged one.
        p: of the effect, by signs drawn for each cluster; NaN where nothing was taken out.
        adjusted: the same by Benjamini and Hochberg over the lines.
        reason: why the head could not be trained again; empty if it was.
    """

    cause: str
    effect: Estimate
    removed: int
    left: int
    accuracy: Estimate
    control: Estimate | None
    mixed: bool
    alone: float
    shapley: float
    mcnemar: float
    p: float
    adjusted: float
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        control = None
        if self.control is not None:
            control = self.control.to_dict() | {"draws": CONTROLS, "mixed": self.mixed}
        return {
            "cause": self.cause,
            **self.effect.to_dict(),
            "control": control,
            "removed_from_train": self.removed,
            "left_in_train": self.left,
            "accuracy_after": self.accuracy.to_dict(),
            "alone": rounded(self.alone),
            "shapley": rounded(self.shapley),
            "p": rounded(self.p),
            "p_adjusted": rounded(self.adjusted),
            "mcnemar_p": rounded(self.mcnemar),
            "reason": self.reason or None,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Shares:
    """What each test image gives to a ledger, whose figures are the means of these.

    Attributes:
        right: (n,) whether the head that is trained on all of train answers rightly.
        answers: (causes, n) class number answered after each purge, of the first head where the
            purged one could not be trained.
        lines: (causes, n) each line's effect; NaN where it could not be measured.
        total: (n,) what all lines carry; NaN likewise.
        honest: (n,) right minus total.
    """

    right: BoolArray
    answers: IntArray
    lines: DoubleArray
    total: DoubleArray
    honest: DoubleArray


@dataclass(frozen=True, slots=True)
class HeadLedger:
    """The ledger of one head.

    Attributes:
        head: its kind.
        reported: accuracy of the head trained on all of train.
        lines: one a cause, each on top of the one before.
        total: what all of them carry; NaN where that could not be measured.
        p: of the total, by signs drawn for each cluster; NaN where nothing was taken out.
        adjusted: the same by Holm over the heads.
        material: least total that is worth a headline.
        honest: reported minus total.
        novelty: accuracy by similarity to the nearest training image.
        look_up: share of test images answered otherwise once all relatives are out of train.
        look_up_control: the same for as many random images.
        floor: accuracy with labels that mean nothing.
        effective: independent images that would show the reported accuracy as surely as the test
            images do.
        folds: grouped beside plain cross-validation.
        controls: the same head with vectors that know nothing.
        shares: of each test image; too many for the JSON, see `explain`.
    """

    head: str
    reported: Estimate
    lines: tuple[Line, ...]
    total: Estimate
    p: float
    adjusted: float
    material: float
    honest: Estimate
    novelty: Novelty
    look_up: Estimate
    look_up_control: float
    floor: Floor
    shares: Shares = field(repr=False, compare=False)
    effective: float
    folds: CrossValidation
    controls: Controls

    @property
    def verdict(self) -> Verdict:
        """Whether the causes carry accuracy."""
        return effect_verdict(self.total, self.reported, p=self.adjusted, material=self.material)

    @property
    def detectable(self) -> float | None:
        """Points that 4 of 5 such tests would find; None where nothing could be measured."""
        if not self.removed or np.isnan(self.total.value):
            return None
        return 100 * max(self.material, detectable(self.total))

    @property
    def removed(self) -> int:
        """Training images that the last purge takes out."""
        return self.lines[-1].removed

    @property
    def reason(self) -> str:
        """Why the last purge could not be measured; empty if it was."""
        return next((line.reason for line in reversed(self.lines) if line.reason), "")

    def notes(self) -> tuple[str, ...]:
        """Say what stands beside the lines, a sentence each."""
        n, size = self.reported.n, round(self.effective)
        count = (f"The {n} test images count as {size} independent ones.",) if size < n else ()
        return (*count, self.folds.sentence(), self.controls.sentence())

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        covered = [line.cause for line in self.lines if not line.reason]
        return {
            "head": self.head,
            "reported": self.reported.to_dict(),
            "lines": [line.to_dict() for line in self.lines],
            "verdict": self.verdict.value,
            "total": self.total.to_dict()
            | {"p": rounded(self.p), "p_adjusted": rounded(self.adjusted)},
            "detectable": None if self.detectable is None else round(self.detectable, 4),
            "honest": self.honest.to_dict(),
            "honest_covers": covered,
            "honest_does_not_cover": [c for c in (*CAUSES, *UNMEASURED) if c not in covered],
            "novelty": self.novelty.to_dict(),
            "look_up": self.look_up.to_dict() | {"control": rounded(self.look_up_control)},
            "random_labels": self.floor.to_dict(),
            "effective_test_size": rounded(self.effective),
            "cross_validation": self.folds.to_dict(),
            "controls": self.controls.to_dict(),
        }


@dataclass(frozen=True, kw_only=True)
class Ledger(Finding):
    """The ledgers of all heads on the same test images, and what kind of split gave them."""

    split: str
    heads: tuple[HeadLedger, ...]
    resplits: Resplits
    yours: Yours | None = None

    def details(self) -> dict[str, Any]:
        """Return the ledger of each head, and of the user's own model."""
        return {
            "split": self.split,
            "heads": [head.to_dict() for head in self.heads],
            "split_is": self.resplits.to_dict(),
            "predictions": None if self.yours is None else self.yours.to_dict(),
        }


def keep_ledger(
    store: Store,
    twins: Twins,
    siblings: Siblings | None,
    *,
    split: str,
    label: str = "label",
    backbone: str | None = None,
    heads: tuple[str, ...] = tuple(HEADS),
    predictions: Path | None = None,
    material: float = MATERIAL,
    seed: int = 0,
) -> Ledger:
    """Train each head with and without the training images that are related to test images.

    At each level every training image that shares a cluster with any test image is left out, the
    head is trained again with the same procedure (its hyper-parameter chosen anew), and scored on
    all of the same test images. Beside it stand heads trained without as many random images of
    each class that are related to nobody: what those lose is the price of fewer images, what the
    purged head loses beyond them is what the relatives were worth.

    Args:
        store: with labels, a train and a test split.
        twins: of that store.
        siblings: of that store; None where nothing tells people apart.
        split: the test split.
        label: column with the class.
        backbone: which space.
        heads: kinds of heads.
        predictions: file of answers of a model that embedkit did not train; see `judge`.
        material: least accuracy, 0 to 1, that is worth a headline.
        seed: of folds, draws and bootstraps.

    Raises:
        InputError: a split has no labelled image.
        PipelineLeakError: a head learned random labels, and relatives do not explain it, or it
            learned from random vectors.
    """
    levels = levels_of(twins, siblings)
    yours = None
    if predictions is not None:
        yours = judge(
            predictions, store, levels, split=split, label=label, backbone=backbone, seed=seed
        )
    related = [clusters for _, clusters in levels]
    benches = [
        Bench(store, kind, related, split=split, label=label, backbone=backbone, seed=seed)
        for kind in heads
    ]
    pixels = store.spaces[PIXELS].vectors if PIXELS in store.spaces else None
    ledgers = []
    for kind, bench in zip(heads, benches, strict=True):
        made = Books(bench, levels).ledger(material, pixels)
        check_floor(kind, made.floor)
        check_controls(kind, made.controls)
        ledgers.append(made)
    adjusted = holm([ledger.p for ledger in ledgers])
    ledgers = [replace(one, adjusted=p) for one, p in zip(ledgers, adjusted, strict=True)]
    verdicts = [ledger.verdict for ledger in ledgers]
    order = (Verdict.PRESENT, Verdict.INCONCLUSIVE, Verdict.ABSENT)
    verdict = next(verdict for verdict in order if verdict in verdicts)
    if twins.missed and verdict is Verdict.ABSENT:
        verdict = Verdict.INCONCLUSIVE
    # The head that loses most is the headline; one that could not be trained again goes before all.
    worst = max(ledgers, key=lambda one: np.nan_to_num(one.total.value, nan=np.inf))
    return Ledger(
        name="ledger",
        verdict=verdict,
        statement=Statement.CAUSAL,
        summary=" ".join(
            [
                *([] if yours is None else [yours.sentence()]),
                *(_sentence(ledger, split) for ledger in ledgers),
                *([f"Near copies may have been missed: {twins.missed}."] if twins.missed else []),
            ]
        ),
        estimate=worst.total,
        points=None if np.isnan(worst.total.value) else 100 * worst.total.value,
        detectable=worst.detectable,
        split=split,
        heads=tuple(ledgers),
        # The bench of kNN, if there is one, knows the neighbours already.
        resplits=compare_with_resplits(min(benches, key=lambda b: b.kind != "knn"), split),
        yours=yours,
    )


def levels_of(twins: Twins, siblings: Siblings | None) -> list[tuple[str, IntArray]]:
    """Return the causes that can be measured, each with the (n,) clusters that its purge goes by.

    Each level holds the one before it. Near copies are none where no picture was looked at.
    """
    levels = [("exact_twins", twins.exact)]
    if twins.calibration is not None:
        levels.append(("near_twins", twins.near))
    if siblings is not None:
        levels.append(("siblings", siblings.identity))
    return levels


@dataclass(frozen=True, slots=True)
class _Worth:
    """A purge: what it takes out, and what that is worth for each test image.

    Attributes:
        removed: (m,) training rows taken out.
        reason: why the head could not be trained again; empty if it was.
        answers: (n,) of the purged head; of the head on all of train where it was not trained.
        right: (n,) whether they are right.
        effect: (n,) what the head is right less often; NaN where it was not trained.
        control: (n,) how often the heads of the control are right; None without one.
        control_answers: (draws, n) what those answer.
    """

    removed: BoolArray
    reason: str
    answers: IntArray
    right: BoolArray
    effect: DoubleArray
    control: DoubleArray | None = None
    control_answers: IntArray | None = None
    mixed: bool = False


class Books:
    """The purges of one head, each made once."""

    def __init__(self, bench: Bench, levels: Sequence[tuple[str, IntArray]]) -> None:
        """Open the books of a head; see `levels_of`."""
        self.bench = bench
        self.causes = [cause for cause, _ in levels]
        self.marks = [bench.related(clusters) for _, clusters in levels]
        # What each cause adds to those before it: parts that do not overlap.
        self.parts = [
            mark & ~before
            for mark, before in zip(
                self.marks, [np.zeros_like(self.marks[0]), *self.marks[:-1]], strict=True
            )
        ]
        self.clean = ~np.any(self.marks, axis=0)
        self._worths: dict[bytes, _Worth] = {}

    def _worth(self, removed: BoolArray) -> _Worth:
        key = removed.tobytes()
        if key not in self._worths:
            self._worths[key] = self._purge(removed)
        return self._worths[key]

    def _purge(self, removed: BoolArray) -> _Worth:
        bench = self.bench
        first = bench.right(bench.first)
        reason = bench.too_little(removed)
        if reason or not removed.any():
            effect = np.full(len(first), np.nan if reason else 0.0)
            return _Worth(removed, reason, bench.first, first, effect)
        answers = bench.answers(bench.train[~removed])
        right = bench.right(answers)
        control = bench.control(removed, self.clean)
        if control is None:
            return _Worth(removed, "", answers, right, first.astype(np.float64) - right)
        mean = control.right.mean(axis=0)
        return _Worth(
            removed, "", answers, right, mean - right, mean, control.answers, control.mixed
        )

    def shares(self) -> Shares:
        """Return what each test image gives to the ledger."""
        right = self.bench.right(self.bench.first)
        worths = [self._worth(mark) for mark in self.marks]
        effects = np.stack([np.zeros(len(right)), *(worth.effect for worth in worths)])
        return Shares(
            right,
            np.stack([worth.answers for worth in worths]),
            np.diff(effects, axis=0),
            effects[-1],
            right - effects[-1],
        )

    def ledger(self, material: float, pixels: FloatArray | None) -> HeadLedger:
        """Return the figures, the means of `shares`, with all that stands beside them."""
        bench, shares = self.bench, self.shares()
        first = shares.right
        lines = []
        shapley = self._shapley()
        for cause, mark, part, share, effect in zip(
            self.causes, self.marks, self.parts, shapley, shares.lines, strict=True
        ):
            worth = self._worth(mark)
            lines.append(
                Line(
                    cause,
                    self._effect(effect, some=part),
                    int(mark.sum()),
                    int((~mark).sum()),
                    self._share(worth.right, unknown=bool(worth.reason)),
                    None if worth.control is None else bench.mean(worth.control),
                    worth.mixed,
                    float(self._worth(part).effect.mean()),
                    share,
                    float("nan") if worth.reason else mcnemar(first, worth.right),
                    self._p(effect, some=part),
                    float("nan"),
                    worth.reason,
                )
            )
        adjusted = benjamini_hochberg([line.p for line in lines])
        lines = [replace(line, adjusted=p) for line, p in zip(lines, adjusted, strict=True)]
        last = self._worth(self.marks[-1])
        flipped = last.answers != bench.first
        by_control = float("nan") if last.removed.any() else 0.0
        if last.control_answers is not None:
            by_control = float((last.control_answers != bench.first).mean())
        p = self._p(shares.total, some=self.marks[-1])
        novel = ~np.isin(bench.clusters[bench.test], bench.clusters[bench.train])
        return HeadLedger(
            bench.kind,
            self._share(first),
            tuple(lines),
            self._effect(shares.total, some=self.marks[-1]),
            p,
            p,
            material,
            self._honest(shares.honest),
            novelty_curve(bench, first, novel),
            self._share(flipped, unknown=bool(last.reason)),
            by_control,
            random_label_floor(bench, novel),
            shares,
            effective_size(first, bench.clusters[bench.test]),
            cross_validate(bench),
            run_controls(bench, pixels),
        )

    def _shapley(self) -> list[float]:
        """Return each cause's mean worth over all orders in which they could be taken away."""
        n = len(self.parts)
        present = [place for place in range(n) if self.parts[place].any()]
        shares = [0.0] * n
        for place in present:
            others = [one for one in present if one != place]
            for size in range(len(others) + 1):
                weight = factorial(size) * factorial(len(present) - size - 1)
                for some in combinations(others, size):
                    gain = self._value((*some, place)) - self._value(some)
                    shares[place] += weight * gain / factorial(len(present))
        return shares

    def _value(self, parts: Sequence[int]) -> float:
        removed = np.zeros(len(self.bench.train), bool)
        for one in parts:
            removed |= self.parts[one]
        return float(self._worth(removed).effect.mean())

    def _effect(self, values: DoubleArray, *, some: BoolArray) -> Estimate:
        if np.isnan(values).any():
            return Estimate(np.nan, np.nan, np.nan, len(values))
        if not some.any():  # nothing was taken away: no uncertainty about that
            return Estimate(0.0, 0.0, 0.0, len(values))
        return self.bench.mean(values, lowest=-1.0)

    def _p(self, values: DoubleArray, *, some: BoolArray) -> float:
        """Test an effect; NaN where nothing was taken out, for that is no test."""
        if not some.any():
            return float("nan")
        return sign_flip(values, self.bench.clusters[self.bench.test], seed=self.bench.seed)

    def _honest(self, values: DoubleArray) -> Estimate:
        if np.isnan(values).any():
            return Estimate(np.nan, np.nan, np.nan, len(values))
        if set(np.unique(values)) <= {0.0, 1.0}:
            return self._share(values.astype(bool))
        made = self.bench.mean(values)
        value, low, high = (min(1.0, max(0.0, x)) for x in (made.value, made.low, made.high))
        return Estimate(value, low, high, made.n)

    def _share(self, values: BoolArray, *, unknown: bool = False) -> Estimate:
        if unknown:
            return Estimate(np.nan, np.nan, np.nan, len(values))
        return proportion(values, self.bench.clusters[self.bench.test], seed=self.bench.seed)


def _sentence(ledger: HeadLedger, split: str) -> str:
    head, reported = ledger.head, f"{ledger.reported.value:.1%} on {split}"
    if ledger.reason:
        return f"{head}: {reported}; what relatives are worth cannot be measured: {ledger.reason}."
    if not ledger.removed:
        return f"{head}: {reported}, no relatives of it in train."
    total, last = ledger.total, ledger.lines[-1]
    mixed = "; related ones are among them, for too few others are left" if last.mixed else ""
    beyond = (
        f"beyond what as many random images are worth ({last.control.value:.1%} "
        f"without those{mixed})"
        if last.control is not None
        else "what fewer images cost included"
    )
    unsure = ""
    if ledger.verdict is Verdict.INCONCLUSIVE:
        unsure = f" Four of five such tests would find {ledger.detectable:.1f} points."
    return (
        f"{head}: {reported} becomes {ledger.honest.value:.1%}: the {ledger.removed} training "
        f"images related to test images carry {100 * total.value:.1f} points "
        f"[{100 * total.low:.1f}, {100 * total.high:.1f}], {beyond}.{unsure}"
    )
