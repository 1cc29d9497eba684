"""The whole audit of 12,420 real pictures, beside four tools that each answer a part of it.

`--rivals DIR` names a folder of virtual environments, `DIR/fastdup`, `DIR/cleanvision`,
`DIR/cleanlab` and `DIR/fiftyone`; see `rivals.py`. Figures are kept in
`docs/benchmarks/audit.json`; `--only NAME` measures one tool anew (and embedkit, which makes the
vectors that two of them are given).
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from audit_cost import WATCHED
from audit_rivals import pictures as files
from audit_scale import Clock
from mixed import lay_out
from pair_rivals import peak
from rivals import NO_RESULT, ask, keep, kept, options

from embedkit import pipeline
from embedkit.audits import run
from embedkit.pipeline import embed
from embedkit.store import Store

TOOLS = ("fastdup", "cleanvision", "cleanlab", "fiftyone")
PARTS = "parts.json"
SO_FAR = "so far"  # what the parts of an audit took that was stopped


def audit_by_part(arguments: list[str]) -> None:
    """Run the command line with a clock on its parts, and write their CPU seconds to a file."""
    from embedkit_cli.app import main as command

    clock = Clock()
    clock.seconds["start (importing torch and the like)"] = time.process_time()
    clock.watch(pipeline, "embed", "embedding")
    for function, name in WATCHED.items():
        clock.watch(run, function, name)
    with clock.part("the rest"):
        status = command(arguments)
    cpu: dict[str, float] = {}
    for name, seconds in clock.seconds.items():
        part = name.partition("|")[0]
        cpu[part] = cpu.get(part, 0.0) + seconds
    Path(PARTS).write_text(json.dumps({"cpu": cpu, "peak": peak()}))
    sys.stdout.flush()
    os._exit(status)  # as the program itself does


def audit_ours(work: Path) -> dict[str, Any]:
    """Audit the pictures as a user does, embedding included."""
    made = ask(
        "embedkit", Path(__file__).name, "audit", "pictures", "--json", rivals=None, folder=work
    )
    parts = json.loads((work / PARTS).read_text())
    if NO_RESULT in made:
        return made | {SO_FAR: parts["cpu"]}
    findings = made.pop("findings")
    return {
        **parts,
        "total": made["total"],
        "load": made["load"],
        "verdicts": {one["name"]: one["verdict"] for one in findings},
    }


def vectors_of(store: Path, pictures: Path, place: Path) -> None:
    """Write the vectors of a store in the order in which the tools read the folder."""
    opened = Store.open(store)
    rows = {name: row for row, name in enumerate(opened.items.ids)}
    order = [rows[str(path.relative_to(pictures))] for path in files(pictures)]
    np.save(place, opened.space().vectors[order])


def main() -> None:
    given = options(__doc__).parse_args()
    figures = kept("audit")
    tools = figures.setdefault("tools", {})
    wanted = given.only or ["embedkit", *TOOLS]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        pictures = work / "pictures"
        figures |= {"pictures": lay_out(given.data, pictures), "note": given.note or ""}
        if "embedkit" in wanted:
            tools["embedkit"] = audit_ours(work)
            keep("audit", figures)
        else:
            embed(pictures, work / "indexes" / "pictures")
        vectors = work / "vectors.npy"
        vectors_of(work / "indexes" / "pictures", pictures, vectors)
        for tool in wanted:
            if tool in TOOLS:
                script, where = "audit_rivals.py", {"rivals": given.rivals, "folder": work}
                tools[tool] = ask(tool, script, tool, str(pictures), str(vectors), **where)
                keep("audit", figures)


if __name__ == "__main__":
    if sys.argv[1:2] == ["audit"]:
        audit_by_part(sys.argv[1:])
    else:
        main()
