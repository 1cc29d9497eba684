"""Sweeps: the same pictures answered again after each mistake and each mild change."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.audits.base import rounded
from embedkit.audits.changes import MILD, MildChange
from embedkit.audits.mistakes import Mistake
from embedkit.audits.samples import Sample
from embedkit.audits.shots import Read, Seen, Shot, see, take
from embedkit.backbones import Backbone, PreparedBackbone
from embedkit.statistics import Estimate, bootstrap, holm, mcnemar, proportion
from embedkit.vectors import DoubleArray, FloatArray, IntArray, Pixels

TOP = 5  # pairs of classes listed for a change


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a mistake does to the answers.

    Attributes:
        name: of the mistake.
        words: what was done.
        accuracy: on pictures prepared so.
        difference: that accuracy less the one of the right preprocessing, paired.
        p: of McNemar's exact test of the two, adjusted by Holm for the number of mistakes.
        flipped: share of pictures that are answered otherwise.
        cosine: of the vectors with the right ones, averaged.
        changed: pictures whose input the mistake changes.
    """

    name: str
    words: str
    accuracy: Estimate
    difference: Estimate
    p: float
    flipped: Estimate
    cosine: Estimate
    changed: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "mistake": self.name,
            "what": self.words,
            "accuracy": self.accuracy.to_dict(),
            "difference": self.difference.to_dict(),
            "p_adjusted": rounded(self.p),
            "flipped": self.flipped.to_dict(),
            "cosine": self.cosine.to_dict(),
            "pictures_changed": self.changed,
        }


@dataclass(frozen=True, slots=True)
class Idle:
    """A mistake that could not be made, or that changes nothing, and why."""

    name: str
    words: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"mistake": self.name, "what": self.words, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Flips:
    """How many answers a mild change changes, and into what.

    Attributes:
        name: of the change.
        control: whether it changes no pixel.
        flipped: share of pictures that are answered otherwise.
        classes: (answer before, answer after, pictures), the commonest first.
    """

    name: str
    control: bool
    flipped: Estimate
    classes: tuple[tuple[str, str, int], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "change": self.name,
            "control": self.control,
            "flipped": self.flipped.to_dict(),
            "classes": [{"from": a, "to": b, "n": n} for a, b, n in self.classes],
        }


@dataclass(frozen=True, slots=True)
class Sweep:
    """What mistakes and mild changes do to the answers.

    Attributes:
        right: accuracy of the right preprocessing.
        mistakes: the costliest first.
        idle: mistakes that change nothing here.
        mild: how many answers mild changes flip.
        unstable: (id, mild changes that flip its answer), the least stable first.
    """

    right: Estimate
    mistakes: tuple[Outcome, ...]
    idle: tuple[Idle, ...]
    mild: tuple[Flips, ...]
    unstable: tuple[tuple[str, int], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "right": self.right.to_dict(),
            "mistakes": [one.to_dict() for one in self.mistakes],
            "mistakes_that_change_nothing": [one.to_dict() for one in self.idle],
            "mild_changes": [one.to_dict() for one in self.mild],
            "flips_by_picture": [{"id": id_, "flips": n} for id_, n in self.unstable],
        }


@dataclass(frozen=True, slots=True)
class _Mild:
    """A mild change as a way to prepare pictures; faces are looked for after it."""

    mild: MildChange
    recipe: None = None

    def change(self, shot: Shot) -> Pixels:
        return shot.cut_from(self.mild.change(shot.pixels))


