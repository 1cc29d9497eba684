"""Bias: planted gaps between groups are found, chance is no gap, rates are fairlearn's own."""

import json
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import numpy as np
import pandas
import pytest
from aequitas.group import Group as AequitasGroup
from fairlearn import metrics as fair
from helpers import scene

from embedkit.audits import audit
from embedkit.audits.bands import band
from embedkit.audits.base import Verdict
from embedkit.audits.bias import Bias, check_bias
from embedkit.audits.gaps import measure_gap
from embedkit.audits.groups import (
    LEAST,
    PAIRED,
    Attribute,
    Grouping,
    _divide,
    attributes_of,
    find_groups,
    smallest,
)
from embedkit.audits.proxies import ALL, MOST, _some, find_proxies, shown_attributes
from embedkit.audits.rates import group_rates
from embedkit.audits.refits import Bench
from embedkit.audits.tallies import Counter
from embedkit.errors import InputError
from embedkit.heads.metrics import mirrored
from embedkit.pipeline import embed
from embedkit.reports.audits import findings
from embedkit.reports.page import render
from embedkit.statistics import Estimate
from embedkit.vectors import unit_rows

LABELS = ("bad", "good")


class World:
    """People of two classes as vectors, half of them in test, with attributes.

    Args:
        noise: by how many spreads the vectors of group `b` are blurred beyond the others.
        proxy: share of the images whose attribute `source` follows the label.
        family: images of each person, all alike in what they are.
    """

    path, spaces = "world", {}

    def __init__(self, *, n=1600, apart=2.5, noise=0.0, proxy=0.0, family=1, seed=0):
        generator = np.random.default_rng(seed)
        person = np.arange(n) // family
        y = generator.integers(2, size=n)[person]
        group = generator.integers(2, size=n)[person]
        other = generator.integers(3, size=n)[person]
        source = np.where(generator.random(n) < proxy, y, generator.integers(2, size=n))[person]
        places = np.zeros((n, 8))
        places[:, 0], places[:, 1] = apart * (y - 0.5), 3.0 * (group - 0.5)
        blur = np.where(group == 1, 1.0 + noise, 1.0)[:, None]
        self.vectors = unit_rows(places + blur * generator.normal(size=(n, 8)))
        self.y, self.group, self.source = y, group, source
        self.columns = {
            "label": [LABELS[one] for one in y],
            "pixel_sha256": [str(row) for row in range(n)],
            "gender": ["ab"[one] for one in group],
            "race": ["xyz"[one] for one in other],
            "source": ["s" + str(one) for one in source],
        }
        self.splits = ["test" if one % 2 else "train" for one in person]
        self.groups = [f"p{one}" for one in person] if family > 1 else [None] * n
        self.names = ("gender", "race", "source")

    @property
    def items(self):
        return SimpleNamespace(
            ids=self.columns["pixel_sha256"],
            labels=self.columns["label"],
            splits=self.splits,
            groups=self.groups,
            attributes=self.names,
            column=self.columns.__getitem__,
            label_column=lambda name: [
                None if one is None else str(one) for one in self.columns[name]
            ],
        )

    def space(self, _):
        return SimpleNamespace(vectors=self.vectors)

    def bench(self):
        return Bench(self, "logistic", [], split="test", label="label", backbone=None, seed=0)

    def check(self, **options):
        return check_bias(self.bench(), self.items, split="test", **options)


def groups_of(members):
    members = np.asarray(members)
    names = tuple(f"g{one:02d}" for one in range(members.max() + 1))
    return Grouping("attribute", ("attribute",), names, members, (), 0)


def answered(groups, size, accuracy, *, seed):
    """Draw labels and answers of groups with given accuracies."""
    generator = np.random.default_rng(seed)
    members = np.repeat(np.arange(groups), size)
    y = generator.integers(2, size=len(members))
    right = generator.random(len(members)) < np.broadcast_to(accuracy, groups)[members]
    return members, y, np.where(right, y, 1 - y)


def gap_of(members, y, answers, *, clusters=None, tests=1, seed=0, labels=LABELS):
    clusters = np.arange(len(y)) if clusters is None else clusters
    return measure_gap(groups_of(members), y, answers, clusters, labels, tests=tests, seed=seed)


# Against others' arithmetic.


