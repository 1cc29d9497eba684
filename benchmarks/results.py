"""Accuracy of both backbones and both heads on the real sets, with commands, time and memory."""

import csv
import shutil
import tempfile
from pathlib import Path

from common import data_folder, embedkit, table, write_page

AGE_BINS = (3, 10, 17, 22, 26, 32, 37, 45, 53, 62, 73, 120)
BACKBONES = ("mtcnn", "pixels")
HEADS = ("logistic", "knn")


def age_manifest(data: Path, folder: Path) -> Path:
    """Write UTKFace's table with the age in twelve bins."""
    lower = (1, *(upper + 1 for upper in AGE_BINS[:-1]))
    names = [f"{low:02d}-{high}" for low, high in zip(lower, AGE_BINS, strict=True)]
    path = folder / "utkface.csv"
    with (data / "utkface/labels.csv").open() as source, path.open("w") as out:
        writer = csv.writer(out)
        writer.writerow(["file", "gender", "race", "age_bin"])
        for row in csv.DictReader(source):
            age = int(row["age"])
            bin_ = next(n for n, high in zip(names, AGE_BINS, strict=True) if age <= high)
            writer.writerow([row["file"], row["gender"], row["race"], bin_])
    return path


def percent(estimate: dict) -> str:
    return (
        f"{100 * estimate['value']:.1f} [{100 * estimate['low']:.1f}, {100 * estimate['high']:.1f}]"
    )


def main() -> None:
    data = data_folder()
    work = Path(tempfile.mkdtemp())
    utk = age_manifest(data, work)
    # source, name of the store, options of embed, labels as (shown, column)
    sets = [
        (data / "fer2013", "fer2013", [], [("FER2013 emotion", "label")]),
        (
            utk,
            "utkface",
            ["--root", str(data / "utkface"), "--label", "gender"],
            [
                ("UTKFace gender", "label"),
                ("UTKFace race", "race"),
                ("UTKFace age, 12 bins", "age_bin"),
            ],
        ),
        (
            data / "lfw_deepfunneled/labels.csv",
            "lfw",
            ["--label", "gender"],
            [("LFW gender, people apart", "label")],
        ),
        (
            data / "fairface/labels.csv",
            "fairface",
            ["--label", "gender"],
            [("FairFace gender", "label"), ("FairFace race", "race")],
        ),
        (
            data / "anime_faces/labels.csv",
            "anime",
            ["--label", "character", "--group", "source_picture"],
            [("Anime character, sources apart", "label")],
        ),
    ]
    accuracy = [["data set", "classes", "train", "test", "majority"]]
    accuracy[0] += [f"{b} {h}" for b in BACKBONES for h in HEADS]
    cost = [["command", "images", "seconds", "CPU s", "peak MiB"]]
    commands = []
    for source, name, options, labels in sets:
        shown = str(source).replace(str(data), "DATA").replace(f"{work}/", "")
        for backbone in BACKBONES:
            arguments = ["embed", str(source), *options, "-o", name, "-b", backbone]
            measured, document = embedkit(*arguments, folder=work)
            figures = [f"{x:.1f}" for x in (measured.wall, measured.cpu, measured.peak)]
            cost.append([f"embed {shown} -b {backbone}", str(document["n"]), *figures])
            line = " ".join(["embedkit embed", shown, *options, "-o", name, "-b", backbone])
            commands.append(line.replace(str(data), "DATA"))
        for title, column in labels:
            row = [title]
            for backbone in BACKBONES:
                for head in HEADS:
                    arguments = ["train", name, "-b", backbone, "--head", head, "--label", column]
                    measured, document = embedkit(*arguments, folder=work)
                    metrics = document["metrics"]
                    if len(row) == 1:
                        majority = f"{100 * metrics['majority']['value']:.1f}"
                        n_train, n_test = document["n_train"], metrics["n"]
                        row += [str(len(document["labels"])), str(n_train), str(n_test), majority]
                    row.append(percent(metrics["accuracy"]))
                    figures = [f"{x:.1f}" for x in (measured.wall, measured.cpu, measured.peak)]
                    what = f"train {title}, {backbone} {head}"
                    cost.append([what, str(document["n_train"]), *figures])
                    commands.append("embedkit " + " ".join(arguments))
            accuracy.append(row)
            print(" | ".join(row), flush=True)
    shutil.rmtree(work)
    joined = "\n".join(commands)
    write_page(
        "results.md",
        "results.py",
        f"""# Results on real pictures

Accuracy in percent with its 95% interval, on the test split that the data set has or, where it has
none, that embedkit makes (a fifth of each class, seed 0; where the table names people or source
pictures, whole groups on one side). `majority` is the accuracy of always giving the commonest class
of train. These are samples of the data sets, not the whole sets (`../shared/data/README.md`), so
the figures are not comparable with those published for the whole. Neither backbone was made for
these tasks: `mtcnn` is a face detector's third network, `pixels` sees no content at all. What beats
`pixels` by little has learned little about faces.

{table(accuracy)}

## Time and memory

Whole commands, start-up included (importing torch alone is about 2 s and 600 MiB). Frames a second
of `predict --faces` on videos stand in [video.md](video.md); how the report's page and the map open
and move in [pages.md](pages.md) and [maps.md](maps.md); exports in [export.md](export.md).

{table(cost)}

## Commands

`DATA` is the folder of the real data sets; `utkface.csv` is its table with the age in twelve bins,
written by the script.

```
{joined}
```
""",
    )


if __name__ == "__main__":
    main()
