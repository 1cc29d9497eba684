"""Looks: what a head reaches on one view of the pictures, beside the pictures as they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from embedkit.audits.base import ALPHA, MATERIAL, Statement, rounded
from embedkit.statistics import Estimate

# What a headline asks for, and how it says what was found.
WITHOUT = {
    "face removed": ("With the face removed", "without the face"),
    "border alone": ("On the border alone", "from the border"),
    "centre blanked": ("With the centre blanked", "without the centre"),
}

ALIKE = "all alike"  # the view that makes pictures alike in every way


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a head reaches that was trained and tested on one view of the pictures.

    Attributes:
        name: of the view.
        words: what is seen.
        neutral: whether the view makes pictures alike, rather than take something away.
        accuracy: of the head on the view.
        plain: of the head on the pictures as they are, on the same images.
        difference: accuracy - plain, paired.
        p: of the difference, by drawing signs for clusters; adjusted by Holm over all views.
        majority: of always the commonest class.
        above: accuracy - majority, paired.
        p_above: of that, adjusted likewise.
        reason: why there is none of this; empty if there is.
    """

    name: str
    words: str
    neutral: bool
    accuracy: Estimate
    plain: Estimate
    difference: Estimate
    p: float
    majority: Estimate
    above: Estimate
    p_above: float
    reason: str = ""

    def tells(self, material: float = MATERIAL) -> bool:
        """Say whether the class can be told from the view."""
        return bool(
            not self.reason
            and self.p_above < ALPHA
            and self.above.low > 0
            and self.above.value >= material
        )

    def costs(self, material: float = MATERIAL) -> bool:
        """Say whether the head reaches less than on the pictures as they are."""
        return bool(
            not self.reason
            and self.p < ALPHA
            and self.difference.high < 0
            and -self.difference.value >= material
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        figures = ("accuracy", "plain", "difference", "majority", "above")
        estimates = {name: getattr(self, name).to_dict() for name in figures}
        return {
            "view": self.name,
            "words": self.words,
            "neutralised": self.neutral,
            **(dict.fromkeys(figures) if self.reason else estimates),
            "p_adjusted": rounded(self.p),
            "p_above_adjusted": rounded(self.p_above),
            "statement": Statement.CAUSAL.value,
            "not_run_reason": self.reason or None,
        }


def of_taken(one: Look, material: float) -> str:
    """Say whether the class can be told without what a view of `WITHOUT` takes away."""
    start, how = WITHOUT[one.name]
    if one.reason:
        return f"{start}: not run ({one.reason})."
    reached = (
        f"{one.accuracy.value:.1%} [{100 * one.accuracy.low:.1f}, {100 * one.accuracy.high:.1f}] "
        f"of {one.plain.value:.1%}, the commonest class {one.majority.value:.1%}"
    )
    if one.tells(material):
        return f"{start} a head still reaches {reached}: the class can be told {how}."
    return f"{start} a head reaches {reached}: not shown to tell the class."


def of_neutral(looks: Sequence[Look], material: float) -> list[str]:
    """Say what making pictures alike costs: all ways at once, and the costliest by itself."""
    if not looks:
        return []
    alike = next(one for one in looks if one.name == ALIKE)
    said = [
        f"On pictures made alike ({alike.words}) a head trained on them reaches "
        f"{alike.accuracy.value:.1%}, {_points(alike)}."
    ]
    costly = [one for one in looks if one is not alike and one.costs(material)]
    if costly:
        worst = min(costly, key=lambda one: one.difference.value)
        said.append(f"Of single ways, {worst.name} ({worst.words}) costs most: {_points(worst)}.")
    return said


def _points(one: Look) -> str:
    low, high = 100 * one.difference.low, 100 * one.difference.high
    return f"{100 * one.difference.value:+.1f} points [{low:+.1f}, {high:+.1f}]"
