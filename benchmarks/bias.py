"""Gaps planted between groups: from which gap and size they are found, and what is found of none.

Needs no data and no pictures: labels and answers are drawn, relatives answered alike.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from common import table, write_page
from scipy import stats

from embedkit.audits.base import MATERIAL, Verdict
from embedkit.audits.bias import TOLERANCE
from embedkit.audits.gaps import measure_gap
from embedkit.audits.groups import Grouping
from embedkit.statistics import wilson

ACCURACY = 0.9
GAPS = (0.0, 0.05, 0.1, 0.2)
SIZES = (50, 100, 200, 400)
MANY = 30
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
        held: whether the simultaneous band holds the truth of the two groups spoken of.
        naive: whether the two groups farthest apart differ by a plain test at 5%.
    """

    verdict: Verdict
    largest: float
    detectable: float
    held: bool
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
    truth = share[int(one.better)] - share[int(one.worse)]
    counts = np.array(
        [[right[members == int(g)].sum(), (~right)[members == int(g)].sum()] for g in names]
    )
    chosen = counts[[int(one.better), int(one.worse)]]
    plain = chosen.min() > 0 and stats.chi2_contingency(chosen, correction=False).pvalue < 0.05
    return Judged(
        gap.verdict(material=MATERIAL, tolerance=TOLERANCE),
        one.gap.value,
        gap.detectable,
        one.gap.low <= truth <= one.gap.high,
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
        percent(sum(one.held for one in found), n),
        f"{100 * np.median([one.detectable for one in found]):.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    planted = [World(2, size, gap) for gap in GAPS for size in SIZES]
    planted += [World(2, 1500)]
    none = [
        World(MANY, 40),
        World(MANY, 40, photographs=3),
    ]
    with ProcessPoolExecutor(options.workers) as pool:
        made = {
            world: list(pool.map(judged, [(world, seed) for seed in range(seeds)]))
            for seeds, worlds in ((options.seeds // 2, planted), (options.seeds, none))
            for world in worlds
        }
    said = ["called present", "called absent", "band holds the truth", "detectable, points"]
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
    write_page(
        "bias.md",
        f"bias.py --seeds {options.seeds}",
        f"""# Gaps between groups where the truth is known

{options.seeds // 2} draws a row. Labels and answers are drawn, nothing is trained: a group is
answered rightly with a known probability, {ACCURACY:.0%}, and one group as many points more
seldom as are planted. Present: shown to be there, and of {100 * MATERIAL:g} point at least;
absent: shown to be below {100 * TOLERANCE:g} points; what is neither is inconclusive.

{table(power)}

In brackets: 95% intervals of the shares. The band is simultaneous over all pairs of groups, and the
truth that it should hold is that of the two groups with the largest difference, which were not
chosen before the draw. Detectable is the median of what the audit says that 4 of 5 such tests find.

{table(alarms)}

{options.seeds} draws a row; what is called present here is a false alarm. The first column is
what a table of groups without intervals shows; the second, how often a chi-square test of the two
groups farthest apart, which knows neither that they were chosen nor who is on the photographs,
says that they differ (p < 5%). Of one person's photographs, those things that decide whether an
answer is right correlate by {ALIKE:g} in the last row.
""",
    )


if __name__ == "__main__":
    main()
