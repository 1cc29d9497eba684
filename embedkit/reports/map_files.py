"""A map as a file: a page to touch, or a figure to print."""

from pathlib import Path

from embedkit.errors import InputError
from embedkit.files import write_output
from embedkit.maps import Map
from embedkit.reports.figures import FORMATS, save_figure
from embedkit.reports.map_figure import map_figure
from embedkit.reports.map_page import render_map

PAGE = "html"


def check_file(path: Path, *, images: bool = True) -> None:
    """Refuse a file that no map is written to, before any work.

    Raises:
        InputError: its name ends in nothing known, or pictures are to be left out of a figure.
    """
    kind = path.suffix.removeprefix(".").lower()
    if kind not in (PAGE, *FORMATS):
        raise InputError(f"no map is written as {path.name!r}; it can end in .html, .png or .svg")
    if kind != PAGE and not images:
        raise InputError(f"--no-images is for a page; {path.name!r} is a figure and has none")


def write_map(made: Map, path: Path, *, images: bool = True, blur_faces: bool = False) -> Path:
    """Write a map in the format of the file's ending, and return its path.

    Args:
        made: the map.
        path: ending in .html, .png or .svg.
        images: whether a page has thumbnails.
        blur_faces: whether faces on them are made unrecognisable.

    Raises:
        InputError: another ending.
        OutputError: the file cannot be written.
    """
    check_file(path)
    if path.suffix.lower() != f".{PAGE}":
        return save_figure(map_figure(made), path)
    page = render_map(made, images=images, blur_faces=blur_faces)
    return write_output(path, page.encode(errors="backslashreplace"))


def map_text(made: Map) -> str:
    """Say what a map shows and how far to trust it."""
    honesty = made.honesty
    lines = [made.title, made.method, f"This map is {honesty.verdict}."]
    lines += honesty.sentences(len(made.places))
    if made.colour_by:
        names = ", ".join(one.name for one in made.columns.columns)
        lines.append(f"Coloured by {made.colour_by}; it can be by {names}.")
    lines += [f"Not on the map: {one}." for one in made.columns.missing]
    ids = made.ids
    for one in made.added:
        near = f"nearest {ids[one.nearest]} ({one.similarity:.3f})"
        lines.append(f"added {one.name} at {one.place[0]:.2f}, {one.place[1]:.2f}; {near}")
    lines += [f"not added: {one.id}: {one.reason}" for one in made.refused]
    return "\n".join(lines)
