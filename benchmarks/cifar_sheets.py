"""Draw CIFAR-10 pairs for somebody to judge who is not told where each comes from.

Pairs that embedkit finds and the published list does not have are shuffled among listed ones and
among pairs that only other tools list, so that the judge can be judged too. Reads the pairs of
`docs/twins.json`, writes sheets and `key.csv`; give the sheets away without the key.
"""

import csv
import json
import random
import sys
from pathlib import Path

from common import data_folder
from PIL import Image, ImageDraw
from twins import FIGURES, truth

SEED = 7
SIDE = 128
COLUMNS, ROWS = 4, 5
SAMPLE = 60
OTHERS = (("fastdup", "similarity 0.95"), ("imagededup", "pHash, 12 bits"))


def drawn(data: Path) -> list[tuple[str, str, str]]:
    """Return (test, train, drawn from) in the order of the sheets."""
    figures = json.loads(FIGURES.read_text())
    known = truth(data)
    ours = [(a, b) for a, b, _ in figures["cifar"]["pairs"]]
    others = {tuple(pair) for tool, way in OTHERS for pair in figures["rivals"][tool][way]}
    generator = random.Random(SEED)
    groups = {
        "embedkit only": [pair for pair in ours if pair not in known],
        "listed near": generator.sample([p for p in known if known[p] == "near"], SAMPLE),
        "listed very similar": [pair for pair in known if known[pair] != "near"],
        "others only": generator.sample(sorted(others - set(known) - set(ours)), SAMPLE),
    }
    made = [(*pair, name) for name, pairs in groups.items() for pair in pairs]
    generator.shuffle(made)
    return made


def main() -> None:
    folder = Path(sys.argv[1])
    sys.argv[1:] = sys.argv[2:]
    data = data_folder()
    folder.mkdir(parents=True)
    pairs = drawn(data)
    for start in range(0, len(pairs), COLUMNS * ROWS):
        sheet = Image.new("RGB", (COLUMNS * (2 * SIDE + 24), ROWS * (SIDE + 26)), "white")
        pen = ImageDraw.Draw(sheet)
        for place, (test, train, _) in enumerate(pairs[start : start + COLUMNS * ROWS]):
            x, y = place % COLUMNS * (2 * SIDE + 24), place // COLUMNS * (SIDE + 26)
            pen.text((x + 2, y + 2), f"#{start + place}", fill="black")
            for number, name in enumerate((test, train)):
                with Image.open(data / "cifar10_duplicates" / name) as image:
                    large = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
                sheet.paste(large, (x + number * (SIDE + 4), y + 16))
        sheet.save(folder / f"sheet{start // (COLUMNS * ROWS):02}.png")
    with (folder / "key.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["number", "test", "train", "drawn_from"])
        writer.writerows([number, *pair] for number, pair in enumerate(pairs))


if __name__ == "__main__":
    main()
