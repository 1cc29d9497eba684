"""People by their faces: the threshold fits the size of the search, chains are bounded."""

from types import SimpleNamespace

import numpy as np
import pytest

from embedkit.audits.faces import FALSE_LINKS, cluster_faces, link_faces, people_by_faces, why_not
from embedkit.audits.siblings import find_siblings
from embedkit.statistics import clusters_of
from embedkit.vectors import unit_rows

DIMENSION = 64


def faces_of(people, photographs, *, spread, seed):
    """Draw faces: each person's photographs around a place of their own."""
    generator = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), photographs)
    places = generator.normal(size=(people, DIMENSION))
    vectors = places[person] + spread * generator.normal(size=(len(person), DIMENSION))
    return unit_rows(vectors), person


@pytest.mark.parametrize("mates", [0.0, 0.5, 0.9])
def test_strangers_are_linked_as_seldom_as_is_said(mates):
    found, caught = [], []
    for seed in range(6):
        vectors, person = faces_of(300, 4, spread=0.45, seed=seed)
        generator = np.random.default_rng(seed)
        test = np.isin(person, generator.choice(300, 75, replace=False))
        # Some people of test have other photographs in train.
        shared = np.isin(person, generator.choice(300, int(300 * mates), replace=False))
        test &= ~(shared & (np.arange(len(person)) % 2 == 0))
        threshold, pairs, scores = link_faces(vectors, np.arange(len(person)), test, ~test)
        a, b = pairs.T
        linked, same = scores >= threshold, person[a] == person[b]
        cross = test[a] != test[b]
        found.append((linked & cross & ~same).sum() / test.sum())
        caught.append((linked & same).sum() / max(1, same.sum()))
    assert np.mean(found) <= 2 * FALSE_LINKS
    assert np.mean(caught) > 0.5


def test_a_larger_search_has_a_higher_threshold():
    vectors, person = faces_of(1500, 1, spread=0.4, seed=1)
    test = person < 100
    some, every = person < 400, person >= 100
    low = link_faces(vectors[some], np.arange(some.sum()), test[some], ~test[some])[0]
    high = link_faces(vectors, np.arange(len(person)), test, every)[0]
    assert high > low


def test_a_chain_of_false_links_makes_nobody_one():
    # Two people of five photographs each, all linked among themselves, and one link between them.
    pairs = [(a, b) for side in (range(5), range(5, 10)) for a in side for b in side if a < b]
    pairs.append((4, 5))
    people, links, refused = cluster_faces(
        10, np.array(pairs), np.full(len(pairs), 0.9), np.arange(10), 0.5
    )
    assert people.tolist() == [0] * 5 + [5] * 5
    assert (links, refused) == (21, 1)
    # Half of the pairs between them: then they are one.
    pairs += [(a, b) for a in range(5) for b in range(5, 10) if (a + b) % 2]
    people, _, refused = cluster_faces(
        10, np.array(sorted(set(pairs))), np.full(len(set(pairs)), 0.9), np.arange(10), 0.5
    )
    assert set(people.tolist()) == {0}
    assert refused == 0


def test_copies_are_one_photograph():
    near = np.array([0, 0, 2, 3])
    pairs = np.array([(0, 1), (1, 2), (0, 2)])
    people, links, _ = cluster_faces(4, pairs, np.array([1.0, 0.9, 0.9]), near, 0.5)
    assert people.tolist() == [0, 0, 0, 3]
    assert links == 1


@pytest.mark.parametrize("seed", range(3))
def test_clusters_do_not_depend_on_the_order_of_the_pairs(seed):
    generator = np.random.default_rng(seed)
    pairs = np.array(
        sorted({tuple(sorted(p)) for p in generator.integers(0, 30, (90, 2)).tolist()})
    )
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    scores = generator.uniform(0.4, 1, len(pairs)).round(6)
    order = generator.permutation(len(pairs))
    first = cluster_faces(30, pairs, scores, np.arange(30), 0.5)
    second = cluster_faces(30, pairs[order], scores[order], np.arange(30), 0.5)
    assert np.array_equal(first[0], second[0])
    assert first[1:] == second[1:]


def store_of(vectors, person, test, *, named):
    n = len(person)
    items = SimpleNamespace(
        ids=[str(row) for row in range(n)],
        groups=[f"p{one}" for one in person] if named else [None] * n,
        splits=["test" if one else "train" for one in test],
        column=lambda name: [112] * n,
    )
    record = SimpleNamespace(
        contract={"backbone": "facenet:vggface2", "preprocessing": {}},
        backbone={"align": "none"},
        made_with={},
    )
    space = SimpleNamespace(record=record, vectors=vectors, name="facenet-vggface2")
    return SimpleNamespace(items=items, spaces={"facenet-vggface2": space})


