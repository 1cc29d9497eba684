import itertools
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from embedkit.statistics import (
    Estimate,
    benjamini_hochberg,
    bootstrap,
    clusters_of,
    compatible,
    connected,
    corrected_resampled,
    detectable,
    effective_size,
    holm,
    less,
    mcnemar,
    paired_difference,
    plus,
    proportion,
    sign_flip,
    upper_limit,
    weighted_mean,
    widened,
    wilson,
)


def test_wilson_gives_the_interval_of_the_textbook():
    # Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I.
    estimate = wilson(15, 148)
    assert (round(estimate.low, 4), round(estimate.high, 4)) == (0.0624, 0.1605)


def test_wilson_knows_nothing_of_no_images():
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)


@pytest.mark.parametrize("p", [0.8, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [10, 20, 50, 200])
def test_wilson_covers_the_truth(n, p):
    hits = np.random.default_rng(n).binomial(n, p, size=20_000)
    limits = {k: wilson(int(k), n) for k in np.unique(hits)}
    covered = np.mean([limits[k].low <= p <= limits[k].high for k in hits])
    assert covered >= 0.90


@pytest.mark.parametrize(
    ("first", "second", "one"),
    [((56, 70), (48, 80), False), ((9, 10), (3, 10), False), ((5, 56), (0, 29), True)],
)
def test_two_proportions_may_be_one_where_the_textbook_s_interval_holds_zero(first, second, one):
    # Newcombe, "Interval estimation for the difference", 1998, table II, method 10.
    a, b = wilson(*first), wilson(*second)
    assert compatible(a, b) == compatible(b, a) == one


def test_an_exact_figure_is_compatible_where_the_interval_holds_it():
    estimate = wilson(30, 50)
    for value in np.linspace(0, 1, 201):
        exact = Estimate(value, value, value, 0)
        assert compatible(estimate, exact) == (estimate.low <= value <= estimate.high)


def test_none_of_600_has_an_upper_limit_of_half_a_percent():
    assert upper_limit(600) == pytest.approx(0.005, abs=2e-5)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_mcnemar_is_the_exact_binomial_test(pairs):
    first, second = (np.array(column) for column in zip(*pairs, strict=True))
    b, c = np.sum(first & ~second), np.sum(second & ~first)
    n = int(b + c)
    tail = sum(comb(n, k) for k in range(int(min(b, c)) + 1)) / 2**n if n else 1
    assert mcnemar(first, second) == pytest.approx(min(1, 2 * tail))


def test_a_bootstrap_over_clusters_covers_the_truth_where_images_are_not_independent():
    generator = np.random.default_rng(0)
    clusters = np.repeat(np.arange(40), 5)
    covered = naive = 0
    for draw in range(300):
        right = np.repeat(generator.random(40) < 0.8, 5)
        estimate = proportion(right, clusters, seed=draw)
        covered += estimate.low <= 0.8 <= estimate.high
        alone = wilson(int(right.sum()), 200)
        naive += alone.low <= 0.8 <= alone.high
    assert covered / 300 >= 0.90
    assert naive / 300 <= 0.75  # the interval that the clusters are there to avoid


def test_independent_images_get_wilsons_interval():
    right = np.arange(50) < 40
    assert proportion(right, np.arange(50), seed=0) == wilson(40, 50)


def test_all_right_in_clusters_still_has_an_interval_of_some_width():
    estimate = proportion(np.ones(20, bool), np.repeat(np.arange(5), 4), seed=0)
    assert estimate.value == 1
    assert estimate.low < 0.6


def test_the_same_seed_draws_the_same_interval_and_another_seed_another():
    values = np.random.default_rng(1).random(60)
    first, again, other = (
        bootstrap(weighted_mean(values), np.arange(60), seed=seed)[0] for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other


def test_a_large_sample_is_drawn_in_pieces_with_the_same_result(monkeypatch):
    values = np.random.default_rng(1).random(50)
    whole = bootstrap(weighted_mean(values), np.arange(50), seed=0, draws=100)
    import embedkit.statistics as module

    source = module.bootstrap.__code__
    pieces = source.replace(
        co_consts=tuple(50 * 7 if c == 4_000_000 else c for c in source.co_consts)
    )
    monkeypatch.setattr(module.bootstrap, "__code__", pieces)
    assert bootstrap(weighted_mean(values), np.arange(50), seed=0, draws=100) == whole


def test_a_paired_difference_is_narrower_than_two_intervals():
    generator = np.random.default_rng(2)
    first = generator.random(400) < 0.9
    second = first.copy()
    second[:20] = False
    paired = paired_difference(first, second, np.arange(400), seed=0)
    apart = wilson(int(first.sum()), 400)
    assert paired.high - paired.low < apart.high - apart.low


@settings(max_examples=60)
@given(st.integers(1, 12), st.data())
def test_connected_components_are_those_of_brute_force(n, data):
    pairs = data.draw(
        st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=15)
    )
    group = list(range(n))
    for _ in range(n):
        for a, b in pairs:
            group[a] = group[b] = min(group[a], group[b])
    found = connected(n, np.array(pairs, np.int64).reshape(-1, 2))
    assert found.tolist() == group


def test_images_are_together_that_share_any_value_and_none_is_no_value():
    people = ["a", None, "b", None, "a"]
    pixels = [1, 2, 1, 3, 4]
    assert clusters_of(people, pixels).tolist() == [0, 1, 0, 3, 0]


def test_order_of_the_columns_does_not_matter_to_clusters():
    columns = [["x", "y", None, "x"], [1, 1, 2, 3], [None, None, "q", "q"]]
    every = {tuple(clusters_of(*order).tolist()) for order in itertools.permutations(columns)}
    assert len(every) == 1


def test_a_figure_that_no_draw_changes_still_has_an_interval():
    right = np.ones(30, bool)
    perfect = bootstrap(weighted_mean(right), np.arange(30), seed=0)[0]
    assert (perfect.value, perfect.high) == (1, 1)
    assert perfect.low == pytest.approx(1 - upper_limit(30))
    same = paired_difference(right, right, np.arange(30), seed=0)
    assert same.value == 0
    assert (same.low, same.high) == pytest.approx((-upper_limit(30), upper_limit(30)))


def test_one_cluster_says_nothing_about_others():
    alone = proportion(np.array([True, True, False, False, True]), np.zeros(5), seed=0)
    assert (alone.low, alone.high) == (0, 1)


def test_holms_adjustment_is_that_of_the_paper():
    # S. Holm (1979): ordered p-values times n, n - 1, ..., never falling, at most 1.
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    with_none = holm([float("nan"), 0.02])
    assert np.isnan(with_none[0])
    assert with_none[1] == 0.02


def test_the_corrected_interval_is_nadeaus_and_bengios():
    figures = np.array([0.1, 0.2, 0.15, 0.3, 0.05])
    made = corrected_resampled(figures, share=0.25, clusters=40, n=100)
    error = np.sqrt((1 / 5 + 0.25) * figures.var(ddof=1))
    assert made.value == pytest.approx(0.16)
    assert made.high - made.value == pytest.approx(stats.t.ppf(0.975, 4) * error)
    assert made.low == 0  # a share is not below none
    below = corrected_resampled(figures, share=0.25, clusters=40, n=100, lowest=-1)
    assert below.low == pytest.approx(0.16 - stats.t.ppf(0.975, 4) * error)


def test_folds_that_all_say_the_same_leave_the_upper_limit():
    made = corrected_resampled(np.zeros(15), share=0.25, clusters=40, n=100, lowest=-1)
    assert (made.low, made.high) == (-upper_limit(40), upper_limit(40))


def test_the_effective_size_is_that_of_the_bootstraps_variance():
    generator = np.random.default_rng(0)
    clusters = generator.integers(60, size=400)
    right = generator.random(60)[clusters] < generator.random(400)
    counts = generator.multinomial(60, np.full(60, 1 / 60), size=20_000)[:, clusters]
    means = counts @ right / counts.sum(axis=1)
    p = right.mean()
    assert effective_size(right, clusters) == pytest.approx(p * (1 - p) / means.var(), rel=0.05)


def test_the_effective_size_without_clusters_is_the_size_and_in_pairs_the_half():
    right = np.array([True, False, True, True, False, False])
    assert effective_size(right, np.arange(6)) == 6
    assert effective_size(np.repeat(right, 2), np.repeat(np.arange(6), 2)) == pytest.approx(6)
    # Clusters that differ less than chance are worth no more than their images.
    assert effective_size(np.tile([True, False], 6), np.repeat(np.arange(6), 2)) == 12
    assert effective_size(np.ones(12, bool), np.repeat(np.arange(6), 2)) == 6


@given(st.lists(st.floats(0, 1) | st.just(float("nan")), max_size=8))
def test_benjaminis_and_hochbergs_adjustment_is_that_of_the_paper(p):
    made = benjamini_hochberg(p)
    tests = [value for value in p if not np.isnan(value)]
    for value, adjusted in zip(p, made, strict=True):
        if np.isnan(value):
            assert np.isnan(adjusted)
            continue
        # The least level at which the value is among those that are called true.
        larger = [one for one in tests if one >= value]
        expected = min(one * len(tests) / sum(t <= one for t in tests) for one in larger)
        assert adjusted == pytest.approx(min(1, expected))


def test_flipped_signs_give_the_p_value_of_all_of_them():
    generator = np.random.default_rng(0)
    for draw in range(5):
        values = generator.normal(0.4, 1, size=30).round(1)
        clusters = generator.integers(9, size=30)
        sums = [values[clusters == one].sum() for one in np.unique(clusters)]
        every = [
            abs(np.dot(signs, sums)) >= abs(sum(sums)) - 1e-9
            for signs in itertools.product((-1, 1), repeat=len(sums))
        ]
        assert sign_flip(values, clusters, seed=draw) == pytest.approx(np.mean(every), abs=0.04)


def test_flipped_signs_know_nothing_where_nothing_is_or_nothing_is_known():
    assert sign_flip(np.zeros(5), np.arange(5), seed=0) == 1
    assert np.isnan(sign_flip([0.0, np.nan], [0, 1], seed=0))
    # One large cluster is one observation, whatever its images say.
    assert sign_flip(np.ones(50), np.zeros(50), seed=0) == 1


def test_the_detectable_effect_is_found_in_four_of_five_cases():
    generator = np.random.default_rng(1)
    error = 0.02
    effect = detectable(Estimate(0.0, -1.96 * error, 1.96 * error, 100))
    found = generator.normal(effect, error, size=20_000) > 1.96 * error
    assert found.mean() == pytest.approx(0.8, abs=0.01)


def test_a_second_source_of_variance_widens_an_interval():
    """The sum of two normal figures has the sum of their variances."""
    generator = np.random.default_rng(0)
    first, second = 0.03, 0.04
    drawn = generator.normal(0, first, 100_000) + generator.normal(0, second, 100_000)
    z = 1.959964
    made = widened(Estimate(0.2, 0.2 - z * first, 0.2 + z * first, 50), second**2)
    assert made.low == pytest.approx(0.2 + np.percentile(drawn, 2.5), abs=1e-3)
    assert made.high == pytest.approx(0.2 + np.percentile(drawn, 97.5), abs=1e-3)
    assert widened(made, 0.0) == made


def test_the_interval_of_a_sum_holds_it_as_often_as_those_it_is_made_of():
    generator = np.random.default_rng(0)
    truth, n, held = np.array([0.7, 0.1]), 300, []
    for _ in range(400):
        first, second = (wilson(int(generator.binomial(n, p)), n) for p in truth)
        for made, right in ((plus(first, second), truth.sum()), (less(first, second), 0.6)):
            held.append(made.low <= right <= made.high)
    assert np.mean(held) == pytest.approx(0.95, abs=0.025)


def test_what_is_not_known_less_something_is_not_known():
    nothing = Estimate(np.nan, np.nan, np.nan, 10)
    assert np.isnan(less(nothing, wilson(1, 10)).value)
    assert less(wilson(1, 10), wilson(9, 10)).value == 0
