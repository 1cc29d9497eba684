"""Small things that several test files need."""

import csv
import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

from embedkit.items import ItemTable


def saved(image: Image.Image, format_: str, **options) -> bytes:
    """Return a picture as the bytes of a file."""
    stream = io.BytesIO()
    image.save(stream, format_, **options)
    return stream.getvalue()


PNG = saved(Image.fromarray(np.zeros((8, 8, 3), np.uint8)), "PNG")


def noise(seed: int, side: int = 48) -> Image.Image:
    """Return a picture that no other seed gives."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8))


def make(root: Path, *names: str) -> Path:
    """Write the same tiny picture under several names below a folder."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG)
    return root


def make_different(root: Path, *names: str) -> Path:
    """Write a different picture under each name below a folder."""
    for place, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = sum(map(ord, name)) * 1000 + place
        path.write_bytes(saved(noise(seed), "PNG" if name.endswith("png") else "JPEG"))
    return root


def counts(items: ItemTable) -> dict:
    """Return the number of images by split and label."""
    return {split: dict(labels) for split, labels in items.counts().items()}


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def scene(seed, side=120):
    """A picture with something to see at every size."""
    generator = np.random.default_rng(seed)
    made = np.zeros((side, side, 3))
    for cells in (4, 9, 20):
        small = generator.integers(0, 256, (cells, cells, 3), np.uint8)
        image = Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)
        made += np.asarray(image) / 3
    return made.astype(np.uint8)


def drawn_items(y, test):
    """Return as much of an items table as heads ask for, of images that are drawn as vectors."""
    labels = [f"class {one}" for one in y]
    return SimpleNamespace(
        ids=[str(row) for row in range(len(y))],
        labels=labels,
        splits=["test" if one else "train" for one in test],
        groups=[None] * len(y),
        attributes=(),
        column={"pixel_sha256": list(range(len(y)))}.__getitem__,
        label_column=lambda _: labels,
    )


def striped(folder):
    """Draw 240 training and 240 test pictures of stripes, down or across, and return their table.

    How light a picture is goes with its class in train (`tone`), and not in test; `side` goes with
    nothing; `few` names two training images, and `odd` six of each split.
    """
    generator = np.random.default_rng(0)
    rows = [("file", "label", "split", "tone", "side", "few", "odd")]
    for number in range(480):
        down = number % 2
        split = "test" if number >= 240 else "train"
        often = 0.94 if split == "train" else 0.5
        light = down if generator.random() < often else 1 - down
        picture = 70 + 90 * light + 30 * generator.normal(size=(32, 32))
        stripes = 3 * np.sign(np.sin(np.arange(32) * 1.6))
        picture += stripes[:, None] if down else stripes[None]
        grey = np.clip(picture, 0, 255).astype(np.uint8)
        Image.fromarray(grey).convert("RGB").save(folder / f"{number}.png")
        label, tone = ("down", "across")[1 - down], ("dark", "light")[light]
        side = ("left|x", "right|x")[number // 2 % 2]
        few = ("yes" if number in (0, 2) else "no") if split == "train" else str(number % 3)
        odd = "rare" if number % 40 == 0 else "usual"
        rows.append((f"{number}.png", label, split, tone, side, few, odd))
    table = folder / "stripes.csv"
    with table.open("w") as file:
        csv.writer(file).writerows(rows)
    return table
