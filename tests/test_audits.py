"""Audits: silent on clean data, naming exactly what was planted, and right about the figures."""

import itertools
import json
import os
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pyarrow as pa
import pytest
from helpers import noise, saved
from PIL import Image, ImageOps

from embedkit.audits import AUDITS, audit
from embedkit.audits.base import Verdict, effect_verdict, share_verdict
from embedkit.audits.gate import Outcome, judge
from embedkit.audits.kept import keep, kept
from embedkit.audits.leakage import measure_leakage, shared
from embedkit.audits.ledger import keep_ledger
from embedkit.audits.limits import parse_limits
from embedkit.audits.twins import find_twins
from embedkit.errors import InputError
from embedkit.pipeline import embed
from embedkit.reports.page import render
from embedkit.statistics import Estimate
from embedkit.store import Store
from embedkit.synthetic import Faults, make_faces


def pairs_of(twins):
    return {frozenset((pair.a, pair.b)) for pair in twins.pairs}


# Twins.


@pytest.mark.parametrize("backbone", ["mtcnn", "pixels"])
def test_all_exact_copies_are_found_and_nothing_else_is_called_exact(
    planted_store, planted, backbone
):
    twins = find_twins(planted_store, backbone=backbone)
    exact = {frozenset((p.a, p.b)) for p in twins.pairs if p.kind == "exact"}
    assert exact == {frozenset((t["a"], t["b"])) for t in planted.twins if t["kind"] == "exact"}


def test_nearly_all_near_copies_are_found_and_little_else(planted_store, planted):
    twins = find_twins(planted_store, backbone="mtcnn")
    expected = {frozenset((t["a"], t["b"])) for t in planted.twins}
    assert len(pairs_of(twins) & expected) >= 0.95 * len(expected)
    assert pairs_of(twins) - expected == set()


def test_a_clean_set_has_no_copies(clean_store):
    for backbone in ("mtcnn", "pixels"):
        twins = find_twins(clean_store, backbone=backbone)
        assert twins.pairs == ()
        assert twins.verdict in (Verdict.ABSENT, Verdict.INCONCLUSIVE)
        assert twins.estimate.value == 0
        assert 0 < twins.estimate.high < 0.05


def write(folder, name, data):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def test_equal_pixels_in_another_container_are_exact_twins(tmp_path):
    for n in range(6):
        write(tmp_path / "f", f"train/{'ab'[n % 2]}/{n}.png", saved(noise(n), "PNG"))
    write(tmp_path / "f", "test/a/copy.bmp", saved(noise(2), "BMP"))
    store = embed(tmp_path / "f", tmp_path / "s", backbone="pixels")
    (pair,) = find_twins(store).pairs
    assert (pair.a, pair.b, pair.kind) == ("test/a/copy.bmp", "train/a/2.png", "exact")
    assert pair.across_splits
    assert not pair.conflicting


def test_three_copies_are_three_pairs_each_listed_once(tmp_path):
    for n in range(5):
        write(tmp_path / "f", f"a/{n}.png", saved(noise(n), "PNG"))
    for name in ("b/x.png", "b/y.png"):
        write(tmp_path / "f", name, saved(noise(3), "PNG"))
    store = embed(tmp_path / "f", tmp_path / "s", backbone="pixels")
    twins = find_twins(store)
    members = ("a/3.png", "b/x.png", "b/y.png")
    assert [frozenset((p.a, p.b)) for p in twins.pairs] == [
        frozenset(pair) for pair in itertools.combinations(members, 2)
    ]
    assert [pair.conflicting for pair in twins.pairs] == [True, True, False]


def test_a_mirrored_copy_is_a_near_twin(tmp_path):
    generator = np.random.default_rng(0)
    for n in range(12):
        small = Image.fromarray(generator.integers(0, 256, (7, 7, 3), np.uint8))
        image = small.resize((90, 90), Image.Resampling.BICUBIC)
        write(tmp_path / "f", f"train/{'ab'[n % 2]}/{n}.png", saved(image, "PNG"))
        if n == 4:
            write(tmp_path / "f", "test/a/m.jpg", saved(ImageOps.mirror(image), "JPEG", quality=80))
    store = embed(tmp_path / "f", tmp_path / "s", backbone="mtcnn")
    (pair,) = find_twins(store).pairs
    assert {pair.a, pair.b} == {"test/a/m.jpg", "train/a/4.png"}


