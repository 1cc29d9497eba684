"""Worlds for `bias.py` beside plain gaps: labels that go with groups, guesses, and proxies."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from embedkit.audits.bands import band
from embedkit.audits.base import ALPHA, MATERIAL, Verdict
from embedkit.audits.bias import TOLERANCE
from embedkit.audits.gaps import measure_gap
from embedkit.audits.groups import Attribute, Grouping
from embedkit.audits.guesses import Guess
from embedkit.audits.mixtures import unmix
from embedkit.audits.proxies import ALL, find_proxies

ACCURACY = 0.9
HARD = (0.95, 0.7)  # how often images of an easy and of a hard class are answered rightly
MIXES = (0.25, 0.75)  # share of the hard class in either group


def grouping(members, groups, *, guessed=False):
    names = tuple(str(one) for one in range(groups))
    return Grouping("attribute", ("attribute",), names, members, (), 0, guessed)


@dataclass(frozen=True)
class Banded:
    """Independent images of groups, the last of them answered rightly more seldom."""

    groups: int
    size: int
    gap: float


def held(job: tuple[Banded, int]) -> bool:
    """Say whether the bands of all pairs hold the truth at once."""
    world, seed = job
    generator = np.random.default_rng(10_000 + seed)
    members = np.repeat(np.arange(world.groups), world.size)
    share = np.full(world.groups, ACCURACY)
    share[-1] -= world.gap
    right = generator.random(len(members)) < share[members]
    nothing = np.zeros(len(members), np.int64)
    made = band(right, members, nothing, np.ones(1), np.arange(len(members)), seed=seed)
    low, high = made.limits
    truth = share[:, None] - share
    inside = (low <= truth) & (truth <= high)
    np.fill_diagonal(inside, val=True)
    return bool(inside.all())


@dataclass(frozen=True)
class Mixed:
    """Two groups with classes of different hardness in different shares.

    Attributes:
        size: images of each.
        gap: by which the second is answered rightly more seldom, in either class.
    """

    size: int
    gap: float


@dataclass(frozen=True)
class Weighed:
    """What is said of one draw.

    Attributes:
        raw: called different as they are.
        same: called different at the same mix of labels.
        held: whether the band at the same mix holds what was planted.
        gap: as they are.
    """

    raw: bool
    same: bool
    held: bool
    gap: float


def weighed(job: tuple[Mixed, int]) -> Weighed:
    world, seed = job
    generator = np.random.default_rng(seed)
    members = np.repeat([0, 1], world.size)
    y = (generator.random(len(members)) < np.array(MIXES)[members]).astype(np.int64)
    right = generator.random(len(y)) < np.array(HARD)[y] - world.gap * members
    answers = np.where(right, y, 1 - y)
    gap = measure_gap(
        grouping(members, 2), y, answers, np.arange(len(y)), ("a", "b"), tests=1, seed=seed
    )
    pair = gap.largest
    truth = world.gap if pair.better == "0" else -world.gap
    return Weighed(
        gap.adjusted < ALPHA,
        gap.mix_adjusted < ALPHA,
        pair.same_mix.low <= truth <= pair.same_mix.high,
        pair.gap.value if pair.better == "0" else -pair.gap.value,
    )


@dataclass(frozen=True)
class Guessed:
    """Two groups that are guessed, some images with the value given too.

    Attributes:
        size: images of both, all of them in test.
        gap: by which the second is answered rightly more seldom.
        errors: share of the guesses that are wrong.
        given: share of the images that the value is given of.
    """

    size: int
    gap: float
    errors: float
    given: float


@dataclass(frozen=True)
class Carried:
    """What is said of one draw.

    Attributes:
        verdict: of the audit.
        raw: gap between the guessed groups.
        corrected: the same corrected; NaN where there is no answer.
        held: whether its interval holds what was planted.
    """

    verdict: Verdict
    raw: float
    corrected: float
    held: bool


def carried(job: tuple[Guessed, int]) -> Carried:
    world, seed = job
    generator = np.random.default_rng(seed)
    n = world.size
    true = generator.integers(2, size=n)
    guess = np.where(generator.random(n) < world.errors, 1 - true, true)
    right = generator.random(n) < ACCURACY - world.gap * true
    y = generator.integers(2, size=n)
    known = generator.random(n) < world.given
    made = Guess(
        "attribute",
        "file",
        "",
        tuple("01"[one] for one in guess),
        tuple("01"[one] if there else None for one, there in zip(true, known, strict=True)),
    )
    every, answers = np.arange(n), np.where(right, y, 1 - y)
    gap = measure_gap(
        grouping(guess, 2, guessed=True), y, answers, every, ("a", "b"), tests=1, seed=seed
    )
    found = unmix(made, ("0", "1"), ("0", "1"), right, every, every, seed=seed)
    gap = gap.carrying(found)
    raw = float(right[guess == 0].mean() - right[guess == 1].mean())
    verdict = gap.verdict(material=MATERIAL, tolerance=TOLERANCE)
    if not found.pairs:
        return Carried(verdict, raw, float("nan"), held=False)
    one = found.pairs[0]
    sign = 1 if one.better == "0" else -1
    inside = one.gap.low <= sign * world.gap <= one.gap.high
    return Carried(verdict, raw, sign * one.gap.value, inside)


@dataclass(frozen=True)
class Followed:
    """A label of two classes, and attributes.

    Attributes:
        size: labelled images.
        follows: share of the images whose first attribute follows the label.
        attributes: how many.
        values: of each.
    """

    size: int
    follows: float
    attributes: int = 3
    values: int = 2


@dataclass(frozen=True)
class Told:
    """What is said of one draw.

    Attributes:
        planted: the attribute that follows the label is named.
        another: one that does not is.
    """

    planted: bool
    another: bool


def told(job: tuple[Followed, int]) -> Told:
    world, seed = job
    generator = np.random.default_rng(seed)
    y = generator.integers(2, size=world.size)
    codes = generator.integers(world.values, size=(world.attributes, world.size))
    follows = generator.random(world.size) < world.follows
    codes[0] = np.where(follows, y, codes[0])
    attributes = [
        Attribute(f"attribute {place}", tuple(map(str, row.tolist())))
        for place, row in enumerate(codes)
    ]
    every = np.arange(world.size)
    bench = SimpleNamespace(pool=every, y=y, clusters=every, seed=seed)
    named = {one.name for one in find_proxies(bench, attributes) if one.score.tells(MATERIAL)}
    others = named - {attributes[0].name} - ({ALL} if world.follows else set())
    return Told(attributes[0].name in named, bool(others) or (not world.follows and bool(named)))
