"""Conditions on the table of items, in SQL: one expression, which sees nothing but the table.

DuckDB evaluates it without files, network, extensions or Python's variables, and only after its
own parser has shown that it is one expression without a query in it.
"""

import difflib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embedkit.errors import InputError
from embedkit.vectors import BoolArray

ROW = "row of the item table"
WHOLE_NUMBER = r"^-?(0|[1-9][0-9]{0,17})$"
_CLOSED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
}
_REFUSED = {
    "SUBQUERY": "it holds a query; a condition is about one row's columns",
    "WINDOW": "it looks at other rows; a condition is about one row's columns",
    "STAR": "'*' stands for all columns; name one",
    "PARAMETER": "'?' and '$' stand for a value that is not given; write the value",
}


def fulfilled(
    rows: pa.Table, condition: str, *, as_numbers: Sequence[str]
) -> tuple[BoolArray, tuple[str, ...]]:
    """Say which rows fulfil a condition such as `split = 'test' and age < 20`.

    Text columns in which every value is a whole number are compared as numbers. A row for which
    the condition is neither true nor false, because a column is empty, does not fulfil it.

    Args:
        rows: the table.
        condition: an expression in DuckDB's SQL.
        as_numbers: text columns that may be taken for numbers.

    Returns:
        (n,) bool, and the text columns that were compared as numbers.

    Raises:
        InputError: it is no condition, names a column that is not there, or holds a query.
    """
    with duckdb.connect(":memory:", config=_CLOSED) as connection:
        connection.execute("SET lock_configuration = true")
        names = _columns(_parsed(connection, condition), rows.column_names, condition)
        table = rows.select(names)
        numbers = [name for name in names if name in as_numbers and _whole(table[name])]
        for name in numbers:
            place = table.column_names.index(name)
            table = table.set_column(place, name, pc.cast(table[name], pa.int64()))
        numbered = table.append_column(ROW, pa.array(np.arange(len(rows))))
        connection.register("items", numbered)
        try:
            # On lines of its own: the condition may end in a comment.
            found = connection.execute(
                f'SELECT "{ROW}" FROM items WHERE (\n{condition}\n)'
            ).fetchnumpy()[ROW]
        except duckdb.Error as error:
            hint = f" ({_listed(numbers)} compared as numbers)" if numbers else ""
            raise _wrong(condition, f"{_line(error)}{hint}") from None
    keep = np.zeros(len(rows), bool)
    keep[np.asarray(found)] = True
    return keep, tuple(numbers)


def _parsed(connection: duckdb.DuckDBPyConnection, condition: str) -> dict[str, Any]:
    """Return the syntax tree of a condition that is one expression, and that alone.

    Both forms have to parse: what closes the bracket itself, to go on after it, fails in the first.
    """
    for text in (f"SELECT \n{condition}\n", f"SELECT (\n{condition}\n)"):
        try:
            answer = connection.execute("SELECT json_serialize_sql(?)", [text]).fetchall()[0][0]
        except duckdb.Error as error:
            raise _wrong(condition, _line(error)) from None
        tree: dict[str, Any] = json.loads(answer)
        if tree["error"]:
            raise _wrong(condition, tree["error_message"].splitlines()[0])
    (statement,) = tree["statements"]
    node: dict[str, Any] = statement["node"]
    return node


def _columns(tree: dict[str, Any], known: list[str], condition: str) -> list[str]:
    """Return the columns that a condition names, as the table calls them."""
    names: dict[str, None] = {}
    for node in _nodes(tree):
        kind = node.get("class")
        if kind in _REFUSED:
            raise _wrong(condition, _REFUSED[kind])
        if kind != "COLUMN_REF":
            continue
        path: list[str] = node["column_names"]
        name = path[1] if path[0] == "items" and path[1:] else path[0]
        # Names are the same in SQL whatever the case of their letters.
        meant = [one for one in known if one.casefold() == name.casefold()]
        if not meant:
            raise _wrong(condition, f"there is no column {name!r}{_near(name, known)}")
        if len(meant) > 1:
            raise _wrong(condition, f"{' and '.join(map(repr, meant))} differ in case alone")
        names[meant[0]] = None
    if not names:
        raise _wrong(condition, f"it names no column{_near('', known)}")
    return list(names)


def _nodes(tree: object) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
        for one in tree.values():
            yield from _nodes(one)
    elif isinstance(tree, list):
        for one in tree:
            yield from _nodes(one)


def _whole(column: pa.ChunkedArray) -> bool:
    """Say whether a column is text and every value in it a whole number."""
    if column.type != pa.string() or column.null_count == len(column):
        return False
    return bool(pc.all(pc.match_substring_regex(column, WHOLE_NUMBER), skip_nulls=True).as_py())


def _near(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    quotes = "; text stands in single quotes;" if name else ";"
    hint = f"; did you mean {close[0]!r}?" if close else quotes
    return f"{hint} known are {', '.join(known)}"


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} text of whole numbers and"


def _line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _wrong(condition: str, why: str) -> InputError:
    return InputError(f"--where {' '.join(condition.split())!r}: {why}")