def test_a_chain_of_copies_leaks_whatever_the_order():
    """K and T in train, X in test, K-T and T-X near, K-X not: X leaks (FiftyOne misses it)."""
    for order in itertools.permutations("KTX"):
        place = {name: row for row, name in enumerate(order)}
        clusters = np.arange(3)
        for a, b in (("K", "T"), ("T", "X")):
            low, high = sorted((clusters[place[a]], clusters[place[b]]))
            clusters[clusters == high] = low
        test = np.array([name == "X" for name in order])
        assert shared(clusters, test, ~test).tolist() == test.tolist()


# Leakage.


def test_the_leak_rate_is_what_was_planted(planted_store, planted):
    twins = find_twins(planted_store, backbone="mtcnn")
    leakage = measure_leakage(planted_store, twins, None, split="test", seed=0)
    assert leakage.verdict is Verdict.PRESENT
    leaking = {t["a"] for t in planted.twins}
    n = sum(split == "test" for split in planted_store.items.splits)
    assert leakage.n == n
    assert leakage.exact == sum(t["kind"] == "exact" for t in planted.twins)
    assert leakage.estimate.low <= len(leaking) / n <= leakage.estimate.high


def test_no_leak_is_said_with_its_upper_limit(clean_store):
    twins = find_twins(clean_store, backbone="mtcnn")
    leakage = measure_leakage(clean_store, twins, None, split="test", seed=0)
    assert leakage.estimate.value == 0
    assert leakage.estimate.high == pytest.approx(1 - 0.05 ** (1 / leakage.n), abs=1e-3)
    # 48 images cannot show that less than 1% leak.
    assert leakage.verdict is Verdict.INCONCLUSIVE


# The ledger.


@pytest.fixture(scope="module")
def ledger(planted_store):
    twins = find_twins(planted_store, backbone="mtcnn")
    return keep_ledger(planted_store, twins, None, split="test", backbone="mtcnn")


def test_reported_minus_its_lines_is_what_is_left(ledger):
    for head in ledger.heads:
        left = head.reported.value - sum(line.effect.value for line in head.lines)
        assert left == pytest.approx(head.honest.value)
        assert head.total.value == pytest.approx(head.reported.value - head.honest.value)
        assert sum(line.shapley for line in head.lines) == pytest.approx(head.total.value)


def test_the_purges_take_out_the_copies_of_test_images(ledger, planted):
    exact = sum(t["kind"] == "exact" for t in planted.twins)
    for head in ledger.heads:
        first, second = head.lines
        assert (first.cause, second.cause) == ("exact_twins", "near_twins")
        assert first.removed == exact
        assert exact < second.removed <= len(planted.twins) + 1
        assert first.left + first.removed == second.left + second.removed


def test_memory_is_what_the_copies_are_worth(tmp_path):
    """With coin-flip labels a head can only look up: the ledger must take all of it away."""
    generator = np.random.default_rng(0)
    for n in range(240):
        small = Image.fromarray(generator.integers(0, 256, (7, 7, 3), np.uint8))
        image = small.resize((64, 64), Image.Resampling.BICUBIC)
        label = "ab"[generator.integers(2)]
        side = "test" if n % 3 == 0 else "train"
        write(tmp_path / "f", f"{side}/{label}/{n}.png", saved(image, "PNG"))
        if side == "test" and n % 2 == 0:  # half of the test images have a copy in train
            write(tmp_path / "f", f"train/{label}/copy{n}.png", saved(image, "PNG"))
    store = embed(tmp_path / "f", tmp_path / "s", backbone="pixels")
    result = audit(store)
    knn = next(head for head in result["ledger"].heads if head.head == "knn")
    # Half looked up, half guessed: 75% reported, 50% left.
    assert knn.reported.low <= 0.75 <= knn.reported.high
    assert knn.honest.low <= 0.5 <= knn.honest.high
    assert knn.verdict is Verdict.PRESENT
    assert knn.lines[0].mcnemar < 0.01
    assert knn.lines[0].p <= knn.lines[0].adjusted < 0.01
    assert result["leakage"].estimate.value == pytest.approx(0.5)