@pytest.fixture(scope="module")
def three():
    """Three classes in four groups, the last without any image of the last class."""
    generator = np.random.default_rng(3)
    members = np.repeat(np.arange(4), (60, 80, 50, 40))
    y = generator.integers(3, size=len(members))
    y[members == 3] %= 2
    probabilities = generator.dirichlet(np.ones(3), len(y))
    probabilities[np.arange(len(y)), y] += generator.random(len(y))
    return members, y, probabilities / probabilities.sum(axis=1, keepdims=True)


def test_rates_are_those_that_counting_gives(three):
    members, y, probabilities = three
    answers = probabilities.argmax(axis=1)
    found = group_rates(
        groups_of(members), y, probabilities, np.arange(len(y)), ("p", "q", "r"), seed=0
    )
    for g, group in enumerate(found):
        t, a = y[members == g], answers[members == g]
        assert group.accuracy.value == pytest.approx(np.mean(t == a), abs=1e-9)
        assert group.accuracy.n == group.independent == len(t)
        for k, rates in enumerate(group.classes):
            both, given, said = np.sum((t == k) & (a == k)), np.sum(t == k), np.sum(a == k)
            expected = {
                "share": given / len(t),
                "answered": said / len(t),
                "hit": both / given if given else None,
                "false": (said - both) / (len(t) - given),
                "precision": both / said if said else None,
            }
            for name, value in expected.items():
                rate = getattr(rates, name)
                if value is None:
                    assert np.isnan(rate.value)  # of no image; fairlearn itself says 0
                    assert rate.n == 0
                else:
                    assert rate.value == pytest.approx(value, abs=1e-9)
                    assert rate.low <= rate.value <= rate.high


def test_classes_that_are_ranges_say_how_far_answers_are_off_in_each_group():
    generator = np.random.default_rng(2)
    labels = ("0-9", "10-19", "20+")
    shuffled = (labels[1], labels[2], labels[0])  # the head's own order
    members = np.repeat([0, 1], 60)
    places, said = generator.integers(3, size=(2, 120))
    number = np.array([shuffled.index(label) for label in labels])
    probabilities = np.eye(3)[number[said]]
    found = group_rates(
        groups_of(members), number[places], probabilities, np.arange(120), shuffled, seed=0
    )
    for g, group in enumerate(found):
        off = np.abs(places - said)[members == g]
        assert group.ordered.error.value == pytest.approx(off.mean())
        assert group.ordered.within_one.value == pytest.approx(np.mean(off <= 1))
    names = ("p", "q", "r")
    (plain, _) = group_rates(
        groups_of(members), places, probabilities, np.arange(120), names, seed=0
    )
    assert plain.ordered is None


def test_differences_are_fairlearns(three):
    members, y, answers = answered(4, 70, [0.9, 0.8, 0.7, 0.85], seed=1)
    gap = gap_of(members, y, answers)
    parity = fair.demographic_parity_difference(y, answers, sensitive_features=members)
    odds = fair.equalized_odds_difference(y, answers, sensitive_features=members)
    frame = fair.MetricFrame(
        metrics=lambda t, a: np.mean(t == a), y_true=y, y_pred=answers, sensitive_features=members
    )
    assert gap.parity.value == pytest.approx(parity, abs=1e-9)
    assert gap.odds.value == pytest.approx(odds, abs=1e-9)
    assert gap.largest.gap.value == pytest.approx(frame.difference(), abs=1e-9)
    # Of more classes than two: the largest over the classes, groups without a class left out.
    members, y, probabilities = three
    answers = probabilities.argmax(axis=1)
    many = gap_of(members, y, answers, labels=("p", "q", "r"))
    every, odd = [], []
    for k in range(3):
        there = members < 3 if k == 2 else members >= 0
        t, a = y == k, answers == k
        every.append(fair.demographic_parity_difference(t, a, sensitive_features=members))
        hit = fair.MetricFrame(
            metrics=fair.true_positive_rate,
            y_true=t[there],
            y_pred=a[there],
            sensitive_features=members[there],
        )
        false = fair.MetricFrame(
            metrics=fair.false_positive_rate, y_true=t, y_pred=a, sensitive_features=members
        )
        odd += [hit.difference(), false.difference()]
    assert many.parity.value == pytest.approx(max(every), abs=1e-9)
    assert many.odds.value == pytest.approx(max(odd), abs=1e-9)


