"""What `Result` looks up: a result as HTML for a notebook, as a data frame, a figure and JSON."""

from importlib import resources
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined

from embedkit.finetuning import Finetuned
from embedkit.heads import Head
from embedkit.heads.comparison import Comparison
from embedkit.heads.curve import LearningCurve
from embedkit.items import ItemTable
from embedkit.reports import documents, finetunings
from embedkit.reports.kinds import kind_of, rows_of
from embedkit.results import Result
from embedkit.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

ROWS = 10
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
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = resources.files("embedkit.reports") / "templates" / "notebook.html"
    columns, rows = rows_of(result)
    kind = kind_of(result)
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        title=kind.title(result),
        sentence=kind.sentence(result),
        columns=list(columns),
        numbers=[type_ in ("int", "float") for type_ in columns.values()],
        rows=[[_shown(value) for value in row] for row in rows[:ROWS]],
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


def _shown(value: Any) -> str:
    if value is None or value != value:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
