"""What every audit returns: one figure, how certain it is, and what it rests on."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from embedkit.audits.methods import METHODS
from embedkit.results import Result
from embedkit.statistics import Estimate, proportion, upper_limit
from embedkit.vectors import BoolArray, IntArray


class Verdict(StrEnum):
    """The four answers of an audit."""

    PRESENT = "present"
    ABSENT = "absent"
    INCONCLUSIVE = "inconclusive"
    NOT_RUN = "not_run"


class Statement(StrEnum):
    """What kind of claim a finding makes; only a head that was trained again shows a cause."""

    ASSOCIATION = "association"
    MATCHED = "matched"
    CAUSAL = "causal for this head"


# An effect below one accuracy point is not worth a headline, whatever its p-value.
MATERIAL = 0.01
ALPHA = 0.05


@dataclass(frozen=True, kw_only=True)
class Finding(Result):
    """The result of one audit.

    Attributes:
        name: of the audit.
        verdict: the answer.
        statement: what kind of claim it is.
        summary: one sentence for people.
        estimate: the figure with its interval; None where nothing was measured.
        points: the effect in accuracy points, where it can be given.
        detectable: what could have been found, in points: an effect on the accuracy that 4 of 5
            such tests find, or a share of images that is seen 19 times in 20.
        not_run_reason: why the audit could not run and what would make it run.
        missed: why it may have missed what it looks for, so that finding none means little.
    """

    name: str
    verdict: Verdict
    summary: str
    statement: Statement = Statement.ASSOCIATION
    estimate: Estimate | None = None
    points: float | None = None
    detectable: float | None = None
    not_run_reason: str | None = None
    missed: str = ""

    def details(self) -> dict[str, Any]:
        """Return what only this audit has, as JSON."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as `embedkit.audit/1` has it."""
        figure = {} if self.estimate is None else self.estimate.to_dict()
        return {
            "name": self.name,
            "verdict": self.verdict.value,
            "statement": self.statement.value,
            "summary": self.summary,
            "method": METHODS.get(self.name, ""),
            **{key: figure.get(key) for key in ("value", "low", "high", "n")},
            "points": None if self.points is None else round(self.points, 4),
            "detectable": None if self.detectable is None else round(self.detectable, 4),
            "not_run_reason": self.not_run_reason,
            "may_have_missed_because": self.missed or None,
            "details": self.details(),
        }


def not_run(name: str, reason: str) -> Finding:
    """Return the finding of an audit that could not run."""
    return Finding(
        name=name, verdict=Verdict.NOT_RUN, summary=f"Not run: {reason}", not_run_reason=reason
    )


def effect_verdict(
    effect: Estimate, test_interval: Estimate, *, p: float, material: float = MATERIAL
) -> Verdict:
    """Judge an effect on the accuracy by the materiality band.

    The band is what is material, or half the width of the test interval where that is larger. An
    effect is present if its interval lies above zero, its p-value is below 5% and its value is
    material; absent if its interval lies inside the band; and otherwise inconclusive.

    Args:
        effect: with its interval.
        test_interval: of the accuracy.
        p: of the effect, adjusted for those judged with it.
        material: least accuracy that is worth a headline.
    """
    band = max(material, (test_interval.high - test_interval.low) / 2)
    if np.isnan(effect.value):
        return Verdict.INCONCLUSIVE
    if effect.low > 0 and p < ALPHA and effect.value >= material:
        return Verdict.PRESENT
    return Verdict.ABSENT if effect.high < band and effect.low > -band else Verdict.INCONCLUSIVE


def share_verdict(
    marked: BoolArray, clusters: IntArray, *, material: float = MATERIAL, seed: int
) -> tuple[Estimate, Verdict]:
    """Estimate a share of images that should be none, and judge it.

    Any marked image is present. Where there is none, the share is absent if its upper limit, of "0
    of so many clusters", is not material.

    Args:
        marked: (n,) images.
        clusters: (n,) what a bootstrap keeps together.
        material: least share that is worth a headline.
        seed: of the bootstrap.
    """
    n = len(marked)
    if marked.any():
        return proportion(marked, clusters, seed=seed), Verdict.PRESENT
    estimate = Estimate(0.0, 0.0, upper_limit(len(np.unique(clusters))), n)
    return estimate, Verdict.ABSENT if estimate.high <= material else Verdict.INCONCLUSIVE


def rounded(value: float) -> float | None:
    """Return a figure as JSON has it: six decimals, None for NaN."""
    return None if np.isnan(value) else round(value, 6)
