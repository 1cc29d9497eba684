"""Shortcuts on drawn files whose truth is planted: is the column named, and what is it worth?

Needs no data and no pictures: vectors and columns are drawn.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from common import table, write_page
from coverage import Drawn, percent

from embedkit.audits.base import Verdict
from embedkit.audits.nuisance import SETS, Column
from embedkit.audits.refits import Bench
from embedkit.audits.shortcuts import find_shortcuts
from embedkit.vectors import unit_rows

DIMENSION = 16
IMAGES = 1200  # a third of them test
SEEN = 1.5  # how far the column moves the vectors, in their spreads
NOISE = 20  # columns that know nothing
PLANTED = "JPEG quality"
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
SIGNALS = (0.0, 1.0)  # how far the class moves them
FRESH = 20_000  # images on which the truth is measured


def draw(generator: np.random.Generator, n: int, strength: float, signal: float) -> tuple:
    """Draw classes, the column, and vectors; the class sets the column of a share of images."""
    y = generator.integers(2, size=n)
    high = np.where(generator.random(n) < strength, y, generator.integers(2, size=n))
    vectors = generator.normal(size=(n, DIMENSION))
    vectors[np.arange(n), y] += signal
    vectors[:, 2] += SEEN * (2 * high - 1)
    return y, high, unit_rows(vectors)


def judged(job: tuple[int, float, float]) -> dict:
    """Audit one drawn data set, and measure what the column is worth to its head."""
    seed, strength, signal = job
    generator = np.random.default_rng([seed, round(100 * strength), round(100 * signal)])
    y, high, vectors = draw(generator, IMAGES, strength, signal)
    world = Drawn(
        vectors,
        ["ab"[one] for one in y],
        ["test" if row % 3 == 0 else "train" for row in range(IMAGES)],
        [None] * IMAGES,
        exact=range(IMAGES),
        near=range(IMAGES),
    )
    columns = [
        Column(f"noise {c}", SETS[c % len(SETS)], generator.normal(size=IMAGES))
        for c in range(NOISE)
    ]
    columns.append(Column(PLANTED, "header", 60 + 30.0 * high))
    found = find_shortcuts(world, columns, np.arange(IMAGES), split="test", seed=seed)
    bench = Bench(world, "logistic", [], split="test", label="label", backbone=None, seed=seed)

    def accuracy(tied: float) -> float:
        truth, _, fresh = draw(generator, FRESH, tied, signal)
        return float((bench.whole.answers(fresh) == truth).mean())

    effects = [one.effect for one in found.reliances if one.cause == PLANTED]
    return {
        "verdict": found.verdict,
        "named": [one.name for one in found.associations if one.present],
        "first": found.summary.startswith(PLANTED),
        "effect": next((one for one in effects if not np.isnan(one.value)), None),
        "truth": accuracy(strength) - accuracy(0.0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    options = parser.parse_args()
    rows = [
        [
            "strength",
            "picture shows the class",
            "some column named",
            "the planted one in the headline",
            "present",
            "true points",
            "effect, mean",
            "its interval holds the truth",
        ]
    ]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for strength in STRENGTHS:
            for signal in SIGNALS:
                jobs = [(seed, strength, signal) for seed in range(options.seeds)]
                made = list(pool.map(judged, jobs))
                n = len(made)
                known = [one for one in made if one["effect"] is not None]
                held = [one["effect"].low <= one["truth"] <= one["effect"].high for one in known]
                mean = np.mean([one["effect"].value for one in known]) if known else np.nan
                rows.append(
                    [
                        f"{strength:.0%}",
                        "yes" if signal else "no",
                        percent(sum(bool(one["named"]) for one in made), n),
                        percent(sum(one["first"] for one in made), n),
                        percent(sum(one["verdict"] is Verdict.PRESENT for one in made), n),
                        f"{100 * np.mean([one['truth'] for one in made]):.1f}",
                        f"{100 * mean:.1f}" if known else "not measured",
                        percent(sum(held), len(held)) if known else "",
                    ]
                )
    write_page(
        "shortcuts.md",
        f"shortcuts.py --seeds {options.seeds}",
        f"""# Shortcuts where the truth is known

{options.seeds} drawn data sets a row, each of {IMAGES} images in two classes of the same size, a
third of them test, {DIMENSION} numbers an image, and {NOISE + 1} columns: {NOISE} know nothing,
one is set by the class in a share of images (the strength) and drawn in the others; the vectors
show it. The true points are what the same head loses on {FRESH:,} fresh images whose column has
nothing to do with their class.

{table(rows)}

In brackets: 95% intervals of the shares. At strength 0 whatever is named or present is a false
alarm. At 100% no image goes against the column, so its effect cannot be measured, and it is
present as an association that marks a whole class.
""",
    )


if __name__ == "__main__":
    main()
