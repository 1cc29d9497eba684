"""Joins: every pair that there is and no other, whatever the data, the threads and the blocks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.errors import InputError
from embedkit.joins import Pairs, bounds, cells, every_pair, pairs_in_cells, recall_on_sample
from embedkit.joins.blocks import least
from embedkit.rows import Rows
from embedkit.vectors import TIE_DECIMALS, unit_rows


def brute_force(rows, threshold):
    wide = rows.astype(np.float64)
    enough = np.round(np.minimum(wide @ wide.T, 1), TIE_DECIMALS) >= threshold
    return np.argwhere(np.triu(enough, 1)).tolist()


def clustered(n, d, *, seed=0, spread=0.3):
    """Draw rows about a few centres, whose variances fall off, with copies and near copies."""
    generator = np.random.default_rng(seed)
    scale = 1 / np.sqrt(np.arange(1, d + 1))
    centres = generator.normal(size=(max(n // 20, 1), d)) * scale
    rows = centres[generator.integers(len(centres), size=n)]
    rows = rows + spread * generator.normal(size=(n, d)) * scale
    rows[: n // 10] = rows[n // 2 : n // 2 + n // 10]
    rows[: n // 20] += 0.02 * generator.normal(size=(n // 20, d))
    return unit_rows(rows)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_pairs_are_those_of_brute_force_with_ties_and_copies(data):
    n = data.draw(st.integers(0, 30))
    values = st.lists(st.sampled_from([-1, 0, 1, 2]), min_size=3, max_size=3)
    drawn = data.draw(st.lists(values.filter(any), min_size=n, max_size=n))
    rows = unit_rows(np.array(drawn, np.float32).reshape(-1, 3))
    # Many of these cosines are reached exactly.
    threshold = data.draw(st.sampled_from([0.2, 0.5, round(2 / 3, 7), 0.8, 1.0]))
    assert every_pair(rows, threshold).rows.tolist() == brute_force(rows, threshold)


@pytest.mark.parametrize("d", [16, 96, 300])
@pytest.mark.parametrize("threshold", [0.7, 0.95, 1.0])
def test_no_pair_is_lost_whether_directions_are_left_out_or_not(d, threshold):
    rows = clustered(400, d)
    found = every_pair(rows, threshold)
    assert found.rows.tolist() == brute_force(rows, threshold)
    assert len(found) >= 19
    exact = np.einsum("ij,ij->i", *(rows[side].astype(float) for side in found.rows.T))
    assert np.abs(found.cosines - np.minimum(exact, 1)).max() < 1e-12


def test_pairs_just_above_the_threshold_are_found_and_those_just_below_are_not():
    generator = np.random.default_rng(0)
    first = unit_rows(generator.normal(size=(300, 64)))
    other = generator.normal(size=(300, 64))
    other -= np.einsum("ij,ij->i", other, first)[:, None] * first
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    cosine = 0.95 + np.tile([-3e-7, 3e-7], 150)
    second = unit_rows(cosine[:, None] * first + np.sqrt(1 - cosine**2)[:, None] * other)
    rows = np.concatenate([first, second])
    found = {tuple(pair) for pair in every_pair(rows, 0.95).rows.tolist()}
    assert found == {(row, row + 300) for row in range(1, 300, 2)}


@pytest.mark.parametrize("make", [every_pair, pairs_in_cells])
def test_neither_threads_nor_blocks_nor_parts_change_the_result(make, monkeypatch):
    rows = clustered(700, 80)
    made = [make(rows, 0.9, threads=threads) for threads in (1, 2)]
    parts = [rows[:1], rows[1:300], rows[300:]]
    made.append(make(Rows(parts.__getitem__, [1, 299, 400], 80), 0.9))
    for one in made[1:]:
        assert np.array_equal(one.rows, made[0].rows)
        assert np.array_equal(one.cosines, made[0].cosines)
    if make is every_pair:
        monkeypatch.setattr("embedkit.joins.blocks.ROWS", 64)
        monkeypatch.setattr("embedkit.joins.blocks.COLUMNS", 128)
        other = make(rows, 0.9)
        assert np.array_equal(other.rows, made[0].rows)
        assert np.array_equal(other.cosines, made[0].cosines)


@pytest.mark.parametrize("make", [every_pair, pairs_in_cells])
def test_hardly_any_rows_and_columns_that_never_vary(make):
    for n, pairs in ((0, []), (1, []), (2, [[0, 1]])):
        assert make(np.tile(np.eye(1, 8, dtype=np.float32), (n, 1)), 0.9).rows.tolist() == pairs
    rows = clustered(300, 12)
    still = np.concatenate([rows, np.zeros((300, 500), np.float32)], axis=1)
    found = make(still, 0.9).rows.tolist()
    there = {tuple(pair) for pair in brute_force(rows, 0.9)}
    assert {tuple(pair) for pair in found} <= there
    assert len(found) >= (1 if make is every_pair else 0.98) * len(there)
    same = np.tile(rows[:1], (200, 1))
    assert len(make(same, 1.0)) == 200 * 199 / 2


@pytest.mark.parametrize("make", [every_pair, pairs_in_cells])
def test_what_cannot_be_asked_is_refused(make):
    rows = clustered(100, 8)
    for threshold in (0.0, -0.5, 1.1, float("nan")):
        with pytest.raises(ValueError, match="above 0 and at most 1"):
            make(rows, threshold)
    with pytest.raises(InputError, match="more than 5 pairs"):
        make(np.tile(rows[:1], (10, 1)), 0.9, most=5)


@pytest.mark.parametrize("h", [None, 7, 31])
def test_short_rows_are_never_below_the_cosine_but_for_the_margin(h):
    rows = clustered(500, 64)
    every = Rows.of(rows)
    directions = None if h is None else bounds.directions_of(every, h, seed=0)
    short = bounds.bounds_of(every, directions)
    products = short.rows.double() @ short.rows.double().T
    cosines = rows.astype(float) @ rows.T.astype(float)
    assert (products.numpy() >= cosines - short.margin).all()
    if h is None:
        assert (products.numpy() <= cosines + short.margin).all()
    # As the processor computes and rounds them.
    rounded = (short.rows @ short.rows.T).double().numpy()
    for threshold in (0.3, 0.8, 0.95):
        assert (rounded[cosines >= threshold] >= short.cutoff(least(threshold))).all()
    assert short.margin < (1e-4 if short.rows.dtype == torch.float32 else 0.012)


def test_without_bf16_the_result_is_the_same(monkeypatch):
    rows = clustered(400, 96)
    expected = every_pair(rows, 0.9)
    monkeypatch.setattr(bounds, "has_bf16", lambda: False)
    assert bounds.bounds_of(Rows.of(rows), None).rows.dtype == torch.float32
    found = every_pair(rows, 0.9)
    assert np.array_equal(found.rows, expected.rows)
    assert np.array_equal(found.cosines, expected.cosines)
    assert np.array_equal(pairs_in_cells(rows, 0.9).cosines, expected.cosines)


def test_cells_lose_few_pairs_and_how_many_is_measured():
    rows = clustered(4000, 48, spread=1.0)
    every, found = every_pair(rows, 0.9), pairs_in_cells(rows, 0.9)
    there, kept = ({tuple(pair) for pair in one.rows.tolist()} for one in (every, found))
    assert kept <= there
    assert len(kept) >= 0.97 * len(there)
    few = Pairs(every.rows[::2], every.cosines[::2])
    half = recall_on_sample(rows, few, 0.9)
    assert 0.35 < half.value < 0.65
    assert half.rows == cells.SAMPLE
    whole = recall_on_sample(rows, few, 0.9, sample=len(rows))
    assert (whole.found, whole.of) == (len(few), len(every))
    assert recall_on_sample(rows[:1], few, 0.9).value == 1
