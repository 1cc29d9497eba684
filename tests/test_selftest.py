"""The self-test counts what was planted; it is no test if a blind or a wild audit passes it."""

import json
import shutil
import tempfile
from dataclasses import replace

import numpy as np
import pytest
from embedkit_cli import main
from helpers import make_different, tree

from embedkit.audits import plants, selftest
from embedkit.audits.faces import FALSE_LINKS
from embedkit.audits.labels import check_labels
from embedkit.audits.plants import People, Swaps, plant_people, swap_labels
from embedkit.audits.selftest import COPIES, SAME, SWAPPED
from embedkit.audits.shadows import with_columns
from embedkit.audits.suspects import suspects
from embedkit.audits.twins import Pair, find_twins
from embedkit.errors import InputError, NotEnoughImagesError
from embedkit.pipeline import embed
from embedkit.reports.selftests import selftest_text
from embedkit.store import Space, Store
from embedkit.vectors import unit_rows

run = selftest.selftest


def test_copies_are_planted_and_found_and_nothing_else_is(clean_store):
    result = run(clean_store, backbone="pixels")
    each = len(clean_store.items) // (2 * (len(COPIES) + 1))
    assert [row.kind for row in result.rows] == [SAME, *COPIES]
    assert all((row.planted, row.reason) == (each, "") for row in result.rows)
    rows = {row.kind: row for row in result.rows}
    for sure in (SAME, "JPEG of quality 90", "JPEG of quality 60", SWAPPED):
        assert rows[sure].found == each
        assert (rows[sure].false, rows[sure].precision.value) == (0, 1)
    assert result.all_copies.planted == sum(row.planted for row in result.rows)
    assert result.all_copies.found == sum(row.found for row in result.rows)
    assert 0 < rows[SAME].recall.low < 1
    assert (result.before, result.refused) == ((), 0)


def test_with_nothing_planted_false_alarms_are_at_most_a_few(clean_store):
    decoys = run(clean_store, backbone="pixels").decoys
    assert decoys.n == len(clean_store.items)
    assert decoys.value <= 0.02
    assert decoys.high > 0


def without_pairs(twins):
    alone = np.arange(len(twins.near))
    return replace(twins, pairs=(), exact=alone, near=alone)


def test_a_blind_audit_has_no_recall(clean_store, monkeypatch):
    monkeypatch.setattr(selftest, "find_twins", lambda *a, **k: without_pairs(find_twins(*a, **k)))
    result = run(clean_store, backbone="pixels")
    assert result.all_copies.found == 0
    assert result.all_copies.recall.value == 0
    assert np.isnan(result.all_copies.precision.value)
    assert " -\n" in selftest_text(result)
    json.dumps(result.to_dict(), allow_nan=False)


def test_an_audit_that_calls_anything_a_copy_has_no_precision(clean_store, monkeypatch):
    def wild(store, **options):
        """Join each image to the one above it."""
        twins, ids = without_pairs(find_twins(store, **options)), store.items.ids
        splits, labels = store.items.splits, store.items.labels
        pairs = tuple(
            Pair(
                ids[row - 1],
                ids[row],
                "near",
                0.9,
                (splits[row - 1], splits[row]),
                (labels[row - 1], labels[row]),
            )
            for row in range(1, len(ids))
        )
        # What was found before a plant counts as known, so only plants bring false alarms.
        return replace(twins, pairs=pairs)

    monkeypatch.setattr(selftest, "find_twins", wild)
    result = run(clean_store, backbone="pixels")
    assert result.all_copies.found == 0
    # All pairs but those among the originals; one joins the last of these to the first plant.
    assert result.all_copies.false == 2 * result.all_copies.planted - 1
    assert result.all_copies.precision.value == 0
    assert result.decoys.value == 1


def test_a_swapped_label_that_is_not_seen_is_not_found(clean_store, monkeypatch):
    def unseeing(store, **options):
        twins = find_twins(store, **options)
        return replace(twins, pairs=tuple(replace(pair, labels=("x", "x")) for pair in twins.pairs))

    monkeypatch.setattr(selftest, "find_twins", unseeing)
    rows = {row.kind: row for row in run(clean_store, backbone="pixels").rows}
    assert rows[SWAPPED].planted > 0
    assert rows[SWAPPED].found == 0
    assert rows[SAME].found == rows[SAME].planted


def test_a_pair_that_is_not_seen_to_lie_across_splits_is_not_found(clean_store, monkeypatch):
    def unseeing(store, **options):
        twins = find_twins(store, **options)
        return replace(
            twins, pairs=tuple(replace(pair, splits=("test", "test")) for pair in twins.pairs)
        )

    monkeypatch.setattr(selftest, "find_twins", unseeing)
    assert run(clean_store, backbone="pixels").all_copies.found == 0


