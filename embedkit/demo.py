"""The demonstration: a drawn data set with known faults, audited; found beside planted."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from embedkit.audits import Audit, audit
from embedkit.audits.twins import Twins
from embedkit.errors import InputError
from embedkit.pipeline import OnProgress, embed
from embedkit.reports import text
from embedkit.reports.audits import findings
from embedkit.reports.outputs import write_report
from embedkit.store import Store
from embedkit.synthetic import Faults, Truth, make_faces

FAULTS = Faults(exact_twins=0.08, near_twins=0.2, unreadable=3)
PEOPLE = 100


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of planted fault: how many there are and how many were found."""

    fault: str
    planted: int
    found: int


@dataclass(frozen=True)
class Demo:
    """The result of the demonstration.

    Attributes:
        folder: with the pictures, the store and the report.
        rows: found beside planted.
        unplanted: pairs that were reported and not planted.
        audit: all findings.
        report: the page.
    """

    folder: Path
    rows: tuple[Row, ...]
    unplanted: int
    audit: Audit
    report: Path

    def to_text(self) -> str:
        """Return the findings, found beside planted, and the report's path."""
        rows = [["", "planted", "found"]]
        rows += [[row.fault, str(row.planted), str(row.found)] for row in self.rows]
        rows.append(["pairs reported that were not planted", "0", str(self.unplanted)])
        return "\n".join([findings(self.audit), "", text.table(rows), "", f"Report: {self.report}"])

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "schema": "embedkit.demo/1",
            "folder": str(self.folder),
            "report": str(self.report),
            "planted": [asdict(row) for row in self.rows],
            "unplanted_pairs": self.unplanted,
            "audit": self.audit.to_dict(),
        }


def run_demo(
    folder: Path,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    progress: OnProgress | None = None,
) -> Demo:
    """Draw a data set into `folder`, embed and audit it, write the report.

    Run again, it takes up what is there.

    Args:
        folder: new, empty, or of an earlier demonstration with the same seed.
        seed: of the drawing and the audit.
        say: told what happens.
        progress: called while embedding.

    Raises:
        InputError: the folder holds something else.
    """
    faces = folder / "faces"
    if (faces / "truth.json").exists():
        truth = _truth(faces, seed)
    else:
        say(f"Drawing {6 * PEOPLE} pictures of {PEOPLE} people into {faces}")
        truth = make_faces(faces, people=PEOPLE, seed=seed, faults=FAULTS)
    say("Embedding them with the backbone that needs no download")
    store = embed(faces, folder / "store", backbone="mtcnn", progress=progress)
    say("Looking for copies, training with and without them")
    result = audit(store, seed=seed)
    report = folder / "report.html"
    write_report(result, report, command=f"embedkit demo {folder} --seed {seed}")
    rows, unplanted = _compare(truth, store, result)
    return Demo(folder, rows, unplanted, result, report)


def _truth(faces: Path, seed: int) -> Truth:
    record = json.loads((faces / "truth.json").read_text())
    if record["seed"] != seed or Faults(**record["faults"]) != FAULTS:
        raise InputError(f"{faces} holds another data set; give another folder")
    fields = {key: value for key, value in record.items() if key not in ("schema", "faults")}
    return Truth(faces, FAULTS, **fields)


def _compare(truth: Truth, store: Store, result: Audit) -> tuple[tuple[Row, ...], int]:
    twins = result["twins"]
    found = {frozenset((p.a, p.b)) for p in twins.pairs} if isinstance(twins, Twins) else set()
    planted = {frozenset((one["a"], one["b"])): one for one in truth.twins}
    rows = [
        Row(
            f"{kind} copies of test images in train",
            sum(one["kind"] == kind for one in planted.values()),
            sum(one["kind"] == kind for pair, one in planted.items() if pair in found),
        )
        for kind in ("exact", "near")
    ]
    listed = {one.id for one in store.unreadable}
    rows.append(
        Row("unreadable files", len(truth.unreadable), len(listed & truth.unreadable.keys()))
    )
    return tuple(rows), len(found - planted.keys())