def test_rates_are_those_of_aequitas(three):
    members, y, probabilities = three
    answers = probabilities.argmax(axis=1)
    found = group_rates(
        groups_of(members), y, probabilities, np.arange(len(y)), ("p", "q", "r"), seed=0
    )
    for k in range(3):
        frame = pandas.DataFrame(
            {
                "score": (answers == k).astype(int),
                "label_value": (y == k).astype(int),
                "of": pandas.Series([f"{g:02}" for g in members], dtype=object),
            }
        )
        table, _ = AequitasGroup().get_crosstabs(frame)
        theirs = table.set_index("attribute_value")
        for g, group in enumerate(found):
            row, rates = theirs.loc[f"{g:02}"], group.classes[k]
            assert row["group_size"] == group.accuracy.n
            both = {
                "prev": rates.share,
                "tpr": rates.hit,
                "fpr": rates.false,
                "precision": rates.precision,
            }
            for name, ours in both.items():
                if np.isnan(ours.value):
                    assert np.isnan(row[name])
                else:
                    assert ours.value == pytest.approx(row[name], abs=1e-9)
            assert rates.answered.value == pytest.approx(row["pp"] / row["group_size"], abs=1e-9)


def test_the_same_mix_of_labels_is_the_mean_of_class_rates_weighted_alike():
    """Both groups are right on 90% of one class and 60% of the other, in other proportions."""
    y = np.repeat([0, 1, 0, 1], (400, 100, 100, 400))
    members = np.repeat([0, 1], 500)
    right = np.concatenate(
        [
            np.arange(n) < share * n
            for n, share in zip((400, 100, 100, 400), (0.9, 0.6, 0.9, 0.6), strict=True)
        ]
    )
    gap = gap_of(members, y, np.where(right, y, 1 - y))
    assert gap.largest.gap.value == pytest.approx(0.84 - 0.66)
    assert gap.largest.gap.low > 0.1
    assert gap.largest.same_mix.value == pytest.approx(0.0)
    assert gap.largest.same_mix.low < 0 < gap.largest.same_mix.high
    assert gap.mixed == LABELS


def test_a_class_that_a_group_lacks_is_in_no_common_mix():
    members, y, answers = answered(2, 100, 0.8, seed=2)
    y[members == 0] = 0
    gap = gap_of(members, y, answers)
    assert gap.mixed == ("bad",)
    y[members == 1] = 1
    gap = gap_of(members, y, answers)
    assert gap.mix_reason == "no class has 5 independent images in every group"
    assert np.isnan(gap.largest.same_mix.value)


def test_a_tally_counts_what_is_there():
    drawn = np.array([[0, 0, 1, 1], [1, 0, 1, 0]])
    y, answers = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0])
    made = Counter(y, answers, 2, 2).drawn(drawn)
    assert made.total.tolist() == [[2, 2], [2, 2]]
    assert made.right.tolist() == [[2, 1], [2, 1]]
    assert made.given[1].tolist() == [[1, 1], [1, 1]]
    assert made.both[0].tolist() == [[1, 1], [1, 0]]
    assert made.picked[0].tolist() == [[1, 1], [2, 0]]
    twice = Counter(y, answers, 2, 2).weighted(np.array([[2.0, 0, 1, 1]]), drawn[0])
    assert twice.total.tolist() == [[2, 2]]
    assert twice.given.tolist() == [[[2, 0], [1, 1]]]
    scaled, apart = made.largest()
    assert apart.tolist() == [0.5, 0.5]
    assert scaled == pytest.approx([0.5 / np.sqrt(0.75 * 0.25 * (1 / 2 + 1 / 2))] * 2)


# What is planted is found, what is not is not.


def test_a_subgroup_with_noise_is_found_and_named():
    world = World(noise=2.5, seed=1)
    found = world.check()
    head = found.headline
    assert found.verdict is Verdict.PRESENT
    assert head.grouping.name == "gender"
    assert (head.pair.better, head.pair.worse) == ("a", "b")
    assert found.worst.group == "b"
    assert head.pair.gap.value > 0.15
    assert found.points == pytest.approx(100 * head.pair.gap.value)
    assert "'a'" in found.summary
    assert "A label is what an annotator or source said" in found.summary