def test_copies_that_were_there_before_are_listed_and_not_counted(planted, planted_store):
    result = run(planted_store, backbone="pixels")
    assert result.sample == result.n == len(planted_store.items)
    known = {frozenset((twin["a"], twin["b"])) for twin in planted.twins}
    before = {frozenset((pair.a, pair.b)) for pair in result.before}
    assert before
    assert before <= known
    assert all(pair.across_splits for pair in result.before)  # as they were planted
    # Counted as false alarms, the pairs that were there before would bring this below 0.9.
    assert result.all_copies.precision.value > 0.95
    assert result.decoys.n < result.n  # of copies, one picture became a decoy
    assert f"not counted: {len(result.before)} pairs" in selftest_text(result)


def test_nothing_of_the_user_is_touched_and_nothing_is_left(
    planted, store_copy, tmp_path, monkeypatch
):
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    before = tree(store_copy), tree(planted.folder)
    run(Store.open(store_copy), backbone="pixels")
    assert (tree(store_copy), tree(planted.folder)) == before
    assert list((tmp_path / "scratch").iterdir()) == []


def test_the_same_seed_gives_the_same_document(clean_store):
    first, second = (
        json.dumps(run(clean_store, backbone="pixels", sample=120, seed=1).to_dict())
        for _ in range(2)
    )
    assert first == second
    assert json.loads(first)["sample"] == 120


def test_pictures_that_are_gone_or_changed_are_counted(tmp_path):
    names = [f"train/{c}/{n}.png" for c in ("x", "y") for n in range(45)]
    folder = make_different(tmp_path / "faces", *names)
    store = embed(folder, tmp_path / "s", backbone="pixels")
    result = run(store)
    assert result.sample == 90
    assert {row.planted for row in result.rows} == {5}  # as it says where there are too few
    (folder / "train/x/3.png").unlink()
    shutil.copy(folder / "train/x/4.png", folder / "train/x/5.png")
    with pytest.raises(InputError, match="2 of 90 pictures are gone or have changed") as error:
        run(store)
    assert "3.png: No such file" in str(error.value)


def test_what_cannot_be_tested_is_refused(clean_store):
    with pytest.raises(NotEnoughImagesError, match="89 pictures are not enough"):
        run(clean_store, backbone="pixels", sample=89)
    with pytest.raises(InputError, match="there is no column 'age'"):
        run(clean_store, backbone="pixels", label="age")
    with pytest.raises(InputError, match="several spaces"):
        run(clean_store)


def test_without_two_labels_none_can_be_swapped_and_that_is_said(tmp_path):
    names = [f"train/x/{n}.png" for n in range(90)]
    store = embed(make_different(tmp_path / "faces", *names), tmp_path / "s", backbone="pixels")
    result = run(store)
    assert [row.reason for row in result.rows if row.kind == SWAPPED] == [
        "the pictures have one label, or none"
    ]
    assert "Not run: copy with another label: the pictures have one label" in selftest_text(result)
    assert "Not run: labels: there is one class only ('x')." in selftest_text(result)
    assert result.all_copies.planted == 8 * (90 // 18)


def world(store, *, people, photographs, spread, seed, space="facenet:x"):
    """A store in memory whose faces are drawn: each person's around a place of their own."""
    generator = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), photographs)
    places = generator.normal(size=(people, 64))
    vectors = unit_rows(places[person] + spread * generator.normal(size=(len(person), 64)))
    rows = np.arange(len(person)) % len(store.items)
    items = store.items.take(rows.tolist())
    items = items.with_column("id", [str(row) for row in range(len(person))])
    base = store.space("pixels")
    record = replace(base.record, name="faces", contract={"backbone": space, "preprocessing": {}})
    faces = Space(base.folder, record)
    faces.vectors = vectors
    pixels = Space(base.folder, base.record)
    pixels.vectors = vectors
    made = Store(store.path, store.record, items, (), {"pixels": pixels, "faces": faces})
    return with_columns(made, group=[f"p{one}" for one in person])


@pytest.fixture
def no_copies(monkeypatch):
    def none(store, **_):
        alone = np.arange(len(store.items))
        return type("Twins", (), {"near": alone, "exact": alone})

    monkeypatch.setattr(plants, "find_twins", none)


def test_people_on_both_sides_are_found_by_their_faces(clean_store, no_copies):
    store = world(clean_store, people=300, photographs=4, spread=0.4, seed=1)
    result = plant_people(store, backbone="pixels", label="label", seed=0)
    assert isinstance(result, People)
    # 90 people in test, half of them with two of their four photographs in train.
    assert result.planted == 90
    assert result.recall.value > 0.8
    assert result.precision.value > 0.8
    assert result.nothing_planted.n == 360


