"""Many images: the ways that are taken beyond a bound, held against those taken below it."""

import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from embedkit import matrices
from embedkit.audits import extracts, prices
from embedkit.audits.extracts import extract_of
from embedkit.audits.ledger import keep_ledger
from embedkit.audits.refits import Bench
from embedkit.heads import cumulative, evaluate, knn, load_head, logistic, saving
from embedkit.heads.blockwise import fit_blockwise
from embedkit.heads.cumulative import fit_cumulative
from embedkit.heads.curve import learning_curve
from embedkit.heads.logistic import fit_logistic
from embedkit.heads.samples import sample_of
from embedkit.heads.training import fit
from embedkit.matrices import Part, part_of
from embedkit.rows import Rows
from embedkit.statistics import clusters_of
from embedkit.store import Store
from embedkit.store.index import NeighbourIndex
from embedkit.store.listed import Listed
from embedkit.store.scan import Scan
from embedkit.vectors import unit_rows

CLASSES, D = 3, 12


@pytest.fixture
def small_bound(monkeypatch):
    """Take the ways for many images from 60 images on."""
    monkeypatch.setattr(matrices, "LARGE", 60)
    monkeypatch.setattr(matrices, "BLOCK", 32)
    monkeypatch.setattr(logistic, "SAMPLE", 50)
    monkeypatch.setattr(knn, "MANY", 60)
    monkeypatch.setattr(knn, "SAMPLE", 50)


def drawn(n=400, *, classes=CLASSES, seed=0):
    generator = np.random.default_rng(seed)
    y = np.arange(n) % classes
    centres = generator.normal(size=(classes, D))
    return unit_rows(centres[y] + 2 * generator.normal(size=(n, D))), y, np.arange(n) // 2


def world(*, people=160, seed=0):
    """Draw people of two classes, two pictures each; half of the test people are in train too."""
    generator = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), 2)
    label = generator.integers(2, size=people)[person]
    centres = generator.normal(size=(people, D))
    vectors = unit_rows(centres[person] + 0.3 * generator.normal(size=(2 * people, D)))
    test = (person % 3 == 0) & ((person % 2 == 0) | (np.arange(2 * people) % 2 == 0))
    columns = {"label": ["ab"[one] for one in label], "pixel_sha256": list(range(2 * people))}
    items = SimpleNamespace(
        ids=[str(row) for row in range(2 * people)],
        splits=["test" if one else "train" for one in test],
        groups=[f"p{one}" for one in person],
        column=columns.__getitem__,
        label_column=columns.__getitem__,
        attributes=(),
    )
    space = SimpleNamespace(vectors=vectors, matrix=vectors)
    alone = np.arange(2 * people)
    twins = SimpleNamespace(exact=alone, near=alone, calibration=None, missed="")
    identity = clusters_of(items.groups)
    siblings = SimpleNamespace(identity=identity)
    store = SimpleNamespace(items=items, path="drawn", spaces={}, space=lambda _: space)
    return store, twins, siblings


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_blocks_have_the_optimum_of_the_whole(classes, weighted, monkeypatch):
    monkeypatch.setattr(matrices, "BLOCK", 64)
    vectors, y, clusters = drawn(classes=classes)
    weights = np.where(y == 0, 1.5, 0.8) if weighted else None
    emphasis = logistic.Emphasis(weights)
    whole = fit_logistic(
        vectors, y, clusters, n_classes=classes, seed=0, value=0.1, emphasis=emphasis
    )
    start = np.zeros((classes, D)), np.zeros(classes)
    made = fit_blockwise(vectors, y, weights, n_classes=classes, c=0.1, start=start)
    assert made.converged
    mine = logistic.Logistic(made.coefficients, made.intercepts, whole.choice)
    difference = mine.probabilities(vectors) - whole.probabilities(vectors)
    assert np.abs(difference).max() < 5e-3  # both stop at a slope of 1e-4


