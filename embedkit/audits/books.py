"""The books of a head: the purges that the ledger's lines come from, each made once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from math import factorial

import numpy as np

from embedkit.audits.base import MATERIAL, Verdict
from embedkit.audits.clues import Clues
from embedkit.audits.controls import run_controls
from embedkit.audits.crossval import cross_validate
from embedkit.audits.extracts import Extract, extract_of
from embedkit.audits.fits import Question
from embedkit.audits.floor import random_label_floor
from embedkit.audits.lines import HeadLedger, Line, Shares, ShortcutLine
from embedkit.audits.novelty import novelty_curve
from embedkit.audits.prices import Price, Prices
from embedkit.audits.refits import Bench, Control
from embedkit.audits.reliance import Reliance
from embedkit.audits.siblings import Siblings
from embedkit.audits.suspicions import followed, sighted, suspected, unfollowed, untold
from embedkit.audits.twins import Twins
from embedkit.matrices import Matrix, large
from embedkit.statistics import (
    Estimate,
    benjamini_hochberg,
    effective_size,
    less,
    mcnemar,
    proportion,
    sign_flip,
    widened,
)
from embedkit.vectors import BoolArray, DoubleArray, IntArray


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
        mixed: whether related images were among those that the control leaves out.
        spread: variance that the effect has by which images are left out, from one draw of the
            control to another.
        price: what the control rests on where training images are too many for one of all.
    """

    removed: BoolArray
    reason: str
    answers: IntArray
    right: BoolArray
    effect: DoubleArray
    control: DoubleArray | None = None
    control_answers: IntArray | None = None
    mixed: bool = False
    spread: float = 0.0
    price: Price | None = None

    @property
    def excess(self) -> float:
        """Accuracy by which the control may be too low."""
        return 0.0 if self.price is None else self.price.excess


