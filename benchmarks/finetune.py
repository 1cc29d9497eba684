"""What freezing costs and what leaking gains: a small network from scratch beside a frozen one.

Needs FER2013, UTKFace and the anime characters of the real data.
"""

import csv
import io
import shutil
import tempfile
from pathlib import Path

import numpy as np
from common import Measured, data_folder, embedkit, table, write_page
from PIL import Image

EPOCHS, PATIENCE = 15, 6
PICTURES = 480  # of UTKFace, half of them of each gender, for the planted copies
SHARES = {"train": 0.6, "valid": 0.1, "test": 0.3}
COPIED = 0.5  # of the test pictures, and of those for validation
PLANTED_EPOCHS, SIDE = 20, 48  # for these


def percent(estimate: dict, sign: str = "") -> str:
    value, low, high = (100 * estimate[key] for key in ("value", "low", "high"))
    return f"{value:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def finetune(store: str, *options: str, folder: Path) -> tuple[Measured, dict]:
    measured, made = embedkit("finetune", store, *options, folder=folder)
    print(f"{measured.command}: {percent(made['metrics']['accuracy'])}", flush=True)
    return measured, made


def copied(picture: Path) -> bytes:
    """Return a picture a little cropped and written anew."""
    with Image.open(picture) as image:
        edge = round(0.03 * image.width)
        small = image.convert("RGB").crop((edge, edge, image.width - edge, image.height - edge))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=80)
    return stream.getvalue()