def test_with_nobody_on_both_sides_strangers_are_linked_as_seldom_as_is_said(
    clean_store, no_copies
):
    shares = []
    for seed in range(6):
        store = world(clean_store, people=300, photographs=4, spread=0.45, seed=seed)
        result = plant_people(store, backbone="pixels", label="label", seed=seed)
        shares.append(result.nothing_planted.value)
    assert np.mean(shares) <= 2 * FALSE_LINKS


def test_faces_that_say_nothing_find_nobody(clean_store, no_copies):
    store = world(clean_store, people=300, photographs=4, spread=50, seed=2)
    result = plant_people(store, backbone="pixels", label="label", seed=0)
    assert isinstance(result, People)
    assert result.recall.value < 0.1


def test_people_are_not_planted_where_nobody_knows_them(clean_store, no_copies):
    def reason(store):
        found = plant_people(store, backbone="pixels", label="label", seed=0)
        assert isinstance(found, str)
        return found

    assert "names no group" in reason(clean_store)
    options = {"people": 120, "spread": 0.4, "seed": 3}
    named = world(clean_store, photographs=2, space="pixels", **options)
    assert "no face network has seen the pictures" in reason(named)
    once = world(clean_store, photographs=1, **options)
    assert reason(once) == "nobody is on two photographs"
    few = world(clean_store, people=20, photographs=2, spread=0.4, seed=3)
    assert "a threshold needs 50 test faces" in reason(few)


def test_the_command_prints_every_kind_and_what_did_not_run(clean_store, capsys):
    assert main(["selftest", str(clean_store.path), "-b", "pixels"]) == 0
    out = capsys.readouterr().out
    for kind in (SAME, *COPIES, "all copies"):
        assert f"\n  {kind}" in out
    assert "Nothing planted: none of" in out
    assert "Not run: people: the data set names no group" in out
    assert "Labels swapped at random, " in out
    assert main(["selftest", str(clean_store.path), "-b", "pixels", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["schema"] == "embedkit.selftest/1"
    assert len(made["copies"]) == len(COPIES) + 2
    assert made["people"] is None
    assert made["labels"]["planted"] == round(made["labels"]["judged"] / 20)
    assert main(["selftest", str(clean_store.path), "-b", "pixels", "--sample", "10"]) == 2


def told_apart(store, *, seed, per_class=150, spread=0.5):
    """A store in memory whose classes lie apart, so that a swapped label stands out."""
    generator = np.random.default_rng(seed)
    y = np.arange(2 * per_class) % 2
    vectors = spread * generator.normal(size=(len(y), 16))
    vectors[:, 0] += 3 * y
    items = store.items.take((np.arange(len(y)) % len(store.items)).tolist())
    items = items.with_column("id", [str(row) for row in range(len(y))])
    base = store.space("pixels")
    space = Space(base.folder, base.record)
    space.vectors = unit_rows(vectors)
    made = Store(store.path, store.record, items, (), {"pixels": space})
    return with_columns(made, label=["ab"[one] for one in y], group=[None] * len(y))


@pytest.fixture
def apart(clean_store):
    twins = replace(
        find_twins(clean_store, backbone="pixels"),
        pairs=(),
        exact=np.arange(300),
        near=np.arange(300),
    )
    return told_apart(clean_store, seed=4), twins


def test_swapped_labels_are_listed_and_few_others(apart):
    found = swap_labels(*apart, backbone="pixels", label="label", seed=0)
    assert isinstance(found, Swaps)
    assert (found.planted, found.judged) == (15, 300)
    assert found.recall.value > 0.7
    assert found.precision.value > 0.7
    assert found.found == round(found.recall.value * found.planted)


def test_an_audit_of_labels_that_lists_nothing_has_no_recall(apart, monkeypatch):
    def blind(*given, **options):
        return replace(check_labels(*given, **options), images=())

    monkeypatch.setattr(plants, "check_labels", blind)
    found = swap_labels(*apart, backbone="pixels", label="label", seed=0)
    assert (found.found, found.false, found.before) == (0, 0, 0)


def test_an_audit_of_labels_that_lists_what_it_likes_has_no_precision(apart, monkeypatch):
    calls = []

    def wild(*given, **options):
        """List nothing before the swap, and the labels that are surest after it."""
        calls.append(1)
        made = check_labels(*given, **options)
        case = made.case
        surest = np.argsort(-case.own())[:20].tolist()
        store = given[0]
        listed = suspects(case, surest, (), ids=store.items.ids, splits=store.items.splits)
        return replace(made, images=() if len(calls) == 1 else listed)

    monkeypatch.setattr(plants, "check_labels", wild)
    found = swap_labels(*apart, backbone="pixels", label="label", seed=0)
    assert found.found == 0
    assert found.false == 20
    assert found.precision.value == 0