def test_a_clean_set_loses_nothing(clean_audit):
    result = clean_audit
    for head in result["ledger"].heads:
        assert head.total == Estimate(0, 0, 0, head.total.n)
        assert head.verdict is Verdict.ABSENT
    assert result["ledger"].points == 0


def test_a_purge_that_leaves_no_class_says_so(tmp_path):
    for n in range(12):
        write(tmp_path / "f", f"train/a/{n}.png", saved(noise(n), "PNG"))
        write(tmp_path / "f", f"test/a/{n}.png", saved(noise(100 + n), "PNG"))
    for n in range(3):
        write(tmp_path / "f", f"train/b/{n}.png", saved(noise(50 + n), "PNG"))
        write(tmp_path / "f", f"test/b/{n}.png", saved(noise(50 + n), "PNG"))
    store = embed(tmp_path / "f", tmp_path / "s", backbone="pixels")
    result = audit(store)
    for head in result["ledger"].heads:
        assert "no training image of b" in head.lines[0].reason
        assert np.isnan(head.total.value)
        assert np.isnan(head.honest.value)
    assert result["ledger"].verdict is Verdict.INCONCLUSIVE
    json.dumps(result.to_dict(), allow_nan=False)
    (one,) = judge(result, parse_limits(["ledger=0.5"])).judged
    assert one.outcome is Outcome.NOT_JUDGED
    assert "cannot be measured" in render(result, command="").replace("\n", " ")


def test_the_gate_judges_the_head_that_loses_most(planted_audit):
    ledger = planted_audit["ledger"]
    assert ledger.estimate.value == max(head.total.value for head in ledger.heads)


def test_a_picture_in_many_places_is_one_cluster_and_not_half_a_million_pairs(tmp_path):
    same = saved(noise(1), "PNG")
    for n in range(60):
        write(tmp_path / "f", f"train/a/{n}.png", same)
        write(tmp_path / "f", f"test/b/{n}.png", saved(noise(100 + n), "PNG"))
    twins = find_twins(embed(tmp_path / "f", tmp_path / "s", backbone="pixels"))
    assert len(twins.pairs) == 59
    assert len(set(twins.exact.tolist())) == 61


@pytest.mark.parametrize(
    ("effect", "p", "expected"),
    [
        ((0.05, 0.02, 0.08), 0.001, Verdict.PRESENT),
        ((0.05, 0.02, 0.08), 0.06, Verdict.INCONCLUSIVE),  # one of several that were tested
        ((0.0, 0.0, 0.0), np.nan, Verdict.ABSENT),
        ((0.002, -0.001, 0.005), 0.5, Verdict.ABSENT),
        ((0.005, 0.001, 0.009), 0.001, Verdict.ABSENT),  # real, but below one point
        ((0.04, -0.05, 0.13), 0.4, Verdict.INCONCLUSIVE),
        ((-0.2, -0.3, -0.1), 0.001, Verdict.INCONCLUSIVE),
    ],
)
def test_the_three_answers_about_an_effect(effect, p, expected):
    made = effect_verdict(Estimate(*effect, 100), Estimate(0.8, 0.77, 0.83, 100), p=p)
    assert made is expected


def test_what_is_material_is_for_the_user_to_say():
    effect, accuracy = Estimate(0.05, 0.02, 0.08, 100), Estimate(0.8, 0.77, 0.83, 100)
    assert effect_verdict(effect, accuracy, p=0.001, material=0.06) is Verdict.INCONCLUSIVE
    assert effect_verdict(effect, accuracy, p=0.001, material=0.09) is Verdict.ABSENT


@pytest.mark.parametrize("points", [0, -1, 100, float("nan")])
def test_points_that_are_none_are_refused(clean_store, points):
    with pytest.raises(InputError, match="accuracy points"):
        audit(clean_store, backbone="mtcnn", material=points)


# Everything together.


def test_every_audit_is_answered_or_listed_as_not_run(planted_audit):
    assert tuple(finding.name for finding in planted_audit.findings) == AUDITS
    for finding in planted_audit.findings:
        if finding.verdict is Verdict.NOT_RUN:
            assert finding.not_run_reason
            assert finding.estimate is None
        else:
            assert finding.estimate.low <= finding.estimate.value <= finding.estimate.high


