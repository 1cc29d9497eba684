"""Swaps: the JPEG tables and the size of one class, put on test pictures of another."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from embedkit.audits.base import ALPHA, Statement, rounded
from embedkit.audits.fits import Images, Question, answer
from embedkit.audits.makes import Make, make_of
from embedkit.audits.refits import Bench
from embedkit.audits.relabellings import relabellings
from embedkit.errors import InputError
from embedkit.files import sha256
from embedkit.pipeline.seen import View
from embedkit.pipeline.views import read_view
from embedkit.statistics import Estimate, holm, paired_difference, proportion
from embedkit.store import Space, Store
from embedkit.vectors import DoubleArray, FloatArray, IntArray

SAMPLE = 200  # test pictures of a class at most
FEWEST = 20  # independent ones
MOST = 2000  # training images of heads on permuted labels
DRAWS = 59  # of labels; with two swaps the smallest p-value that Holm can leave is 3.3%


@dataclass(frozen=True, slots=True)
class Plan:
    """One swap that is to be made.

    Attributes:
        given: number of the class whose make is given.
        to: number of the class whose test pictures get it.
        rows: (n,) those pictures.
        makes: of both classes, in that order.
        views: the pictures with the other make, and with their own; none where nothing differs.
        reason: why there is none; empty if there is.
    """

    given: int
    to: int
    rows: IntArray
    makes: tuple[Make, Make]
    views: tuple[View, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """How many answers follow the make of a file, its picture being the same.

    Attributes:
        given: class whose make is given.
        to: class of the test pictures that get it.
        makes: of both, in words.
        swapped: share of them that is answered with the first class.
        own: the same share where the make of their own class is given to them anew.
        difference: swapped - own, paired.
        flipped: share answered with the first class only when swapped.
        by_chance: the difference that one in twenty heads on permuted labels reaches.
        p: share of such heads that reach the difference; adjusted by Holm over the swaps.
        reason: why there is none of this; empty if there is.
    """

    given: str
    to: str
    makes: tuple[str, str]
    swapped: Estimate
    own: Estimate
    difference: Estimate
    flipped: Estimate
    by_chance: float
    p: float
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        figures = ("swapped", "own", "difference", "flipped")
        estimates = {name: getattr(self, name).to_dict() for name in figures}
        return {
            "given": self.given,
            "to": self.to,
            "make_given": self.makes[0],
            "make_of_its_own": self.makes[1],
            **(dict.fromkeys(figures) if self.reason else estimates),
            "by_chance": rounded(self.by_chance),
            "p_adjusted": rounded(self.p),
            "statement": Statement.CAUSAL.value,
            "not_run_reason": self.reason or None,
        }

    def sentence(self) -> str:
        """Say it in a line."""
        if self.reason:
            return f"Files of {self.given!r} on pictures of {self.to!r}: not run ({self.reason})."
        low, high = 100 * self.difference.low, 100 * self.difference.high
        shown = self.p < ALPHA and self.difference.low > 0
        end = (
            "come from the file alone"
            if shown
            else f"no more than heads on permuted labels show ({100 * self.by_chance:.1f})"
        )
        return (
            f"Written like files of {self.given!r} ({self.makes[0]}), {self.swapped.value:.1%} of "
            f"{self.swapped.n} test pictures of {self.to!r} are answered {self.given!r}, "
            f"{self.own.value:.1%} written anew like their own: {100 * self.difference.value:+.1f} "
            f"points [{low:+.1f}, {high:+.1f}], {end}."
        )


def plan_swaps(store: Store, bench: Bench) -> tuple[Plan, ...]:
    """Plan the swaps, both ways, between the two commonest classes of train.

    Raises:
        InputError: the picture that shows how a class is made is gone or has changed.
    """
    counts = np.bincount(bench.y[bench.train], minlength=len(bench.labels))
    first, second = (int(k) for k in np.argsort(-counts, kind="stable")[:2])
    makes = {k: make_of(store, bench.train[bench.y[bench.train] == k]) for k in (first, second)}
    return tuple(
        _plan(store, bench, given, to, (makes[given], makes[to]))
        for given, to in ((first, second), (second, first))
    )


def judge_swaps(
    store: Store, bench: Bench, space: Space, plans: Sequence[Plan]
) -> tuple[Swap, ...]:
    """Ask the head that was trained on the pictures as they are about the swapped ones.

    A make moves the vectors of all pictures one way, and that way leads any head towards one of the
    classes. So the difference is compared with that of heads, otherwise the same, which were
    trained on permuted labels, for which no file has anything to do with a class; of a large train
    split, heads on a part of it are compared.

    Raises:
        InputError: a view is not there any more.
    """
    shown = [_vectors(store, space, plan) for plan in plans]
    found, by_chance = _by_chance(bench, plans, shown)
    p = [
        float("nan") if plan.reason else float(np.mean([True, *(null >= one - 1e-9)]))
        for plan, one, null in zip(plans, found, by_chance.T, strict=True)
    ]
    limits = np.percentile(by_chance, 95, axis=0)
    return tuple(
        _judged(bench, plan, vectors, adjusted, float(limit))
        for plan, vectors, adjusted, limit in zip(plans, shown, holm(p), limits, strict=True)
    )


def _by_chance(
    bench: Bench, plans: Sequence[Plan], shown: Sequence[tuple[FloatArray, FloatArray]]
) -> tuple[DoubleArray, DoubleArray]:
    """Return (plans,) mean differences, and (draws, plans) those of permuted labels."""
    made = np.zeros((1 + DRAWS, len(plans)))
    if all(plan.reason for plan in plans):
        return made[0], made[1:]
    rows, refit = bench.train, bench.whole
    value = refit.classifier.choice.value
    if len(rows) > MOST:
        rows = np.sort(np.random.default_rng(bench.seed).choice(rows, MOST, replace=False))
        refit = bench.fit(rows, value=value)
    drawn = relabellings(bench.y[rows], bench.clusters[rows], draws=DRAWS, seed=bench.seed)
    asked = [each for pair in shown for each in pair]
    made[0] = _means(plans, [refit.answers(each) for each in asked])
    bounds = np.cumsum([len(rows), *(len(each) for each in asked)])
    images = Images(
        bench.kind,
        np.concatenate([np.asarray(bench.vectors[rows]), *asked]),
        bench.y[rows],
        bench.clusters[rows],
        bench.seed,
    )
    learned = np.arange(len(rows))
    question = Question(np.arange(bounds[0], bounds[-1]), learned, value=value)
    tasks = [(images, replace(question, y=y.astype(np.int64))) for y in drawn]
    for place, found in enumerate(bench.engine.map(answer, tasks), 1):
        made[place] = _means(plans, np.split(found.classes, bounds[1:-1] - bounds[0]))
    return made[0], made[1:]


def _means(plans: Sequence[Plan], answers: Sequence[IntArray]) -> DoubleArray:
    """Return (plans,) how many more pictures are answered with the class swapped than their own.

    Args:
        plans: of the swaps.
        answers: to the swapped pictures of each plan, and to its own, in turn.
    """
    pairs = zip(plans, answers[::2], answers[1::2], strict=True)
    shares = [
        (0.0, 0.0) if plan.reason else (np.mean(other == plan.given), np.mean(own == plan.given))
        for plan, other, own in pairs
    ]
    return np.array([other - own for other, own in shares])


def _plan(store: Store, bench: Bench, given: int, to: int, makes: tuple[Make, Make]) -> Plan:
    rows = bench.test[bench.y[bench.test] == to]
    chosen = np.random.default_rng([bench.seed, to]).permutation(len(rows))[:SAMPLE]
    rows = np.sort(rows[chosen])
    n = len(np.unique(bench.clusters[rows]))
    if makes[0].same_as(makes[1]):
        reason = f"both are usually made alike: {makes[0].words}"
        return Plan(given, to, rows, makes, reason=reason)
    if n < FEWEST:
        reason = f"not enough images (n = {n} independent ones in test); {FEWEST} are needed"
        return Plan(given, to, rows, makes, reason=reason)
    ids = frozenset(store.items.ids[row] for row in rows)
    return Plan(given, to, rows, makes, tuple(_view(make, ids) for make in makes))


def _view(make: Make, ids: frozenset[str]) -> View:
    how = f"{make.words} {make.tables}"
    name = sha256("\n".join([how, *sorted(ids)]).encode())[:12]
    return View(f"made-{name}", make.words, make.change, how=how, whole=True, only=ids)


def _judged(
    bench: Bench, plan: Plan, vectors: tuple[FloatArray, FloatArray], p: float, limit: float
) -> Swap:
    nothing = Estimate(float("nan"), float("nan"), float("nan"), 0)
    swap = Swap(
        given=bench.labels[plan.given],
        to=bench.labels[plan.to],
        makes=(plan.makes[0].words, plan.makes[1].words),
        swapped=nothing,
        own=nothing,
        difference=nothing,
        flipped=nothing,
        by_chance=float("nan"),
        p=p,
        reason=plan.reason,
    )
    if plan.reason:
        return swap
    swapped, own = (bench.whole.answers(each) == plan.given for each in vectors)
    clusters, seed = bench.clusters[plan.rows], bench.seed
    return replace(
        swap,
        swapped=proportion(swapped, clusters, seed=seed),
        own=proportion(own, clusters, seed=seed),
        difference=paired_difference(swapped, own, clusters, seed=seed),
        flipped=proportion(swapped & ~own, clusters, seed=seed),
        by_chance=limit,
    )


def _vectors(store: Store, space: Space, plan: Plan) -> tuple[FloatArray, FloatArray]:
    """Return the vectors of a plan's pictures with the other make, and with their own."""
    nothing = np.empty((0, space.record.dimension), np.float32)
    if plan.reason:
        return nothing, nothing
    hashes = store.items.column("sha256")
    images = [(store.items.ids[row], str(hashes[row])) for row in plan.rows]
    made = []
    for view in plan.views:
        kept = read_view(store, space, view.name)
        if kept is None:
            raise InputError(f"{store.path} has lost the view {view.name}; run the command again")
        vectors, places = kept.of(images)
        made.append(vectors[np.argsort(places)])
    return made[0], made[1]
