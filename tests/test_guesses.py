"""Guesses: attributes that nobody gave are marked, compared with what was, and corrected."""

import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from sklearn.metrics import cohen_kappa_score

from embedkit.audits.base import Verdict
from embedkit.audits.bias import check_bias
from embedkit.audits.gaps import _p_at_one_mix, measure_gap
from embedkit.audits.groups import Attribute, Grouping, attributes_of, find_groups
from embedkit.audits.guesses import Guess, read_guesses
from embedkit.audits.misguesses import RATES, what_if
from embedkit.audits.mixtures import unmix
from embedkit.audits.refits import Bench
from embedkit.audits.relabellings import relabellings
from embedkit.audits.tallies import Counter
from embedkit.audits.trust import agreement_of
from embedkit.errors import InputError
from embedkit.items import item_table
from embedkit.vectors import unit_rows

IDS = [f"{row}.png" for row in range(6)]


@pytest.fixture
def items(tmp_path):
    columns = pa.table(
        {
            "gender": ["f", None, "m", None, "f", None],
            "deepface": ["f", "m", "f", None, "f", "m"],
        }
    )
    return item_table(tmp_path, IDS, labels=list("abbaba"), attributes=columns)


def guess_of(guessed, given=None):
    return Guess("gender", "mine.csv", "", tuple(guessed), None if given is None else tuple(given))


# Reading them.


