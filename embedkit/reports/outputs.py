"""A report as a file: page, Markdown or JSON, by its name."""

import json
from pathlib import Path

from embedkit.audits import Audit
from embedkit.errors import InputError
from embedkit.files import check_place, write_output
from embedkit.reports.markdown import markdown
from embedkit.reports.page import render

SUFFIXES = (".html", ".md", ".json")


def check_report(path: Path) -> None:
    """Refuse a file that no report can be written to, before the work.

    Raises:
        InputError: the name's end is none of `SUFFIXES`.
        OutputError: it cannot be written there.
    """
    check_place(path)
    if (path.parent / "store.json").exists():
        raise InputError(f"{path.parent} is a store; write the report to another folder")
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"no report is written as {path.name!r}; its end says how: {', '.join(SUFFIXES)}"
        )


def write_report(
    result: Audit, path: Path, *, command: str = "", blur_faces: bool = False, images: bool = True
) -> Path:
    """Write an audit as a file and return its path; see `render` for the rest.

    Raises:
        InputError: the name's end is none of `SUFFIXES`.
        OutputError: the file cannot be written.
    """
    check_report(path)
    kind = path.suffix.lower()
    if kind == ".html":
        text = render(result, command=command, blur_faces=blur_faces, images=images)
    elif kind == ".md":
        text = markdown(result, command=command)
    else:
        text = json.dumps(result.to_dict(), indent=1, allow_nan=False) + "\n"
    return write_output(path, text.encode(errors="backslashreplace"))