# Of a size at which BLAS divides a product among its threads: without the limit of threads in
# `fit_blockwise` the bytes of the seven classes differ.
FIT = """
import hashlib
import numpy as np
from embedkit.heads.blockwise import fit_blockwise
from embedkit.vectors import unit_rows

generator = np.random.default_rng(0)
for k in (2, 7):
    y = np.arange(9000) % k
    vectors = unit_rows(generator.normal(size=(k, 512))[y] + 4 * generator.normal(size=(9000, 512)))
    start = np.zeros((k, 512)), np.zeros(k)
    made = fit_blockwise(vectors, y, None, n_classes=k, c=1.0, start=start)
    print(hashlib.sha256(made.coefficients.tobytes()).hexdigest())
"""


def test_blocks_give_the_same_bytes_in_a_process_of_one_thread_and_in_one_of_two():
    made = [
        subprocess.run(
            [sys.executable, "-c", FIT],
            env=os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    ]
    assert made[0] == made[1]


def test_a_part_is_what_it_stands_for(small_bound):
    vectors, _, _ = drawn()
    rows = np.random.default_rng(0).permutation(400)[:100]
    part = part_of(vectors, rows)
    assert isinstance(part, Part)
    assert part.shape == (100, D)
    assert np.array_equal(part[:], vectors[rows])
    inner = np.arange(99, 10, -1)
    assert np.array_equal(part_of(part, inner)[3:70], vectors[rows][inner][3:70])
    assert isinstance(part_of(part, inner[:60]), np.ndarray)


def test_parts_are_one_matrix():
    vectors, _, _ = drawn(90)
    cuts = [vectors[:40], vectors[40:41], vectors[41:]]
    parts = Rows(lambda place: cuts[place], [40, 1, 49], D)
    rows = np.random.default_rng(1).integers(90, size=200)
    assert np.array_equal(parts[rows], vectors[rows])
    assert np.array_equal(parts[35:60:3], vectors[35:60:3])
    marks = np.arange(90) % 7 == 0
    assert np.array_equal(parts[marks], vectors[marks])
    assert parts[np.empty(0, np.int64)].shape == (0, D)


@pytest.mark.parametrize("k", [1, 7, 500])
def test_a_scan_answers_as_the_index_does(k, monkeypatch):
    monkeypatch.setattr("embedkit.store.scan.ROWS", 37)
    monkeypatch.setattr("embedkit.store.scan.QUERIES", 11)
    vectors, _, _ = drawn(300)
    vectors[100:140] = vectors[0]  # more ties than are fetched at first
    own = np.arange(60)
    index = NeighbourIndex(vectors)
    expected = index.search(vectors[:60], k, exclude=own)
    found = Scan(vectors).search(vectors[:60], k, exclude=own)
    assert np.array_equal(found.rows, expected.rows)
    assert np.array_equal(found.similarities, expected.similarities)


def test_a_sample_has_the_classes_in_proportion_and_splits_few_clusters():
    y = np.repeat([0, 1], [9000, 1000])
    clusters = np.arange(10_000) // 4
    places = sample_of(y, clusters, 1000, seed=3)
    assert np.array_equal(places, np.unique(places))
    assert np.bincount(y[places]).tolist() == [900, 100]
    sizes = np.unique(clusters[places], return_counts=True)[1]
    assert (sizes < 4).sum() <= 2
    assert np.array_equal(sample_of(y, clusters, 20_000, seed=3), np.arange(10_000))
    rare = np.repeat([0, 1], [9990, 10])
    assert np.bincount(rare[sample_of(rare, clusters, 100, seed=0)])[1] == 10


def crowded(n=3000, d=12):
    """Draw rows about a few centres, with ties."""
    generator = np.random.default_rng(2)
    centres = generator.normal(size=(40, d))
    vectors = unit_rows(centres[generator.integers(40, size=n)] + generator.normal(size=(n, d)))
    vectors[100:120] = vectors[0]
    return vectors


def test_lists_find_what_they_say_and_score_it_exactly(monkeypatch):
    monkeypatch.setattr("embedkit.store.listed.QUERIES", 700)
    monkeypatch.setattr("embedkit.store.listed.READ", 100)
    vectors, own = crowded(), np.arange(0, 3000, 2)
    exact = Scan(vectors).search(vectors[own], 30, exclude=own)
    index = Listed(vectors)
    found = index.search(vectors[own], 30, exclude=own)
    assert index.effort < 77  # lists
    assert index.recall.of == 100 * 200
    least = exact.similarities[:, -1:]
    there = float((found.similarities >= least).mean())
    assert there > 0.97
    assert abs(there - index.recall.value) < 0.03
    assert f"{index.recall.value:.1%} of the 100 nearest of 200 images" in index.note
    assert not (found.rows == own[:, None]).any()
    for row, (near, similarities) in enumerate(zip(found.rows, found.similarities, strict=True)):
        assert np.allclose(vectors[near] @ vectors[own[row]], similarities, atol=1e-6)
    order = np.lexsort((found.rows, -np.round(found.similarities, 7)), axis=1)
    assert np.array_equal(order, np.tile(np.arange(30), (len(own), 1)))
    assert found.rows[0, :20].tolist() == list(range(100, 120))


def test_lists_that_are_all_looked_through_answer_as_a_scan_does(monkeypatch):
    monkeypatch.setattr("embedkit.store.listed.ENOUGH", 1.1)
    vectors = crowded(500)
    own = np.arange(60)
    index = Listed(vectors)
    found = index.search(vectors[:60], 7, exclude=own)
    assert index.recall.value == 1
    expected = Scan(vectors).search(vectors[:60], 7, exclude=own)
    assert np.array_equal(found.rows, expected.rows)
    assert np.array_equal(found.similarities, expected.similarities)


def test_a_row_is_found_once_though_the_lists_hold_fewer_than_are_asked_for():
    vectors = crowded(500)
    index = Listed(vectors)
    index.effort = 2
    found = index.search(vectors[:40], 400)
    for rows, similarities in zip(found.rows, found.similarities, strict=True):
        there = rows[rows >= 0]
        assert 0 < len(there) < 400
        assert len(np.unique(there)) == len(there)
        assert np.all(np.isneginf(similarities[rows < 0]))
        assert np.all(np.isfinite(similarities[: len(there)]))


def test_a_knn_head_of_very_many_images_says_what_its_lists_find(
    small_bound, store_copy, monkeypatch
):
    monkeypatch.setattr(knn, "ALL_COMPARED", 60)
    monkeypatch.setattr(saving, "ALL_COMPARED", 60)
    store = Store.open(store_copy)
    head = fit(store, head="knn", backbone="pixels")
    assert "lists, which hold" in head.classifier.choice.note
    again = load_head(head.save(store_copy / "heads" / "listed"))
    assert isinstance(again.classifier.index, Listed)
    rows = np.arange(len(store.items))
    space = store.space("pixels")
    assert np.array_equal(again.probabilities(space, rows), head.probabilities(space, rows))


@pytest.mark.parametrize("weighted", [False, True])
def test_blocks_have_the_optimum_of_a_cumulative_head(weighted, monkeypatch):
    vectors, _, clusters = drawn(600)
    scale = 4 * vectors @ np.random.default_rng(3).normal(size=D)
    y = np.digitize(scale + np.random.default_rng(4).logistic(size=600), (-2.0, 1.0))
    weights = np.where(y == 0, 1.5, 0.8) if weighted else None
    options = {"n_classes": 3, "seed": 0, "value": 0.1, "emphasis": logistic.Emphasis(weights)}
    whole = fit_cumulative(vectors, y, clusters, **options)
    monkeypatch.setattr(matrices, "LARGE", 500)
    monkeypatch.setattr(matrices, "BLOCK", 64)
    monkeypatch.setattr(cumulative, "SAMPLE", 200)
    made = fit_cumulative(vectors, y, clusters, **options)
    assert "over blocks of the memory map" in made.choice.note
    assert "C chosen" not in made.choice.note
    difference = made.probabilities(vectors) - whole.probabilities(vectors)
    assert np.abs(difference).max() < 5e-3
    free = fit_cumulative(vectors, y, clusters, n_classes=3, seed=0)
    assert " of 600 images; fitted" in free.choice.note


@pytest.mark.parametrize("kind", ["logistic", "knn"])
def test_a_head_of_many_images_says_how_it_was_fitted_and_is_read_again(
    kind, small_bound, store_copy
):
    store = Store.open(store_copy)
    head = fit(store, head=kind, backbone="pixels")
    if len(head.training.ids) <= 60:
        pytest.skip("the store is too small")
    assert f"of {len(head.training.ids)} images" in head.classifier.choice.note
    again = load_head(head.save(store_copy / "heads" / "large"))
    rows = np.arange(len(store.items))
    space = Store.open(store_copy).space("pixels")
    assert np.array_equal(again.probabilities(space, rows), head.probabilities(space, rows))
    assert evaluate(again).n
    assert learning_curve(again).points


def test_the_ledger_of_many_images_says_what_its_controls_are_of(monkeypatch):
    monkeypatch.setattr(matrices, "LARGE", 100)
    monkeypatch.setattr(prices, "START", 50)
    monkeypatch.setattr(prices, "MOST", 90)
    monkeypatch.setattr(extracts, "MOST", 90)
    store, twins, siblings = world()
    made = keep_ledger(store, twins, siblings, split="test", heads=("logistic",), material=0.02)
    (head,) = made.heads
    document = head.to_dict()
    line = document["lines"][-1]
    sample = line["control"]["sample"]
    assert sample["of"] == head.lines[-1].removed + head.lines[-1].left
    assert sample["training_images"] < sample["of"]
    assert f"controls from {sample['training_images']} of {sample['of']}" in made.summary
    assert "chosen for ±2 points" in made.summary
    assert document["sample"]["images"] <= 90
    assert sample["of_test_images"] == head.reported.n
    assert f"on {sample['test_images']} of {sample['of_test_images']} test images" in made.summary
    assert any("re-splits are of" in note for note in head.notes())
    assert sum(one.effect.value for one in head.lines) == pytest.approx(head.total.value)
    assert head.lines[-1].control.value == pytest.approx(
        head.reported.value - head.lines[-1].price.value, abs=0.02
    )


def test_an_effect_reaches_up_by_what_a_sample_may_pay_too_much():
    draws = np.array([0.01, 0.03])
    price = prices.Price(0.02, draws, 3e-4, 0.1, False, 50, 500, 40, 40, 0.02, 0.1)
    assert price.excess == pytest.approx(0.02)
    assert price.spread == pytest.approx(2e-4 * 1.5 + 3e-4)
    assert replace(price, value=-0.02).excess == 0
    assert price.to_dict()["price"] == 0.02


def test_a_ledger_below_the_bound_knows_no_samples():
    store, twins, siblings = world(people=60)
    made = keep_ledger(store, twins, siblings, split="test", heads=("logistic",))
    document = made.heads[0].to_dict()
    assert "sample" not in document
    assert all("sample" not in (line["control"] or {}) for line in document["lines"])
    assert "controls from" not in made.summary


def test_an_extract_keeps_relatives_together():
    store, _, siblings = world()
    bench = Bench(
        store, "knn", [siblings.identity], split="test", label="label", backbone=None, seed=0
    )
    made = extract_of(bench, wanted=0.15)
    tests = np.unique(made.bench.clusters[made.bench.test], return_counts=True)[1]
    assert made.effective == pytest.approx(tests.sum() ** 2 / (tests**2).sum())
    # 1.96 ** 2 / 4 / 0.15 ** 2 is 42.7, and the last cluster drawn reaches it
    assert 42.7 < made.effective < 44
    assert made.to_dict()["half_width"] == pytest.approx(0.98 / made.effective**0.5, abs=1e-4)
    inside = np.isin(bench.clusters, bench.clusters[made.rows])
    assert np.array_equal(np.flatnonzero(inside), made.rows)
    assert np.array_equal(made.bench.vectors, bench.vectors[made.rows])
    assert np.array_equal(made.bench.y, bench.y[made.rows])
    ours = made.rows[made.bench.test]
    assert np.array_equal(ours, bench.test[np.isin(bench.test, made.rows)])


def test_only_the_columns_that_are_asked_for_are_read(store_copy):
    rows = Store.open(store_copy).items.rows
    assert rows.num_rows == len(rows.column("id"))
    assert list(rows._read) == ["id"]
    whole = rows.slice(0)
    assert whole.column_names == rows.column_names
    assert whole.column("label").equals(rows.column("label"))
    with pytest.raises(KeyError):
        rows.column("nothing")
