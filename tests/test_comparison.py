"""Comparison of backbones and heads on the same test images."""

import csv

import numpy as np
import pytest
from embedkit_cli import main
from PIL import Image

from embedkit.errors import InputError
from embedkit.heads import HEADS, evaluate, train
from embedkit.heads.comparison import compare
from embedkit.statistics import mcnemar


@pytest.fixture(scope="module")
def result(planted_store):
    return compare(planted_store)


def test_every_space_meets_every_head_and_the_best_comes_first(result, planted_store):
    met = {(one.space, one.head) for one in result.rows}
    assert met == {(space, head) for space in planted_store.spaces for head in HEADS}
    values = [one.accuracy.value for one in result.rows]
    assert values == sorted(values, reverse=True)


def test_the_figures_are_those_of_training_and_scoring_by_hand(result, planted_store):
    def scored(one):
        head = train(planted_store, head=one.head, backbone=one.space)
        return evaluate(head, planted_store, split=result.split)

    best, *others = (scored(one) for one in result.rows)
    assert result.rows[0].accuracy == best.accuracy
    assert np.isnan(result.rows[0].p)
    for one, other in zip(result.rows[1:], others, strict=True):
        assert one.accuracy == other.accuracy
        assert one.behind.value == pytest.approx(best.accuracy.value - other.accuracy.value)
        assert one.behind.low <= one.behind.value <= one.behind.high
        assert one.p >= mcnemar(best.right, other.right)
        assert one.bytes_per_image == 4 * planted_store.space(one.space).record.dimension


def test_a_head_against_itself_is_no_worse(planted_store):
    twice = compare(planted_store, backbones=["pixels", "pixels"], heads=["knn"])
    assert twice.rows[1].behind.value == 0
    assert twice.rows[1].p == 1


def test_what_cannot_be_measured_is_not_a_number(planted_store, store_copy, monkeypatch):
    from embedkit.errors import WeightsError
    from embedkit.heads import comparison

    def gone(**_):
        raise WeightsError("the weights are gone")

    monkeypatch.setattr(comparison, "load_again", gone)
    assert np.isnan(compare(planted_store, backbones=["pixels"], heads=["knn"]).rows[0].image_ms)


def test_without_a_test_split_there_is_nothing_to_compare_on(tmp_path):
    from helpers import make_different

    from embedkit.pipeline import embed

    make_different(tmp_path / "f", *(f"train/{c}/{n}.png" for c in "ab" for n in range(6)))
    with pytest.raises(InputError, match="no test or valid split"):
        compare(embed(tmp_path / "f", tmp_path / "s", backbone="pixels"))


def test_table_and_plot_are_written(planted_store, tmp_path, capsys):
    arguments = ["compare", str(planted_store.path), "-b", "pixels", "-o", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert "McNemar" in capsys.readouterr().out
    with (tmp_path / "out/compare.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["space"] for row in rows] == ["pixels", "pixels"]
    assert rows[0]["p_adjusted"] == ""
    assert np.asarray(Image.open(tmp_path / "out/compare.png").convert("L")).std() > 10
