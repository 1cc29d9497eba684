"""Gaps planted between groups: from which gap and size they are found, and what is found of none.

Needs no data and no pictures: labels and answers are drawn, relatives answered alike.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from bias_worlds import (
    ACCURACY,
    HARD,
    MIXES,
    Banded,
    Followed,
    Guessed,
    Mixed,
    carried,
    held,
    told,
    weighed,
)
from common import table, write_page
from scipy import stats

from embedkit.audits.base import MATERIAL, Verdict
from embedkit.audits.bias import TOLERANCE
from embedkit.audits.gaps import measure_gap
from embedkit.audits.groups import Grouping
from embedkit.statistics import wilson

GAPS = (0.0, 0.05, 0.1, 0.2)
SIZES = (50, 100, 200, 400)
MANY = 30
FOLLOWS = (0.0, 0.1, 0.2, 0.4)  # share of the images whose attribute follows the label
ALIKE = 0.7  # correlation of what decides whether one person's photographs are answered rightly


@dataclass(frozen=True)
class World:
    """Groups of images.

    Attributes:
        groups: how many.
        size: people in each.
        gap: by which the last is answered rightly more seldom.
        photographs: of each person.
        accuracy: of the others.
    """

    groups: int
    size: int
    gap: float = 0.0
    photographs: int = 1
    accuracy: float = ACCURACY


@dataclass(frozen=True)
class Judged:
    """What is said of one draw of a world.

    Attributes:
        verdict: of the audit.
        largest: difference of any two groups.
        detectable: gap that would have been found in 4 of 5 cases.
        naive: whether the two groups farthest apart differ by a plain test at 5%.
    """

    verdict: Verdict
    largest: float
    detectable: float
    naive: bool


def judged(job: tuple[World, int]) -> Judged:
    """Draw labels and answers, and compare the groups."""
    world, seed = job
    generator = np.random.default_rng(seed)
    people = np.repeat(np.arange(world.groups * world.size), world.photographs)
    members = people // world.size
    share = np.full(world.groups, world.accuracy)
    share[-1] -= world.gap
    of_person = generator.normal(size=people[-1] + 1)[people]
    of_picture = generator.normal(size=len(people))
    alike = ALIKE if world.photographs > 1 else 0.0
    luck = np.sqrt(alike) * of_person + np.sqrt(1 - alike) * of_picture
    right = luck < stats.norm.ppf(share)[members]
    y = generator.integers(2, size=len(people))
    names = tuple(str(one) for one in range(world.groups))
    grouping = Grouping("attribute", ("attribute",), names, members, (), 0)
    gap = measure_gap(
        grouping, y, np.where(right, y, 1 - y), people, ("a", "b"), tests=1, seed=seed
    )
    one = gap.largest
    counts = np.array(
        [[right[members == int(g)].sum(), (~right)[members == int(g)].sum()] for g in names]
    )
    chosen = counts[[int(one.better), int(one.worse)]]
    plain = chosen.min() > 0 and stats.chi2_contingency(chosen, correction=False).pvalue < 0.05
    return Judged(
        gap.verdict(material=MATERIAL, tolerance=TOLERANCE),
        one.gap.value,
        gap.detectable,
        bool(plain),
    )


def percent(hits: int, n: int) -> str:
    one = wilson(hits, n)
    return f"{one.value:.0%} [{one.low:.0%}, {one.high:.0%}]"


def figures(found: list[Judged]) -> list[str]:
    """Return the columns that both tables share."""
    n = len(found)
    return [
        percent(sum(one.verdict is Verdict.PRESENT for one in found), n),
        percent(sum(one.verdict is Verdict.ABSENT for one in found), n),
        f"{100 * np.median([one.detectable for one in found]):.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    half, whole, many = options.seeds // 2, options.seeds, 5 * options.seeds
    planted = [World(2, size, gap) for gap in GAPS for size in SIZES]
    planted += [World(2, 1500)]
    none = [
        World(MANY, 40),
        World(MANY, 40, photographs=3),
    ]
    bands = [Banded(2, size, gap) for gap in GAPS for size in SIZES]
    bands += [Banded(2, 1500, 0.0), Banded(MANY, 40, 0.0)]
    mixes = [Mixed(size, gap) for gap in GAPS if gap != 0.05 for size in (100, 400)]
    guesses = [
        Guessed(800, gap, e, s) for gap in (0.0, 0.2) for e in (0.1, 0.2) for s in (0.1, 0.5)
    ]
    proxies = [Followed(size, follows) for follows in FOLLOWS for size in (200, 800)]
    proxies += [Followed(800, 0.0, attributes=10, values=3)]
    with ProcessPoolExecutor(options.workers) as pool:
        made = {
            world: list(pool.map(judge, [(world, seed) for seed in range(seeds)], chunksize=5))
            for judge, seeds, worlds in (
                (judged, half, planted),
                (judged, whole, none),
                (held, many, bands),
                (weighed, half, [one for one in mixes if one.gap]),
                (weighed, whole, [one for one in mixes if not one.gap]),
                (carried, half, [one for one in guesses if one.gap]),
                (carried, whole, [one for one in guesses if not one.gap]),
                (told, half, [one for one in proxies if one.follows]),
                (told, whole, [one for one in proxies if not one.follows]),
            )
            for world in worlds
        }
    said = ["called present", "called absent", "detectable, points"]
    power = [["gap planted, points", "images in each group", *said]]
    power += [[f"{100 * w.gap:.0f}", str(w.size), *figures(made[w])] for w in planted]
    alarms = [["30 groups that do not differ", "largest gap, mean", "a plain test of it", *said]]
    for world in none:
        found = made[world]
        each = (
            f"{world.size} images"
            if world.photographs == 1
            else f"{world.size} people, {world.photographs} photographs each"
        )
        alarms.append(
            [
                f"{each}, {world.accuracy:.0%} right",
                f"{100 * np.mean([one.largest for one in found]):.1f}",
                percent(sum(one.naive for one in found), len(found)),
                *figures(found),
            ]
        )
    coverage = [["gap planted, points", "groups", "images in each", "bands hold the truth"]]
    coverage += [
        [f"{100 * w.gap:.0f}", str(w.groups), str(w.size), percent(sum(made[w]), many)]
        for w in bands
    ]
    write_page(
        "bias.md",
        f"bias.py --seeds {options.seeds}",
        f"""# Gaps between groups where the truth is known

