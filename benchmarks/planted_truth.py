"""The ledger on vectors whose truth is planted: does its interval hold it, and when is it found?

Needs no data and no pictures: people, classes and copies are drawn as vectors.
"""

import argparse
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from types import SimpleNamespace

import numpy as np
from common import table, write_page

from embedkit.audits.base import Verdict
from embedkit.audits.leakage import measure_leakage
from embedkit.audits.ledger import keep_ledger
from embedkit.audits.siblings import find_siblings
from embedkit.heads.fitting import HEADS
from embedkit.statistics import clusters_of, wilson
from embedkit.vectors import unit_rows

DIMENSION = 24
PEOPLE = {"train": 200, "test": 100}
PICTURES = 2  # of each person
SIGNAL = 0.7  # distance of a class's people from the middle, in spreads of people
WITHIN = 0.35  # spread of one person's photographs, likewise
COPY = 1e-3  # spread of the copies of one photograph
STRENGTHS = (0.0, 0.02, 0.05, 0.1, 0.2)


class Drawn:
    """A data set of vectors, with just so much of a store as the audits ask for.

    Args:
        vectors: (n, d) float32, unit rows.
        labels: of the rows.
        splits: of the rows.
        groups: the person of each row.
        exact: the photograph of each row; its exact copies share it.
        near: the same for exact and near copies.
    """

    path, spaces = "drawn", {}

    def __init__(
        self,
        vectors: np.ndarray,
        labels: Sequence[str],
        splits: Sequence[str],
        groups: Sequence[str],
        *,
        exact: Sequence[int],
        near: Sequence[int],
    ) -> None:
        self.vectors = vectors
        columns = {"label": list(labels), "pixel_sha256": list(exact)}
        self.items = SimpleNamespace(
            ids=[str(row) for row in range(len(vectors))],
            labels=columns["label"],
            splits=list(splits),
            groups=list(groups),
            attributes=(),
            column=columns.__getitem__,
            label_column=columns.__getitem__,
        )
        self.twins = SimpleNamespace(
            exact=clusters_of(exact), near=clusters_of(near), calibration=True, missed=""
        )

    def space(self, _: str | None) -> SimpleNamespace:
        """Return the only space."""
        return SimpleNamespace(vectors=self.vectors, matrix=self.vectors)


