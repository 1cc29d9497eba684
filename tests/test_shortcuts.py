"""Shortcuts: what is planted in drawn columns is found, named and measured, and nothing else is."""

import json
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import numpy as np
import pytest
from helpers import drawn_items
from scipy import stats
from threadpoolctl import threadpool_limits

from embedkit.audits import clues
from embedkit.audits.associations import associate, mutual_information
from embedkit.audits.base import Statement, Verdict, not_run
from embedkit.audits.books import Books
from embedkit.audits.clues import find_clues
from embedkit.audits.columns import RARE, code, matrix
from embedkit.audits.nuisance import SETS, Column
from embedkit.audits.refits import Bench
from embedkit.audits.relabellings import relabellings
from embedkit.audits.shortcuts import find_shortcuts
from embedkit.audits.sources import leave_sources_out
from embedkit.heads.nuisance import NUISANCE_HEADS, nuisance_probabilities
from embedkit.statistics import Estimate
from embedkit.vectors import unit_rows

DIMENSION = 16
SCHEMA = json.loads((Path(__file__).parents[1] / "docs/audit.schema.json").read_text())


class World:
    """Images as vectors, whose file's quality is tied to the label with some strength.

    Args:
        n: images, a third of them test.
        strength: share of images whose quality is given by their label; that of others is drawn.
        signal: how well the picture itself shows the label.
        seen: how well the vectors show the quality.
        shares: of the classes.
        copies: images of each cluster.
    """

    def __init__(
        self, *, n=900, strength=0.0, signal=0.0, seen=1.5, shares=(0.5, 0.5), copies=1, seed=0
    ):
        generator = np.random.default_rng(seed)
        k = len(shares)
        y = np.repeat(generator.choice(k, n // copies, p=shares), copies)
        drawn = np.repeat(generator.integers(2, size=n // copies), copies)
        given = np.repeat(generator.random(n // copies) < strength, copies)
        self.high = np.where(given, y % 2, drawn)
        vectors = generator.normal(size=(n, DIMENSION))
        vectors[np.arange(n), y] += signal
        vectors[:, k] += seen * (2 * self.high - 1)
        self.vectors = unit_rows(vectors)
        self.y = y
        self.clusters = np.repeat(np.arange(n // copies) * copies, copies)
        split = np.repeat(np.arange(n // copies) % 3 == 0, copies)
        self.path = "world"
        self.items = drawn_items(y, split)
        self.generator = generator

    def space(self, _):
        return SimpleNamespace(vectors=self.vectors)

    def columns(self, noise=12):
        """Return the quality, among columns that know nothing, some of which do not vary."""
        generator, n = self.generator, len(self.y)
        quality = 60.0 + 30 * self.high + generator.integers(0, 5, n)
        words = ("Canon", "Nikon", "Sony", None)
        makers = tuple(words[place] for place in generator.integers(4, size=n))
        return [
            *(
                Column(f"noise {c}", ("header", "colour")[c % 2], generator.normal(size=n))
                for c in range(noise)
            ),
            Column("camera", "header", makers),
            Column("JPEG quality", "header", quality),
            Column("subsampling", "header", ("4:2:0",) * n),
        ]

    def bench(self, head="logistic", seed=0):
        return Bench(
            self, head, [self.clusters], split="test", label="label", backbone=None, seed=seed
        )

    def find(self, columns=None, *, head="logistic", seed=0, **options):
        bench = self.bench(head, seed)
        columns = self.columns() if columns is None else columns
        clues = find_clues(bench, columns, split="test", **options)
        if isinstance(clues, str):
            return not_run("shortcuts", clues)
        return find_shortcuts(clues, bench, self.items.ids, split="test", **options)


# The finding.


@pytest.mark.parametrize("strength", [0.3, 0.6, 0.8])
def test_a_planted_column_that_the_head_sees_is_found_named_and_worth_its_points(strength):
    world = World(n=1500, strength=strength, seed=1)
    found = world.find()
    assert found.verdict is Verdict.PRESENT
    assert found.statement is Statement.MATCHED
    assert found.summary.startswith("JPEG quality ")
    assert found.clues.associations[0].name == "JPEG quality"
    assert sum(one.present for one in found.clues.associations) == 1
    # The picture shows nothing but the quality, so without it half of the answers are right.
    honest = found.reliances[0].reported.value - 0.5
    assert found.estimate.low <= honest <= found.estimate.high
    assert found.points == pytest.approx(100 * found.estimate.value)


@pytest.mark.slow
def test_nothing_planted_raises_few_alarms(monkeypatch):
    trees = NUISANCE_HEADS["trees"]
    monkeypatch.setitem(
        NUISANCE_HEADS, "trees", lambda seed: trees(seed).set_params(n_estimators=8)
    )
    worlds = [World(n=300, signal=1.0, seed=seed) for seed in range(40)]
    # Without columns that divide the files into sources, which only take time here.
    found = [one.find([c for c in one.columns() if "noise" in c.name]) for one in worlds]
    assert sum(one.verdict is Verdict.PRESENT for one in found) <= 2
    named = sum(any(column.present for column in one.clues.associations) for one in found)
    assert named <= 5  # 5% of the sets, by max-T


def test_a_large_set_without_a_shortcut_is_absent():
    found = World(n=6000, signal=0.5, seed=3).find()
    assert found.verdict is Verdict.ABSENT
    assert "No column says enough" in found.summary


def test_what_is_tied_to_the_label_and_not_used_is_no_shortcut():
    """The vectors do not show the quality, so no head can follow it."""
    found = World(n=6000, strength=0.4, signal=2.0, seen=0.0, seed=4).find()
    assert found.clues.associations[0].name == "JPEG quality"
    assert found.clues.associations[0].present
    assert found.verdict is Verdict.ABSENT
    assert found.statement is Statement.MATCHED
    assert "The logistic head does not follow" in found.summary
    few = World(n=300, strength=0.6, signal=1.0, seen=0.0, seed=4).find()
    assert few.verdict is Verdict.INCONCLUSIVE
    assert few.statement is Statement.ASSOCIATION
    assert few.detectable > 1


def test_all_images_of_a_class_dark_is_the_first_headline():
    world = World(n=900, shares=(0.1, 0.3, 0.6), signal=2.0, seed=5)
    brightness = world.generator.normal(120, 20, size=900)
    brightness[world.y == 0] = world.generator.normal(20, 5, size=(world.y == 0).sum())
    thumbnail = brightness + world.generator.normal(size=900)
    found = world.find(
        [
            *world.columns(),
            Column("thumbnail 1, 1", "thumbnail", thumbnail),
            Column("brightness", "colour", brightness),
        ]
    )
    first = found.clues.associations[0]
    assert first.name == "brightness"
    assert first.marker.class_wide
    assert first.marker.label == "class 0"
    assert found.summary.startswith("brightness marks a whole class: at most ")
    assert "of 'class 0'" in found.summary
    assert found.verdict is Verdict.PRESENT


def test_a_perfect_column_is_found_though_no_image_goes_against_it():
    found = World(n=600, strength=1.0, seed=6).find()
    assert found.verdict is Verdict.PRESENT
    assert found.statement is Statement.ASSOCIATION
    assert found.points is None
    assert "too few test images (0 independent ones" in found.summary
    assert found.reliances[0].verdict() is Verdict.INCONCLUSIVE
    assert found.estimate.value == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("shares", [(0.9, 0.1), (0.5, 0.5)])
def test_a_column_that_knows_nothing_is_none_however_large_a_class_is(shares):
    world = World(n=900, shares=shares, signal=1.0, seed=7)
    noise = 5 + 0.01 * world.generator.normal(size=900)
    found = world.find([Column("noise level", "colour", noise)])
    assert found.verdict is not Verdict.PRESENT
    assert not found.clues.associations[0].present
    for head in found.clues.blindfolds:
        assert head.crossed.gain.high < 0.05
        assert head.crossed.p > 0.01
        if shares[0] == 0.9:
            assert head.crossed.accuracy.value == pytest.approx(0.9, abs=0.03)


def test_columns_that_do_not_vary_are_listed_and_never_passed():
    world = World(n=600, seed=8)
    n = len(world.y)
    rare = np.zeros(n)
    rare[: RARE - 1] = 1
    same = [
        Column("subsampling", "header", ("4:2:0",) * n),
        Column("EXIF", "header", (None,) * n),
        Column("progressive", "header", rare),
        Column("file name", "header", tuple(str(row) for row in range(n))),
        Column("width", "geometry", np.full(n, 48.0)),
    ]
    found = world.find([*same, Column("noise", "colour", world.generator.normal(size=n))])
    why = dict(found.clues.without)
    assert why["subsampling"] == "no variation by construction: '4:2:0' in every image"
    assert why["EXIF"] == "no image has it"
    assert why["progressive"] == f"fewer than {RARE} images differ"
    assert why["file name"] == f"no value is on {RARE} images"
    assert why["width"] == "no variation by construction: 48 in every image"
    assert [one.name for one in found.clues.associations] == ["noise"]
    assert "5 columns do not vary (subsampling" in found.summary
    nothing = world.find(same)
    assert nothing.verdict is Verdict.NOT_RUN
    assert "none of 5 columns varies" in nothing.not_run_reason


def blind(world, name, strength):
    """A column that is tied to the label, by chance on some images, and in no picture."""
    given = world.generator.random(len(world.y)) < strength
    values = np.where(given, world.y % 2, world.generator.integers(2, size=len(world.y)))
    return Column(name, "header", 10.0 * values)


def test_a_weaker_column_that_the_head_follows_is_asked_about_too():
    world = World(n=3000, strength=0.3, seed=2)
    others = [blind(world, f"unseen {c}", 0.45) for c in range(4)]
    found = world.find([*others, *world.columns(noise=2)])
    assert {one.name for one in found.clues.telling[:4]} == {one.name for one in others}
    assert found.verdict is Verdict.PRESENT
    assert "JPEG quality" in [one.cause for one in found.reliances]
    assert found.cause == "JPEG quality"
    assert found.estimate.low <= found.reliances[0].reported.value - 0.5 <= found.estimate.high


def test_columns_that_say_the_same_are_asked_about_once():
    world = World(n=1500, strength=0.5, seed=2)
    quality = next(one for one in world.columns() if one.name == "JPEG quality")
    copies = [Column(f"quality {c}", "header", quality.values + c) for c in range(20)]
    found = world.find(copies)
    assert len(found.clues.telling) == 20
    assert found.clues.unasked == 0
    assert len(found.reliances) <= 2  # one of them, and all together


def test_what_was_not_asked_about_is_not_absent(monkeypatch):
    monkeypatch.setattr(clues, "ASKED", 1)
    world = World(n=6000, strength=0.4, signal=2.0, seen=0.0, seed=4)
    found = world.find([*world.columns(noise=2), blind(world, "another", 0.3)])
    assert found.clues.unasked == 1
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "1 more that are tied to the class were not asked about." in found.summary


def test_a_mark_of_a_whole_class_that_the_head_is_shown_not_to_follow_is_absent():
    world = World(n=6000, shares=(0.06, 0.47, 0.47), signal=3.0, seen=0.0, seed=5)
    flag = np.where(world.generator.random(6000) < 0.97, world.y == 0, world.y != 0)
    found = world.find([Column("flag", "colour", 1.0 * flag)])
    assert found.clues.telling[0].marker.class_wide
    assert found.reliances[0].verdict() is Verdict.ABSENT
    assert found.verdict is Verdict.ABSENT
    assert found.summary.startswith("flag marks a whole class")
    assert "does not follow flag" in found.summary


def test_a_class_wide_mark_behind_many_columns_has_an_interval():
    world = World(n=4000, strength=0.9, shares=(0.06, 0.47, 0.47), seed=6)
    flag = np.where(world.generator.random(4000) < 0.99, world.y == 0, world.y != 0)
    tied = [blind(world, f"column {c}", 0.6) for c in range(14)]
    first = world.find([*tied, Column("flag", "colour", 1.0 * flag)]).clues.telling[0]
    assert first.name == "flag"
    assert first.gain.low < first.gain.value < first.gain.high


def test_too_few_images_are_an_answer():
    assert "not enough images (n = 60" in World(n=60, seed=9).find().not_run_reason
    # As many images, but each is there three times.
    assert "(n = 60 " in World(n=180, copies=3, seed=9).find().not_run_reason
    lonely = World(n=300, shares=(0.99, 0.01), seed=9).find()
    assert "fewer than two classes" in lonely.not_run_reason
    # Enough images, but of classes that have few each.
    many = World(n=110, shares=(1 / 15,) * 15, seed=9).find()
    assert "of classes with 10 of them" in many.not_run_reason


def test_a_rare_class_is_left_out_and_named():
    found = World(n=900, shares=(0.5, 0.495, 0.005), strength=0.7, seed=10).find()
    assert found.clues.rare == ("class 2",)
    assert "too few images to be compared: class 2." in found.summary
    assert found.verdict is Verdict.PRESENT


def test_a_thumbnail_alone_is_no_shortcut():
    """It may show the subject."""
    world = World(n=900, strength=0.8, seed=11)
    shown = Column("thumbnail 0, 0", "thumbnail", world.high + 0.1)
    found = world.find([shown, *(c for c in world.columns() if c.name != "JPEG quality")])
    assert found.clues.associations[0].name == "thumbnail 0, 0"
    assert found.clues.associations[0].present
    assert found.verdict is not Verdict.PRESENT
    assert "a thumbnail may show the subject too" in found.summary


def test_several_columns_that_tell_the_class_only_together_are_found():
    world = World(n=2400, strength=0.8, seed=12)
    a = world.generator.integers(2, size=2400)
    columns = [
        Column("a", "header", 1.0 * a),
        Column("b", "header", 1.0 * (a ^ world.high)),
        Column("noise", "colour", world.generator.normal(size=2400)),
    ]
    found = world.find(columns)
    assert not any(one.present for one in found.clues.associations)
    assert found.verdict is Verdict.PRESENT
    assert "by several columns together" in found.summary
    best = max(found.clues.blindfolds, key=lambda one: one.crossed.gain.value)
    assert best.kind == "trees"  # no line parts them


@pytest.mark.parametrize("head", ["logistic", "knn"])
def test_the_document_is_valid_and_the_same_for_one_seed_and_any_threads(head):
    made = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found = World(n=450, strength=0.5, copies=2, seed=13).find(head=head, seed=4)
            made.append(json.dumps(found.to_dict()))
    assert made[0] == made[1]
    document = json.loads(made[0])
    for one in (document, World(n=450, seed=13).find().to_dict()):
        jsonschema.Draft202012Validator(
            {"$ref": "#/$defs/finding", "$defs": SCHEMA["$defs"]}
        ).validate(one)
    assert document["details"]["columns"][0]["column"] == "JPEG quality"
    broken = document | {"details": {"columns": []}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, {"$ref": "#/$defs/finding", "$defs": SCHEMA["$defs"]})


# Columns as numbers.


def test_words_are_pooled_where_rare_and_marked_where_missing():
    words = ("a",) * 20 + ("b",) * 12 + ("c",) * 3 + ("d",) * 2 + (None,) * 5
    one = code(Column("camera", "header", words), np.arange(42))
    assert one.names == ("'a'", "'b'", "another word", "missing")
    assert np.bincount(one.codes).tolist() == [20, 12, 5, 5]
    assert one.features.sum(axis=1).tolist() == [1] * 42


def test_numbers_are_scaled_by_quartiles_and_outliers_do_not_stretch_them():
    values = np.concatenate([np.arange(99.0), [1e9, np.nan]])
    one = code(Column("bytes", "header", values), np.arange(101))
    assert one.names[-1] == "missing"
    assert one.features.shape == (101, 2)
    assert one.features[-1].tolist() == [0, 1]
    assert one.features[:99, 0].std() == pytest.approx(0.78, abs=0.1)
    assert one.features[99, 0] == 5
    assert (np.diff(one.codes[:99]) >= 0).all()


def test_numbers_of_few_values_keep_each_and_ties_are_never_parted():
    few = code(Column("quality", "header", np.tile([70.0, 95.0, np.inf], 20)), np.arange(60))
    assert few.names == ("70", "95", "missing")
    values = np.concatenate([np.zeros(80), np.arange(1.0, 41.0)])
    many = code(Column("width of border", "border", values), np.arange(120))
    assert len(np.unique(many.codes[:80])) == 1
    assert many.codes.max() + 1 == len(many.names) == len(np.unique(many.codes))
    assert matrix([few, few]).shape == (60, 4)


# The ledger's line.


def books_of(world, head):
    bench = world.bench(head)
    clues = find_clues(bench, world.columns(), split="test")
    levels = [("exact_twins", np.arange(len(world.y)))]
    return Books(bench, levels, clues)


@pytest.mark.parametrize("head", ["logistic", "knn"])
def test_what_the_files_carry_is_taken_off_and_each_image_has_its_part(head):
    world = World(n=1500, strength=0.6, signal=0.8, seed=2)
    books = books_of(world, head)
    made, shares = books.ledger(None, missed=""), books.shares()
    line = made.shortcut
    assert line.counted
    assert line.column == "JPEG quality"
    assert line.effect.value > 0.05
    assert line.effect.value == pytest.approx(shares.shortcuts.mean(), abs=1e-9)
    assert made.honest.value == pytest.approx(shares.honest.mean(), abs=1e-9)
    assert made.honest.value == pytest.approx(made.reported.value - line.effect.value, abs=1e-9)
    # What this head answers where the quality says nothing of the class.
    other = World(n=6000, strength=0.0, signal=0.8, seed=3)
    elsewhere = (books.bench.whole.answers(other.vectors) == other.y).mean()
    assert made.honest.low <= elsewhere <= made.honest.high
    assert made.reported.low > elsewhere
    document = made.to_dict()
    assert document["lines"][-1]["taken_off"]
    assert document["honest_covers"] == ["exact_twins", "shortcuts"]
    assert "Following JPEG quality carries" in made.sentence("test")


def test_what_no_head_follows_is_not_taken_off():
    world = World(n=1500, strength=0.6, signal=1.5, seen=0.0, seed=4)
    made = books_of(world, "logistic").ledger(None, missed="")
    assert made.shortcut.column == "JPEG quality"
    assert not made.shortcut.counted
    assert made.honest.value == made.reported.value
    assert not made.to_dict()["lines"][-1]["taken_off"]


def test_without_clues_the_line_is_left_out_and_said_to_be():
    world = World(n=600, signal=1.0, seed=5)
    levels = [("exact_twins", np.arange(600))]
    made = Books(world.bench(), levels, None).ledger(None, missed="")
    assert made.shortcut is None
    assert "shortcuts" in made.to_dict()["honest_does_not_cover"]


# Permutations.


def test_images_of_their_own_are_permuted():
    y = np.repeat([0, 1, 2], [5, 3, 2])
    for drawn in relabellings(y, np.arange(10), draws=20, seed=0):
        assert np.bincount(drawn).tolist() == [5, 3, 2]


def test_a_cluster_of_one_class_stays_one():
    generator = np.random.default_rng(0)
    sizes = generator.integers(1, 9, size=120)
    clusters = generator.permutation(np.repeat(np.arange(120), sizes))
    y = (clusters % 3).astype(np.int64)
    drawn = relabellings(y, clusters, draws=30, seed=1)
    for one in drawn:
        for cluster in range(120):
            assert len(np.unique(one[clusters == cluster])) == 1
    assert np.abs(np.array([np.bincount(one) for one in drawn]) / len(y) - 1 / 3).max() < 0.1
    assert len({one.tobytes() for one in drawn}) == 30


def test_images_of_a_cluster_exchange_among_themselves():
    clusters = np.repeat(np.arange(40), 2)
    y = np.tile([0, 1], 40)
    drawn = relabellings(y, clusters, draws=50, seed=2)
    assert (drawn.reshape(50, 40, 2).sum(axis=2) == 1).all()
    assert drawn[:, 0].mean() == pytest.approx(0.5, abs=0.25)


def test_every_cluster_gives_its_labels_to_some_other_whatever_the_sizes():
    # Two large clusters are too few to exchange among themselves, beside groups of others.
    sizes = np.repeat([1, 2, 4, 40], [30, 20, 12, 2])
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    y = np.arange(len(clusters))
    drawn = relabellings(y, clusters, draws=20, seed=3)
    assert (clusters[drawn] != clusters).mean() > 0.5
    for one in drawn:
        givers = [clusters[one[clusters == cluster]] for cluster in range(len(sizes))]
        assert all(len(set(giver.tolist())) == 1 for giver in givers)
        assert sorted(giver[0] for giver in givers) == list(range(len(sizes)))


def columns_of_people(generator, people=60, photographs=6):
    """Draw labels and a column that both belong to people, and are not tied to each other."""
    clusters = np.repeat(np.arange(people), photographs)
    y = np.repeat(generator.integers(2, size=people), photographs)
    column = np.repeat(generator.normal(size=people), photographs)
    return y, clusters, Column("noise", "header", column)


def p_of(generator, *, by_people):
    y, clusters, column = columns_of_people(generator)
    known = clusters if by_people else np.arange(len(y))
    drawn = relabellings(y, known, draws=199, seed=int(generator.integers(2**31)))
    coded = code(column, np.arange(len(y)))
    information = mutual_information([coded], np.concatenate([y[None], drawn]), 2)[0]
    return (information >= information[0] - 1e-9).sum() / 200


def test_p_values_are_uniform_where_people_are_kept_together_and_only_there():
    generator = np.random.default_rng(3)
    respected = [p_of(generator, by_people=True) for _ in range(120)]
    ignored = [p_of(generator, by_people=False) for _ in range(40)]
    assert stats.kstest(respected, "uniform").pvalue > 0.01
    assert np.mean(np.array(ignored) < 0.05) > 0.5


# Associations.


def test_information_is_that_of_a_few_lines():
    generator = np.random.default_rng(4)
    columns = [
        Column("a", "header", generator.normal(size=200)),
        Column("b", "header", tuple(generator.choice(["x", "y"], 200).tolist())),
    ]
    coded = [code(one, np.arange(200)) for one in columns]
    y = generator.integers(3, size=(5, 200)).astype(np.int16)
    made = mutual_information(coded, y, 3)
    for c, one in enumerate(coded):
        for m in range(5):
            joint = np.histogram2d(one.codes, y[m], [len(one.names), 3])[0] / 200
            alone = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
            seen = joint > 0
            expected = (joint[seen] * np.log(joint[seen] / alone[seen])).sum()
            assert made[c, m] == pytest.approx(expected)


def test_what_is_explained_is_none_for_noise_and_all_for_a_copy_of_the_label():
    generator = np.random.default_rng(5)
    y = generator.integers(2, size=400)
    rows, own = np.arange(400), np.arange(400)
    columns = [
        Column("noise", "header", generator.normal(size=400)),
        Column("copy", "colour", 1.0 * y),
        Column("half", "header", np.where(generator.random(400) < 0.5, y, 1 - y % 2) * 1.0),
    ]
    found = associate(
        [code(one, rows) for one in columns], y, ("a", "b"),
        relabellings(y, own, draws=199, seed=0), own, own % 5, seed=0,
    )  # fmt: skip
    by_name = {one.name: one for one in found}
    assert found[0].name == "copy"
    assert by_name["copy"].explained == pytest.approx(1)
    assert by_name["copy"].adjusted == pytest.approx(1 / 200)
    assert by_name["copy"].marker.class_wide
    assert by_name["noise"].explained < 0.05
    assert all(one.adjusted >= one.p for one in found)


# Heads on nuisances.


@pytest.mark.parametrize("kind", list(NUISANCE_HEADS))
def test_a_nuisance_head_knows_classes_that_were_not_there(kind):
    generator = np.random.default_rng(6)
    x, y = generator.normal(size=(80, 3)), np.repeat([0, 2], 40)
    p = nuisance_probabilities(kind, x, y, x, n_classes=4, seed=0)
    assert p.shape == (80, 4)
    assert (p[:, [1, 3]] == 0).all()
    assert p.sum(axis=1) == pytest.approx(1)
    alone = nuisance_probabilities(kind, x, np.full(80, 1), x, n_classes=2, seed=0)
    assert (alone[:, 1] == 1).all()


def test_heads_see_one_set_more_each():
    world = World(n=450, strength=0.6, seed=14)
    more = [Column(name, name, world.generator.normal(size=450)) for name in SETS]
    found = world.find([*world.columns(), *more])
    assert [one.sets for one in found.clues.blindfolds[::2]] == [SETS[:d] for d in range(1, 6)]
    assert [one.columns for one in found.clues.blindfolds[::2]] == sorted(
        one.columns for one in found.clues.blindfolds[::2]
    )
    for one in found.clues.blindfolds:
        assert one.crossed.majority.value == pytest.approx(0.5, abs=0.06)
        assert one.tells(0.01)


# Sources.


def test_sources_of_one_class_are_found_and_what_they_are_worth_unseen():
    world = World(n=1200, strength=0.8, signal=1.0, seen=2.0, seed=15)
    site = tuple(
        f"{'new' if high else 'old'} site {place}"
        for high, place in zip(world.high, world.generator.integers(3, size=1200), strict=True)
    )
    found = world.find([Column("software", "header", site), *world.columns()])
    by_name = {one.name: one for one in found.clues.sources}
    assert set(by_name) == {"software", "camera", "JPEG quality"}
    assert by_name["software"].adjusted < 0.01
    assert by_name["software"].purity.value == pytest.approx(0.9, abs=0.03)
    assert by_name["software"].by_chance < 0.6
    assert by_name["camera"].adjusted > 0.05
    assert "Files divide into " in found.summary


def test_sources_that_look_alike_lose_nothing_and_one_of_another_kind_does():
    world = World(n=1500, signal=1.5, seen=0.0, seed=16)
    source = world.generator.integers(5, size=1500)
    rows = np.arange(1500)
    coded = code(Column("camera", "header", tuple(f"camera {one}" for one in source)), rows)

    def left_out():
        bench = Bench(
            world, "logistic", [world.clusters], split="test", label="label", backbone=None, seed=0
        )
        return leave_sources_out(bench, coded)

    same = left_out()
    assert same.difference.low <= 0 <= same.difference.high
    assert same.difference.n == 1500
    # The classes change places in one source: who has seen it knows that.
    moved = world.vectors.astype(np.float64)
    moved[:, 5] = 2.0 * (source == 0)
    swapped = moved.copy()
    swapped[source == 0, 0], swapped[source == 0, 1] = (
        moved[source == 0, 1],
        moved[source == 0, 0],
    )
    swapped[:, 6] = np.where(source == 0, 2.0 * (2 * world.y - 1), 0)
    world.vectors = unit_rows(swapped)
    assert left_out().difference.low > 0.05


def test_a_class_of_one_source_cannot_be_answered_without_it():
    world = World(n=600, shares=(0.4, 0.4, 0.2), signal=1.5, seed=17)
    maker = tuple(
        "Sony" if label == 2 else one
        for label, one in zip(
            world.y, world.generator.choice(["Canon", "Nikon"], 600).tolist(), strict=True
        )
    )
    found = world.find([Column("camera", "header", maker)])
    assert found.left_out.unanswerable == (world.y == 2).sum()
    assert found.left_out.difference.n == (world.y != 2).sum()
    pure = World(n=600, strength=1.0, seed=17)
    camera = tuple("Sony" if high else "Canon" for high in pure.high)
    alone = pure.find([Column("camera", "header", camera)])
    assert "hardly any class is in more than one source" in alone.left_out.reason
    assert isinstance(alone.left_out.seen, Estimate)
    assert alone.to_dict()["details"]["leave_one_source_out"]["source_seen"]["value"] is None
