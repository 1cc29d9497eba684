"""Answers of a model that embedkit did not train."""

import csv

import numpy as np
import pytest

from embedkit.audits import audit
from embedkit.errors import InputError
from embedkit.statistics import Estimate


@pytest.fixture(scope="module")
def test_images(planted_store):
    items = planted_store.items
    every = zip(items.ids, items.labels, items.splits, strict=True)
    return [(id_, label) for id_, label, split in every if split == "test"]


def write(path, header, rows):
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def yours(store, path):
    options = {"backbone": "pixels", "checks": ["ledger"], "heads": ("knn",)}
    return audit(store, predictions=path, **options)["ledger"].yours


def test_a_model_that_remembers_is_seen_through(planted_store, planted, test_images, tmp_path):
    # Right on every test image that has an exact copy in train, wrong on all others.
    copied = {t["a"] for t in planted.twins if t["kind"] == "exact"}
    other = {"good": "bad", "bad": "good"}
    rows = [(id_, label if id_ in copied else other[label]) for id_, label in test_images]
    found = yours(planted_store, write(tmp_path / "mine.csv", ["path", "prediction"], rows))
    strata = dict(found.strata)
    assert strata["exact_twins"].value == 1
    assert strata["exact_twins"].n == len(copied)
    assert strata["novel"].value == 0
    assert sum(one.n for one in strata.values()) == len(test_images)
    assert found.reported.value == pytest.approx(len(copied) / len(test_images))
    assert 0 < found.clusters <= len(test_images)
    assert "100.0% on" in found.sentence()


def test_probabilities_do_as_well(planted_store, test_images, tmp_path):
    generator = np.random.default_rng(0)
    p = generator.uniform(size=len(test_images))
    rows = [(id_, one, 1 - one) for (id_, _), one in zip(test_images, p, strict=True)]
    by_p = yours(planted_store, write(tmp_path / "p.csv", ["id", "p_bad", "p_good"], rows))
    rows = [(id_, "bad" if a > b else "good") for id_, a, b in rows]
    by_label = yours(planted_store, write(tmp_path / "l.csv", ["id", "label"], rows))
    assert by_p.reported == by_label.reported
    assert by_p.strata[-1] == by_label.strata[-1]
    assert isinstance(by_p.novelty.bins[0][2], Estimate)


def test_a_true_label_beside_probabilities_is_not_the_answer(planted_store, test_images, tmp_path):
    rows = [(id_, label, label == "good", label == "bad") for id_, label in test_images]
    rows = [(id_, label, float(a), float(b)) for id_, label, a, b in rows]
    path = write(tmp_path / "p.csv", ["id", "label", "p_bad", "p_good"], rows)
    assert yours(planted_store, path).reported.value == 0


@pytest.mark.parametrize(
    ("header", "change", "reason"),
    [
        (["id", "prediction"], lambda rows: [*rows, ("x.jpg", "bad")], "1 images .* x.jpg"),
        (["id", "prediction"], lambda rows: rows[3:], "does not answer for 3 of"),
        (["id", "prediction"], lambda rows: [*rows, rows[0]], "answers twice for"),
        (["picture", "prediction"], lambda rows: rows, "no column of ids"),
        (["id", "p_bad"], lambda rows: [(a, 0.5) for a, _ in rows], "none for good"),
        (["id", "guess"], lambda rows: rows, "neither a column 'prediction' nor"),
    ],
)
def test_a_file_that_does_not_fit_says_where(
    planted_store, test_images, tmp_path, header, change, reason
):
    path = write(tmp_path / "mine.csv", header, change(list(test_images)))
    with pytest.raises(InputError, match=reason):
        yours(planted_store, path)
