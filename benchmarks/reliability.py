"""docs/reliability.md: what is promised, row by row, with the figure that its tests reached.

Runs the tests that keep figures at full length and `reliability_load.py` (about two hours);
`--from FILE` takes figures that they have written already: `pytest --thorough --figures FILE`.
"""

import argparse
import ast
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from common import ROOT, table, write_page
from reliability_rows import PARTS, ROWS, Row

TESTS = ROOT / "tests"
HERE = Path(__file__).parent


def keepers() -> list[str]:
    """Return the files of tests in which something keeps a figure."""
    found = []
    for path in sorted(TESTS.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and "figure" in [a.arg for a in node.args.args]:
                found.append(str(path))
                break
    return found


def measured() -> list[dict[str, str]]:
    """Run the tests that keep figures, and return these."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "figures.jsonl"
        command = [sys.executable, "-m", "pytest", "-q", "--thorough", "--figures", str(place)]
        subprocess.run([*command, *keepers()], cwd=ROOT, check=True)
        load = str(HERE / "reliability_load.py")
        subprocess.run([sys.executable, load, "--figures", str(place)], cwd=ROOT, check=True)
        return read([place])


def read(places: list[Path]) -> list[dict[str, str]]:
    """Return figures, the last of each test and row; of a short run where there is no long one."""
    lines = [json.loads(line) for place in places for line in place.read_text().splitlines()]
    lines.sort(key=lambda one: one["thorough"])
    long = {(one["row"], one["test"]) for one in lines if one["thorough"]}
    kept = [one for one in lines if one["thorough"] or (one["row"], one["test"]) not in long]
    return list({(one["row"], one["test"], one["counted"][:20]): one for one in kept}.values())


def cell(row: Row, figures: list[dict[str, str]]) -> list[str]:
    """Return the cells of a row."""
    own = [one for one in figures if one["row"] == row.name]
    tests = [Path(one["test"].partition("::")[0]) for one in own]
    files = {one.stem.removeprefix("test_") for one in tests if one.parts[0] == TESTS.name}
    named = sorted(files | set(row.tests.split()))
    for name in named:
        if not any(path.exists() for path in (TESTS / f"test_{name}.py", HERE / f"{name}.py")):
            raise SystemExit(f"row {row.name} names {name}: no such test, no such benchmark")
    said = [one["counted"] + ("" if one["thorough"] else " (short run)") for one in own]
    if not said:
        said = ["tested, not counted" if named else "not tested"]
    return [row.name, row.promise, "<br>".join(said), ", ".join(named), row.lacking]


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="places", type=Path, nargs="+", metavar="FILE")
    given = parser.parse_args()
    figures = read(given.places) if given.places else measured()
    head = ["row", "promise", "reached", "tests", "not promised, or not tried"]
    parts = []
    for letter, title in PARTS.items():
        rows = [cell(row, figures) for row in ROWS if row.name[0] == letter]
        parts.append(f"## {title}\n\n{table([head, *rows], words=(1, 2, 3, 4))}")
    write_page("reliability.md", "reliability.py", INTRODUCTION + "\n\n".join(parts))


INTRODUCTION = """# What embedkit promises, and how that is tested

Each row is a promise, what its tests counted when they were last run at full length, and what is
*not* promised. The tests run with every change, in a shorter version where this one takes long
(`pytest --thorough` runs the long ones). Reading the rows needs no knowledge of the code; the fifth
column is where to look before you rely on something.

"""


if __name__ == "__main__":
    main()
