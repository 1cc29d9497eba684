"""Evening out groups where it should help, and where there is nothing to even out.

UTKFace, gender by race, two races. In *skewed* training sets 9 of 10 pictures of one race are men
and 9 of 10 of the other women, so that race tells gender; test sets hold as many of each. In *even*
ones nothing is to be gained. Needs the UTKFace sample of the real data.
"""

import csv
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from common import data_folder, table, write_page

from embedkit.heads.mitigation import Effect, mitigate
from embedkit.pipeline import embed

DRAWS = 6
TRAIN, TEST = 300, 200  # pictures
OFTEN = 0.9
RACES = ("white", "black")


def drawn(rows: list[dict[str, str]], often: float, seed: int) -> list[dict[str, str]]:
    """Draw a training set in which gender goes with race so often, and an even test set."""
    generator = np.random.default_rng(seed)
    cells = {
        (race, gender): generator.permutation(
            [k for k, one in enumerate(rows) if (one["race"], one["gender"]) == (race, gender)]
        )
        for race in RACES
        for gender in ("male", "female")
    }
    made = []
    for (race, gender), places in cells.items():
        usual = (race == RACES[0]) == (gender == "male")
        n = round(TRAIN / 2 * (often if usual else 1 - often))
        quarter = TEST // 4
        made += [rows[k] | {"split": "test"} for k in places[:quarter]]
        made += [rows[k] | {"split": "train"} for k in places[quarter : quarter + n]]
    return made


def effects(
    rows: list[dict[str, str]], often: float, seed: int, *, root: Path, work: Path
) -> Sequence[Effect]:
    path = work / f"{often}-{seed}.csv"
    with path.open("w") as stream:
        writer = csv.DictWriter(stream, [*rows[0], "split"])
        writer.writeheader()
        writer.writerows(drawn(rows, often, seed))
    store = embed(path, work / f"{often}-{seed}", backbone=["mtcnn"], label="gender", root=root)
    return mitigate(store, by="race", seed=seed)


def figure(values: Sequence[float]) -> str:
    """Return the mean over draws and the least and largest, in points."""
    points = 100 * np.array(values)
    return f"{points.mean():+.1f} ({points.min():+.1f} to {points.max():+.1f})"


def section(title: str, draws: list[Sequence[Effect]]) -> str:
    names = [part.name for part in draws[0][0].wholes]
    plain = [[one[0].wholes[k].before.value for one in draws] for k in range(len(names))]
    rows = [["", *names, "interval of the worst group's change above 0"]]
    rows.append(["plain, %", *(f"{100 * np.mean(values):.1f}" for values in plain), ""])
    for place, way in enumerate(draws[0]):
        every = [one[place] for one in draws]
        if way.note:
            rows.append([way.balance.name, way.note, *[""] * len(names)])
            continue
        changes = (figure([e.wholes[k].change.value for e in every]) for k in range(len(names)))
        above = sum(e.wholes[names.index("worst group")].change.low > 0 for e in every)
        rows.append([way.balance.name, *changes, f"{above} of {len(every)}"])
    return f"## {title}\n\n{table(rows)}"


def main() -> None:
    data = data_folder()
    with (data / "utkface" / "labels.csv").open() as stream:
        rows = [one for one in csv.DictReader(stream) if one["race"].lower() in RACES]
    for one in rows:
        one["race"], one["gender"] = one["race"].lower(), one["gender"].lower()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        made = {
            often: [
                effects(rows, often, seed, root=data / "utkface", work=work)
                for seed in range(DRAWS)
            ]
            for often in (OFTEN, 0.5)
        }
    text = f"""# Evening out groups

{TRAIN} training and {TEST} test pictures of UTKFace, gender by race ({RACES[0]}, {RACES[1]}),
`mtcnn`, logistic head; {DRAWS} draws. Test sets hold as many of each gender and race. Changes are
in accuracy points against the plain head on the same test pictures: the mean over draws, and in
brackets the least and the largest of them. The last column counts draws in which the change of the
worst group lies above 0 with its whole 95% interval.

{section(f"Race tells gender in {OFTEN:.0%} of the training pictures", made[OFTEN])}

{section("Nothing to even out", made[0.5])}
"""
    write_page("mitigation.md", "mitigation.py", text)


if __name__ == "__main__":
    main()