def test_a_gap_of_twenty_points_is_found_and_its_interval_holds_it():
    held = found = 0
    for seed in range(20):
        members, y, answers = answered(2, 200, [0.9, 0.7], seed=seed)
        gap = gap_of(members, y, answers, seed=seed)
        found += gap.verdict(material=0.01, tolerance=0.05) is Verdict.PRESENT
        held += gap.pair.gap.low <= 0.2 <= gap.pair.gap.high
    assert found >= 19
    assert held >= 17


@pytest.mark.slow
def test_thirty_groups_that_do_not_differ_raise_few_alarms():
    gaps = [gap_of(*answered(30, 40, 0.9, seed=seed), seed=seed) for seed in range(20)]
    judged = [gap.verdict(material=0.01, tolerance=0.05) for gap in gaps]
    assert sum(one is Verdict.PRESENT for one in judged) <= 3
    assert Verdict.ABSENT not in judged  # 40 images of a group cannot show that
    # What 95% of random groups stay below is below what some of these reach, and above most.
    beyond = sum(gap.largest.gap.value > gap.by_chance for gap in gaps)
    assert beyond <= 4
    assert all(gap.largest.gap.value > 0.05 for gap in gaps)


def test_alarms_stay_few_where_relatives_are_answered_alike():
    """Ten pictures of each of 60 people, all right or all wrong: 600 images are worth 60."""
    alarms = 0
    for seed in range(20):
        generator = np.random.default_rng(seed)
        people = np.arange(600) // 10
        y = generator.integers(2, size=600)
        right = (generator.random(60) < 0.7)[people]
        gap = gap_of((people % 2), y, np.where(right, y, 1 - y), clusters=people, seed=seed)
        alarms += gap.verdict(material=0.01, tolerance=0.05) is Verdict.PRESENT
        assert gap.detectable > 0.25
    assert alarms <= 3


def test_no_gap_is_said_only_where_every_pair_is_shown_to_be_small():
    large = gap_of(*answered(3, 4000, 0.95, seed=0))
    assert large.reach < 0.05
    assert large.verdict(material=0.01, tolerance=0.05) is Verdict.ABSENT
    assert large.verdict(material=0.01, tolerance=large.reach) is Verdict.INCONCLUSIVE
    few = gap_of(*answered(3, 60, 0.95, seed=0))
    assert few.verdict(material=0.01, tolerance=0.05) is Verdict.INCONCLUSIVE
    assert few.detectable > 0.05


def test_a_gap_at_the_same_mix_keeps_equal_accuracies_from_being_no_gap():
    """Right on 98% and 86% of the classes, and on 92% and 80%, yet on 90% of either group."""
    counts, shares = (1200, 2400, 2500, 500), (0.98, 0.86, 0.924, 0.78)
    y = np.repeat([0, 1, 0, 1], counts)
    members = np.repeat([0, 1], (3600, 3000))
    right = np.concatenate(
        [np.arange(n) < share * n for n, share in zip(counts, shares, strict=True)]
    )
    gap = gap_of(members, y, np.where(right, y, 1 - y))
    assert abs(gap.largest.gap.value) < 0.005
    assert gap.reach < 0.03
    assert gap.mix_reach > 0.05
    assert gap.verdict(material=0.01, tolerance=0.05) is Verdict.INCONCLUSIVE


def test_groups_that_are_always_right_do_not_get_bands_of_no_width():
    members = np.repeat([0, 1], 50)
    made = band(np.ones(100, bool), members, np.zeros(100, int), np.ones(1), np.arange(100), seed=0)
    one = made.gap(0, 1)
    assert one.value == 0
    assert -0.2 < one.low < -0.03
    assert one.high == pytest.approx(-one.low)


def test_bands_are_wider_for_more_groups():
    pair = gap_of(*answered(2, 100, 0.8, seed=0))
    many = gap_of(*answered(12, 100, 0.8, seed=0))
    assert many.detectable > 1.2 * pair.detectable
    assert gap_of(*answered(2, 100, 0.8, seed=0), tests=20).detectable > 1.2 * pair.detectable


def test_small_differences_are_no_headline_however_sure():
    gap = gap_of(*answered(2, 20000, [0.97, 0.95], seed=0))
    assert gap.adjusted < 0.05
    assert gap.pair.gap.low > 0
    assert gap.verdict(material=0.01, tolerance=0.05) is Verdict.PRESENT
    assert gap.verdict(material=0.04, tolerance=0.05) is Verdict.ABSENT


# Proxies.


