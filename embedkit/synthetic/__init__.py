"""Synthetic data: drawn faces in folders, with faults whose place and size are known.

Every picture shows a drawn "person" who is filed as `good` or `bad`; good ones smile more often,
which is all that a classifier can honestly learn. No person of the test split is in train unless
that is planted.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from embedkit.errors import InputError
from embedkit.files import write_whole
from embedkit.synthetic.drawing import Person, draw_face, draw_person, draw_photograph
from embedkit.synthetic.faults import (
    CHANGES,
    UNREADABLE_KINDS,
    Faults,
    changed_copy,
    jpeg_bytes,
    png_bytes,
    unreadable_bytes,
)
from embedkit.vectors import Pixels

__all__ = ["Faults", "Truth", "make_faces"]

KINDS = ("bad", "good")
SMILES = {"bad": -0.4, "good": 0.4}
SHARES = {"train": 0.6, "valid": 0.1, "test": 0.3}
PNG_SHARE = 0.15
QUALITIES = (75, 80, 85, 90, 95)
TIED_QUALITY = {"bad": 70, "good": 95}
TIED_SCALE = {"bad": 0.9, "good": 1.0}


@dataclass(frozen=True)
class Truth:
    """What was made and planted; `truth.json` beside the pictures holds the same.

    Attributes:
        folder: that holds train/, valid/, test/ and `faces.csv`.
        faults: that were asked for.
        seed: of everything drawn.
        person: who is on each image, by id.
        kind: true label of each image, by id.
        twins: planted copies: the image in test, its copy in train, the kind and the change.
        same_person: people of the test split who are in train too.
        wrong_labels: images filed under the other label.
        subgroup: images with extra noise.
        unreadable: files that cannot be read, with the reason.
    """

    folder: Path
    faults: Faults
    seed: int
    person: dict[str, str] = field(default_factory=dict)
    kind: dict[str, str] = field(default_factory=dict)
    twins: list[dict[str, str]] = field(default_factory=list)
    same_person: list[str] = field(default_factory=list)
    wrong_labels: list[str] = field(default_factory=list)
    subgroup: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"schema": "embedkit.synthetic/1"} | {
            key: value for key, value in asdict(self).items() if key != "folder"
        }


@dataclass(slots=True)
class _Picture:
    """One picture on its way to disk."""

    person: str
    kind: str
    split: str
    pixels: Pixels
    looks: Person
    wrong: bool = False
    id: str = ""
    data: bytes = b""

    @property
    def label(self) -> str:
        return KINDS[1 - KINDS.index(self.kind)] if self.wrong else self.kind


def make_faces(
    folder: str | Path,
    *,
    people: int = 80,
    photographs: int = 6,
    size: int = 128,
    seed: int = 0,
    faults: Faults | None = None,
) -> Truth:
    """Draw a data set of faces with train, valid and test, and plant faults in it.

    Args:
        folder: new or empty; gets `split/label/number.jpg`, `faces.csv` and `truth.json`.
        people: half of them good, half bad.
        photographs: of each person.
        size: of a picture in pixels.
        seed: the same seed gives the same files.
        faults: what to plant; nothing where left out.

    Raises:
        InputError: the folder holds something already, or there are too few people for splits.
    """
    folder, faults = Path(folder), faults or Faults()
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; the pictures need a folder of their own")
    if people < 12 or photographs < 1:
        raise InputError(
            f"{people} people with {photographs} photographs are too few; 12 and 1 are not"
        )
    generator = np.random.default_rng(seed)
    truth = Truth(folder, faults, seed)
    pictures = list(_photographs(generator, people, photographs, size, faults, truth))
    test = [picture for picture in pictures if picture.split == "test"]
    for picture in _some(pictures, faults.wrong_labels, generator):
        picture.wrong = True
    exact = _some(test, faults.exact_twins, generator)
    rest = [picture for picture in test if not any(picture is one for one in exact)]
    near = _some(rest, faults.near_twins * len(test) / max(len(rest), 1), generator)
    copies = [(one, replace(one, split="train"), "") for one in exact]
    changes = list(CHANGES)
    copies += [
        (one, replace(one, split="train"), changes[place % len(changes)])
        for place, one in enumerate(near)
    ]
    everything = [*pictures, *(copy for _, copy, _ in copies)]
    numbers = generator.permutation(10 * len(everything))[: len(everything) + faults.unreadable]
    for picture, number in zip(everything, numbers, strict=False):
        _encode(picture, f"{number:05d}", faults, generator)
    for original, copy, change in copies:
        if change:
            copy.data = changed_copy(original.pixels, change)
            copy.id = str(Path(copy.id).with_suffix(".jpg"))
        else:
            copy.data = original.data
            copy.id = str(Path(copy.id).with_suffix(Path(original.id).suffix))
        kind = "near" if change else "exact"
        truth.twins.append({"a": original.id, "b": copy.id, "kind": kind, "change": change})
    _describe(everything, truth)
    _write(folder, everything, numbers[len(everything) :], truth)
    return truth


def _photographs(
    generator: np.random.Generator,
    people: int,
    photographs: int,
    size: int,
    faults: Faults,
    truth: Truth,
) -> Iterator[_Picture]:
    """Draw everybody's photographs; a person is in one split unless planted otherwise."""
    splits = _splits(people)
    in_test = [place for place, split in enumerate(splits) if split == "test"]
    both = set(in_test[: round(faults.same_person * len(in_test))])
    for place in range(people):
        kind = KINDS[place % 2]
        looks = draw_person(generator, smiles=SMILES[kind])
        name = f"p{place:03d}"
        if place in both:
            truth.same_person.append(name)
        for photograph in range(photographs):
            photo = draw_photograph(generator, looks)
            if looks.glasses and faults.noisy_subgroup:
                photo = replace(photo, noise=photo.noise + faults.noisy_subgroup)
            split = "train" if place in both and photograph % 2 else splits[place]
            yield _Picture(name, kind, split, draw_face(looks, photo, size), looks)


