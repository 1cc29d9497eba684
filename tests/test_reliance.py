"""Reliance: whether answers follow a nuisance, in drawn answers of which that is known."""

import numpy as np
import pytest

from embedkit.audits.base import Verdict
from embedkit.audits.reliance import hardness, measure_reliance


def answers_of(y, right):
    """Answers that are right where they should be, and the next class elsewhere."""
    return np.where(right, y, (y + 1) % (y.max() + 1))


def right_and_sign(generator, n, gap):
    """Draw answers that are right more often by `gap` where the nuisance is right."""
    y = generator.integers(3, size=n)
    nuisance = np.where(generator.random(n) < 0.5, y, generator.integers(3, size=n))
    right = generator.random(n) < 0.7 - gap / 2 + gap * (nuisance == y)
    p = np.full((n, 3), 0.15)
    p[np.arange(n), nuisance] = 0.7
    return y, p, right


def test_the_gap_is_mantel_and_haenszels_where_the_nuisance_is_always_sure():
    generator = np.random.default_rng(7)
    y, p, right = right_and_sign(generator, 600, 0.3)
    strata = y * 2 + generator.integers(2, size=600)
    found = measure_reliance(
        "x", p, np.full(3, 1 / 3), y, answers_of(y, right), strata, np.arange(600), seed=0
    )
    follows = p.argmax(axis=1) == y
    above, below = 0.0, 0.0
    for stratum in range(6):
        a, b = right[(strata == stratum) & follows], right[(strata == stratum) & ~follows]
        weight = len(a) * len(b) / (len(a) + len(b))
        above += weight * (a.mean() - b.mean())
        below += weight
    assert found.gap.value == pytest.approx(above / below)
    assert found.aligned.n + found.conflicting.n == 600
    assert sum(one.n for _, _, one in found.bands) == 600
    assert found.kappa > 0
    assert found.kappa_p < 0.01


def test_the_interval_of_the_effect_holds_the_truth_and_none_is_none():
    held, alarms = 0, 0
    for seed in range(40):
        generator = np.random.default_rng(seed)
        for gap in (0.0, 0.3):
            y, p, right = right_and_sign(generator, 400, gap)
            found = measure_reliance(
                "x", p, np.full(3, 1 / 3), y, answers_of(y, right), y, np.arange(400), seed=seed
            )
            # It is right on 2 of 3, by chance on 1 of 3.
            held += found.effect.low <= gap / 3 <= found.effect.high
            alarms += gap == 0 and found.p < 0.05
    assert held >= 80 * 0.88
    assert alarms <= 5


def test_too_few_that_conflict_are_an_answer_with_what_could_have_been_found():
    generator = np.random.default_rng(8)
    y = generator.integers(2, size=300)
    p = np.where(y[:, None] == np.arange(2), 0.9, 0.1)
    p[:12] = 1 - p[:12]
    answers = answers_of(y, generator.random(300) < 0.8)
    found = measure_reliance("x", p, np.full(2, 0.5), y, answers, y, np.arange(300), seed=0)
    assert found.verdict() is Verdict.INCONCLUSIVE
    assert "wrong on too few test images (12 " in found.reason
    assert 0.2 < found.least < 0.5
    # As many images, but all of one cluster.
    clusters = np.where(np.arange(300) < 60, 0, np.arange(300))
    p[:60] = np.where(y[:60, None] == np.arange(2), 0.1, 0.9)
    found = measure_reliance("x", p, np.full(2, 0.5), y, 0 * y, y, clusters, seed=0)
    assert "(1 independent ones" in found.reason


def test_an_unsure_nuisance_takes_no_side():
    y = np.repeat([0, 1], 100)
    p = np.where(y[:, None] == np.arange(2), 0.55, 0.45)
    found = measure_reliance("x", p, np.full(2, 0.5), y, 0 * y, y, np.arange(200), seed=0)
    assert found.aligned.n == found.conflicting.n == 0
    assert np.isnan(found.least)


