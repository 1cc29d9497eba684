"""Honest labels: what goes with the label rightly is an association, and not called a shortcut.

UTKFace's gender and age, FER2013's "happy" against the rest, as they are; and the same pictures
with their labels dealt anew, where nothing can be said of the class.
"""

import csv
import random
import tempfile
from pathlib import Path
from typing import Any

from common import data_folder, embedkit, table, write_page

AGES = ((17, "0-17"), (34, "18-34"), (54, "35-54"), (200, "55 and more"))
SEED = 0


def utkface(data: Path) -> list[dict[str, str]]:
    with (data / "utkface/labels.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    return [
        {
            "path": str(data / "utkface" / row["file"]),
            "gender": row["gender"],
            "age": next(name for most, name in AGES if int(row["age"]) <= most),
        }
        for row in rows
    ]


def fer2013(data: Path) -> list[dict[str, str]]:
    return [
        {
            "path": str(path),
            "split": path.parts[-3],
            "happy": "happy" if path.parts[-2] == "happy" else "other",
        }
        for path in sorted((data / "fer2013").glob("*/*/*"))
        if path.parts[-3] in ("train", "validation", "test")
    ]


SETS = {"UTKFace": (utkface, ("gender", "age")), "FER2013": (fer2013, ("happy",))}


def audited(name: str, data: Path, work: Path) -> list[tuple[str, dict[str, Any]]]:
    """Embed a set once and audit each label, and each label drawn anew among the same pictures."""
    rows, labels = SETS[name][0](data), SETS[name][1]
    for label in labels:
        drawn = [row[label] for row in rows]
        random.Random(SEED).shuffle(drawn)
        for row, other in zip(rows, drawn, strict=True):
            row[f"{label}, drawn"] = other
    with (work / f"{name}.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    options = ["--label", labels[0], "--root", str(data), "-b", "mtcnn", "-o", name]
    embedkit("embed", f"{name}.csv", *options, folder=work)
    made = []
    for label in (one for plain in labels for one in (plain, f"{plain}, drawn")):
        column = "label" if label == labels[0] else label  # as the store calls it
        options = ["--label", column, "--check", "shortcuts", "--views", "--seed", str(SEED)]
        _, document = embedkit("audit", name, *options, folder=work)
        made.append((f"{name}, {label}", document["findings"][0]))
        print(made[-1][0], document["findings"][0]["summary"], flush=True)
    return made


def points(estimate: dict[str, Any]) -> str:
    if estimate["value"] is None:
        return "-"
    value, low, high = (100 * estimate[key] for key in ("value", "low", "high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def row(case: str, found: dict[str, Any]) -> list[str]:
    details = found["details"]
    tied = [one for one in details["columns"] if one["present"] and one["set"] != "thumbnail"]
    asked = details["does_the_head_use_it"]
    most = max(
        (one for one in asked if one["effect"]["value"] is not None),
        key=lambda one: one["effect"]["value"],
        default=None,
    )
    return [
        case,
        f"{found['verdict']}, {found['statement']}",
        str(len(tied)),
        tied[0]["column"] if tied else "-",
        "-"
        if details["nuisance_accuracy"] is None
        else f"{100 * details['nuisance_accuracy']:.1f}",
        f"{100 * details['nuisance_heads'][0]['cross_validation']['majority']['value']:.1f}",
        "-" if most is None else f"{most['cause']}: {points(most['effect'])}",
    ]


SHOWN = (
    "face removed",
    "border alone",
    "centre blanked",
    "re-encoded",
    "tone equalised",
    "all alike",
)


def view_row(case: str, found: dict[str, Any]) -> list[str]:
    looks = {one["view"]: one for one in found["details"]["views"]["looks"]}
    cells = []
    for name in SHOWN:
        one = looks[name]
        if one["not_run_reason"]:
            cells.append("not run")
        else:
            cells.append(f"{100 * one['accuracy']['value']:.1f} ({points(one['difference'])})")
    return [case, *cells]


def main() -> None:
    data = data_folder()
    work = Path(tempfile.mkdtemp())
    found = [one for name in SETS for one in audited(name, data, work)]
    rows = [["set, label", "called", "columns tied", "strongest", "best head on files", "majority"]]
    rows[0].append("most that following carries, points")
    rows += [row(case, one) for case, one in found]
    views = [["set, label", *SHOWN], *(view_row(case, one) for case, one in found)]
    words = "\n".join(f"- **{case}**: {one['summary']}" for case, one in found)
    write_page(
        "associations.md",
        "associations.py",
        f"""# Labels that go with the files honestly

`embedkit audit --check shortcuts --views` on labels that mean what they say: nothing was planted.
Old people's photographs are older photographs, and women's are made up and lit otherwise, so files
do tell something of such labels. *Drawn*: the same labels, dealt anew to the same pictures.
Vectors of `mtcnn`, logistic head.

{table(rows)}

*Columns tied*: those whose tie with the label is present, without those of the thumbnail. The
*best head on files* sees no picture and no thumbnail. *Most that following carries*: the largest
effect of those asked about, with the others of its class alike.

Accuracy of a head trained and tested on changed pictures, with the difference to the pictures as
they are:

{table(views)}

## What the report says

{words}
""",
    )


if __name__ == "__main__":
    main()