def _splits(people: int) -> list[str]:
    """Give each person a split; good and bad alternate, so pairs of people move together."""
    pairs = people // 2
    bounds = np.cumsum([round(share * pairs) for share in SHARES.values()])
    names = [*SHARES]
    return [
        names[min(int(np.searchsorted(bounds, place // 2, "right")), 2)] for place in range(people)
    ]


def _some(pictures: list[_Picture], share: float, generator: np.random.Generator) -> list[_Picture]:
    chosen = generator.permutation(len(pictures))[: round(share * len(pictures))]
    return [pictures[place] for place in sorted(chosen)]


def _encode(picture: _Picture, name: str, faults: Faults, generator: np.random.Generator) -> None:
    """Write the picture's bytes, with what is tied to its label."""
    image = Image.fromarray(picture.pixels)
    tied_size, tied_quality, png = generator.random(3)
    quality = int(generator.choice(QUALITIES))
    if faults.image_size:
        # Untied pictures have one of the two sizes by chance, or the tie would show in its absence.
        kind = picture.label if tied_size < faults.image_size else KINDS[int(generator.integers(2))]
        side = round(TIED_SCALE[kind] * image.width)
        image = image.resize((side, side), Image.Resampling.LANCZOS)
    if faults.jpeg_quality:
        kind = (
            picture.label
            if tied_quality < faults.jpeg_quality
            else KINDS[int(generator.integers(2))]
        )
        quality, png = TIED_QUALITY[kind], 1.0
    suffix = "png" if png < PNG_SHARE else "jpg"
    picture.id = f"{picture.split}/{picture.label}/{name}.{suffix}"
    picture.data = png_bytes(image) if suffix == "png" else jpeg_bytes(image, quality)


def _describe(pictures: list[_Picture], truth: Truth) -> None:
    for picture in pictures:
        truth.person[picture.id] = picture.person
        truth.kind[picture.id] = picture.kind
        if picture.wrong:
            truth.wrong_labels.append(picture.id)
        if truth.faults.noisy_subgroup and picture.looks.glasses:
            truth.subgroup.append(picture.id)


def _write(
    folder: Path, pictures: list[_Picture], spare: "np.typing.NDArray[np.int64]", truth: Truth
) -> None:
    lines = ["file,label,split,person,glasses,beard"]
    for picture in sorted(pictures, key=lambda one: one.id):
        path = folder / picture.id
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture.data)
        looks = picture.looks
        lines.append(
            f"{picture.id},{picture.label},{picture.split},{picture.person},"
            f"{'yes' if looks.glasses else 'no'},{'yes' if looks.beard else 'no'}"
        )
    for place, number in enumerate(spare):
        kind = UNREADABLE_KINDS[place % len(UNREADABLE_KINDS)]
        id_ = f"train/{KINDS[place % 2]}/{number:05d}.jpg"
        (folder / id_).write_bytes(unreadable_bytes(kind, pictures[0].data))
        truth.unreadable[id_] = kind
    (folder / "faces.csv").write_text("\n".join(lines) + "\n")
    write_whole(folder / "truth.json", (json.dumps(truth.to_dict(), indent=1) + "\n").encode())