def test_images_are_as_hard_as_others_of_their_class_that_are_as_far_from_train():
    y = np.repeat([0, 1], [90, 20])
    nearest = np.random.default_rng(9).random(110)
    strata = hardness(y, nearest)
    assert np.bincount(strata).tolist() == [30, 30, 30, 20]
    assert nearest[strata == 0].max() < nearest[strata == 1].min()


def test_harder_images_alone_make_no_gap():
    """Far images are answered worse and conflict more often; the head never saw the nuisance."""
    gaps = []
    for seed in range(10):
        generator = np.random.default_rng(seed)
        y = generator.integers(2, size=900)
        nearest = generator.integers(3, size=900) + 0.01 * generator.random(900)
        far = nearest < 1
        right = generator.random(900) < np.where(far, 0.55, 0.95)
        follows = generator.random(900) < np.where(far, 0.4, 0.8)
        p = np.where((y[:, None] == np.arange(2)) == follows[:, None], 0.9, 0.1)
        own = np.arange(900)
        found = measure_reliance(
            "x", p, np.full(2, 0.5), y, answers_of(y, right), hardness(y, nearest), own, seed=0
        )
        gaps.append(found.gap.value)
        assert found.aligned.value > found.conflicting.value + 0.05
    assert abs(np.mean(gaps)) < 0.03


def saying(side, sure):
    """What a nuisance says of two classes that points to one side, right so often."""
    return np.where(side[:, None] == np.arange(2), sure, 1 - sure)


def measured(generator, n, *, detail_tells):
    """Measure a saved-by column, and one that also shows detail, which alone the head follows.

    Args:
        generator: of what is drawn.
        n: images.
        detail_tells: share of images whose detail is that of their class.
    """
    y = generator.integers(2, size=n)
    saved, detail = (
        np.where(generator.random(n) < share, y, generator.integers(2, size=n))
        for share in (0.6, detail_tells)
    )
    right = generator.random(n) < np.where(detail == y, 0.8, 0.4)
    mixed = np.where(generator.random(n) < 0.5, saved, detail)
    given = np.full(2, 0.5), y, answers_of(y, right), y, np.arange(n)
    first, second = saying(saved, 0.8), saying(mixed, 0.7)
    alone = measure_reliance("bytes per pixel", second, *given, seed=0)
    return alone, measure_reliance("bytes per pixel", second, *given, stronger=[first], seed=0)


def test_a_column_followed_for_what_does_not_tell_the_class_carries_nothing():
    alone, bounded = zip(
        *(measured(np.random.default_rng(seed), 2000, detail_tells=0.0) for seed in range(10)),
        strict=True,
    )
    # Alone it looks as if following it were worth something: detail helps where the file does.
    assert np.mean([one.verdict() is Verdict.PRESENT for one in alone]) > 0.5
    assert np.mean([one.verdict() is Verdict.PRESENT for one in bounded]) == 0
    assert abs(np.mean([one.effect.value for one in bounded])) < 0.01
    assert all(one.shares.mean() == pytest.approx(one.effect.value) for one in bounded)


def test_a_column_that_is_followed_for_what_tells_the_class_is_still_present():
    bounded = [
        measured(np.random.default_rng(seed), 2000, detail_tells=0.6)[1] for seed in range(10)
    ]
    assert np.mean([one.verdict() is Verdict.PRESENT for one in bounded]) > 0.8


def test_a_head_that_knows_nothing_carries_nothing_whatever_it_follows():
    """Answers go by detail, which a column shows too; that tells the class by something else."""
    reasons = []
    for seed in range(10):
        generator = np.random.default_rng(seed)
        n = 2000
        y, detail = generator.integers(2, size=(2, n))
        saved = np.where(generator.random(n) < 0.6, y, generator.integers(2, size=n))
        mixed = np.where(generator.random(n) < 0.5, saved, detail)
        answers = np.where(generator.random(n) < 0.8, detail, 1 - detail)
        given = np.full(2, 0.5), y, answers, y, np.arange(n)
        found = measure_reliance("noise", saying(mixed, 0.7), *given, seed=0)
        assert found.verdict() is not Verdict.PRESENT
        reasons.append(found.reason)
    assert sum("know more than chance" in one for one in reasons) >= 8