def test_faces_take_the_place_of_a_group_column():
    vectors, person = faces_of(200, 3, spread=0.35, seed=2)
    test = np.arange(len(person)) % 3 == 0  # everybody is on both sides
    twins = SimpleNamespace(near=np.arange(len(person)))
    by_face = find_siblings(
        store_of(vectors, person, test, named=False), twins, split="test", seed=0
    )
    by_name = find_siblings(
        store_of(vectors, person, test, named=True), twins, split="test", seed=0
    )
    assert (by_face.source, by_name.source) == ("faces", "group")
    assert by_name.images == test.sum()
    assert by_face.images > 0.8 * test.sum()
    precision, recall = by_name.agreement
    assert precision > 0.95
    assert recall > 0.7
    assert "by their faces" in by_face.summary
    sizes = [n for _, n in by_face.faces.largest]
    assert sizes == sorted(sizes, reverse=True)
    assert by_face.to_dict()["details"]["faces"]["expected_false_links_of_a_test_face"] == 0.05


def test_too_few_faces_are_no_basis():
    vectors, person = faces_of(30, 2, spread=0.3, seed=3)
    test = np.arange(60) % 2 == 0
    twins = SimpleNamespace(near=clusters_of(list(range(60))))
    answer = find_siblings(
        store_of(vectors, person, test, named=False), twins, split="test", seed=0
    )
    assert answer == "a threshold needs 50 test faces, there are 30"


def test_small_pictures_and_pictures_without_faces_did_not_run():
    record = SimpleNamespace(backbone={"align": "none"}, made_with={})
    space = SimpleNamespace(record=record)
    small = SimpleNamespace(items=SimpleNamespace(column=lambda name: [48] * 10))
    assert "48 pixels (median) are too small" in why_not(small, space)
    record.backbone["align"] = "mtcnn"
    drawn = SimpleNamespace(items=SimpleNamespace(column=lambda name: [0] * 8 + [1] * 2))
    assert "found in 2 of 10 pictures only" in why_not(drawn, space)
    found = SimpleNamespace(items=SimpleNamespace(column=lambda name: [1] * 8 + [None] * 2))
    assert why_not(found, space) == ""
    record.backbone["align"], record.made_with["faces_in_sample"] = "none", "0.20"
    large = SimpleNamespace(items=SimpleNamespace(column=lambda name: [224] * 10))
    assert "found in 20% of the pictures looked at" in why_not(large, space)


@pytest.mark.parametrize(("people", "photographs"), [(5, 120), (10, 60), (20, 40), (50, 20)])
def test_a_few_people_with_many_photographs_are_never_called_strangers(people, photographs):
    """Most chunks of train hold a mate then; a threshold from them would link nobody."""
    vectors, person = faces_of(people, photographs, spread=0.5, seed=0)
    test = np.random.default_rng(0).random(len(person)) < 0.2
    answer = link_faces(vectors, np.arange(len(person)), test, ~test)
    assert "too few people" in answer


def test_pictures_without_a_face_show_nobody():
    vectors, person = faces_of(200, 3, spread=0.35, seed=4)
    test = np.arange(len(person)) % 3 == 0
    store = store_of(vectors, person, test, named=False)
    space = store.spaces["facenet-vggface2"]
    vectors[:60] = vectors[0]  # whole pictures that look alike
    space.record.backbone["align"] = "mtcnn"
    store.items.column = lambda name: [0] * 60 + [1] * (len(person) - 60)
    found = people_by_faces(store, space, np.arange(len(person)), test, ~test)
    assert found.people[:60].tolist() == list(range(60))


def test_copies_do_not_count_several_times():
    # X with three copies, Y with six photographs; only X and one of Y's are alike.
    near = np.array([0, 0, 0, 0, 4, 5, 6, 7, 8, 9])
    own = [(a, b) for a in range(4, 10) for b in range(a + 1, 10)]
    pairs = np.array(own + [(a, 4) for a in range(4)])
    scores = np.array([0.9] * len(own) + [0.7] * 4)
    people, _, refused = cluster_faces(10, pairs, scores, near, 0.5)
    assert people.tolist() == [0] * 4 + [4] * 6
    assert refused == 1