{half} draws a row. Labels and answers are drawn, nothing is trained: a group is
answered rightly with a known probability, {ACCURACY:.0%}, and one group as many points more
seldom as are planted. Present: shown to be there, and of {100 * MATERIAL:g} point at least;
absent: shown to be below {100 * TOLERANCE:g} points; what is neither is inconclusive.

{table(power)}

In brackets: 95% intervals of the shares. Detectable is the median of what the audit says that 4 of
5 such tests find.

{table(alarms)}

{whole} draws a row; what is called present here is a false alarm. The first column is
what a table of groups without intervals shows; the second, how often a chi-square test of the two
groups farthest apart, which knows neither that they were chosen nor who is on the photographs,
says that they differ (p < 5%). Of one person's photographs, those things that decide whether an
answer is right correlate by {ALIKE:g} in the last row.

## Do the bands hold the truth?

{table(coverage)}

{many} draws a row, of independent images; a draw counts only where the bands of all pairs of groups
hold the truth at once, which they should in 95%.

## At the same mix of labels

{table(mix_rows(mixes, made))}

{half} draws a row, {whole} where nothing is planted. Two groups, two classes: the easy one is
answered rightly {HARD[0]:.0%} of the time and the hard one {HARD[1]:.0%}, less what is planted in
the second group; {MIXES[0]:.0%} of the first group and {MIXES[1]:.0%} of the second are of the hard
class. Without anything planted the groups differ as they are and not at the same mix of labels.
Different: p < 5%.

## Attributes that are guessed

{table(guess_rows(guesses, made))}

{half} draws a row, {whole} where nothing is planted; 800 test images of two values, one answered
rightly {ACCURACY:.0%} of the time and the other as many points more seldom as are planted. Guesses
are wrong as often as the second column says, and the third is the share of images that the value
is given of too, by which the gap between guessed groups is corrected. In draws with "no answer" it
is not, and nothing is called.

## A label that an attribute stands for

{table(proxy_rows(proxies, made))}

{half} draws a row, {whole} where nothing is planted; a label of two classes. The attribute that is
planted follows the label on that share of the images and is random on the others; the others are
random on all. What is named is what tells the label by heads that see attributes alone.
""",
    )


def mix_rows(worlds: list[Mixed], made: dict) -> list[list[str]]:
    rows = [
        [
            "gap planted, points",
            "images in each group",
            "gap as they are, mean",
            "different as they are",
            "different at the same mix",
            "band at the same mix holds the truth",
        ]
    ]
    for world in worlds:
        found = made[world]
        rows.append(
            [
                f"{100 * world.gap:.0f}",
                str(world.size),
                f"{100 * np.mean([one.gap for one in found]):.1f}",
                *(
                    percent(sum(getattr(one, name) for one in found), len(found))
                    for name in ("raw", "same", "held")
                ),
            ]
        )
    return rows


def guess_rows(worlds: list[Guessed], made: dict) -> list[list[str]]:
    rows = [
        [
            "gap planted, points",
            "guesses wrong",
            "images with both",
            "gap as guessed, mean",
            "corrected, mean",
            "its interval holds the truth",
            "called present",
            "called absent",
            "no answer",
        ]
    ]
    for world in worlds:
        found = made[world]
        known = [one for one in found if one.corrected == one.corrected]
        rows.append(
            [
                f"{100 * world.gap:.0f}",
                f"{world.errors:.0%}",
                f"{world.given:.0%}",
                f"{100 * np.mean([one.raw for one in found]):.1f}",
                f"{100 * np.mean([one.corrected for one in known]):.1f}",
                percent(sum(one.held for one in known), len(known)),
                *(
                    percent(sum(one.verdict is verdict for one in found), len(found))
                    for verdict in (Verdict.PRESENT, Verdict.ABSENT)
                ),
                str(len(found) - len(known)),
            ]
        )
    return rows


def proxy_rows(worlds: list[Followed], made: dict) -> list[list[str]]:
    rows = [["follows the label on", "images", "attributes", "is named", "another is named"]]
    for world in worlds:
        found = made[world]
        rows.append(
            [
                f"{world.follows:.0%}",
                str(world.size),
                f"{world.attributes} of {world.values} values",
                percent(sum(one.planted for one in found), len(found)) if world.follows else "",
                percent(sum(one.another for one in found), len(found)),
            ]
        )
    return rows


if __name__ == "__main__":
    main()
