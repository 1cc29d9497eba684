"""The self-test: copies, people and wrong labels are planted in a shadow of the user's own data.

Nothing is written but pictures in a folder of its own, which is deleted again; the store and its
pictures are only read.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from embedkit.audits.changes import cropped, resized, toned
from embedkit.audits.pictures import read_again
from embedkit.audits.plants import People, Swaps, plant_people, swap_labels
from embedkit.audits.shadows import Added, id_of, part_of, with_columns, with_pictures
from embedkit.audits.twins import Pair, Twins, find_twins
from embedkit.errors import InputError, NotEnoughImagesError, UnreadableImageError
from embedkit.images import decode, strict_pillow
from embedkit.results import Result
from embedkit.statistics import Estimate, upper_limit, wilson
from embedkit.store import Store
from embedkit.synthetic.faults import jpeg_bytes
from embedkit.vectors import IntArray, Pixels

SAMPLE = 400
PLANTS = 5  # of a kind, at least

# What is planted, and what is done to a picture for it before it is saved with a JPEG quality.
SAME = "same bytes"
SWAPPED = "copy with another label"
COPIES: dict[str, tuple[Callable[[Pixels], Pixels], int]] = {
    "JPEG of quality 90": (lambda pixels: pixels, 90),
    "JPEG of quality 60": (lambda pixels: pixels, 60),
    "JPEG of quality 30": (lambda pixels: pixels, 30),
    "resized to 60%": (resized(0.6), 90),
    "cropped by 10%": (cropped(0.1), 90),
    "mirrored": (lambda pixels: pixels[:, ::-1], 90),
    "brighter by 20%": (toned(1.2, 0), 90),
    SWAPPED: (lambda pixels: pixels, 60),
}
KINDS = len(COPIES) + 1  # with the same bytes; half of the pictures have a copy
FEWEST = 2 * PLANTS * KINDS  # pictures


@dataclass(frozen=True, slots=True)
class Row:
    """How one kind of plant fares.

    Attributes:
        kind: what was planted.
        planted: how many.
        found: of them.
        recall: the share found.
        false: pairs reported that join such a plant to a picture of something else.
        precision: share of the pairs reported of such plants that are right.
        reason: why this kind was not run; empty if it was.
    """

    kind: str
    planted: int
    found: int
    recall: Estimate
    false: int
    precision: Estimate
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "kind": self.kind,
            "planted": self.planted,
            "found": self.found,
            "recall": self.recall.to_dict(),
            "false_alarms": self.false,
            "precision": self.precision.to_dict(),
            "not_run_reason": self.reason or None,
        }


@dataclass(frozen=True, slots=True)
class Selftest(Result):
    """What the audits find of what was planted.

    Attributes:
        space: whose vectors were compared.
        n: images of the store.
        sample: how many of them the shadow was made from.
        rows: one a kind of copy.
        all_copies: all kinds together.
        decoys: share of pictures that are called copies although none can be; each is put together
            from the halves of two. Where there are none, the high end is the one-sided 95% limit.
        before: pairs found in the sample before anything was planted; they may be real, and are
            not counted.
        people: the same for people; a sentence where that could not run.
        labels: the same for labels, swapped in the sample; likewise.
        refused: planted pictures that the backbone takes no vector of.
    """

    space: str
    n: int
    sample: int
    rows: tuple[Row, ...]
    all_copies: Row
    decoys: Estimate
    before: tuple[Pair, ...]
    people: People | str
    labels: Swaps | str
    refused: int

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document `embedkit.selftest/1`."""
        people, labels = self.people, self.labels
        return {
            "schema": "embedkit.selftest/1",
            "space": self.space,
            "n": self.n,
            "sample": self.sample,
            "copies": [row.to_dict() for row in (*self.rows, self.all_copies)],
            "nothing_planted": self.decoys.to_dict(),
            "found_before": [
                {"a": pair.a, "b": pair.b, "kind": pair.kind, "score": round(pair.score, 4)}
                for pair in self.before
            ],
            "people": None if isinstance(people, str) else people.to_dict(),
            "people_not_run_because": people if isinstance(people, str) else None,
            "labels": None if isinstance(labels, str) else labels.to_dict(),
            "labels_not_run_because": labels if isinstance(labels, str) else None,
            "refused": self.refused,
        }