def test_a_label_that_follows_an_attribute_is_told_by_it():
    world = World(proxy=0.8, seed=2)
    found = find_proxies(world.bench(), attributes_of(world.items, label="label")[0])
    best = max(found, key=lambda one: one.score.gain.value)
    assert best.name in (ALL, "source")
    assert best.score.tells(0.01)
    assert best.score.accuracy.value == pytest.approx(0.9, abs=0.04)
    alone = {one.name: one for one in found if one.name != ALL}
    assert alone["source"].score.adjusted < 0.05
    assert not alone["race"].score.tells(0.01)
    assert found[0].name == ALL
    assert "Attributes tell the label" in world.check().summary


def test_attributes_that_know_nothing_of_the_label_are_not_called_proxies():
    told = 0
    for seed in range(10):
        world = World(n=400, family=4, seed=seed)
        found = find_proxies(world.bench(), attributes_of(world.items, label="label")[0])
        told += any(one.score.tells(0.01) for one in found)
    assert told <= 2
    assert "Attributes are not shown to tell the label" in World(n=400, seed=0).check().summary


def test_vectors_tell_the_attribute_that_they_hold():
    world = World(seed=4)
    shown = {
        one.name: one
        for one in shown_attributes(world.bench(), attributes_of(world.items, label="label")[0])
    }
    assert shown["gender"].gain.low > 0.2
    assert shown["race"].gain.low < 0.05
    assert shown["gender"].majority.value == pytest.approx(0.5, abs=0.05)


# Which groups there are.


def test_attributes_are_words_or_few_whole_numbers():
    world = World(n=60)
    n = 60
    world.columns |= {
        "code": [row % 3 for row in range(n)],
        "age": [float(row) / 7 for row in range(n)],
        "name": [f"n{row}" for row in range(n)],
        "only": ["one"] * n,
        "nothing": [None] * n,
        "ground_truth": ["yes", "no"] * 30,
        "twin": ["B" if label == "bad" else "G" for label in world.columns["label"]],
        "box": [[1, 2]] * n,
        "flag": [row % 2 == 0 for row in range(n)],
    }
    world.names = tuple(name for name in world.columns if name not in ("label", "pixel_sha256"))
    found, without = attributes_of(world.items, label="gender")
    assert [one.name for one in found] == ["race", "source", "code", "twin", "flag"]
    reasons = dict(without)
    assert "ground_truth" not in reasons
    assert reasons["age"].startswith("numbers")
    assert reasons["name"] == "60 values; at most 12 are compared"
    assert reasons["only"] == "one value only"
    assert reasons["nothing"] == "no image has a value"
    assert reasons["box"] == "neither words nor numbers"
    _, without = attributes_of(world.items, label="label")
    assert dict(without)["twin"] == "it says the same as the label"


def test_a_group_needs_as_many_images_as_a_gap_of_twenty_points():
    assert smallest(0.5) == 99
    assert smallest(0.9) == 36
    assert smallest(0.99) == smallest(1.0) == LEAST


