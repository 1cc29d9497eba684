"""What `Result` looks up: a result as HTML for a notebook, as a data frame, a figure and JSON."""

from typing import TYPE_CHECKING, Any

from embedkit.finetuning import Finetuned
from embedkit.heads import Head
from embedkit.heads.comparison import Comparison
from embedkit.heads.curve import LearningCurve
from embedkit.items import ItemTable
from embedkit.reports import documents, finetunings
from embedkit.reports.kinds import kind_of, rows_of
from embedkit.reports.pages import template
from embedkit.results import Result
from embedkit.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

ROWS = 10
LONG = 40  # characters, from which a cell may break into lines
ENDS = ("_low", "_high")
# Kinds that can be missing have types of pandas that know it; the others are NumPy's.
TYPES = {"str": "str", "int": "Int64", "float": "float64", "bool": "boolean"}


def frame(result: Result) -> "DataFrame":
    """Return a result as a table; see `Result.frame`."""
    from pandas import DataFrame, Series

    columns, rows = rows_of(result)
    return DataFrame(
        {
            name: Series([row[place] for row in rows], dtype=TYPES[type_])
            for place, (name, type_) in enumerate(columns.items())
        }
    )


def plot(result: Result) -> "Figure":
    """Return a result as a figure; see `Result.plot`."""
    from embedkit.reports import plots

    return plots.plot(result)


def html(result: Result) -> str:
    """Return a result for a notebook.

    It takes the colours of the notebook, light or dark, and shows the first rows of the table.
    """
    columns, rows = rows_of(result)
    kind = kind_of(result)
    shown = [name for name in columns if not name.endswith(ENDS)]
    cells = [dict(zip(columns, row, strict=True)) for row in rows[:ROWS]]
    return template("notebook.html").render(
        title=kind.title(result),
        sentence=kind.sentence(result),
        columns=[(name, columns[name] in ("int", "float")) for name in shown],
        rows=[[_cell(one, name) for name in shown] for one in cells],
        long=LONG,
        more=max(0, len(rows) - ROWS),
    )


def document(result: Result) -> dict[str, Any]:
    """Return a result that has no JSON of its own as the document of its command."""
    if isinstance(result, Comparison):
        return documents.compared(result)
    if isinstance(result, LearningCurve):
        return documents.learning_curve(result)
    if isinstance(result, Store):
        return documents.store(result)
    if isinstance(result, ItemTable):
        return documents.data_set(result)
    if isinstance(result, Head):
        return documents.trained(result)
    if isinstance(result, Finetuned):
        return finetunings.trained(result)
    columns, rows = rows_of(result)
    return {"rows": [dict(zip(columns, row, strict=True)) for row in rows]}


def _cell(row: dict[str, Any], name: str) -> str:
    """Return a value, with its interval where it has one."""
    value, ends = row[name], [row.get(f"{name}{end}") for end in ENDS]
    if value is None or value != value:
        return "–"
    shown = f"{value:.4g}" if isinstance(value, float) else str(value)
    return shown if None in ends else f"{shown} [{ends[0]:.3g}, {ends[1]:.3g}]"
