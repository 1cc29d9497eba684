"""What every audit returns: one figure, how certain it is, and what it rests on."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from embedkit.statistics import Estimate


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


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one audit.

    Attributes:
        name: of the audit.
        verdict: the answer.
        statement: what kind of claim it is.
        summary: one sentence for people.
        estimate: the figure with its interval; None where nothing was measured.
        points: the effect in accuracy points, where it can be given.
        not_run_reason: why the audit could not run and what would make it run.
    """

    name: str
    verdict: Verdict
    summary: str
    statement: Statement = Statement.ASSOCIATION
    estimate: Estimate | None = None
    points: float | None = None
    not_run_reason: str | None = None

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
            **{key: figure.get(key) for key in ("value", "low", "high", "n")},
            "points": None if self.points is None else round(self.points, 4),
            "not_run_reason": self.not_run_reason,
            "details": self.details(),
        }


def not_run(name: str, reason: str) -> Finding:
    """Return the finding of an audit that could not run."""
    return Finding(
        name=name, verdict=Verdict.NOT_RUN, summary=f"Not run: {reason}", not_run_reason=reason
    )


def effect_verdict(effect: Estimate, test_interval: Estimate) -> Verdict:
    """Judge an effect on the accuracy by the materiality band.

    Material is one accuracy point, or half the width of the test interval where that is larger.
    An effect is present if its interval lies above zero and its value is material, absent if its
    interval lies inside the band, and otherwise inconclusive.
    """
    band = max(MATERIAL, (test_interval.high - test_interval.low) / 2)
    if np.isnan(effect.value):
        return Verdict.INCONCLUSIVE
    if effect.low > 0 and effect.value >= MATERIAL:
        return Verdict.PRESENT
    return Verdict.ABSENT if effect.high < band and effect.low > -band else Verdict.INCONCLUSIVE