def test_small_groups_and_missing_values_are_counted_and_left_out():
    world = World(n=200)
    world.columns["gender"] = ["a"] * 80 + ["b"] * 60 + ["c"] * 20 + [None] * 40
    world.columns["race"] = ["x"] * 190 + ["y"] * 10
    world.columns["source"] = ["k"] * 40 + ["l"] * 40 + ["k"] * 30 + ["l"] * 50 + [None] * 40
    attributes, _ = attributes_of(world.items, label="label")
    rows = np.arange(200)
    found, without = find_groups(attributes, rows, rows, least=30)
    assert [one.name for one in found] == ["gender", "source", "gender × source"]
    gender = found[0]
    assert gender.groups == ("a", "b")
    assert gender.small == (("c", 20),)
    assert gender.missing == 40
    assert np.bincount(gender.members + 1).tolist() == [60, 80, 60]
    assert found[2].groups == ("a, k", "a, l", "b, k", "b, l")
    assert dict(without)["race"] == "fewer than two groups have 30 independent test images"
    # Relatives count once, and a pair that divides like one of its attributes is not judged twice.
    found, _ = find_groups(attributes, rows, rows // 2, least=30)
    assert [one.name for one in found] == ["gender", "source"]
    world.columns["race"] = world.columns["gender"]
    attributes, _ = attributes_of(world.items, label="label")
    found, without = find_groups(attributes[:2], rows, rows, least=30)
    assert [one.name for one in found] == ["gender"]
    assert dict(without)["race"] == "it divides the images as gender does"


def test_tiny_groups_are_an_answer():
    world = World(n=100)
    found = world.check()
    assert found.verdict is Verdict.NOT_RUN
    assert "not enough test images" in found.not_run_reason
    assert "gender, race, source" in found.not_run_reason


def test_without_attributes_it_did_not_run_and_says_what_would_help():
    world = World(n=100)
    world.names = ()
    found = world.check()
    assert found.verdict is Verdict.NOT_RUN
    assert "a column of a manifest" in found.not_run_reason
    world.names = ("only",)
    world.columns["only"] = ["one"] * 100
    assert "only: one value only" in world.check().not_run_reason


# All of it.


def test_the_finding_is_the_same_twice_and_has_the_form_that_its_schema_gives():
    world = World(n=800, noise=1.5, family=2, seed=5)
    world.columns["gender"][3::40] = [None] * len(world.columns["gender"][3::40])
    first, again = (json.dumps(world.check().to_dict(), allow_nan=False) for _ in range(2))
    assert first == again
    schema = json.loads((Path(__file__).parents[1] / "docs/audit.schema.json").read_text())
    finding = {"$ref": "#/$defs/finding", "$defs": schema["$defs"]}
    jsonschema.validate(json.loads(first), finding)
    details = json.loads(first)["details"]
    gap = details["gaps"][0]
    assert gap["attributes"] == ["gender"]
    assert gap["without_value"] > 0
    assert [one["group"] for one in gap["groups"]] == ["a", "b"]
    assert all(one["independent"] * 2 >= one["n"] for one in gap["groups"])
    document = json.loads(first)
    del document["details"]["gaps"][0]["p_adjusted"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, finding)


def test_no_sentence_says_that_there_is_no_bias():
    worlds = [World(n=6000, apart=7.0, seed=6), World(n=600, seed=6), World(noise=3.0, seed=6)]
    for world in worlds:
        world.names = ("gender",)
    found = [one.check() for one in worlds]
    assert [one.verdict for one in found] == [
        Verdict.ABSENT,
        Verdict.INCONCLUSIVE,
        Verdict.PRESENT,
    ]
    for one in found:
        assert "no bias" not in one.summary.lower()
        assert one.estimate.low <= one.estimate.value <= one.estimate.high
    assert "no gap in accuracy above 5 points" in found[0].summary
    assert "would have been found" in found[1].summary
    assert found[1].detectable > 5


@pytest.fixture(scope="module")
def pictured(tmp_path_factory):
    """Pictures by a manifest with attributes, those of one group noise."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("groups")
    generator = np.random.default_rng(0)
    lines = ["file,label,split,gender"]
    for row in range(480):
        label, group = generator.integers(2, size=2)
        pixels = scene(row, 48).astype(float)
        if group == 0:
            pixels[:, :24] += 240 * label - 120
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{row}.png")
        side = "test" if row % 2 else "train"
        lines.append(f"{row}.png,{LABELS[label]},{side},{'fm'[group]}")
    (folder / "faces.csv").write_text("\n".join(lines) + "\n")
    return embed(folder / "faces.csv", folder / "store", backbone="pixels")


def test_the_audit_the_page_and_the_terminal_show_the_groups(pictured):
    result = audit(pictured, checks=["bias"])
    found = result["bias"]
    assert found.verdict is Verdict.PRESENT
    assert found.worst.group == "m"
    assert result.settings["tolerance"] == 5
    lines = findings(result).splitlines()
    assert lines[0].startswith("!! present")
    assert lines[1].strip().startswith("gender: m ")
    page = render(result)
    assert '<h2 id="groups">Groups of images</h2>' in page
    assert "f above m" in page
    schema = json.loads((Path(__file__).parents[1] / "docs/audit.schema.json").read_text())
    jsonschema.validate(json.loads(json.dumps(result.to_dict())), schema)


def test_the_page_marks_what_is_guessed_and_shows_it_corrected(pictured, tmp_path):
    generator = np.random.default_rng(0)
    given = pictured.items.label_column("gender")
    wrong = generator.random(len(given)) < 0.1
    lines = [
        f"{id_},{'fm'[value == 'f'] if off else value}"
        for id_, value, off in zip(pictured.items.ids, given, wrong, strict=True)
    ]
    (tmp_path / "mine.csv").write_text("\n".join(["id,gender", *lines]) + "\n")
    (tmp_path / "alone.csv").write_text("\n".join(["id,looks", *lines]) + "\n")
    asked = [f"gender={tmp_path}/mine.csv", f"looks={tmp_path}/alone.csv"]
    result = audit(pictured, checks=["bias"], guessed=asked)
    assert result.settings["guessed"] == asked
    page, said = render(result), findings(result)
    assert "<h3>gender (guessed)</h3>" in page
    assert "Guessed: mine.csv." in page
    assert "Corrected for the errors of the guess" in page
    assert "gender (guessed), corrected: m " in said
    schema = json.loads((Path(__file__).parents[1] / "docs/audit.schema.json").read_text())
    jsonschema.validate(json.loads(json.dumps(result.to_dict())), schema)
    # The same guess under a name that nothing is given of.
    alone = audit(pictured, checks=["bias"], guessed=asked[1:])
    assert "were so many guesses wrong:" in render(alone)


@pytest.mark.parametrize("points", [0, -1, 100])
def test_a_tolerance_lies_between_nothing_and_everything(clean_store, points):
    with pytest.raises(InputError, match="tolerance lies between 0 and 100"):
        audit(clean_store, backbone="pixels", tolerance=points)


def test_a_store_without_attributes_lists_bias_as_not_run(clean_store):
    found = audit(clean_store, backbone="pixels", checks=["bias"])["bias"]
    assert found.verdict is Verdict.NOT_RUN
    assert "the data set names no attribute" in found.not_run_reason


def test_values_that_hold_commas_stay_apart_and_many_attributes_are_not_all_paired():
    rows = np.arange(240)
    a = tuple("a, b" if row % 2 else "a" for row in rows)
    b = tuple("c" if row % 2 else "b, c" for row in rows)
    two = [Attribute("first", a), Attribute("second", b)]
    pair = _divide(two, rows, rows, 30)
    assert len(pair.groups) == 2
    generator = np.random.default_rng(0)
    many = [
        Attribute(f"{n:02}", tuple("xy"[one] for one in generator.integers(0, 2, 240)))
        for n in range(PAIRED + 2)
    ]
    found, without = find_groups(many, rows, rows, least=30)
    assert len([one for one in found if len(one.attributes) == 1]) == PAIRED + 2
    assert len([one for one in found if len(one.attributes) == 2]) == PAIRED * (PAIRED - 1) // 2
    assert [name for name, why in without if "by itself" in why] == ["12", "13"]


def test_large_clusters_lend_images_too():
    clusters = np.repeat(np.arange(40), 2000)
    kept = _some(np.arange(len(clusters)), clusters, seed=0)
    assert len(kept) == MOST
    assert np.ptp(np.bincount(clusters[kept])) <= 1
    few = np.repeat(np.arange(10), 3)
    assert np.array_equal(_some(np.arange(30), few, seed=0), np.arange(30))


def test_no_limit_of_a_share_is_above_one():
    assert mirrored(Estimate(0.75, 0.06, 1.0, 120)).high == 1.0


def test_the_headline_is_of_the_groupings_that_the_verdict_rests_on():
    """One attribute is shown to have no gap, another cannot be judged: the words are of that."""
    generator = np.random.default_rng(3)
    n = 12_000
    even = generator.integers(0, 2, n)
    rare = np.where(np.arange(n) < 80, np.arange(n) % 2, -1)
    y = generator.integers(0, 2, n)
    right = generator.random(n) < 0.9
    answers = np.where(right, y, 1 - y)
    gaps = []
    for name, members in (("even", even), ("rare", rare)):
        grouping = Grouping(name, (name,), ("0", "1"), members, (), int((members < 0).sum()))
        gaps.append(measure_gap(grouping, y, answers, np.arange(n), ("a", "b"), tests=2, seed=0))
    found = Bias(
        name="bias", verdict=Verdict.INCONCLUSIVE, summary="", head="logistic", split="test",
        material=0.01, tolerance=0.05, least=30, gaps=tuple(gaps), rates=(), without=(),
        proxies="", shown=(),
    )  # fmt: skip
    assert [found.judge(one) for one in gaps] == [Verdict.ABSENT, Verdict.INCONCLUSIVE]
    assert found.headline.grouping.name == "rare"