def selftest(
    store: Store,
    *,
    backbone: str | None = None,
    label: str = "label",
    sample: int = SAMPLE,
    seed: int = 0,
) -> Selftest:
    """Plant copies, people and wrong labels in a shadow of a store, and count what is found.

    Copies of pictures of a seeded sample, one a picture, each changed in one way, join that sample
    as if they had come with the data. A pair with a plant is right if it leads to the plant's
    original, or to what the audit calls a copy of the original without any plant.

    Args:
        store: whose pictures are where they were.
        backbone: which space; can be left out where there is only one.
        label: column whose values some copies carry wrongly.
        sample: pictures to take; all where there are fewer.
        seed: of everything drawn.

    Raises:
        InputError: pictures are gone or have changed, or there is no such space or column.
        NotEnoughImagesError: there are too few pictures.
    """
    space = store.space(backbone)
    given = store.items.column(label)
    if min(sample, len(store.items)) < FEWEST:
        raise NotEnoughImagesError(
            f"{min(sample, len(store.items))} pictures are not enough for a self-test; it plants "
            f"{KINDS} kinds of copies, {PLANTS} of each in {FEWEST} pictures at least"
        )
    generator = np.random.default_rng(seed)
    n = min(sample, len(store.items))
    rows = np.sort(generator.choice(len(store.items), n, replace=False))
    pictures = _pictures(store, rows)
    part = part_of(store, rows, spaces=[space.name])
    before = find_twins(part, label=label)
    # All of the sample in test and all copies in train: each pair that is planted is a leak.
    shadow = with_columns(part, split=["test"] * n)
    labelled = [name for name in dict.fromkeys(given) if name is not None]
    kinds = [SAME, *COPIES] if len(labelled) > 1 else [SAME, *list(COPIES)[:-1]]
    order = generator.permutation(n)
    each = n // (2 * KINDS)
    with tempfile.TemporaryDirectory(prefix="embedkit-selftest-") as temporary:
        folder = Path(temporary)
        plants: list[tuple[str, int, Path]] = []  # kind, place in the sample, file
        added = []
        for number, place in enumerate(order.tolist()):
            kind_number = number // each
            if kind_number >= len(kinds):
                break
            kind = kinds[kind_number]
            own = given[int(rows[place])]
            if kind == SWAPPED:
                others = [name for name in labelled if name != own]
                own = others[int(generator.integers(len(others)))]
            path = folder / f"{number:05d}.jpg"
            path.write_bytes(_copy(pictures[place], kind))
            plants.append((kind, place, path))
            added.append(Added(path, {label: own, "split": "train"}))
        planted, refused = with_pictures(shadow, added)
        gone = {one.id for one in refused}
        plants = [one for one in plants if id_of(one[2]) not in gone]
        found = find_twins(planted, label=label)
        # Of pictures that are copies of one another already, one.
        alone = generator.permutation(np.unique(before.near))
        decoys = _decoys(store, space.name, pictures, alone, folder, label)
    rows_of = _judge(plants, shadow, before, found, kinds)
    if SWAPPED not in kinds:
        rows_of.append(_row(SWAPPED, 0, 0, 0, "the pictures have one label, or none"))
    return Selftest(
        space.name,
        len(store.items),
        n,
        tuple(rows_of),
        _row(
            "all copies",
            sum(row.planted for row in rows_of),
            sum(row.found for row in rows_of),
            sum(row.false for row in rows_of),
        ),
        decoys,
        before.pairs,
        plant_people(store, backbone=space.name, label=label, seed=seed),
        swap_labels(part, before, backbone=space.name, label=label, seed=seed),
        len(refused),
    )


def _pictures(store: Store, rows: IntArray) -> list[bytes]:
    """Read the pictures of a sample.

    Raises:
        InputError: some are gone, or are not those that were embedded.
    """
    hashes, read, lost = store.items.column("sha256"), [], []
    for row in rows.tolist():
        path = store.items.path(store.items.ids[row])
        try:
            read.append(read_again(path, hashes[row]))
        except UnreadableImageError as error:
            lost.append(f"{path}: {error}")
    if lost:
        raise InputError(
            f"{len(lost)} of {len(rows)} pictures are gone or have changed since they were "
            f"embedded ({lost[0]}); the self-test makes copies of them, so bring the pictures "
            "back, or the store up to date with 'embedkit embed'"
        )
    return read


def _pixels(data: bytes) -> Pixels:
    with strict_pillow():
        return decode(data).pixels


def _copy(data: bytes, kind: str) -> bytes:
    if kind == SAME:
        return data
    change, quality = COPIES[kind]
    return jpeg_bytes(Image.fromarray(change(_pixels(data))), quality)


def _judge(
    plants: Sequence[tuple[str, int, Path]],
    shadow: Store,
    before: Twins,
    found: Twins,
    kinds: Sequence[str],
) -> list[Row]:
    """Count, for each kind, the plants that lead to their original and the pairs that mislead."""
    original = {id_: place for place, id_ in enumerate(shadow.items.ids)}
    kind_of = {}
    for kind, place, path in plants:
        original[id_of(path)] = place
        kind_of[id_of(path)] = kind
    led: set[str] = set()
    false = dict.fromkeys(kinds, 0)
    for pair in found.pairs:
        ends = [one for one in (pair.a, pair.b) if one in kind_of]
        right = before.near[original[pair.a]] == before.near[original[pair.b]]
        for one in ends:
            if not right:
                false[kind_of[one]] += 1
            elif pair.across_splits and (kind_of[one] != SWAPPED or pair.conflicting):
                led.add(one)
    return [
        _row(
            kind,
            sum(one == kind for one, _, _ in plants),
            sum(kind_of[one] == kind for one in led),
            false[kind],
        )
        for kind in kinds
    ]


def _row(kind: str, planted: int, found: int, false: int, reason: str = "") -> Row:
    recall, precision = wilson(found, planted), wilson(found, found + false)
    return Row(kind, planted, found, recall, false, precision, reason)


def _decoys(
    store: Store,
    space: str,
    pictures: Sequence[bytes],
    order: IntArray,
    folder: Path,
    label: str,
) -> Estimate:
    """Look for copies where there can be none.

    The left half of each picture is joined to the right half of the next, in a random order: each
    half is used once, so that no two decoys have anything in common, and all look like the data.
    """
    added = []
    for place, one in enumerate(order.tolist()):
        other = int(order[(place + 1) % len(order)])
        left = Image.fromarray(_pixels(pictures[one]))
        right = Image.fromarray(_pixels(pictures[other])).resize(left.size)
        middle = left.width // 2
        left.paste(right.crop((middle, 0, *left.size)), (middle, 0))
        path = folder / f"decoy-{place:05d}.jpg"
        path.write_bytes(jpeg_bytes(left, 92))
        added.append(Added(path, {"split": "train"}))
    nothing = part_of(store, np.empty(0, np.int64), spaces=[space])
    decoys, _ = with_pictures(nothing, added)
    called = {id_ for pair in find_twins(decoys, label=label).pairs for id_ in (pair.a, pair.b)}
    n = len(decoys.items)
    return wilson(len(called), n) if called else Estimate(0.0, 0.0, upper_limit(n), n)