class World(Drawn):
    """People of two classes, kept apart, and copies of test images in train.

    Args:
        strength: share of the test images that have a copy in train.
        unrelated: whether each copy is another person's photograph instead, of the same class.
        names: whether every image is of somebody else, and gets one of half as many names.
    """

    def __init__(
        self, seed: int, strength: float, *, unrelated: bool = False, names: bool = False
    ) -> None:
        generator = np.random.default_rng([seed, round(1000 * strength), names])
        rows = []
        pictures = 1 if names else PICTURES
        for side, people in PEOPLE.items():
            for person in range(people * PICTURES // pictures):
                label = int(generator.integers(2))
                for vector in self._person(generator, label, pictures):
                    rows.append((vector, label, side, f"{side}{person}", len(rows)))
        copied = [row for row in rows if row[2] == "test" and generator.random() < strength]
        fresh = np.random.default_rng([seed, 7])
        for number, (vector, label, _, person, photograph) in enumerate(copied):
            near = vector + COPY * generator.normal(size=DIMENSION)
            row = (near, label, "train", person, photograph)
            if unrelated:
                other = self._person(fresh, label, 1)[0]
                row = (other, label, "train", f"new{number}", len(rows))
            rows.append(row)
        vectors, labels, splits, groups, photographs = zip(*rows, strict=True)
        if names:
            groups = [f"p{one}" for one in generator.integers(len(rows) // 2, size=len(rows))]
        names_of = ["ab"[one] for one in labels]
        super().__init__(
            unit_rows(np.stack(vectors)),
            names_of,
            splits,
            groups,
            exact=photographs,
            near=photographs,
        )

    @staticmethod
    def _person(generator: np.random.Generator, label: int, pictures: int) -> list[np.ndarray]:
        centre = generator.normal(size=DIMENSION)
        centre[0] += SIGNAL * (2 * label - 1)
        return [centre + WITHIN * generator.normal(size=DIMENSION) for _ in range(pictures)]

    def accuracy(self, kind: str) -> float:
        """Train a head on train and score it on test, as the ledger's first line does."""
        y = np.array([label == "b" for label in self.items.labels], np.int64)
        train = np.array([side == "train" for side in self.items.splits])
        clusters = clusters_of(self.items.groups)
        head = HEADS[kind](self.vectors[train], y[train], clusters[train], n_classes=2, seed=0)
        answers = head.probabilities(self.vectors[~train]).argmax(axis=1)
        return float(np.mean(answers == y[~train]))


def audited(job: tuple[int, float, bool]) -> dict:
    """Audit one drawn data set."""
    seed, strength, names = job
    world = World(seed, strength, names=names)
    siblings = find_siblings(world, world.twins, split="test", seed=0)
    leakage = measure_leakage(world, world.twins, siblings, split="test", seed=0)
    ledger = keep_ledger(world, world.twins, siblings, split="test")
    return {
        "present": any(one.verdict is Verdict.PRESENT for one in (siblings, leakage, ledger)),
        "split": ledger.resplits.looks_like,
        "heads": {
            one.head: (
                one.total,
                one.verdict is Verdict.PRESENT,
                one.detectable,
                one.folds.difference,
            )
            for one in ledger.heads
        },
    }


def worth(job: tuple[int, float]) -> dict[str, float]:
    """Return by how much a head is better for copies than for as many strangers."""
    seed, strength = job
    with_copies = World(seed, strength)
    without = World(seed, strength, unrelated=True)
    return {kind: with_copies.accuracy(kind) - without.accuracy(kind) for kind in HEADS}


def percent(hits: int, n: int) -> str:
    one = wilson(hits, n)
    return f"{one.value:.0%} [{one.low:.0%}, {one.high:.0%}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--truths", type=int, default=200)
    options = parser.parse_args()
    cases = [(strength, False) for strength in STRENGTHS] + [(0.0, True)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        truths = {
            strength: list(pool.map(worth, [(10_000 + n, strength) for n in range(options.truths)]))
            for strength in STRENGTHS[1:]
        }
        made = {
            case: list(pool.map(audited, [(n, *case) for n in range(options.seeds)]))
            for case in cases
        }
    rows = [
        [
            "test images with a copy in train",
            "head",
            "true worth, points",
            "ledger's total, mean",
            "its interval holds the truth",
            "present",
            "detectable, median",
        ]
    ]
    for (strength, names), found in made.items():
        for kind in HEADS:
            truth, error = 0.0, 0.0
            if strength:
                drawn = [one[kind] for one in truths[strength]]
                truth, error = np.mean(drawn), np.std(drawn, ddof=1) / np.sqrt(len(drawn))
            totals = [one["heads"][kind][0] for one in found]
            held = sum(one.low <= truth <= one.high for one in totals)
            present = sum(one["heads"][kind][1] for one in found)
            least = [one["heads"][kind][2] for one in found if one["heads"][kind][2] is not None]
            rows.append(
                [
                    "none, but names at random" if names else f"{strength:.0%}",
                    kind,
                    f"{100 * truth:.1f} ± {100 * error:.1f}" if strength else "0",
                    f"{100 * np.mean([one.value for one in totals]):.1f}",
                    percent(held, len(found)),
                    percent(present, len(found)),
                    f"{np.median(least):.1f}" if least else "nothing to look for",
                ]
            )
    clean, named = made[0.0, False], made[0.0, True]
    nothing = sum(one["present"] for one in clean)
    alike = sum(one["split"] == "grouped" for one in clean)
    chance = sum(one["split"] == "random" for one in named)
    folds = {
        kind: percent(
            sum(gap.low <= 0 <= gap.high for gap in (one["heads"][kind][3] for one in named)),
            len(named),
        )
        for kind in HEADS
    }
    write_page(
        "coverage.md",
        f"planted_truth.py --seeds {options.seeds} --truths {options.truths}",
        f"""# The ledger where the truth is known

{options.seeds} drawn data sets a row, each of {PICTURES * PEOPLE["train"]} training and
{PICTURES * PEOPLE["test"]} test images, {PICTURES} of each person, {DIMENSION} numbers an image,
two classes; people are kept apart, and of some test images a copy is put into train. The true
worth of the copies is the mean, over {options.truths} other such data sets, of how much more often
a head is right with them in train than with as many photographs of strangers of the same classes
in their place; ± is its standard error.

{table(rows)}

In brackets: 95% intervals of the shares. For the last two rows every image is of somebody else and
was given one of {PICTURES * (PEOPLE["train"] + PEOPLE["test"]) // 2} names at random: half of train
is "related" to test and that is worth nothing, so what is called present there is a false alarm.

Of the {len(clean)} clean data sets, {percent(nothing, len(clean))} had any finding (siblings,
leakage, ledger) called present; {percent(alike, len(clean))} were recognised as split by relatives.
Of those with names at random, {percent(chance, len(named))} were recognised as split at random, and
the interval of plain less grouped cross-validation holds the truth, none, in
{", ".join(f"{share} ({kind})" for kind, share in folds.items())}.
""",
    )


if __name__ == "__main__":
    main()
