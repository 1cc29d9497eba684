"""Tables of text: CSV files that come back as they went, and in which no spreadsheet computes.

A spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` for a formula, and a formula can
start programs. Who names a picture or a class would choose what it does. Such a cell is written
with an apostrophe before it, by which a spreadsheet shows text; `bare` takes it off again, so that
an id or a label is the same after a round trip. Plain numbers are no formulas and stay as they are.
A path has no apostrophe, which other programs would look for on the disk, but `./` before it.
"""

import re
from collections.abc import Iterable, Sequence

_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
GUARD = r"^'('*[=+\-@\t\r\n])"  # what `bare` takes off; for Arrow too


def guarded(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula; `bare` gives the text again."""
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def bare(cell: str) -> str:
    """Return what `guarded` was given."""
    return re.sub(GUARD, r"\1", cell)


def path_cell(path: str) -> str:
    """Return a relative path as a cell: the same file, and no formula."""
    return f"./{path}" if re.match(r"[-=+@\s]", path) else path


def csv_text(rows: Iterable[Sequence[str]]) -> str:
    """Return rows of cells as CSV; Python's own writer leaves a carriage return unquoted."""
    return "".join(",".join(map(_quoted, row)) + "\n" for row in rows)


def _quoted(cell: str) -> str:
    escaped = cell.replace('"', '""')
    return f'"{escaped}"' if re.search('[,"\r\n]', cell) else cell
