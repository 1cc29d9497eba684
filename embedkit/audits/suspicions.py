"""Suspicions: what associations and reliance together say of a shortcut, in words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedkit.audits.associations import Association
from embedkit.audits.base import Statement, Verdict, effect_verdict
from embedkit.audits.blindfolds import Blindfold
from embedkit.audits.nuisance import SETS
from embedkit.audits.reliance import Reliance
from embedkit.statistics import Estimate, detectable

ALL = "all columns together"


@dataclass(frozen=True, slots=True)
class Judged:
    """An answer; see `Finding`."""

    verdict: Verdict
    statement: Statement
    summary: str
    estimate: Estimate
    points: float | None = None
    detectable: float | None = None


def sighted(heads: Sequence[Blindfold]) -> list[Blindfold]:
    """Return the heads that see no thumbnail, in which the subject may be seen too."""
    return [one for one in heads if one.sets[-1] != SETS[-1]]


def followed(reliances: Sequence[Reliance], material: float) -> Reliance | None:
    """Return the shortcut that answers are shown to take, that worth most; None without any."""
    return _most([one for one in reliances if one.verdict(material) is Verdict.PRESENT])


def suspected(reliances: Sequence[Reliance], material: float) -> Reliance | None:
    """Return the cause that answers are shown to follow, be that honest or not; None likewise."""
    return followed(reliances, material) or _most([one for one in reliances if one.shown(material)])


def _most(shown: Sequence[Reliance]) -> Reliance | None:
    # A column with a name says more than all of them, even where all are worth more.
    named = [one for one in shown if one.cause != ALL]
    return max(named or shown, key=lambda one: one.effect.value, default=None)


def doubtful(reliances: Sequence[Reliance]) -> Reliance | None:
    """Return the cause that answers may follow most by what is known; None where none is asked."""
    measured = [one for one in reliances if not one.reason]
    return max(measured or reliances[:1], key=lambda one: one.effect.high, default=None)


def unfollowed(reliances: Sequence[Reliance], unasked: int, material: float) -> Verdict:
    """Judge where no cause is shown to be followed: absent only if every one was asked and is not.

    Args:
        reliances: of those asked about.
        unasked: columns that are tied to the label and were not asked about.
        material: least accuracy that is worth a headline.
    """
    verdicts = [one.verdict(material) for one in reliances]
    every = bool(verdicts) and not unasked and all(one is Verdict.ABSENT for one in verdicts)
    return Verdict.ABSENT if every else Verdict.INCONCLUSIVE


def untold(heads: Sequence[Blindfold], reported: Estimate, material: float) -> Verdict:
    """Judge where nothing is tied to the label: absent if the best head knows nothing that matters.

    Args:
        heads: on nuisances without the thumbnail.
        reported: accuracy of the head on pictures on the test split.
        material: least accuracy that is worth a headline.
    """
    if not heads:
        return Verdict.INCONCLUSIVE
    return effect_verdict(_best(heads).crossed.gain, reported, p=1.0, material=material)


def judge(
    telling: Sequence[Association],
    reliances: Sequence[Reliance],
    heads: Sequence[Blindfold],
    reported: Estimate,
    *,
    unasked: int,
    head: str,
    confirmed: bool | None,
    material: float,
) -> Judged:
    """Judge.

    A shortcut is present where the head on pictures is shown to follow what is tied to the label
    and cannot be of the subject, or could be and a head on pictures made alike knows less; and, as
    an association, where a column marks the whole of a class and it cannot be excluded that the
    head follows it, for then (nearly) no image is left that could show it. It is absent where
    nothing is tied to the label, or where the head is shown not to follow anything that is.

    Args:
        telling: columns that are tied to the label.
        reliances: of the first of them, and of all together.
        heads: on nuisances without the thumbnail.
        reported: accuracy of the head on pictures on the test split.
        unasked: columns that are tied to the label, of which nobody asked whether the head follows.
        head: kind of the head on pictures.
        confirmed: see `Clues`.
        material: least accuracy that is worth a headline.
    """
    worst = doubtful(reliances)
    if worst is None:
        return _nothing(heads, reported, material)
    wide = [one for one in telling if one.marker.class_wide]
    best = followed(reliances, material)
    if best is not None:
        first = next((one for one in telling if one.name == best.cause), next(iter(telling), None))
        text = f"{_tied(first, telling, heads)} {_uses(best, head)}"
        if wide and first is not wide[0]:
            text = f"{_tied(wide[0], (), heads)} {text}"
        return Judged(
            Verdict.PRESENT, Statement.MATCHED, text, best.effect, 100 * best.effect.value
        )
    first = telling[0] if telling else None
    text = _tied(first, telling, heads)
    marking = next((r for r in reliances if wide and r.cause == wide[0].name), reliances[0])
    if wide and marking.verdict(material) is not Verdict.ABSENT:
        text = _tied(wide[0], telling, heads)
        if marking.shown(material):
            text += f" {_uses(marking, head)} {_perhaps(confirmed)}"
        else:
            text += f" {_unknown(marking, head)}"
        return Judged(Verdict.PRESENT, Statement.ASSOCIATION, text, wide[0].gain)
    honest = suspected(reliances, material)
    if honest is not None:
        first = next((one for one in telling if one.name == honest.cause), first)
        text = f"{_tied(first, telling, heads)} {_uses(honest, head)} {_perhaps(confirmed)}"
        points = 100 * honest.effect.value
        return Judged(
            Verdict.INCONCLUSIVE, Statement.ASSOCIATION, text, honest.effect, points,
            100 * max(material, detectable(honest.effect)),
        )  # fmt: skip
    verdict = unfollowed(reliances, unasked, material)
    if verdict is Verdict.ABSENT:
        text += f" {_unused(worst, head)}"
    else:
        text += f" {_unknown(worst, head)}"
    if unasked:
        text += f" {unasked} more that are tied to the class were not asked about."
    if worst.reason:
        estimate = first.gain if first is not None else _best(heads).crossed.gain
        least = None if np.isnan(worst.least) else 100 * worst.least
        return Judged(verdict, Statement.ASSOCIATION, text, estimate, None, least)
    return Judged(
        verdict,
        Statement.MATCHED if verdict is Verdict.ABSENT else Statement.ASSOCIATION,
        text,
        worst.effect,
        100 * worst.effect.value,
        100 * max(material, detectable(worst.effect)),
    )


def _nothing(heads: Sequence[Blindfold], reported: Estimate, material: float) -> Judged:
    if not heads:  # only the thumbnail varies
        nothing = Estimate(np.nan, np.nan, np.nan, 0)
        text = "Nothing but the thumbnail varies."
        return Judged(Verdict.INCONCLUSIVE, Statement.ASSOCIATION, text, nothing)
    score = _best(heads).crossed
    verdict = untold(heads, reported, material)
    least = 100 * max(material, detectable(score.gain))
    unsure = ""
    if verdict is not Verdict.ABSENT:
        unsure = f" Four of five such tests would find {least:.1f} points."
    text = (
        f"No column says enough of the class to be named; a head that sees nothing but such "
        f"columns is right on {score.accuracy.value:.1%}, the commonest class on "
        f"{score.majority.value:.1%}.{unsure}"
    )
    return Judged(verdict, Statement.ASSOCIATION, text, score.gain, None, least)


def _best(heads: Sequence[Blindfold]) -> Blindfold:
    return max(heads, key=lambda one: one.crossed.gain.value)


def _tied(
    first: Association | None, telling: Sequence[Association], heads: Sequence[Blindfold]
) -> str:
    if first is None:
        best = _best(heads).crossed
        return (
            f"The class can be read off the file: a head that sees no picture is right on "
            f"{best.accuracy.value:.1%} (commonest class "
            f"{best.majority.value:.1%}), by several columns together."
        )
    whole = "marks a whole class" if first.marker.class_wide else "is tied to the class"
    majority = first.accuracy - first.gain.value
    text = (
        f"{first.name} {whole}: {first.marker.sentence()}; alone it is right on "
        f"{first.accuracy:.1%} (commonest class {majority:.1%})."
    )
    others = [one.name for one in telling if one is not first]
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        also = "So is" if len(others) == 1 else "So are"
        text += f" {also} {', '.join(others[:3])}{more}."
    return text


def _uses(one: Reliance, head: str) -> str:
    return (
        f"The {head} head follows {'them' if one.cause == ALL else 'it'}: it is right on "
        f"{one.aligned.value:.1%} of {one.aligned.n} test images where the file points to their "
        f"class, on {one.conflicting.value:.1%} of {one.conflicting.n} where it points to another. "
        f"Class and hardness alike, that carries {_points(one.effect)} of "
        f"{one.reported.value:.1%}."
    )


def _perhaps(confirmed: bool | None) -> str:
    asked = (
        "a head on pictures that were made alike would tell ('embedkit audit --views')"
        if confirmed is None
        else "a head on pictures that were made alike is not shown to know less"
    )
    return f"The subject may look so, and then to follow it is honest: an association; {asked}."


def _unused(one: Reliance, head: str) -> str:
    return (
        f"The {head} head does not follow {one.cause}: that would "
        f"carry {_points(one.effect)} of its accuracy, which is nothing that matters."
    )


def _unknown(one: Reliance, head: str) -> str:
    if one.reason:
        least = (
            ""
            if np.isnan(one.least)
            else f"; four of five such tests would find a gap of {100 * one.least:.0f} points"
        )
        return f"Whether the {head} head uses {one.cause} cannot be told: {one.reason}{least}."
    return (
        f"It is an association: that the {head} head uses {one.cause} is neither shown nor "
        f"excluded ({_points(one.effect)})."
    )


def _points(effect: Estimate) -> str:
    return f"{100 * effect.value:.1f} points [{100 * effect.low:.1f}, {100 * effect.high:.1f}]"
