"""Causes named by prompts: does the label go with what CLIP sees, more than with anything else?"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from embedkit.audits.associations import DRAWS, LEAST, by_value
from embedkit.audits.base import ALPHA, Statement, Verdict, rounded
from embedkit.audits.causes import Cause
from embedkit.audits.clues import Clues
from embedkit.audits.columns import code
from embedkit.audits.cues import Cues
from embedkit.audits.nuisance import SETS, Column
from embedkit.audits.rankings import (
    areas_by_class,
    areas_of,
    explained_by_class,
    placements,
    ranks_of,
)
from embedkit.audits.refits import Bench
from embedkit.audits.relabellings import relabellings
from embedkit.audits.reliance import Reliance
from embedkit.heads.classifier import fold_numbers
from embedkit.statistics import Estimate, bootstrap, holm
from embedkit.vectors import BoolArray, DoubleArray, IntArray

PAIRS = 1999  # of unrelated things, each against another
STEP = 250  # of those at once
SHOWN = 12  # causes that get an interval
SAID = 2  # causes that get a sentence of their own


@dataclass(frozen=True, slots=True)
class Prompted:
    """What one cause, as CLIP guesses it, has to do with the label.

    Attributes:
        cause: as asked.
        label: the class that it tells best from the others.
        more: whether that class scores higher, rather than lower.
        pairs: share of pairs of an image of the class and another that are in that order (the area
            under the ROC curve), 0.5 to 1; with an interval for the first causes.
        explained: share of the variance of ranks that lies between classes, 0 to 1.
        p: that the label has nothing to do with it, by permutation over clusters.
        unrelated_p: that it says no more of the label than something unrelated.
        adjusted: the larger of both, by Holm over all causes.
        unrelated: the largest such share of pairs by something unrelated, for the same class.
        reliance: whether the head on pictures follows it; None where it is not present.
    """

    cause: Cause
    label: str
    more: bool
    pairs: Estimate
    explained: float
    p: float
    unrelated_p: float
    adjusted: float
    unrelated: float
    reliance: Reliance | None = None

    @property
    def present(self) -> bool:
        """Whether the label goes with it, and strongly enough for it to be named."""
        return self.adjusted < ALPHA and self.explained >= LEAST

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "cause": self.cause.name,
            "prompts": [{"prompt": this, "opposite": that} for this, that in self.cause.prompts],
            "own": self.cause.own,
            "guessed": True,
            "label": self.label,
            "scores": "higher" if self.more else "lower",
            "pairs": self.pairs.to_dict(),
            "explained": rounded(self.explained),
            "p": rounded(self.p),
            "p_unrelated": rounded(self.unrelated_p),
            "p_adjusted": rounded(self.adjusted),
            "unrelated_at_most": rounded(self.unrelated),
            "present": self.present,
            "statement": Statement.ASSOCIATION.value,
            "does_the_head_use_it": None if self.reliance is None else self.reliance.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Prompts:
    """All causes that were tested.

    Attributes:
        backbone: whose space the pictures and prompts were compared in.
        unrelated: pairs of unrelated things that each cause was compared with.
        label: the commonest class.
        needed: share of pairs in one order from which the first cause that tells that class would
            have been present.
        causes: what tells most first.
    """

    backbone: str
    unrelated: int
    label: str
    needed: float
    causes: tuple[Prompted, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "backbone": self.backbone,
            "causes_tested": len(self.causes),
            "unrelated_pairs": self.unrelated,
            "commonest": self.label,
            "pairs_needed": rounded(self.needed),
            "causes": [one.to_dict() for one in self.causes],
        }

    def sentence(self, head: str, material: float) -> str:
        """Say it for people.

        Args:
            head: kind of the head on pictures.
            material: least accuracy that is worth a headline.
        """
        found = [one for one in self.causes if one.present]
        if not found:
            names = ", ".join(repr(one.cause.name) for one in self.causes[:3])
            return (
                f"None of {len(self.causes)} causes that {self.backbone} was asked about ({names} "
                "…) goes with the label more than unrelated things do; one that puts "
                f"{self.label!r} above or below the others in {self.needed:.0%} of pairs would "
                "have been named."
            )
        said = [_said(one, self.backbone, self.unrelated) for one in found[:SAID]]
        more = ", ".join(repr(one.cause.name) for one in found[SAID:])
        used = [_used(one, head, material) for one in found[:SAID]]
        return " ".join(
            [
                *(text for pair in zip(said, used, strict=True) for text in pair),
                *([f"So it does with {more}."] if more else []),
                "These are guesses about pictures and not facts about anybody; whether they are "
                "what the label means is for you to say.",
            ]
        )


def name_causes(cues: Cues, clues: Clues, bench: Bench) -> Prompts:
    """Test every cause against the label, what says most of it first.

    In a space of CLIP any direction goes with any label a little, for pictures of one class have
    more in common than the label. So a cause is named only where the label goes with it more than
    chance allows (labels permuted over clusters) and more than with the difference of two things
    that are in no picture; the larger of both p-values counts. The statistic is that of Kruskal
    and Wallis as a share; for two classes it grows with the area under the ROC curve.

    Args:
        cues: of all images of the store.
        clues: which images are compared, and their classes.
        bench: of the head that is asked whether it follows what is named.
    """
    y, labels, seed = clues.y, clues.labels, bench.seed
    k, scores = len(labels), cues.scores[clues.rows]
    drawn = relabellings(y, clues.clusters, draws=DRAWS, seed=seed)
    folds = fold_numbers(y, clues.clusters, seed=seed)
    ranks = ranks_of(scores)
    seen, by_chance = explained_by_class(y[None], ranks, k)[0], explained_by_class(drawn, ranks, k)
    others, reached = _unrelated(cues.unrelated[clues.rows], y, k, seed=seed)
    p, unrelated_p = (
        (1 + (values >= seen - 1e-9).sum(axis=0)) / (1 + len(values))
        for values in (by_chance, others[:, None])
    )
    adjusted = holm(np.maximum(p, unrelated_p).tolist())
    areas = areas_by_class(y, ranks, k)
    found: list[Prompted] = []
    told: dict[str, DoubleArray] = {}
    inside: list[BoolArray] = []
    placed: list[DoubleArray] = []
    for c in sorted(range(len(seen)), key=lambda c: (adjusted[c] >= ALPHA, -seen[c], c)):
        cause, area = cues.causes[c], areas[:, c].tolist()
        # Of two classes one scores as much higher as the other lower: the higher one is named.
        best = max(range(k), key=lambda label: (round(abs(area[label] - 0.5), 9), area[label]))
        more = area[best] >= 0.5
        one = Prompted(
            cause,
            labels[best],
            more,
            Estimate(max(area[best], 1 - area[best]), np.nan, np.nan, len(y)),
            float(seen[c]),
            float(p[c]),
            float(unrelated_p[c]),
            adjusted[c],
            float(reached[best]),
        )
        if one.present or len(found) < SHOWN:
            inside.append(y == best)
            placed.append(placements(scores[:, c] if more else -scores[:, c], inside[-1]))
        if one.present:
            coded = code(Column(cause.name, SETS[-1], cues.scores[:, c]), clues.rows)
            told[cause.name] = by_value(coded, y, folds, k)
        found.append(one)
    statistic = areas_of(np.stack(placed, axis=1), np.stack(inside, axis=1).astype(np.float64))
    pairs = bootstrap(statistic, clues.clusters, seed=seed)
    found = [
        *(replace(one, pairs=made) for one, made in zip(found, pairs, strict=False)),
        *found[len(pairs) :],
    ]
    used = {one.cause: one for one in clues.reliances(bench, bench.first, told)} if told else {}
    limits = [_limit(values, len(seen)) for values in (others, *by_chance.T)]
    sizes = np.bincount(y, minlength=k)
    share = float(sizes.max() / len(y))
    # Of a class that is all that differs, for which both figures say the same.
    needed = min(1.0, 0.5 + np.sqrt(max(LEAST, *limits) / (12 * share * (1 - share))))
    return Prompts(
        cues.backbone,
        len(others),
        labels[int(sizes.argmax())],
        float(needed),
        tuple(replace(one, reliance=used.get(one.cause.name)) for one in found),
    )


def _unrelated(
    scores: DoubleArray, y: IntArray, k: int, *, seed: int
) -> tuple[DoubleArray, DoubleArray]:
    """Return what `PAIRS` differences of two unrelated things say of the label.

    Returns:
        (m,) explained; and for each class the largest share of pairs in one order, (k,).
    """
    first, second = np.triu_indices(scores.shape[1], 1)
    chosen = np.random.default_rng(seed).permutation(len(first))[:PAIRS]
    explained, reached = [], np.full(k, 0.5)
    for start in range(0, len(chosen), STEP):
        part = chosen[start : start + STEP]
        ranks = ranks_of(scores[:, first[part]] - scores[:, second[part]])
        explained.append(explained_by_class(y[None], ranks, k)[0])
        away = np.abs(areas_by_class(y, ranks, k) - 0.5).max(axis=1)
        reached = np.maximum(reached, 0.5 + away)
    return np.concatenate(explained), reached


def _limit(by_chance: DoubleArray, tests: int) -> float:
    """Return the value above which the smallest of several p-values, by Holm, is below `ALPHA`."""
    allowed = int(np.ceil(ALPHA / tests * (1 + len(by_chance)))) - 2
    return float(np.sort(by_chance)[::-1][allowed]) if allowed >= 0 else 1.0


def _said(one: Prompted, backbone: str, unrelated: int) -> str:
    than = "higher" if one.more else "lower"
    return (
        f"The label goes with {one.cause.name!r}, as {backbone} guesses it: {one.label!r} scores "
        f"{than} than another image in {one.pairs.value:.0%} [{one.pairs.low:.0%}, "
        f"{one.pairs.high:.0%}] of pairs (50% by chance; the best of {unrelated} unrelated pairs "
        f"of things {one.unrelated:.0%})."
    )


def _used(one: Prompted, head: str, material: float) -> str:
    reliance = one.reliance
    if reliance is None or reliance.reason:
        why = "" if reliance is None else f": {reliance.reason}"
        return f"Whether the {head} head follows that cannot be told{why}."
    effect = reliance.effect
    points = f"{100 * effect.value:.1f} points [{100 * effect.low:.1f}, {100 * effect.high:.1f}]"
    return {
        Verdict.PRESENT: f"The {head} head follows that: it carries {points} of its accuracy.",
        Verdict.ABSENT: f"The {head} head does not follow that ({points}).",
    }.get(
        reliance.verdict(material),
        f"That the {head} head follows it is neither shown nor excluded ({points}).",
    )