class Books:
    """The purges of one head, each made once."""

    def __init__(
        self,
        bench: Bench,
        levels: Sequence[tuple[str, IntArray]],
        clues: Clues | None,
        *,
        heads: int = 1,
        material: float = MATERIAL,
    ) -> None:
        """Open the books of a head.

        Args:
            bench: of the head.
            levels: see `levels_of`.
            clues: what the files say of the class; None where that is not known.
            heads: whose books are kept.
            material: least accuracy, 0 to 1, that is worth a headline.
        """
        self.bench = bench
        self.heads = heads
        self.material = material
        self.clues = clues
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
        self._prices = Prices(bench, material=material) if large(len(bench.train)) else None

    def _worth(self, removed: BoolArray) -> _Worth:
        self._purge([removed])
        return self._worths[removed.tobytes()]

    def _purge(self, every: Sequence[BoolArray]) -> None:
        """Find the worth of purges that are not known yet, side by side where the engine can."""
        bench = self.bench
        new = {removed.tobytes(): removed for removed in every}
        new = {key: removed for key, removed in new.items() if key not in self._worths}
        if not new:
            return
        first = bench.right(bench.first)
        reasons = {key: bench.too_little(removed) for key, removed in new.items()}
        for key, removed in new.items():
            if reasons[key] or not removed.any():
                effect = np.full(len(first), np.nan if reasons[key] else 0.0)
                self._worths[key] = _Worth(removed, reasons[key], bench.first, first, effect)
        new = {key: removed for key, removed in new.items() if key not in self._worths}
        purged = bench.ask([Question(bench.test, bench.train[~one]) for one in new.values()])
        controls: list[Control | None] = [None] * len(new)
        if self._prices is None:
            controls = bench.controls(list(new.values()), self.clean)
        for (key, removed), made, control in zip(new.items(), purged, controls, strict=True):
            self._worths[key] = self._measured(removed, made.classes, control)

    def _measured(self, removed: BoolArray, answers: IntArray, control: Control | None) -> _Worth:
        bench = self.bench
        first, right = bench.right(bench.first), bench.right(answers)
        if self._prices is not None:
            price = self._prices.of(removed, self.clean)
            mean, mixed = first.astype(np.float64) - price.value, price.mixed
            return _Worth(
                removed, "", answers, right, mean - right, mean, None, mixed, price.spread, price
            )
        if control is None:
            return _Worth(removed, "", answers, right, first.astype(np.float64) - right)
        mean = control.right.mean(axis=0)
        spread = _spread(control.right.mean(axis=1))
        return _Worth(
            removed, "", answers, right, mean - right, mean, control.answers, control.mixed, spread
        )

    @cached_property
    def extract(self) -> Extract | None:
        """What stands beside the lines where images are too many; None where they are not."""
        if self._prices is None:
            return None
        return extract_of(self.bench, wanted=self.material)

    @property
    def total(self) -> Estimate:
        """What all purges carry; NaN where that could not be measured."""
        mark = self.marks[-1]
        return self._effect(self._worth(mark).effect, some=mark, of=mark)

    def shares(self) -> Shares:
        """Return what each test image gives to the ledger."""
        right = self.bench.right(self.bench.first)
        self._purge(self.marks)
        worths = [self._worth(mark) for mark in self.marks]
        effects = np.stack([np.zeros(len(right)), *(worth.effect for worth in worths)])
        shortcuts = np.zeros(len(right))
        if self._followed is not None and self.clues is not None:
            shortcuts[self.clues.places(self.bench)] = self._followed.shares
        return Shares(
            right,
            np.stack([worth.answers for worth in worths]),
            np.diff(effects, axis=0),
            effects[-1],
            shortcuts,
            right - effects[-1] - shortcuts,
        )

    @cached_property
    def _asked(self) -> tuple[Reliance, ...]:
        """What the head that the purges leave follows; nothing where nothing is tied."""
        if self.clues is None:
            return ()
        answers = self._worth(self.marks[-1]).answers
        return self.clues.reliances(self.bench, answers, heads=self.heads)

    @property
    def _followed(self) -> Reliance | None:
        return followed(self._asked, self.material)

    def shortcut(self) -> ShortcutLine | None:
        """Return the line of what follows the files; None where nothing is known of them."""
        if self.clues is None:
            return None
        n = len(self.bench.test)
        one = suspected(self._asked, self.material) or next(iter(self._asked), None)
        if one is None:
            heads = sighted(self.clues.blindfolds)
            verdict = untold(heads, self._share(self.bench.right(self.bench.first)), self.material)
            nothing = Estimate(np.nan, np.nan, np.nan, n)
            reason = "no column is tied to the class"
            return ShortcutLine("", nothing, verdict, float("nan"), float("nan"), reason)
        part = len(one.shares) / n  # of the test images; classes that are too rare take no part
        value, low, high = (part * x for x in (one.effect.value, one.effect.low, one.effect.high))
        effect = Estimate(value, low, high, n)
        verdict = Verdict.PRESENT
        if self._followed is None:
            verdict = unfollowed(self._asked, self.clues.unasked, self.material)
        reason = one.reason
        if self._followed is None and one.shown(self.material):
            reason = "the subject may look so, and then to follow it is honest"
        return ShortcutLine(one.cause, effect, verdict, one.p, one.adjusted, reason)

    def ledger(self, pixels: Matrix | None, *, missed: str) -> HeadLedger:
        """Return the figures, the means of `shares`, with all that stands beside them.

        Args:
            pixels: (n, d) vectors that only know the pixels; None where there are none.
            missed: why relatives may have been missed; empty if they were not.
        """
        self._purge([*self.marks, *self.parts, *self._unions()])
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
                    self._effect(effect, some=part, of=mark),
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
                    worth.price,
                )
            )
        adjusted = benjamini_hochberg([line.p for line in lines])
        lines = [replace(line, adjusted=p) for line, p in zip(lines, adjusted, strict=True)]
        last = self._worth(self.marks[-1])
        flipped = last.answers != bench.first
        by_control = float("nan") if last.removed.any() else 0.0
        if last.control_answers is not None:
            by_control = float((last.control_answers != bench.first).mean())
        elif last.price is not None:
            by_control = last.price.changed
        p = self._p(shares.total, some=self.marks[-1])
        shortcut = self.shortcut()
        honest = self._honest(first - shares.total, of=self.marks[-1])
        if shortcut is not None and shortcut.counted:  # see `HeadLedger.lost`
            honest = less(honest, shortcut.effect)
        novel = ~np.isin(bench.clusters[bench.test], bench.clusters[bench.train])
        beside, strangers = bench, novel
        if self.extract is not None:
            beside = self.extract.bench
            strangers = ~np.isin(beside.clusters[beside.test], beside.clusters[beside.train])
            pixels = None if pixels is None else np.asarray(pixels[self.extract.rows])
        return HeadLedger(
            bench.kind,
            self._share(first),
            tuple(lines),
            shortcut,
            self.total,
            p,
            p,
            self.material,
            honest,
            novelty_curve(bench, first, novel),
            self._share(flipped, unknown=bool(last.reason)),
            by_control,
            random_label_floor(beside, strangers),
            shares,
            effective_size(first, bench.clusters[bench.test]),
            cross_validate(beside),
            run_controls(beside, None if pixels is None else pixels[:]),
            missed,
            self.extract,
            "" if self.extract is None else bench.whole.classifier.choice.note,
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

    def _unions(self) -> list[BoolArray]:
        """Return every union of parts; all are in some order in which they could be taken away."""
        places = range(len(self.parts))
        return [
            self._union(some)
            for size in range(len(self.parts) + 1)
            for some in combinations(places, size)
        ]

    def _union(self, parts: Sequence[int]) -> BoolArray:
        removed = np.zeros(len(self.bench.train), bool)
        for one in parts:
            removed |= self.parts[one]
        return removed

    def _value(self, parts: Sequence[int]) -> float:
        return float(self._worth(self._union(parts)).effect.mean())

    def _effect(self, values: DoubleArray, *, some: BoolArray, of: BoolArray) -> Estimate:
        """Estimate what some of the images that a purge takes out are worth."""
        if np.isnan(values).any():
            return Estimate(np.nan, np.nan, np.nan, len(values))
        if not some.any():  # nothing was taken away: no uncertainty about that
            return Estimate(0.0, 0.0, 0.0, len(values))
        share = float(some.sum() / of.sum())
        worth = self._worth(of)
        made = widened(self.bench.mean(values, lowest=-1.0), share * worth.spread)
        high = made.high + share * worth.excess
        return replace(made, low=max(-1.0, made.low), high=min(1.0, high))

    def _p(self, values: DoubleArray, *, some: BoolArray) -> float:
        """Test an effect; NaN where nothing was taken out, for that is no test."""
        if not some.any():
            return float("nan")
        return sign_flip(values, self.bench.clusters[self.bench.test], seed=self.bench.seed)

    def _honest(self, values: DoubleArray, *, of: BoolArray) -> Estimate:
        if np.isnan(values).any():
            return Estimate(np.nan, np.nan, np.nan, len(values))
        if set(np.unique(values)) <= {0.0, 1.0}:
            return self._share(values.astype(bool))
        worth = self._worth(of)
        made = widened(self.bench.mean(values), worth.spread)
        made = replace(made, low=made.low - worth.excess)
        value, low, high = (min(1.0, max(0.0, x)) for x in (made.value, made.low, made.high))
        return Estimate(value, low, high, made.n)

    def _share(self, values: BoolArray, *, unknown: bool = False) -> Estimate:
        if unknown:
            return Estimate(np.nan, np.nan, np.nan, len(values))
        return proportion(values, self.bench.clusters[self.bench.test], seed=self.bench.seed)


def _spread(draws: DoubleArray) -> float:
    """Return the variance between a purged head, which is one draw, and the mean of many."""
    return float(draws.var(ddof=1)) * (1 + 1 / len(draws))
