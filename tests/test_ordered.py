"""Ordered classes: which names are an order, and how far off answers are."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from embedkit.heads.metrics import score
from embedkit.heads.ordered import measure_ordered, ordered_classes

AGES = ("1-3", "4-10", "11-17", "18-22", "23-26", "27-32", "33-37", "74-120")
FAIRFACE = ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70")


@pytest.mark.parametrize(
    "labels",
    [
        AGES,
        FAIRFACE,
        ("under 18", "18-34", "35-54", "55+"),
        ("<= 10", "10 to 20", "20.5–30", "30 and more"),
    ],
)
def test_ranges_are_in_order_whatever_the_alphabet_says(labels):
    assert ordered_classes(sorted(labels)) == labels
    assert ordered_classes(labels[::-1]) == labels


@pytest.mark.parametrize(
    "labels",
    [
        ("bad", "good", "ugly"),
        ("0", "1", "2"),  # as likely codes as amounts
        ("1-3", "4-10"),
        ("1-3", "4-10", "old"),
        ("1-5", "4-10", "11-20"),
        ("5-1", "6-10", "11-20"),
        (),
    ],
)
def test_other_names_are_no_order(labels):
    assert ordered_classes(labels) is None


def test_errors_are_counted_in_classes_and_kappa_is_scikit_learns():
    generator = np.random.default_rng(0)
    y = generator.integers(0, 5, 400)
    answers = np.clip(y + generator.integers(-2, 3, 400), 0, 4)
    clusters = np.repeat(np.arange(200), 2)
    found = measure_ordered(y, answers, clusters, seed=0)
    off = np.abs(y - answers)
    assert found.error.value == pytest.approx(off.mean())
    assert found.within_one.value == pytest.approx((off <= 1).mean())
    kappa = cohen_kappa_score(y, answers, weights="quadratic")
    assert found.kappa.value == pytest.approx(kappa, abs=1e-12)
    for one in (found.error, found.within_one, found.kappa):
        assert one.low < one.value < one.high
    assert found.constant == min(np.abs(y - place).mean() for place in range(5))


def test_no_interval_holds_what_cannot_be():
    places = np.arange(30) % 3
    right = measure_ordered(places, places, np.arange(30), seed=0)
    assert right.error.low == right.error.value == 0 < right.error.high < 2
    far = measure_ordered(np.zeros(20, int), np.full(20, 3), np.arange(20), seed=0)
    assert far.error.value == far.error.high == 3
    assert far.error.low < 2.8


def test_answers_by_chance_have_no_kappa():
    generator = np.random.default_rng(1)
    y, answers = generator.integers(0, 4, (2, 500))
    found = measure_ordered(y, answers, np.arange(500), seed=0)
    assert found.kappa.low < 0 < found.kappa.high
    assert found.error.high > found.constant


def scored(labels, truth, answers):
    known = tuple(sorted(labels))
    probabilities = np.eye(len(known))[[known.index(one) for one in answers]] * 0.9 + 0.01
    return score(
        probabilities,
        list(truth),
        labels=known,
        majority=truth[0],
        clusters=np.arange(len(truth)),
        ids=[str(n) for n in range(len(truth))],
        split="test",
        seed=0,
    )


def test_a_head_on_ranges_is_scored_in_their_order():
    generator = np.random.default_rng(2)
    truth = generator.choice(FAIRFACE, 200).tolist()
    answers = [FAIRFACE[min(FAIRFACE.index(one) + int(generator.integers(2)), 8)] for one in truth]
    found = scored(FAIRFACE, truth, answers)
    assert found.labels == FAIRFACE
    assert list(found.answers) == answers
    assert [one.label for one in found.classes] == list(FAIRFACE)
    assert not np.tril(found.confusion, -1).any()
    assert not np.triu(found.confusion, 2).any()
    assert found.ordered.within_one.value == 1.0
    assert found.to_dict()["ordered"]["within_one_class"]["value"] == 1.0
    right = np.mean([a == b for a, b in zip(truth, answers, strict=True)])
    assert found.accuracy.value == pytest.approx(right)


def test_a_head_on_words_has_no_order():
    found = scored(("a", "b", "c"), ["a", "b", "c", "a"] * 5, ["a", "b", "b", "a"] * 5)
    assert found.ordered is None
    assert found.to_dict()["ordered"] is None
