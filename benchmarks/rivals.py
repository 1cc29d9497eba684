"""What the comparisons with other tools share: how a tool is run, and how its figures are kept.

Every tool lives in a virtual environment of its own, `DIR/NAME`, made by `python -m venv DIR/NAME`
and `DIR/NAME/bin/pip install …`; the README beside this file says of what. A tool that is missing
or fails is kept as "not run" with the reason.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from common import DOCS, ROOT, machine, measure

FIGURES = DOCS / "benchmarks"
HERE = Path(__file__).parent
OURS = ("embedkit", "faiss", "plain")  # run in the environment that this script runs in
NO_RESULT = "not run"


def options(about: str) -> argparse.ArgumentParser:
    """Return the options that all comparisons have."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--rivals", type=Path, help="folder of their virtual environments")
    parser.add_argument("--note", help="what a reader should know of this run")
    parser.add_argument("--only", metavar="NAME", action="append", help="measure only these anew")
    return parser


def ask(tool: str, script: str, *arguments: str, rivals: Path | None, folder: Path) -> dict:
    """Let a tool run a script of this folder in its own environment.

    Returns:
        Its answer, and `total`: wall and CPU seconds of the whole command, children included; or
        why it was not run.
    """
    name = tool.partition(" ")[0]
    python = Path(sys.executable)
    if name not in OURS:
        if rivals is None or not (rivals / name / "bin" / "python").exists():
            return {NO_RESULT: "its virtual environment is not here; see --rivals"}
        python = rivals / name / "bin" / "python"
    before = os.getloadavg()[0]
    try:
        done = measure([str(python), str(HERE / script), *arguments], folder=folder)
    except SystemExit as error:
        return {NO_RESULT: str(error)}
    answer = json.loads(done.output)
    total = {"wall": done.wall, "cpu": done.cpu}
    return answer | {"total": total, "load": [before, os.getloadavg()[0]]}


def kept(name: str) -> dict[str, Any]:
    """Return the figures of an earlier run, or nothing."""
    path = FIGURES / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def keep(name: str, figures: dict[str, Any]) -> None:
    """Write figures with the machine and the versions, and the page of all figures anew."""
    from benchmarks_page import write

    FIGURES.mkdir(exist_ok=True)
    stamped = figures | {"machine": machine(), "taken": time.strftime("%Y-%m-%d %H:%M UTC")}
    (FIGURES / f"{name}.json").write_text(json.dumps(stamped, indent=1) + "\n")
    write()