def test_a_column_of_the_store_a_column_of_another_name_and_a_file_are_guesses(items, tmp_path):
    (alone,) = read_guesses(items, ["deepface"], label="label")
    assert alone.values == ("f", "m", "f", None, "f", "m")
    assert alone.given is None
    (of_another,) = read_guesses(items, ["gender=deepface"], label="label")
    assert of_another.given == ("f", None, "m", None, "f", None)
    assert (of_another.column, of_another.values) == ("deepface", alone.values)
    csv = tmp_path / "mine.csv"
    csv.write_text("file,gender,p_f\n4.png,f,0.9\n0.png,m,0.1\n1.png,,\nelse.png,f,1\n")
    (of_file,) = read_guesses(items, [f"gender={csv}"], label="label")
    assert of_file.values == ("m", None, None, None, "f", None)
    assert of_file.source == "mine.csv"
    written = tmp_path / "mine.parquet"
    parquet.write_table(pa.table({"id": IDS, "looks": list("fmfmfm"), "p_f": [0.5] * 6}), written)
    (by_its_only_column,) = read_guesses(items, [f"gender={written}"], label="label")
    assert by_its_only_column.values == tuple("fmfmfm")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["age"], "there is no column 'age' that could be guessed; the data set brought gender"),
        (["gender=no.csv"], "there is no such file, and no such column"),
        (["=x"], "is not NAME, NAME=COLUMN or NAME=FILE"),
        (["gender="], "is not NAME, NAME=COLUMN or NAME=FILE"),
        (["gender=deepface", "gender=deepface"], "named twice"),
        (["label"], "'label' is the label"),
        (["gender=others.csv"], "no value is the same; write the guesses as the data set does"),
        (["gender=strangers.csv"], "guesses of no image that the store has"),
        (["gender=two.csv"], "two.csv has no column 'gender'; it has id, a, b"),
        (["gender=twice.csv"], "answers twice for 0.png"),
        (["gender=nameless.csv"], "has no column of ids"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_line(items, tmp_path, monkeypatch, asked, said):
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "others": "id,gender\n0.png,Man\n1.png,Woman\n",
        "strangers": "id,gender\nx.png,f\n",
        "two": "id,a,b\n0.png,f,m\n",
        "twice": "id,gender\n0.png,f\n0.png,m\n",
        "nameless": "gender\nf\n",
    }.items():
        (tmp_path / f"{name}.csv").write_text(text)
    with pytest.raises(InputError) as raised:
        read_guesses(items, asked, label="label")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_guessed_is_an_attribute_of_its_own_and_pairs_with_others_only(items):
    guesses = read_guesses(items, ["gender=deepface"], label="label")
    found, _ = attributes_of(items, label="label", guesses=guesses)
    assert [one.name for one in found] == ["gender", "gender (guessed)"]
    rows = np.arange(400)
    given = Attribute("gender", tuple("fm"[one % 2] for one in rows))
    guessed = Attribute(
        "gender (guessed)",
        tuple("fm"[one // 2 % 2] for one in rows),
        guess_of(["f"], ["f"]),
    )
    race = Attribute("race", tuple("xy"[one // 4 % 2] for one in rows))
    groupings, _ = find_groups([given, guessed, race], rows, rows, least=30)
    assert {one.name: one.guessed for one in groupings} == {
        "gender": False,
        "gender (guessed)": True,
        "race": False,
        "gender × race": False,
        "gender (guessed) × race": True,
    }


# Correcting for them.


def counted(cells):
    """Return given, guessed and right, from (given, guessed, right): images."""
    rows = [cell for cell, n in cells.items() for _ in range(n)]
    return [np.array(column) for column in zip(*rows, strict=True)]


def test_the_matrix_method_gives_the_groups_back_that_were_mixed():
    """Right on 90% and 60% of 200 and 300 images, 20% and 10% taken for the other group."""
    cells = {
        ("a", "a", True): 144, ("a", "b", True): 36, ("a", "a", False): 16, ("a", "b", False): 4,
        ("b", "b", True): 162, ("b", "a", True): 18, ("b", "b", False): 108, ("b", "a", False): 12,
    }  # fmt: skip
    given, guessed, right = counted(cells)
    every = np.arange(len(right))
    found = unmix(guess_of(guessed, given), ("a", "b"), ("a", "b"), right, every, every, seed=0)
    assert dict(found.accuracies)["a"].value == pytest.approx(0.9)
    assert dict(found.accuracies)["b"].value == pytest.approx(0.6)
    assert (found.pairs[0].better, found.pairs[0].worse) == ("a", "b")
    assert found.pairs[0].gap.value == pytest.approx(0.3)
    assert 0 < found.pairs[0].gap.low < 0.3 < found.pairs[0].gap.high
    assert found.reason == ""
    assert found.agreement.counts == ((160, 40), (30, 270))
    assert found.agreement.accuracy.value == pytest.approx(430 / 500)
    kappa = cohen_kappa_score(given, guessed)
    assert found.agreement.kappa.value == pytest.approx(kappa)
    assert found.agreement.kappa.low < kappa < found.agreement.kappa.high


def drawn(seed, *, n=800, gap=0.2, errors=0.2, known=0.25, photographs=1):
    """Draw two groups that are guessed, with the value given of some."""
    generator = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(n // photographs), photographs)
    true = generator.integers(2, size=n // photographs)[clusters]
    guessed = np.where(generator.random(n) < errors, 1 - true, true)
    right = generator.random(n) < 0.9 - gap * true
    there = generator.random(n) < known
    given = ["ab"[one] if yes else None for one, yes in zip(true, there, strict=True)]
    return guess_of(["ab"[one] for one in guessed], given), guessed, right, clusters


@pytest.mark.parametrize("options", [{}, {"photographs": 4}])
def test_the_corrected_interval_holds_the_truth_and_what_is_guessed_is_too_small(options):
    truth, held, raw, corrected = 0.2, 0, [], []
    for seed in range(20):
        guess, guessed, right, clusters = drawn(seed, **options)
        every = np.arange(len(right))
        found = unmix(guess, ("a", "b"), ("a", "b"), right, every, clusters, seed=seed)
        one = found.pairs[0]
        sign = 1 if one.better == "a" else -1
        held += one.gap.low <= sign * truth <= one.gap.high
        raw.append(right[guessed == 0].mean() - right[guessed == 1].mean())
        corrected.append(sign * one.gap.value)
    assert held >= 17
    assert np.mean(corrected) == pytest.approx(truth, abs=0.03)
    assert np.mean(raw) == pytest.approx(0.6 * truth, abs=0.03)


def test_few_given_values_widen_the_interval_and_a_guess_that_never_erred_may_err():
    wide, narrow = (
        unmix(guess, ("a", "b"), ("a", "b"), right, np.arange(800), np.arange(800), seed=0)
        for guess, _, right, _ in (drawn(0, known=0.06), drawn(0, known=1.0))
    )
    spans = [one.pairs[0].gap.high - one.pairs[0].gap.low for one in (wide, narrow)]
    assert spans[0] > 1.1 * spans[1]
    never, _, right, _ = drawn(1, errors=0.0, known=0.05)
    found = unmix(never, ("a", "b"), ("a", "b"), right, np.arange(800), np.arange(800), seed=0)
    sure, _, right, _ = drawn(1, errors=0.0, known=1.0)
    better = unmix(sure, ("a", "b"), ("a", "b"), right, np.arange(800), np.arange(800), seed=0)
    assert found.agreement.accuracy.value == 1
    assert found.pairs[0].gap.high > better.pairs[0].gap.high + 0.005


@pytest.mark.parametrize(
    ("guessed", "given", "reason"),
    [
        ("abab" * 50, "aabb" * 50, "it says too little of what was given"),
        ("aaab" * 50, "abbc" * 50, "it never says 'c', which is given to some"),
        ("ab" * 100, "a" * 8 + "b" * 8 + "-" * 184, "fewer than two of its groups were given to"),
    ],
)
def test_a_guess_that_tells_nothing_corrects_nothing(guessed, given, reason):
    given = [None if one == "-" else one for one in given]
    right = np.random.default_rng(0).random(200) < 0.8
    every = np.arange(200)
    found = unmix(guess_of(guessed, given), ("a", "b"), ("a", "b"), right, every, every, seed=0)
    assert found.reason.startswith(reason)
    assert not found.pairs
    assert [one.rate for one in found.supposed] == list(RATES)
    assert np.isnan(found.reach)


def test_errors_that_go_with_answers_are_noticed_and_others_are_not():
    generator = np.random.default_rng(5)
    noticed = {True: 0, False: 0}
    for seed, tied in itertools.product(range(16), (True, False)):
        true, right = generator.integers(2, size=(2, 300))
        errors = np.where(right == 0, 0.35, 0.05) if tied else 0.2
        guessed = np.where(generator.random(300) < errors, 1 - true, true)
        given, said = (["ab"[one] for one in column] for column in (true, guessed))
        found = agreement_of(
            guess_of(said, given), given, right == 1, np.arange(300), np.arange(300), seed=seed
        )
        noticed[tied] += found.p < 0.05
    assert noticed[True] >= 15
    assert noticed[False] <= 3


# Where nobody knows.


def test_bounds_are_those_of_the_worst_exchange():
    """All exchanges of so many images between two guessed groups, counted out."""
    right = np.repeat([True, False, True, False], (14, 6, 18, 22))
    guessed = np.repeat([0, 1], (20, 40))
    for found in what_if(right, guessed, 0, 1):
        from_a, from_b = round(found.rate * 20), round(found.rate * 40)
        reached = []
        for x, y in itertools.product(range(from_a + 1), range(from_b + 1)):
            a = 14 - x + y, 20 - from_a + from_b
            b = 18 + x - y, 40 + from_a - from_b
            reached.append(a[0] / a[1] - b[0] / b[1])
        assert found.low == pytest.approx(min(reached))
        assert found.high == pytest.approx(max(reached))


def test_a_gap_under_the_error_rate_that_there_is_is_the_true_one():
    right = np.repeat([True, False, True, False], (900, 100, 600, 400))
    true = np.repeat([0, 1], 1000)
    guessed = np.where(np.arange(2000) % 10 == 0, 1 - true, true)
    found = {one.rate: one for one in what_if(right, guessed, 0, 1)}
    assert tuple(found) == RATES
    assert found[0.1].blind == pytest.approx(0.3)
    raw = right[guessed == 0].mean() - right[guessed == 1].mean()
    assert raw == pytest.approx(0.24)
    assert all(one.low < raw < one.high for one in found.values())
    assert found[0.05].low > found[0.1].low > found[0.2].low


def test_more_errors_than_there_are_guesses_are_not_possible():
    right = np.ones(100, bool)
    guessed = np.repeat([0, 1], (95, 5))
    assert [one.possible for one in what_if(right, guessed, 0, 1)] == [False, False, False]


# The audit.


class Guessing:
    """People of two classes as vectors, half of them in test; one group is blurred.

    Args:
        given: share of the images whose group is given.
        errors: share of the guesses that are wrong.
    """

    path, spaces = "world", {}

    def __init__(self, *, given, errors=0.15, noise=2.5, n=1600, seed=0):
        generator = np.random.default_rng(seed)
        y, group = generator.integers(2, size=(2, n))
        places = np.zeros((n, 8))
        places[:, 0] = 2.5 * (y - 0.5)
        blur = np.where(group == 1, 1.0 + noise, 1.0)[:, None]
        self.vectors = unit_rows(places + blur * generator.normal(size=(n, 8)))
        guessed = np.where(generator.random(n) < errors, 1 - group, group)
        there = generator.random(n) < given
        self.columns = {
            "label": ["bad" if one else "good" for one in y],
            "pixel_sha256": [str(row) for row in range(n)],
            "gender": ["ab"[g] if t else None for g, t in zip(group, there, strict=True)],
            "looks": ["ab"[one] for one in guessed],
        }
        self.splits = ["test" if row % 2 else "train" for row in range(n)]
        self.names = ("gender", "looks") if given else ("looks",)

    @property
    def items(self):
        return SimpleNamespace(
            ids=self.columns["pixel_sha256"],
            labels=self.columns["label"],
            splits=self.splits,
            groups=[None] * len(self.splits),
            attributes=self.names,
            column=self.columns.__getitem__,
            label_column=self.columns.__getitem__,
        )

    def space(self, _):
        return SimpleNamespace(vectors=self.vectors)

    def check(self):
        bench = Bench(self, "logistic", [], split="test", label="label", backbone=None, seed=0)
        asked = ["gender=looks"] if "gender" in self.names else ["looks"]
        guesses = read_guesses(self.items, asked, label="label")
        return check_bias(bench, self.items, split="test", guesses=guesses)


def test_a_gap_by_a_guess_is_present_only_once_its_errors_are_counted():
    checked, alone = Guessing(given=0.1).check(), Guessing(given=0.0).check()
    gap = next(one for one in checked.gaps if one.grouping.guessed)
    assert checked.judge(gap) is Verdict.PRESENT
    assert gap.spoken.gap.value > 1.2 * gap.pair.gap.value
    assert "gender is guessed (column looks): " in checked.summary
    assert "of those guessed 'a'" in checked.summary
    assert checked.points == pytest.approx(100 * gap.spoken.gap.value)
    assert alone.verdict is Verdict.INCONCLUSIVE
    assert alone.gaps[0].adjusted < 0.05
    assert "looks is guessed (column looks), so nothing is shown by it" in alone.summary
    assert "with 10% of the guesses wrong the gap would be" in alone.summary
    assert alone.detectable is None
    # What is read off a picture is no other witness of what the picture shows.
    assert "all attributes are guessed" in alone.proxies
    assert alone.shown == ()
    assert checked.proxies[-1].name == "gender"
    schema = json.loads((Path(__file__).parents[1] / "docs/audit.schema.json").read_text())
    finding = {"$ref": "#/$defs/finding", "$defs": schema["$defs"]}
    for one in (checked, alone):
        document = json.loads(json.dumps(one.to_dict(), allow_nan=False))
        jsonschema.validate(document, finding)
        guess = next(g["guess"] for g in document["details"]["gaps"] if g["guessed"])
        assert bool(guess["corrected"]) is (one is checked)
        assert len(guess["supposed"]) == (0 if one is checked else len(RATES))


def test_a_guess_whose_errors_go_with_the_answers_shows_nothing():
    guess, guessed, right, every = drawn(0, known=1.0, gap=0.2)
    true = np.array([one == "b" for one in guess.given])
    generator = np.random.default_rng(0)
    wrong = generator.random(800) < np.where(right, 0.05, 0.5)
    guessed = np.where(wrong, ~true, true).astype(int)
    tied = guess_of(["ab"[one] for one in guessed], guess.given)
    found = unmix(tied, ("a", "b"), ("a", "b"), right, every, every, seed=0)
    assert "errs more often where the answer is wrong, or right" in found.reason
    y = generator.integers(2, size=800)
    grouping = Grouping("g", ("g",), ("a", "b"), guessed, (), 0, True)
    gap = measure_gap(
        grouping, y, np.where(right, y, 1 - y), every, ("k", "l"), tests=1, seed=0
    ).carrying(found)
    assert gap.verdict(material=0.01, tolerance=0.9) is Verdict.INCONCLUSIVE


# Gaps at one mix of labels.


def test_groups_are_permuted_within_classes_only():
    generator = np.random.default_rng(0)
    strata = generator.integers(3, size=60)
    members = generator.integers(2, size=60)
    made = relabellings(members, np.arange(60), draws=50, seed=0, strata=strata)
    for k in range(3):
        assert (made[:, strata == k].sum(axis=1) == members[strata == k].sum()).all()
    assert np.ptp(made[:, 0]) == 1
    # Of people with one picture of each class the classes keep their groups, too.
    people, strata = np.repeat(np.arange(30), 2), np.tile([0, 1], 30)
    made = relabellings(strata, people, draws=20, seed=0, strata=strata)
    assert (made == strata).all()


def test_the_largest_gap_at_one_mix_is_what_counting_gives():
    generator = np.random.default_rng(1)
    y, answers = generator.integers(3, size=(2, 300))
    members = generator.integers(4, size=300)
    expected = 0.0
    rates = np.array([np.mean(answers[y == k] == k) for k in range(3)])
    weights = np.bincount(y) / 300
    for a, b in itertools.combinations(range(4), 2):
        values, variances = [], []
        for g in (a, b):
            inside = [(members == g) & (y == k) for k in range(3)]
            values.append(
                sum(
                    w * np.mean(answers[i] == k)
                    for k, (w, i) in enumerate(zip(weights, inside, strict=True))
                )
            )
            variances.append(
                sum(
                    w**2 * r * (1 - r) / i.sum()
                    for w, r, i in zip(weights, rates, inside, strict=True)
                )
            )
        expected = max(expected, abs(values[0] - values[1]) / np.sqrt(sum(variances)))
    found = Counter(y, answers, 4, 3).drawn(members[None]).at_one_mix()[0]
    assert found == pytest.approx(expected)


def shifted(seed, *, gap=0.0, people=0):
    """Draw two groups of which one has more of a hard class; or photographs of people."""
    generator = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(people), 3) if people else np.arange(240)
    members = generator.integers(2, size=clusters[-1] + 1)[clusters]
    hard = (
        generator.random(clusters[-1] + 1) < np.array([0.25, 0.75])[members[:: 3 if people else 1]]
    )
    y = hard[clusters].astype(int)
    # Relatives are answered alike.
    right = generator.random(clusters[-1] + 1)[clusters] < np.array([0.95, 0.65])[y] - gap * members
    return members, y, np.where(right, y, 1 - y), clusters


@pytest.mark.parametrize("people", [0, 80])
def test_p_values_at_one_mix_are_uniform_where_classes_explain_the_gap(people):
    p = np.array(
        [
            _p_at_one_mix(*shifted(seed, people=people), np.array([0, 1]), draws=99, seed=seed)
            for seed in range(120)
        ]
    )
    assert np.mean(p <= 0.05) <= 0.1
    assert np.mean(p <= 0.5) == pytest.approx(0.5, abs=0.15)
    sure = [
        _p_at_one_mix(*shifted(seed, gap=0.35), np.array([0, 1]), draws=99, seed=seed)
        for seed in range(20)
    ]
    assert np.mean(np.array(sure) <= 0.05) >= 0.9


def test_a_mix_that_hides_a_gap_is_said():
    """Right on 98% and 86% of the classes, and on 92% and 78%, yet on 90% of either group."""
    counts, shares = (1200, 2400, 2500, 500), (0.98, 0.86, 0.924, 0.78)
    y = np.repeat([0, 1, 0, 1], counts)
    members = np.repeat([0, 1], (3600, 3000))
    right = np.concatenate(
        [np.arange(n) < share * n for n, share in zip(counts, shares, strict=True)]
    )
    grouping = Grouping("g", ("g",), ("a", "b"), members, (), 0)
    gap = measure_gap(
        grouping, y, np.where(right, y, 1 - y), np.arange(6600), ("k", "l"), tests=1, seed=0
    )
    assert gap.p > 0.05
    assert gap.mix_p < 0.01
    assert (gap.mix_apart.better, gap.mix_apart.worse) == ("a", "b")
    assert gap.mix_apart.gap.low > 0.04
