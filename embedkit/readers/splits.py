"""Splits: the words that data sets use for them, and one made by embedkit where there is none."""

import hashlib
from collections import defaultdict

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
    "testing": "test",
}
TEST_SHARE = 0.2


def is_split_word(word: str) -> bool:
    """Say whether a folder or cell of this name means a split."""
    return word.lower() in SPLIT_WORDS


def canonical_split(word: str) -> str:
    """Return train, valid or test for any spelling of them, other words as they are."""
    return SPLIT_WORDS.get(word.strip().lower(), word.strip())


def make_split(
    ids: list[str],
    labels: list[str | None],
    groups: list[str | None],
    *,
    seed: int,
    kept: dict[str, str] | None = None,
) -> list[str | None]:
    """Divide images into train (80%) and test (20%), each label in the same proportion.

    A group is never divided. The order within a label comes from a hash of the seed and the id
    (or group), so that it does not depend on the order or number of the other images; images in
    `kept` stay where they were and new ones fill the shares up.

    Args:
        ids: of the images.
        labels: stratified by; images without one form a stratum of their own.
        groups: None where an image belongs to nobody.
        seed: of the order.
        kept: split by id, from an earlier run.

    Returns:
        (n,) "train" or "test".
    """
    kept = kept or {}
    units: dict[tuple[bool, str], list[int]] = defaultdict(list)
    for row, (id_, group) in enumerate(zip(ids, groups, strict=True)):
        units[(True, group) if group is not None else (False, id_)].append(row)
    strata: dict[str | None, list[tuple[str, list[int]]]] = defaultdict(list)
    for (_, name), rows in units.items():
        strata[_commonest([labels[row] for row in rows])].append((name, rows))
    split: list[str | None] = [None] * len(ids)
    for members in strata.values():
        members.sort(key=lambda member: hashlib.sha256(f"{seed}|{member[0]}".encode()).digest())
        total = sum(len(rows) for _, rows in members)
        wanted = max(1, round(TEST_SHARE * total)) if len(members) > 1 else 0
        in_test = 0
        fresh = []
        for name, rows in members:
            before = {kept[ids[row]] for row in rows if ids[row] in kept}
            if before:
                side = "test" if "test" in before else "train"
                in_test += len(rows) if side == "test" else 0
                for row in rows:
                    split[row] = side
            else:
                fresh.append((name, rows))
        for _, rows in fresh:
            side = "test" if in_test + len(rows) <= wanted else "train"
            in_test += len(rows) if side == "test" else 0
            for row in rows:
                split[row] = side
    return split


def _commonest(labels: list[str | None]) -> str | None:
    return max(sorted({*labels}, key=str), key=labels.count)
