"""The waterfall: from the reported accuracy down to what is left, a bar for each cause."""

from dataclasses import dataclass

import numpy as np

from embedkit.audits.headlines import CAUSES
from embedkit.audits.lines import HeadLedger
from embedkit.reports.text import share
from embedkit.statistics import Estimate

WIDTH = 560  # of the scale from 0 to 100%, in the drawing's units


@dataclass(frozen=True, slots=True)
class Bar:
    """One row; positions are in the drawing's units."""

    label: str
    value: str
    kind: str
    x: float
    width: float
    low: float
    high: float


def waterfall(ledger: HeadLedger) -> list[Bar]:
    """Return the rows of one head."""
    bars = [_bar("reported", ledger.reported)]
    level, gone = ledger.reported.value, 0
    for line in ledger.lines:
        name = f"− {CAUSES[line.cause]} ({line.removed - gone} removed)"
        gone = line.removed
        if line.reason:
            bars.append(Bar(name, f"not measured: {line.reason}", "loss", 0, 0, 0, 0))
            continue
        bars.append(_step(name, line.effect, level))
        level -= line.effect.value
    if ledger.follows is not None:
        bars.append(_step(f"− following {ledger.follows.column}", ledger.follows.effect, level))
    if np.isnan(ledger.honest.value):
        return bars
    return [*bars, _bar("what is left", ledger.honest)]


def points(effect: Estimate) -> str:
    """Write an effect on the accuracy."""
    return f"{100 * effect.value:.1f} points [{100 * effect.low:.1f}, {100 * effect.high:.1f}]"


def _step(label: str, effect: Estimate, level: float) -> Bar:
    """Return the bar of what is taken off from some level."""
    return Bar(
        label,
        points(effect),
        "loss" if effect.value >= 0 else "gain",
        WIDTH * min(level, level - effect.value),
        WIDTH * abs(effect.value),
        WIDTH * max(0.0, level - effect.high),
        WIDTH * min(1.0, level - effect.low),
    )


def _bar(label: str, estimate: Estimate) -> Bar:
    return Bar(
        label,
        share(estimate),
        "total",
        0,
        WIDTH * estimate.value,
        WIDTH * estimate.low,
        WIDTH * estimate.high,
    )
