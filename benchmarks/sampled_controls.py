"""Controls of samples, as a ledger of many images has them, against controls of all images.

Data sets of a few thousand drawn images, small enough for both: the bounds beyond which samples are
taken are lowered, and the same ledger is kept once with and once without them.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import planted_truth
from common import table, write_page
from planted_truth import World, percent, worth

from embedkit import matrices
from embedkit.audits import prices
from embedkit.audits.books import Books, levels_of
from embedkit.audits.prices import Prices
from embedkit.audits.refits import Bench
from embedkit.audits.siblings import find_siblings
from embedkit.heads.fitting import HEADS
from embedkit.statistics import Estimate

PEOPLE = {"train": 1500, "test": 400}
LARGE, START, MOST, ASKED = 1000, 300, 600, 400  # in place of 100,000; 10,000 to 40,000; 10,000
STRENGTHS = (0.2, 1.0)
MATERIAL = 0.02


@dataclass(frozen=True)
class Kept:
    """A head's total, and the price of as many random images, in accuracy."""

    total: Estimate
    price: float
    bound: float = float("nan")


def kept(job: tuple[int, float]) -> dict[str, tuple[Kept, Kept]]:
    """Keep the books of each head on one data set with controls of all images, then of samples."""
    planted_truth.PEOPLE = PEOPLE
    prices.START, prices.MOST, prices.ASKED = START, MOST, ASKED
    seed, strength = job
    world = World(seed, strength)
    siblings = find_siblings(world, world.twins, split="test", seed=0)
    levels = levels_of(world.twins, siblings)
    made: dict[str, list[Kept]] = {kind: [] for kind in HEADS}
    for bound in (matrices.LARGE, LARGE):
        before, matrices.LARGE = matrices.LARGE, bound
        for kind in HEADS:
            bench = Bench(
                world,
                kind,
                [clusters for _, clusters in levels],
                split="test",
                label="label",
                backbone=None,
                seed=seed,
            )
            books = Books(bench, levels, None, material=MATERIAL)
            removed = books.marks[-1]
            if bound == LARGE:
                some = Prices(bench, material=MATERIAL).of(removed, books.clean)
                made[kind].append(Kept(books.total, some.value, some.bound))
            else:
                (control,) = bench.controls([removed], books.clean)
                if control is None:
                    raise RuntimeError("the purge leaves a class without an image")
                price = bench.right(bench.first).mean() - control.right.mean()
                made[kind].append(Kept(books.total, float(price)))
        matrices.LARGE = before
    return {kind: (both[0], both[1]) for kind, both in made.items()}


def true_worth(job: tuple[int, float]) -> dict[str, float]:
    """Return what copies are worth in a data set of this size; see `worth`."""
    planted_truth.PEOPLE = PEOPLE
    return worth(job)


def points(values: list[float]) -> str:
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{100 * np.mean(values):.2f} ± {100 * error:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--truths", type=int, default=40)
    options = parser.parse_args()
    rows = [
        [
            "test images with a copy in train",
            "head",
            "true worth, points",
            "total: of all, of samples",
            "held by the interval: of all, of samples",
            "price of fewer images: of all, of samples",
            "dearer than of all",
            "price within the bound told",
            "half-width: of all, of samples",
        ]
    ]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for strength in STRENGTHS:
            jobs = [(10_000 + n, strength) for n in range(options.truths)]
            truths = list(pool.map(true_worth, jobs))
            found = list(pool.map(kept, [(n, strength) for n in range(options.seeds)]))
            for kind in HEADS:
                drawn = [one[kind] for one in truths]
                truth = float(np.mean(drawn))
                both = [one[kind] for one in found]
                within = [abs(whole.price) <= some.bound for whole, some in both]
                rows.append(
                    [
                        f"{strength:.0%}",
                        kind,
                        points(drawn),
                        ", ".join(f"{100 * _mean(both, i, 'value'):.2f}" for i in (0, 1)),
                        ", ".join(
                            percent(sum(_holds(one[i].total, truth) for one in both), len(both))
                            for i in (0, 1)
                        ),
                        ", ".join(
                            f"{100 * np.mean([one[i].price for one in both]):.2f}" for i in (0, 1)
                        ),
                        points([some.price - whole.price for whole, some in both]),
                        percent(sum(within), len(both)),
                        ", ".join(f"{100 * _half_width(both, i):.2f}" for i in (0, 1)),
                    ]
                )
    write_page(
        "sampled-controls.md",
        f"sampled_controls.py --seeds {options.seeds} --truths {options.truths}",
        f"""# Controls of samples against controls of all images

Beyond 100,000 training images a ledger does not fit a head ten times more without as many random
images as a purge removes. It does so on samples, and takes what that costs them for what it would
cost all. Here both were done: {options.seeds} drawn data sets a row, two pictures each of
{PEOPLE["train"]} people in train and {PEOPLE["test"]} in test, some test images with a copy in
train, as in [coverage](coverage.md); samples of {START} training images, {MOST} where the interval
asked for that, and all test images up to {ASKED}. "Of samples" is in each cell the second figure.

{table(rows)}

The true worth is the mean over {options.truths} other data sets with copies or with strangers in
their place; ± is a standard error, brackets are 95% intervals of a share. A smaller training set
pays more for the same share of its images: "dearer than of all" is by how much, in points, and what
relatives are worth is told that much too low. The interval of the total reaches up by the whole
price for it, and down and up by what samples and their test images leave open; so it is wider.
Worlds this small are harder on samples than large ones, whose learning curves are flatter.
""",
    )


def _holds(estimate: Estimate, truth: float) -> bool:
    return estimate.low <= truth <= estimate.high


def _mean(both: list[tuple[Kept, Kept]], place: int, name: str) -> float:
    return float(np.mean([getattr(one[place].total, name) for one in both]))


def _half_width(both: list[tuple[Kept, Kept]], place: int) -> float:
    return (_mean(both, place, "high") - _mean(both, place, "low")) / 2


if __name__ == "__main__":
    main()
