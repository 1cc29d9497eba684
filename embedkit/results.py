"""Results: what every answer of embedkit can be turned into."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

# The one import that points upwards: a result is made far below what shows it, and showing it needs
# packages that making it does not. The module is looked up when somebody asks.
PRESENTATION = "embedkit.reports.notebooks"


class Result:
    """An answer that can be shown: in a notebook, as a table, as JSON, as a figure."""

    __slots__ = ()

    def frame(self) -> "DataFrame":
        """Return it as a table, one row a thing; the columns and their types are always the same.

        An estimate is three columns: `accuracy`, `accuracy_low`, `accuracy_high`.
        """
        made: DataFrame = importlib.import_module(PRESENTATION).frame(self)
        return made

    def plot(self) -> "Figure":
        """Return it as a figure of matplotlib."""
        made: Figure = importlib.import_module(PRESENTATION).plot(self)
        return made

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        made: dict[str, Any] = importlib.import_module(PRESENTATION).document(self)
        return made

    def _repr_html_(self) -> str:
        """Return it for a notebook: what it is, what it says, its first rows."""
        return str(importlib.import_module(PRESENTATION).html(self))
