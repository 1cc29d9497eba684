"""Cross-validation and re-splits: what clusters are worth, and what kind of split it is."""

import json

import faiss
import numpy as np
import pytest
from test_ledger import World
from threadpoolctl import threadpool_limits

import embedkit.audits.neighbourhood as neighbourhood
from embedkit.audits.base import Verdict
from embedkit.audits.controls import check_controls, run_controls
from embedkit.audits.crossval import REPEATS, cross_validate
from embedkit.audits.fits import Answer, Refit
from embedkit.audits.neighbourhood import Neighbourhood
from embedkit.audits.refits import Bench
from embedkit.audits.resplits import compare_with_resplits
from embedkit.errors import PipelineLeakError
from embedkit.heads.fitting import HEADS
from embedkit.statistics import clusters_of
from embedkit.vectors import unit_rows


def bench(world, kind="knn", seed=0):
    related = [world.exact, clusters_of(world.items.groups)]
    return Bench(world, kind, related, split="test", label="label", backbone=None, seed=seed)


def redivided(world, kind, seed):
    """Give a world another split: image by image, or person by person."""
    generator = np.random.default_rng(seed)
    every = np.array(world.items.groups)
    if kind == "random":
        test = generator.random(len(every)) < 0.25
    else:
        people = np.unique(every)
        test = np.isin(every, generator.choice(people, len(people) // 4, replace=False))
    world.items.splits = ["test" if one else "train" for one in test]
    return world


# The neighbours that everything is read off.


@pytest.mark.parametrize(("listed", "strangers"), [(160, 32), (12, 4), (3, 1)])
def test_votes_read_off_the_lists_are_those_of_the_head(monkeypatch, listed, strangers):
    monkeypatch.setattr(neighbourhood, "NEIGHBOURS", listed)
    monkeypatch.setattr(neighbourhood, "STRANGERS", strangers)
    monkeypatch.setattr(neighbourhood, "CELLS", 3000)
    generator = np.random.default_rng(0)
    vectors = unit_rows(generator.normal(size=(150, 4)).round(1) + 0.01)  # many ties
    y = generator.integers(3, size=150)
    clusters = generator.integers(40, size=150)
    near = Neighbourhood(vectors, clusters)
    for k in (1, 5, 25, 101):
        rows = np.sort(generator.choice(150, 110, replace=False))
        asked = np.setdiff1d(np.arange(150), rows)
        head = HEADS["knn"](vectors[rows], y[rows], clusters[rows], n_classes=3, seed=0, value=k)
        expected = head.probabilities(vectors[asked])
        assert np.array_equal(near.vote(asked, rows, y[rows], k), expected)


@pytest.mark.parametrize("listed", [160, 12, 3])
def test_the_nearest_of_any_division_is_that_of_brute_force(monkeypatch, listed):
    monkeypatch.setattr(neighbourhood, "NEIGHBOURS", listed)
    monkeypatch.setattr(neighbourhood, "STRANGERS", 2)
    generator = np.random.default_rng(1)
    clusters = np.sort(generator.integers(8, size=120))  # clusters larger than the lists
    centres = generator.normal(size=(8, 6))
    vectors = unit_rows(centres[clusters] + 0.2 * generator.normal(size=(120, 6)))
    near = Neighbourhood(vectors, clusters)
    cosine = vectors.astype(np.float64) @ vectors.astype(np.float64).T
    for draw in range(20):
        test = np.isin(clusters, generator.choice(8, 3, replace=False))
        if draw % 2:
            test = generator.random(120) < 0.6
        among = ~test & (generator.random(120) < 0.9)
        expected = cosine[test][:, among].max(axis=1)
        assert near.nearest(test, among) == pytest.approx(expected, abs=1e-6)


# Cross-validation.


@pytest.mark.parametrize("kind", list(HEADS))
def test_people_on_both_sides_of_folds_are_worth_what_grouped_folds_lose(kind):
    # No signal: grouped folds can only guess.
    world = World(people=250, siblings=1.0, copies=0.3, signal=0, seed=1)
    folds = cross_validate(bench(world, kind))
    commonest = max(np.mean(np.array(world.items.labels) == label) for label in "ab")
    assert folds.grouped.low <= commonest
    assert folds.difference.value > 0.02
    if kind == "knn":
        assert folds.difference.low > 0.1
    assert folds.difference.value == pytest.approx(folds.plain.value - folds.grouped.value)
    assert folds.difference.n == len(world.vectors)
    assert folds.clusters == 250


def test_groups_that_mean_nothing_make_no_difference():
    missed = 0
    for seed in range(10):
        world = World(people=120, siblings=1.0, copies=0, signal=0, seed=seed)
        generator = np.random.default_rng(seed)
        labels = np.array([label == "b" for label in world.items.labels])
        free = generator.normal(size=world.vectors.shape)
        free[:, 0] += 1.5 * (2 * labels - 1)
        world.vectors = unit_rows(free)
        gap = cross_validate(bench(world)).difference
        missed += not gap.low <= 0 <= gap.high
    assert missed <= 1


def test_a_plain_fold_has_as_many_of_each_class_as_the_grouped_one_beside_it():
    world = World(people=80, siblings=0.5, copies=0.3, signal=0.5, seed=2)
    one = bench(world)
    seen = []

    def ask(questions):
        seen.append([(question.asked, question.rows) for question in questions])
        return [Answer(np.zeros(len(question.asked), np.int64), 7.0) for question in questions]

    one.ask = ask
    folds = cross_validate(one)
    first, others = seen  # of each repeat the fold that chooses, and then the others
    step = 2 * folds.folds - 1
    assert len(first) == REPEATS
    seen = [
        part
        for place, lead in enumerate(first)
        for part in (lead, *others[step * place : step * (place + 1)])
    ]
    assert len(seen) == 2 * REPEATS * folds.folds
    for place in range(0, len(seen), 2 * folds.folds):
        grouped, plain = (
            seen[start : start + folds.folds] for start in (place, place + folds.folds)
        )
        for (kept, trained), (mixed, _) in zip(grouped, plain, strict=True):
            assert np.array_equal(np.bincount(one.y[kept]), np.bincount(one.y[mixed]))
            assert not np.intersect1d(one.clusters[kept], one.clusters[trained]).size
        for part in (grouped, plain):
            every = np.concatenate([asked for asked, _ in part])
            assert np.array_equal(np.sort(every), one.pool)


def test_without_relatives_cross_validation_says_that_it_did_not_run():
    world = World(people=80, siblings=0, copies=0, signal=0.5, seed=3)
    world.items.groups = [None] * len(world.vectors)
    folds = cross_validate(bench(world))
    assert "no two images are related" in folds.reason
    assert np.isnan(folds.difference.value)
    assert folds.to_dict()["difference"]["value"] is None


def test_a_class_of_one_cluster_cannot_be_cross_validated():
    world = World(people=60, siblings=0.5, copies=0, signal=0.5, seed=4)
    world.items.labels[:] = [
        "c" if g == "p0" else one
        for g, one in zip(world.items.groups, world.items.labels, strict=True)
    ]
    assert "all images of a class are related" in cross_validate(bench(world)).reason


# Vectors that know nothing.


@pytest.mark.parametrize("kind", list(HEADS))
def test_random_vectors_reach_what_guessing_reaches(kind):
    world = World(people=400, siblings=0.5, copies=0.3, signal=1.5, seed=5)
    one = bench(world, kind)
    real = one.right(one.first).mean()
    made = run_controls(one, None)
    assert made.random.low <= made.majority.high
    assert made.random.value < real - 0.2
    assert not made.leaks
    assert one.right(one.first).mean() == real  # the bench is as it was
    assert np.isnan(made.untrained.value)
    assert "embedkit embed -b pixels" in made.sentence()
    assert made.to_dict()["untrained_network"] is None


def test_an_untrained_network_reaches_what_the_pixels_alone_allow():
    world = World(people=300, siblings=0, copies=0, signal=2, seed=6)
    made = run_controls(bench(world), world.vectors)
    assert made.untrained.low > made.majority.high
    blank = run_controls(bench(world), np.roll(world.vectors, 7, axis=0))
    assert blank.untrained.low <= blank.majority.high
    assert "one random layer on pixels" in made.sentence()
    assert made == run_controls(bench(world), world.vectors)


def test_random_vectors_that_are_answered_rightly_stop_the_audit(monkeypatch):
    one = bench(World(people=120, siblings=0, copies=0, signal=0, seed=7))
    monkeypatch.setattr(Refit, "answers", lambda self, _: one.y[one.test])
    made = run_controls(one, None)
    assert made.leaks
    with pytest.raises(PipelineLeakError, match="random vectors"):
        check_controls("knn", made)


def test_the_commonest_class_of_test_is_no_leak():
    """Where test has another majority than train, guessing can be right more often than that."""
    world = World(people=200, siblings=0, copies=0, signal=0, seed=8)
    world.items.labels[:] = [
        "a" if side == "test" or row % 2 else "b" for row, side in enumerate(world.items.splits)
    ]
    assert not run_controls(bench(world), None).leaks


# What kind of split it is.


def test_a_random_split_and_one_by_people_are_told_apart():
    answers = {"random": [], "grouped": []}
    for kind, found in answers.items():
        for seed in range(20):
            world = World(people=90, siblings=1.0, copies=0.2, signal=0.5, seed=seed)
            found.append(compare_with_resplits(bench(redivided(world, kind, seed)), "test"))
    for kind, found in answers.items():
        # One in twenty may look otherwise by chance.
        assert sum(one.looks_like == kind for one in found) >= 17
    assert all(one.related.value == 0 for one in answers["grouped"])
    first = answers["random"][0]
    assert first.related.low <= first.related.value <= first.related.high
    assert "It looks like a random split" in first.sentence


def test_test_images_from_elsewhere_are_farther_than_in_any_re_split():
    world = redivided(World(people=90, siblings=1.0, copies=0, signal=0, seed=1), "grouped", 1)
    test = np.array(world.items.splits) == "test"
    moved = world.vectors.astype(np.float64)
    moved[~test, 1] += 1.0  # another camera
    world.vectors = unit_rows(moved)
    found = compare_with_resplits(bench(world), "test")
    assert found.looks_like == "farther"
    assert found.nearest_grouped.p < 0.05
    assert "They may come from another source" in found.sentence
    # Nobody knows the people: that they were kept apart is the first thing to think of.
    world.items.groups = [None] * len(world.vectors)
    blind = compare_with_resplits(bench(world), "test")
    assert blind.looks_like == "farther"
    assert "Relatives that nobody named" in blind.sentence


def test_relatives_that_nobody_named_make_test_nearer_than_a_split_by_relatives():
    world = redivided(World(people=90, siblings=1.0, copies=0, signal=0, seed=2), "grouped", 2)
    test = np.flatnonzero(np.array(world.items.splits) == "test")
    train = np.setdiff1d(np.arange(len(world.vectors)), test)
    world.vectors = world.vectors.copy()
    world.vectors[test[:30]] = unit_rows(world.vectors[train[:30]] + 0.01)
    found = compare_with_resplits(bench(world), "test")
    assert found.looks_like == "nearer"
    assert "relatives in train that were not found" in found.sentence


def test_copies_put_on_both_sides_are_more_than_a_random_split_has():
    world = World(people=150, siblings=0.5, copies=1.0, signal=0, seed=3)
    found = compare_with_resplits(bench(world), "test")
    assert found.looks_like == "mixed"
    assert found.related.value == 1
    assert "put on both sides" in found.sentence


def test_a_class_that_test_has_too_often_shows_in_the_distance_of_classes():
    world = redivided(World(people=120, siblings=0.5, copies=0, signal=0, seed=4), "random", 4)
    fair = compare_with_resplits(bench(world), "test").balance
    world.items.splits = [
        "test" if label == "a" and row % 2 else "train"
        for row, label in enumerate(world.items.labels)
    ]
    world.items.splits[0], world.items.labels[0] = "test", "b"
    unfair = compare_with_resplits(bench(world), "test").balance
    assert fair.p > 0.05
    assert unfair.p < 0.01
    assert unfair.value > unfair.high


def test_no_thread_changes_the_document():
    made = []
    for threads in (1, 2):
        before = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(threads)
        with threadpool_limits(threads):
            world = World(people=80, siblings=0.5, copies=0.3, signal=0.5, seed=5)
            made.append(json.dumps(world.ledger().to_dict()))
        faiss.omp_set_num_threads(before)
    assert made[0] == made[1]


def test_the_ledger_says_all_of_it():
    ledger = World(people=120, siblings=0.5, copies=0.3, signal=0.5, seed=6).ledger()
    document = ledger.to_dict()["details"]
    assert document["split_is"]["looks_like"] == ledger.resplits.looks_like
    for head, written in zip(ledger.heads, document["heads"], strict=True):
        assert 0 < written["effective_test_size"] <= head.reported.n
        assert f"count as {head.effective:.0f} independent ones" in head.notes()[0]
        assert written["cross_validation"]["clusters"] == 120
        assert f"{head.folds.grouped.value:.1%} where they do not" in head.notes()[1]
        assert f"random vectors {head.controls.random.value:.1%}" in head.notes()[2]
        assert written["controls"]["majority"]["n"] == head.reported.n
    assert ledger.verdict in Verdict
