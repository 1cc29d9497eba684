"""The map as a figure: points, a legend beside them, and how far to trust it below."""

import textwrap
from collections import Counter
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from embedkit.maps import Map
from embedkit.maps.columns import FAINT, SHARED, Column, colour_numbers
from embedkit.reports.figures import STYLE
from embedkit.reports.palettes import CATEGORIES, NONE, OTHER, RAMP
from embedkit.vectors import FloatArray

WIDTH, HEIGHT = 10.4, 7.6  # inches
LETTERS = 150  # of a line below the map
LONGEST = 34  # letters of a legend's entry


def map_figure(made: Map) -> Figure:
    """Draw a map, coloured by one column; the legend lies beside it and covers nothing."""
    column = made.columns[made.colour_by] if made.colour_by else _nothing(len(made.places))
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH, HEIGHT))
        axes = figure.add_axes((0.02, 0.17, 0.66, 0.74))
        # Drawn in an order that goes with nothing, so that no class always covers another.
        order = np.random.default_rng(0).permutation(len(made.places))
        size = float(np.clip(3e4 / len(made.places), 1.5, 30))
        if isinstance(column.values, np.ndarray):
            _numbers(figure, axes, made, column.values[order], order, size)
        else:
            _classes(axes, made, column, order, size)
        if made.added:
            places = np.stack([one.place for one in made.added])
            axes.plot(*places.T, "D", ms=7, mfc="none", mec="black", mew=1.4, ls="", zorder=3)
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_xticks([])
        axes.set_yticks([])
        for side in axes.spines.values():
            side.set_color("#d0d7de")
        figure.text(0.02, 0.955, _plain(made.title, 90), fontsize=13, parse_math=False)
        if made.colour_by:
            shown = f"coloured by {_plain(made.colour_by, 60)}"
            figure.text(0.02, 0.925, shown, parse_math=False)
        lines = [
            made.method,
            f"This map is {made.honesty.verdict}.",
            *made.honesty.sentences(len(made.places)),
        ]
        if column.note:
            lines.append(column.note)
        text = "\n".join("\n".join(textwrap.wrap(line, LETTERS)) for line in lines)
        figure.text(0.02, 0.155, text, va="top", fontsize=8, color="#444444", parse_math=False)
    return figure


def _nothing(n: int) -> Column:
    """Return what is shown of images of which nothing is known."""
    return Column("", "data set", ("pictures",) * n)


def _numbers(
    figure: Figure, axes: Axes, made: Map, values: np.ndarray, order: np.ndarray, size: float
) -> None:
    places = made.places[order]
    none = np.isnan(values)
    _scatter(axes, places[none], [NONE] * int(none.sum()), size)
    ramp = LinearSegmentedColormap.from_list("embedkit", list(RAMP))
    drawn = _scatter(axes, places[~none], values[~none], size, ramp)
    figure.colorbar(drawn, cax=figure.add_axes((0.71, 0.38, 0.022, 0.5)))
    marks = [(NONE, f"no value ({none.sum():,})")] if none.any() else []
    _legend(axes, made, marks)


def _classes(axes: Axes, made: Map, column: Column, order: np.ndarray, size: float) -> None:
    numbers = colour_numbers(column, len(CATEGORIES))
    faint = {SHARED: OTHER, FAINT: NONE}
    colours: dict[Any, str] = {None: NONE} | {
        name: faint.get(number) or CATEGORIES[number] for name, number in numbers.items()
    }
    values = np.array([column.values[row] for row in order], object)
    # What nothing is to be said of lies below the rest.
    below = np.array([colours[value] == NONE for value in values])
    for some in (below, ~below):
        inks = [colours[value] for value in values[some]]
        _scatter(axes, made.places[order[some]], inks, size)
    counts = Counter(values)
    marks = [
        (colours[name], f"{_plain(name, LONGEST)} ({counts[name]:,})")
        for name, number in numbers.items()
        if number != SHARED
    ]
    others = [name for name, number in numbers.items() if number == SHARED]
    if others:
        n = sum(counts[name] for name in others)
        marks.append((OTHER, f"{len(others)} more values ({n:,})"))
    if counts[None]:
        marks.append((NONE, f"no value ({counts[None]:,})"))
    _legend(axes, made, marks)


def _scatter(
    axes: Axes, places: FloatArray, colours: Any, size: float, ramp: Colormap | None = None
) -> PathCollection:
    """Draw points; also in an SVG as pixels, for 100,000 shapes would open in no program."""
    return axes.scatter(
        places[:, 0], places[:, 1], s=size, c=colours, cmap=ramp, linewidths=0, rasterized=True
    )


def _legend(axes: Axes, made: Map, marks: list[tuple[str, str]]) -> None:
    handles = [Line2D([], [], ls="", marker="o", color=one, label=text) for one, text in marks]
    if made.added:
        text = f"new pictures ({len(made.added):,})"
        handles.append(Line2D([], [], ls="", marker="D", mfc="none", mec="black", label=text))
    if handles:
        place = (1.02, 1.0) if axes.figure.axes[-1] is axes else (1.02, 0.12)
        legend = axes.legend(
            handles=handles, loc="upper left", bbox_to_anchor=place, frameon=False, fontsize=9
        )
        for drawn in legend.get_texts():
            drawn.set_parse_math(False)


def _plain(text: str, most: int) -> str:
    """Return text as one line that can be drawn: no line ends, nothing that turns directions."""
    shown = "".join(one if one.isprintable() else " " for one in text)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"
