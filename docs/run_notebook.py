"""Run docs/notebook.ipynb from top to bottom, in an empty folder, and write it with what it shows.

    python docs/run_notebook.py docs/notebook.ipynb docs/notebook.ipynb

Of a result's forms the one that a reader sees is kept (a picture, else HTML, else text), so that
the file stays small, and none of the times and numbers that change from run to run.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FORMS = ("image/png", "text/html", "text/plain")
SECONDS = 300  # for one cell, on a slow machine
# What tqdm says where there are no widgets is of the machine, and names its folders.
QUIET = "ignore:IProgress not found"


def run_notebook(source: Path, target: Path) -> None:
    """Run a notebook and write it with its outputs; a cell that fails ends it."""
    notebook: Any = nbformat.read(source, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PYTHONWARNINGS"] = QUIET
        client = NotebookClient(
            notebook,
            timeout=SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            record_timing=False,
        )
        client.execute()
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
    }
    for place, cell in enumerate(notebook.cells):
        cell.id = f"cell-{place}"
        for output in cell.get("outputs", ()):
            if "data" in output:
                form = next(one for one in FORMS if one in output.data)
                output.data = {form: output.data[form]}
                output.metadata = {}
    nbformat.write(notebook, target)


if __name__ == "__main__":
    run_notebook(Path(sys.argv[1]), Path(sys.argv[2]))
