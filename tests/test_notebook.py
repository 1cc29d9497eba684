"""The worked notebook: it runs from top to bottom, and shows nothing of the machine it ran on."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from test_reports import parsed

DOCS = Path(__file__).resolve().parents[1] / "docs"
ABSOLUTE = re.compile(
    r"(?<![\w.:/<])/(?:home|root|tmp|usr|opt|var|Users|private|work|mnt)/|[A-Z]:\\\\"
)


def said(notebook):
    """Everything that the outputs of a notebook say, pictures left out."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            yield output.get("text", "")
            yield from output.get("traceback", ())
            yield from (
                text for form, text in output.get("data", {}).items() if "image" not in form
            )


@pytest.fixture(scope="module")
def kept():
    return nbformat.read(DOCS / "notebook.ipynb", as_version=4)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    target = tmp_path_factory.mktemp("notebook") / "ran.ipynb"
    command = [sys.executable, DOCS / "run_notebook.py", DOCS / "notebook.ipynb", target]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return nbformat.read(target, as_version=4)


@pytest.mark.slow
def test_the_notebook_runs_and_shows_what_it_says(ran, kept):
    words = "\n".join(said(ran))
    assert "<b>Audit</b>" in words
    assert "leakage is" in words
    assert "an exact copy of the one to keep" in words
    codes = [cell for cell in ran.cells if cell.cell_type == "code"]
    assert all(cell.outputs for cell in codes)
    assert [cell.source for cell in ran.cells] == [cell.source for cell in kept.cells]
    pictures = [one for cell in codes for one in cell.outputs if "image/png" in one.get("data", {})]
    assert len(pictures) == 4


@pytest.mark.slow
def test_neither_a_run_nor_the_file_names_a_folder_of_a_machine(ran, kept):
    for notebook in (ran, kept):
        for text in said(notebook):
            assert not ABSOLUTE.search(text), text[:300]
            assert str(Path.home()) not in text
            assert sys.prefix not in text


def test_the_pattern_sees_absolute_paths():
    assert ABSOLUTE.search("in /home/me/faces")
    assert ABSOLUTE.search("'/tmp/x'")
    assert ABSOLUTE.search(r"C:\\Users")
    assert not ABSOLUTE.search("https://x.org/home/a and docs/tmp/x and </tmp/>")


def test_the_file_can_be_read_without_running_it(kept):
    """A code host shows what is in the file."""
    nbformat.validate(kept)
    assert (DOCS / "notebook.ipynb").stat().st_size < 1_000_000
    codes = [cell for cell in kept.cells if cell.cell_type == "code"]
    assert all(cell.outputs for cell in codes)
    assert all(cell.execution_count for cell in codes)
    assert not any(one.output_type == "error" for cell in codes for one in cell.outputs)
    for text in said(kept):
        if text.startswith("<div style="):
            parsed(text)
