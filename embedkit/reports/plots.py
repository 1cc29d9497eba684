"""Figures of results: dots with intervals, bars, and the ledger as a waterfall."""

from collections import Counter
from collections.abc import Callable, Sequence
from textwrap import fill
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from embedkit.audits.ledger import Ledger
from embedkit.audits.lines import HeadLedger
from embedkit.finetuning import Finetuned
from embedkit.heads import Evaluation
from embedkit.heads.comparison import Comparison
from embedkit.heads.curve import LearningCurve
from embedkit.maps import Map
from embedkit.reports.figures import (
    STYLE,
    Drawing,
    comparison_figure,
    confusion_heatmap,
    learning_curve_figure,
    training_curves,
)
from embedkit.reports.kinds import kind_of, rows_of
from embedkit.reports.map_figure import map_figure
from embedkit.results import Result

MOST = 30  # rows that are drawn
WIDTH, ROW = 6.4, 0.3  # inches
NAME = 48  # characters
ENDS = ("_low", "_high")


def plot(result: Result) -> Figure:
    """Return the figure of a result: one of its own, or its table drawn row by row."""
    for type_, draw in FIGURES.items():
        if isinstance(result, type_):
            return draw(result)
    return _drawn(result)


def waterfall(ledger: Ledger) -> Figure:
    """Draw what each cause takes off the reported accuracy of each head, down to the honest one."""
    with mpl.rc_context(STYLE):
        rows = max(len(one.lines) for one in ledger.heads) + 2
        figure = Drawing((WIDTH, len(ledger.heads) * (ROW * rows + 0.9)), layout="constrained")
        for place, head in enumerate(ledger.heads):
            _fall(figure.add_subplot(len(ledger.heads), 1, 1 + place), head, ledger.split)
    return figure


FIGURES: dict[type, Callable[[Any], Figure]] = {
    Evaluation: confusion_heatmap,
    Comparison: comparison_figure,
    LearningCurve: learning_curve_figure,
    Finetuned: training_curves,
    Ledger: waterfall,
    Map: map_figure,
}


def _fall(axes: Axes, head: HeadLedger, split: str) -> None:
    names, level = ["reported"], head.reported.value
    axes.barh(0, level, color="C0")
    for place, line in enumerate(head.lines, 1):
        names.append(line.cause.replace("_", " "))
        if line.effect.value == line.effect.value:
            loss = line.effect.value
            axes.barh(place, -loss, left=level, color="C3" if loss > 0 else "C2")
            level -= loss
    names.append("honest")
    axes.barh(len(names) - 1, head.honest.value, color="C0")
    for place, one in ((0, head.reported), (len(names) - 1, head.honest)):
        axes.plot([one.low, one.high], [place, place], color="black", linewidth=1.2)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"accuracy on {split}")
    axes.set_title(f"{head.head} head", fontsize=10)
    axes.grid(axis="x", alpha=0.3)


def _drawn(result: Result) -> Figure:
    kind = kind_of(result)
    columns, rows = rows_of(result)
    every = [dict(zip(columns, row, strict=True)) for row in rows]
    bars: list[tuple[Any, ...]] = []
    if not kind.drawn:
        bars += Counter(_name([one[name] for name in kind.by]) for one in every).most_common()
    for one in every if kind.drawn else ():
        if one[kind.drawn] is not None:
            ends = [one[f"{kind.drawn}{end}"] for end in ENDS if f"{kind.drawn}{end}" in columns]
            bars.append((_name([one[name] for name in kind.by]), one[kind.drawn], *ends))
    figure = _bars(bars, kind.drawn or "rows", kind.title(result))
    if not bars:  # what did not run, or found nothing
        words = fill(kind.sentence(result) or "nothing to draw", NAME)
        figure.axes[0].text(0.5, 0.5, words, ha="center", va="center", parse_math=False)
        figure.axes[0].set_axis_off()
    return figure


def _bars(bars: Sequence[tuple[Any, ...]], what: str, title: str) -> Figure:
    shown = bars[:MOST]
    with mpl.rc_context(STYLE):
        figure = Drawing((WIDTH, 1.1 + ROW * max(1, len(shown))), layout="constrained")
        axes = figure.add_subplot()
        for place, (_, value, *ends) in enumerate(shown):
            if len(ends) == 2 and None not in ends:
                axes.plot(ends, [place, place], color="C0", linewidth=2)
                axes.plot(value, place, marker="o", color="C0")
            else:
                axes.barh(place, value, color="C0")
        axes.set_yticks(range(len(shown)), [one[0] for one in shown], parse_math=False)
        axes.invert_yaxis()
        axes.set_xlabel(what.replace("_", " "))
        more = f" (first {MOST} of {len(bars)})" if len(bars) > MOST else ""
        axes.set_title(f"{_short(title)}{more}", fontsize=10, parse_math=False)
        axes.grid(axis="x", alpha=0.3)
    return figure


def _name(parts: Sequence[object]) -> str:
    return _short(" · ".join("–" if one is None else str(one) for one in parts))


def _short(text: str) -> str:
    """Return the end of a long name, which tells images apart, without what no font can draw."""
    shown = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
    return shown if len(shown) <= NAME else f"…{shown[1 - NAME :]}"
