"""The gate: limits on findings, for continuous integration."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from embedkit.audits import Audit
from embedkit.audits.base import Finding, Verdict
from embedkit.audits.baselines import Baseline
from embedkit.audits.limits import End, Limit, figure_of
from embedkit.audits.paths import Figure, figures_of
from embedkit.audits.remainders import Remainder, take_off
from embedkit.results import Result

ENDS = {End.VALUE: "value", End.LOW: "lower end", End.HIGH: "upper end"}
NOTHING_OFF = "{} is not counted anew without known findings: the baseline takes nothing off it"


class Outcome(StrEnum):
    """What became of a limit; a gate is closed by `EXCEEDED` and `NOT_JUDGED`."""

    HOLDS = "holds"
    EXCEEDED = "exceeded"
    NOT_JUDGED = "not_judged"
    ALLOWED = "allowed"


@dataclass(frozen=True, slots=True)
class Judged:
    """A limit and what became of it.

    Attributes:
        limit: that was given.
        outcome: of it; `ALLOWED` where it was not judged and that is to pass.
        sentence: why, in words.
        figure: that was compared; None where there is none.
        note: what the baseline did not do for it; empty if nothing is to be said.
    """

    limit: Limit
    outcome: Outcome
    sentence: str
    figure: Figure | None = None
    note: str = ""

    @property
    def failed(self) -> bool:
        """Whether it closes the gate."""
        return self.outcome in (Outcome.EXCEEDED, Outcome.NOT_JUDGED)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "limit": self.limit.text,
            "outcome": self.outcome.value,
            "sentence": self.sentence,
            "figure": self.figure and self.figure.to_dict(),
            "baseline": self.note or None,
        }


@dataclass(frozen=True, slots=True)
class Gate(Result):
    """All limits on one audit.

    Attributes:
        judged: each, in the order given.
        remainder: the audit beside a baseline; None without one.
    """

    judged: tuple[Judged, ...]
    remainder: Remainder | None

    @property
    def exit_code(self) -> int:
        """Exit status of the program: 1 where a limit is exceeded or could not be judged."""
        return int(any(one.failed for one in self.judged))

    def to_dict(self) -> dict[str, Any]:
        """Return what is added to `embedkit.audit/1`."""
        return {
            "exit_code": self.exit_code,
            "limits": [one.to_dict() for one in self.judged],
            "baseline": self.remainder and self.remainder.to_dict(),
        }


def judge(
    result: Audit,
    limits: Sequence[Limit],
    *,
    end: End = End.VALUE,
    baseline: Baseline | None = None,
    allow_not_run: bool = False,
) -> Gate:
    """Compare the figures of an audit with limits.

    Args:
        result: audit.
        limits: see `parse_limits`.
        end: which number of an estimate is compared; a limit that names one (`NAME.high`) has its
            own.
        baseline: findings that are known; what is counted is counted without them.
        allow_not_run: whether a limit passes that could not be judged.

    Raises:
        InputError: a limit on a figure that the audit does not name, or a baseline of another data
            set.
    """
    remainder = None if baseline is None else take_off(result, baseline)
    figures = figures_of(result)
    changed = {} if remainder is None else remainder.figures
    figures |= {name: one for name, one in changed.items() if name in figures}
    found = {one.name: one for one in result.findings}
    judged = []
    for limit in limits:
        one = _judge(limit, found.get(limit.audit), figures, end, allow_not_run)
        if baseline is not None and one.figure is not None and _base(one.figure, changed) is None:
            one = replace(one, note=NOTHING_OFF.format(limit.name))
        judged.append(one)
    return Gate(tuple(judged), remainder)


def _judge(
    limit: Limit, finding: Finding | None, figures: dict[str, Figure], end: End, allowed: bool
) -> Judged:
    if finding is None or finding.verdict is Verdict.NOT_RUN:
        why = (finding and finding.not_run_reason) or "it was not asked for"
        return _not_judged(limit, f"{limit.audit} did not run ({why})", allowed)
    figure, number = figure_of(limit, figures, end)
    if math.isnan(number):
        return _not_judged(limit, f"{limit.name} could not be measured", allowed)
    if finding.verdict is Verdict.INCONCLUSIVE and finding.missed and not allowed:
        return _not_judged(limit, f"{limit.audit} may have missed some ({finding.missed})", allowed)
    shown = _digits(figure.value, limit.bound)
    if figure.low is not None and figure.high is not None:
        shown += f" [{figure.low:.4g}, {figure.high:.4g}]"
    asked = f"at {'least' if limit.at_least else 'most'}"
    if number != figure.value:
        asked = f"of {_digits(number, limit.bound)}, the {ENDS[end]} of the interval, {asked}"
    return Judged(
        limit,
        Outcome.HOLDS if limit.holds(number) else Outcome.EXCEEDED,
        f"{limit.name} is {shown}; {asked} {limit.bound:g} is "
        f"{'asked for' if limit.at_least else 'allowed'}",
        figure,
    )


def _digits(number: float, bound: float) -> str:
    """Return a number with as many digits as it takes to see on which side of the bound it is."""
    shown = (f"{number:.{digits}g}" for digits in range(4, 17))
    sided = (text for text in shown if _side(float(text), bound) == _side(number, bound))
    return next(sided, repr(number))


def _side(number: float, bound: float) -> int:
    return (number > bound) - (number < bound)


def _not_judged(limit: Limit, sentence: str, allowed: bool) -> Judged:
    if allowed:
        return Judged(limit, Outcome.ALLOWED, f"{sentence}, which --allow-not-run lets pass")
    return Judged(limit, Outcome.NOT_JUDGED, f"{sentence}; --allow-not-run lets that pass")


def _base(figure: Figure, changed: dict[str, Figure]) -> Figure | None:
    """Return the figure counted anew that a figure is, or is a part of."""
    return changed.get(figure.name) or changed.get(figure.name.rpartition(".")[0])