def sweep(
    eye: Backbone,
    sample: Sample,
    mistakes: Sequence[Mistake],
    labels: Sequence[str],
    *,
    read: Read,
    answer: Callable[[FloatArray], IntArray],
    seed: int,
) -> Sweep:
    """Make each mistake and each mild change, at query time only.

    Args:
        eye: the network.
        sample: what it is shown.
        mistakes: to make; those that cannot be made are listed with the reason.
        labels: names of the classes.
        read: what is wanted of the network for prepared pictures.
        answer: class numbers for what `read` returned.
        seed: of the bootstraps.

    Raises:
        EmbedkitError: the network cannot be computed even on pictures that are prepared rightly.
    """
    if isinstance(eye, PreparedBackbone):
        # As it will be for mistakes: the network itself, where what is used was compiled from it.
        eye = eye.seeing(eye.preprocessing)
    cannot = {one.name: one.cannot(eye) for one in mistakes}
    tried = [one for one in mistakes if not any(map(cannot.get, (one.name, *one.parts)))]
    n = len(tried)
    rows, seen = see(
        eye,
        (take(eye, path) for path in sample.paths),
        [*tried, *(_Mild(one) for one in MILD)],
        read,
    )
    right, answers = answer(rows), [answer(one.rows) for one in seen]
    judged, unchanged = _outcomes(tried, seen[:n], answers[:n], rows, right, sample, seed=seed)
    refused = [
        Idle(one.name, one.words, cannot[one.name])
        for one in mistakes
        if cannot[one.name] and not one.parts
    ]
    order = [one.name for one in mistakes]
    counts = np.sum(
        [given != right for one, given in zip(MILD, answers[n:], strict=True) if not one.control],
        axis=0,
    )
    unstable = sorted((-int(counts[place]), sample.ids[place]) for place in np.flatnonzero(counts))
    return Sweep(
        proportion(right == sample.y, sample.clusters, seed=seed),
        judged,
        tuple(sorted([*refused, *unchanged], key=lambda one: order.index(one.name))),
        _flips(answers[n:], right, labels, sample.clusters, seed=seed),
        tuple((id_, -n) for n, id_ in unstable),
    )


def _outcomes(
    mistakes: Sequence[Mistake],
    seen: Sequence[Seen],
    answers: Sequence[IntArray],
    right_rows: FloatArray,
    right: IntArray,
    sample: Sample,
    *,
    seed: int,
) -> tuple[tuple[Outcome, ...], list[Idle]]:
    """Judge mistakes that were made, and list those that change nothing.

    Two together are neither where one of them changes nothing.
    """
    y, clusters = sample.y, sample.clusters
    idle: list[Idle] = []
    made = []
    for mistake, one, given in zip(mistakes, seen, answers, strict=True):
        if {other.name for other in idle} & set(mistake.parts):
            continue
        if one.reason or not one.changed.any():
            reason = one.reason or mistake.idle or "it changes none of these pictures"
            idle.append(Idle(mistake.name, mistake.words, reason))
        else:
            made.append((mistake, one, given))
    if not made:
        return (), idle
    hits = right == y
    differences = [(given == y) - hits.astype(np.float64) for _, _, given in made]
    cosines = [_cosines(one.rows, right_rows) for _, one, _ in made]
    figures = _means([*differences, *cosines], clusters, seed=seed)
    p = holm([mcnemar(hits, given == y) for _, _, given in made])
    found = [
        Outcome(
            mistake.name,
            mistake.words,
            proportion(given == y, clusters, seed=seed),
            figures[place],
            p[place],
            proportion(given != right, clusters, seed=seed),
            figures[len(made) + place],
            int(one.changed.sum()),
        )
        for place, (mistake, one, given) in enumerate(made)
    ]
    return tuple(sorted(found, key=lambda one: one.difference.value)), idle


def _flips(
    answers: Sequence[IntArray],
    right: IntArray,
    labels: Sequence[str],
    clusters: IntArray,
    *,
    seed: int,
) -> tuple[Flips, ...]:
    """Count what each of `MILD` flips, and into which classes."""
    found = []
    for change, given in zip(MILD, answers, strict=True):
        flipped = given != right
        pairs = Counter(zip(right[flipped].tolist(), given[flipped].tolist(), strict=True))
        top = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))[:TOP]
        found.append(
            Flips(
                change.name,
                change.control,
                proportion(flipped, clusters, seed=seed),
                tuple((labels[a], labels[b], n) for (a, b), n in top),
            )
        )
    return tuple(found)


def _cosines(rows: FloatArray, right: FloatArray) -> DoubleArray:
    return np.asarray((rows.astype(np.float64) * right).sum(axis=1))


def _means(columns: Sequence[DoubleArray], clusters: IntArray, *, seed: int) -> list[Estimate]:
    """Estimate the mean of each column, all by the same draws."""
    table = np.stack(columns, axis=1)

    def statistic(weights: DoubleArray) -> DoubleArray:
        return np.asarray(weights @ table / weights.sum(axis=1, keepdims=True))

    return bootstrap(statistic, clusters, seed=seed, lowest=-1.0)
