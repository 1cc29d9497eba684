"""A folder of 12,420 real pictures, divided into splits and classes, for several scripts.

The class is the sample that a picture comes from. FER2013 and CIFAR-10 keep the split that they
were published with; of the others each fifth picture is a test picture. Faces come first; CIFAR-10
fills up what they lack.
"""

import random
import shutil
from pathlib import Path

from embedkit.images import SUFFIXES

IMAGES = 12_420
FACES = ("anime_faces", "att_faces", "fairface", "fer2013", "lfw_deepfunneled", "utkface")
FILLING = "cifar10_duplicates"
PUBLISHED = {"fer2013", FILLING}
EACH_FIFTH = 5


def pictures_of(folder: Path) -> list[Path]:
    """Return the pictures of one sample, in an order that is drawn once and for all."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    random.Random(0).shuffle(found)
    return found


def lay_out(data: Path, folder: Path, n: int = IMAGES) -> dict[str, int]:
    """Copy n real pictures to `folder/split/sample/`.

    Fewer than all are a share of every sample, so that pictures of all kinds and sizes stay.

    Returns:
        How many of each sample there are.
    """
    every = {name: pictures_of(data / name) for name in FACES}
    lacking = IMAGES - sum(map(len, every.values()))
    every[FILLING] = pictures_of(data / FILLING)[:lacking]
    chosen = [(name, path, row) for name, some in every.items() for row, path in enumerate(some)]
    if len(chosen) < n:
        raise SystemExit(f"{data} has {len(chosen):,} pictures of the {n:,} that are asked")
    random.Random(0).shuffle(chosen)
    counted = dict.fromkeys(every, 0)
    for name, path, row in chosen[:n]:
        inside = path.relative_to(data / name)
        split = "train" if row % EACH_FIFTH else "test"
        if name in PUBLISHED:
            split = inside.parts[0]
        place = folder / split / name / "__".join(inside.parts)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
        counted[name] += 1
    return counted