def planted(data: Path, folder: Path, *, dealt: bool, copies: bool) -> Path:
    """Write a sample of UTKFace as a manifest, copies of test pictures in train or not.

    The copies take the place of training pictures of the same label, so that train has as many.
    """
    generator = np.random.default_rng(0)
    with (data / "utkface/labels.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    chosen = []
    for gender in sorted({row["gender"] for row in rows}):
        of_it = [row for row in rows if row["gender"] == gender]
        places = generator.permutation(len(of_it))[: PICTURES // 2]
        sides = np.repeat(list(SHARES), [round(s * PICTURES / 2) for s in SHARES.values()])
        chosen += [(of_it[n]["file"], gender, str(s)) for n, s in zip(places, sides, strict=True)]
    labels = [label for _, label, _ in chosen]
    if dealt:
        labels = list(generator.permutation(labels))
    made = [(name, str(label), side) for (name, _, side), label in zip(chosen, labels, strict=True)]
    folder.mkdir()
    for side in ("test", "valid") if copies else ():
        held = [row for row in made if row[2] == side]
        for n in generator.permutation(len(held))[: round(COPIED * len(held))]:
            name, label, _ = held[n]
            made.remove(next(row for row in made if row[1:] == (label, "train")))
            (folder / f"{side}{n}.jpg").write_bytes(copied(data / "utkface" / name))
            made.append((f"{side}{n}.jpg", label, "copied"))
    for name, _, side in made:
        if side != "copied":
            shutil.copy(data / "utkface" / name, folder / Path(name).name)
    with (folder / "faces.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "label", "split"])
        for name, label, side in made:
            writer.writerow([Path(name).name, label, "train" if side == "copied" else side])
    return folder / "faces.csv"


GENDER = ["--label", "gender"]
CHARACTER = ["--label", "character", "--group", "source_picture"]
# title, source, name of the store, options of embed, side in pixels
SETS = (
    ("Anime character", "anime_faces/labels.csv", "anime", CHARACTER, 64),
    ("UTKFace gender", "utkface/labels.csv", "utkface", GENDER, 64),
    ("FER2013 emotion", "fer2013", "fer2013", [], 48),  # its pictures have no more
)
ACCURACY = (
    *("data set", "classes", "train", "valid", "test", "commonest class"),
    *("small, from scratch", "logistic on frozen mtcnn", "difference in points"),
)
COST = (
    *("data set", "side", "epochs", "kept", "told at most s"),
    *("training s", "command s", "CPU s", "peak MiB"),
)


def natural(
    data: Path, work: Path, title: str, source: str, name: str, options: list[str], side: int
) -> tuple[list[str], list[str], list[str]]:
    """Train from scratch on a data set; return its accuracies, its costs and the commands."""
    embedkit("embed", str(data / source), *options, "-o", name, "-b", "mtcnn", folder=work)
    limits = ["--epochs", str(EPOCHS), "--patience", str(PATIENCE), "--size", str(side)]
    measured, made = finetune(name, *limits, folder=work)
    metrics, frozen = made["metrics"], made["frozen"]
    accuracy = [
        title,
        str(len(made["labels"])),
        *(str(n) for n in (made["n_train"], made["n_valid"], metrics["n"])),
        percent(metrics["majority"]),
        percent(metrics["accuracy"]),
        percent(frozen["accuracy"]),
        percent(frozen["difference"], "+"),
    ]
    figures = (made["seconds_told_at_most"], made["seconds"])
    figures += (measured.wall, measured.cpu, measured.peak)
    epochs = [str(side), str(len(made["epochs_done"])), str(made["kept_epoch"])]
    cost = [title, *epochs, *(f"{figure:.0f}" for figure in figures)]
    commands = [" ".join(["embedkit embed", f"DATA/{source}", *options, "-o", name, "-b mtcnn"])]
    commands += [" ".join(["embedkit finetune", name, *limits])]
    return accuracy, cost, commands


def leaking(data: Path, work: Path) -> list[list[str]]:
    """Train with and without planted copies, on true and on dealt labels."""
    rows = [["labels, copies", "all of train", "test with a copy", "test without"]]
    rows[0] += ["without relatives", "without as many others", "relatives are worth, points"]
    for dealt in (False, True):
        for copies in (False, True):
            name = f"{'dealt' if dealt else 'true'}-{'copies' if copies else 'none'}"
            source = planted(data, work / name, dealt=dealt, copies=copies)
            embedkit("embed", str(source), "-o", f"{name}-store", "-b", "mtcnn", folder=work)
            options = ["--size", str(SIDE), "-o", f"{name}-network"]
            options += ["--epochs", str(PLANTED_EPOCHS), "--patience", str(PLANTED_EPOCHS)]
            options += ["--without-leaks"] if copies else []
            _, made = finetune(f"{name}-store", *options, folder=work)
            answers = ["--predictions", f"{name}-network/predictions.csv", "--check", "ledger"]
            _, audit = embedkit("audit", f"{name}-store", *answers, folder=work)
            (ledger,) = audit["findings"]
            strata = {one["stratum"]: one for one in ledger["details"]["predictions"]["strata"]}
            row = [
                f"{'dealt' if dealt else 'gender'}, {'with copies' if copies else 'none'}",
                percent(made["metrics"]["accuracy"]),
                percent(strata["near_twins"]) if strata["near_twins"]["n"] else "–",
                percent(strata["novel"]),
            ]
            leaks = made["leaks"]
            if leaks is None or leaks["reason"]:
                row += ["–"] * 3
            else:
                row += [percent(leaks[one]["accuracy"]) for one in ("without_relatives", "control")]
                row.append(percent(leaks["worth"], "+"))
            rows.append(row)
    return rows


def write(found: list[tuple[list[str], list[str], list[str]]], leaks: list[list[str]]) -> None:
    accuracy, cost = (
        [list(heading), *(one[place] for one in found)]
        for place, heading in enumerate((ACCURACY, COST))
    )
    joined = "\n".join(command for one in found for command in one[2])
    write_page(
        "finetune.md",
        "finetune.py",
        f"""# What freezing costs, and what leaking gains

`embedkit finetune` trains a small network (0.2 million numbers) from random weights on the pictures
themselves. Accuracies are in percent on the test split, with 95% intervals; differences are paired,
on the same test images. Up to {EPOCHS} epochs, ended by {PATIENCE} without a smaller loss on
validation. The figures are of one seed each: another seed trains another network, which the
intervals do not hold.

## From scratch beside frozen

{table(accuracy)}

These are samples of the data sets, not the whole sets. Where a data set has no valid split, the
validation images are cut off train; the head is fitted on both.

## Time

The time at most is told before the first epoch, from a few steps, and holds where the machine stays
as busy as it was then. Training runs on one core, so that the same seed gives the same network;
where other work shares the machine, the processor's seconds (CPU s) are fewer than the clock's.

{table(cost)}

## Planted copies

{PICTURES} pictures of UTKFace at {SIDE} x {SIDE} pixels, {SHARES["train"]:.0%} train,
{SHARES["valid"]:.0%} valid, {SHARES["test"]:.0%} test; of {PLANTED_EPOCHS} epochs the best on valid
is kept. Where there are copies, {COPIED:.0%} of the pictures of test and of valid are in train too,
cropped by 3% a side and written anew, in place of others of the same label. *Dealt* labels are
those of gender in random order: nothing but copies can be learned. How it does on test pictures
with and without a copy is what `embedkit audit --predictions` says of its answers; the last three
columns are `--without-leaks`: networks trained for as many steps without the relatives of test
images that embedkit found, and without as many random others.

{table(leaks)}

## Commands

```
{joined}
```
""",
    )


def main() -> None:
    data = data_folder()
    work = Path(tempfile.mkdtemp())
    leaks = leaking(data, work)
    found = [natural(data, work, *one) for one in SETS]
    shutil.rmtree(work)
    write(found, leaks)


if __name__ == "__main__":
    main()