@pytest.mark.parametrize("which", ["planted_audit", "clean_audit"])
def test_the_json_has_the_form_that_its_schema_gives(which, request):
    schema = json.loads((Path(__file__).parents[1] / "docs/audit.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    document = json.loads(json.dumps(request.getfixturevalue(which).to_dict()))
    jsonschema.validate(document, schema)
    document["findings"][0]["verdict"] = "not_run"  # without a reason
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)


def test_the_document_has_the_fields_that_others_build_on(planted_audit):
    document = planted_audit.to_dict()
    assert document["schema"] == "embedkit.audit/1"
    fields = {
        "name",
        "verdict",
        "statement",
        "summary",
        "method",
        "value",
        "low",
        "high",
        "n",
        "points",
        "detectable",
        "not_run_reason",
        "may_have_missed_because",
        "details",
    }
    for finding in document["findings"]:
        assert set(finding) == fields
    by_name = {finding["name"]: finding for finding in document["findings"]}
    assert {"a", "b", "kind", "score", "across_splits"} <= set(
        by_name["twins"]["details"]["pairs"][0]
    )
    for head in by_name["ledger"]["details"]["heads"]:
        assert {"head", "reported", "lines", "honest"} <= set(head)
        assert {"cause", "value", "low", "high", "control"} <= set(head["lines"][0])
    json.dumps(document, allow_nan=False)


def test_the_same_seed_gives_the_same_bytes(planted_store, planted_audit):
    again = audit(planted_store, backbone="mtcnn")
    assert json.dumps(again.to_dict()) == json.dumps(planted_audit.to_dict())


def test_audits_can_be_named_and_skipped(planted_store):
    only = audit(planted_store, backbone="pixels", checks=["twins"])
    assert [f.name for f in only.findings] == ["twins"]
    rest = audit(planted_store, backbone="pixels", skip=["ledger", "parity"])
    assert "ledger" not in [f.name for f in rest.findings]
    with pytest.raises(InputError, match="did you mean 'leakage'"):
        audit(planted_store, backbone="pixels", checks=["leakge"])


def test_without_labels_or_splits_what_cannot_run_is_not_run(tmp_path):
    for n in range(6):
        write(tmp_path / "f", f"{n}.png", saved(noise(n), "PNG"))
    write(tmp_path / "f", "copy.png", saved(noise(1), "PNG"))
    store = embed(tmp_path / "f", tmp_path / "s", backbone="pixels")
    result = audit(store)
    assert result["twins"].verdict is Verdict.PRESENT
    assert result["ledger"].verdict is Verdict.NOT_RUN
    assert "no labelled image" in result["ledger"].not_run_reason
    # embedkit made the split, and kept the copies on one side of it.
    assert result["leakage"].near == 0


def test_an_audit_of_nothing_is_an_error(clean_store):
    with pytest.raises(InputError, match="nothing would run"):
        audit(clean_store, checks=["leakage"], skip=["leakage"], backbone="mtcnn")


@pytest.mark.slow
def test_clean_sets_are_hardly_ever_said_to_leak(tmp_path):
    alarms = 0
    for seed in range(6):
        truth = make_faces(tmp_path / f"{seed}", people=40, photographs=4, size=80, seed=100 + seed)
        store = embed(truth.folder, tmp_path / f"s{seed}", backbone="mtcnn")
        result = audit(store, checks=["leakage", "ledger"], heads=("knn",))
        alarms += any(finding.verdict is Verdict.PRESENT for finding in result.findings)
    assert alarms <= 1  # 5% of 6 is 0.3; two or more has a chance of 3%


@pytest.mark.slow
def test_the_share_that_leaks_is_found_from_a_few_percent_up(tmp_path):
    for strength in (0.05, 0.2, 0.5):
        faults = Faults(exact_twins=strength / 2, near_twins=strength / 2)
        truth = make_faces(
            tmp_path / f"{strength}", people=60, photographs=4, size=80, seed=9, faults=faults
        )
        store = embed(truth.folder, tmp_path / f"s{strength}", backbone="mtcnn")
        finding = audit(store, checks=["leakage"])["leakage"]
        assert finding.verdict is Verdict.PRESENT
        assert finding.estimate.low <= strength <= finding.estimate.high


def test_each_audit_is_told_before_it_runs(clean_store):
    told = []
    options = {"checks": ["quality", "twins"], "backbone": "pixels"}
    found = audit(clean_store, progress=told.append, **options)
    assert [one.stage for one in told] == [f"auditing: {one.name}" for one in found.findings]
    assert [(one.done, one.total, one.unit) for one in told] == [(0, 2, "audits"), (1, 2, "audits")]


def test_no_share_is_absent_only_where_what_could_be_there_is_not_material():
    none, own = np.zeros(400, bool), np.arange(400)  # at most 0.75% of 400
    for material, verdict in ((0.005, Verdict.INCONCLUSIVE), (0.05, Verdict.ABSENT)):
        assert share_verdict(none, own, material=material, seed=0)[1] is verdict


def test_an_audit_is_kept_in_the_store_until_the_store_changes(store_copy, tmp_path):
    store = Store.open(store_copy)
    result = audit(store, checks=["twins", "leakage"], backbone="mtcnn")
    keep(result)
    found = kept(Store.open(store_copy), backbone="mtcnn")
    assert found == {one.name: json.loads(json.dumps(one.to_dict())) for one in result.findings}
    assert kept(store, backbone="pixels") == {}
    keep(audit(store, checks=["quality"], backbone="mtcnn"))
    assert sorted(kept(store, backbone="mtcnn")) == ["leakage", "quality", "twins"]
    (store_copy / "audits/label@mtcnn/twins.json").write_text("{")
    assert sorted(kept(store, backbone="mtcnn")) == ["leakage", "quality"]
    store.record.items["sha256"] = "0" * 64
    assert kept(store, backbone="mtcnn") == {}


@pytest.mark.parametrize(
    "damage",
    [
        lambda one: one.write_text("[" * 100_000),
        lambda one: one.write_text(json.dumps(json.loads(one.read_text()) | {"finding": None})),
        lambda one: one.write_text(json.dumps(json.loads(one.read_text()) | {"finding": [1]})),
        lambda one: (one.unlink(), os.mkfifo(one)),
    ],
)
def test_a_kept_finding_that_is_damaged_is_none(store_copy, damage):
    store = Store.open(store_copy)
    folder = keep(audit(store, checks=["quality"], backbone="pixels"))
    assert list(kept(store, backbone="pixels")) == ["quality"]
    damage(folder / "quality.json")
    (folder / "other.json").write_text("{}")
    assert kept(store, backbone="pixels") == {}


def test_a_column_with_a_long_name_can_be_kept(store_copy):
    store = Store.open(store_copy)
    store.items = store.items.with_attribute("\u4e00" * 80, pa.array(["a"] * len(store.items)))
    settings = {"label": "\u4e00" * 80, "backbone": "pixels"}
    made = audit(store, checks=["quality"], backbone="pixels")
    keep(replace(made, settings=settings))
    assert list(kept(store, label="\u4e00" * 80, backbone="pixels")) == ["quality"]


def test_total_leakage_is_the_first_cause_where_the_ledger_cannot_say_what_it_is_worth(tmp_path):
    for n in range(40):
        for side in ("train", "test"):
            path = tmp_path / "f" / side / "ab"[n % 2] / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(saved(noise(n), "PNG"))
    result = audit(tmp_path_store(tmp_path), checks=["twins", "leakage", "ledger", "quality"])
    cause = result.headline.causes[0]
    assert (cause.audit, cause.of, cause.effect.value) == ("leakage", "test images", 1.0)
    assert "40 of 40 test images have a relative in train" in cause.title
    assert repr(result).splitlines()[1] == result.headline.title
    with pytest.raises(KeyError, match="siblings; there are twins, leakage"):
        _ = result["siblings"]


def tmp_path_store(folder):
    return embed(folder / "f", folder / "s", backbone="pixels")


def test_a_report_without_the_ledger_blames_nobody(planted_store):
    first = audit(str(planted_store.path), backbone="pixels", checks=["twins", "leakage"]).headline
    assert "pairs of exact" in first.title
    assert "was not asked for" in first.text
