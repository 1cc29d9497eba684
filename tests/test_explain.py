"""Cards: one image each, and together exactly the ledger."""

import csv
import json
import shutil

import numpy as np
import pytest
from embedkit_cli import main
from helpers import make_different, noise
from PIL import Image

from embedkit.audits import audit
from embedkit.audits.explain import cards, explain, find_image
from embedkit.audits.twins import find_twins
from embedkit.errors import InputError, NotEnoughImagesError
from embedkit.heads.fitting import HEADS
from embedkit.pipeline import embed
from embedkit.reports.cards import _percent, card_text
from embedkit.statistics import clusters_of


@pytest.fixture(scope="module")
def folder(planted, tmp_path_factory):
    """Faces with people on both sides, copies across them, one copy with the other label.

    Some images have no label, some are in valid.
    """
    root = tmp_path_factory.mktemp("explained")
    shutil.copytree(planted.folder, root / "faces")
    people = sorted(set(planted.person.values()))
    rows = []
    for place, id_ in enumerate(sorted(planted.kind)):
        side = id_.split("/")[0]
        if people.index(planted.person[id_]) % 5 == 0:
            side = "test" if place % 3 == 0 else "train"
        label = planted.kind[id_] if place % 29 else ""
        rows.append([f"faces/{id_}", label, side, planted.person[id_]])
    source = next(row for row in rows if row[2] == "test" and row[1] == "good")
    shutil.copy(root / source[0], root / "faces/swapped.jpg")
    rows.append(["faces/swapped.jpg", "bad", "train", source[3]])
    with (root / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["path", "label", "split", "person"], *rows])
    return root


@pytest.fixture(scope="module")
def people_store(folder):
    return embed(folder / "labels.csv", folder / "store", backbone="pixels", group="person")


def of(ledger, kind):
    return next(one for one in ledger.heads if one.head == kind)


@pytest.mark.parametrize("kind", list(HEADS))
@pytest.mark.parametrize("which", ["people_store", "planted_store"])
def test_the_cards_of_all_test_images_add_up_to_the_ledger(which, kind, request):
    store = request.getfixturevalue(which)
    ledger = of(audit(store, backbone="pixels", checks=["ledger"], heads=(kind,))["ledger"], kind)
    entries = [card.entry for card in cards(store, head=kind, backbone="pixels")]
    assert len(entries) == ledger.reported.n

    def mean(values):
        return pytest.approx(np.mean(values), abs=1e-12)

    assert ledger.reported.value == mean([one.reported for one in entries])
    assert ledger.total.value == mean([one.total for one in entries])
    assert ledger.honest.value == mean([one.honest for one in entries])
    assert len(ledger.lines) == (3 if which == "people_store" else 2)
    for place, line in enumerate(ledger.lines):
        assert line.cause == entries[0].parts[place].cause
        assert line.effect.value == mean([one.parts[place].effect for one in entries])
    for one in entries:
        assert one.total == pytest.approx(sum(part.effect for part in one.parts), abs=1e-12)
        assert one.honest == pytest.approx(one.reported - one.total, abs=1e-12)
    # Something was taken away, or all of this would be sums of nothing.
    assert ledger.removed > 0
    assert any(one.total for one in entries)


@pytest.mark.parametrize("kind", list(HEADS))
def test_answers_with_and_without_the_relatives_are_those_of_heads_fitted_here(people_store, kind):
    items, vectors = people_store.items, people_store.space().vectors
    twins = find_twins(people_store)
    clusters = clusters_of(items.groups, twins.near)
    y = np.array([{"bad": 0, "good": 1}.get(name or "", -1) for name in items.labels])
    train = np.flatnonzero((y >= 0) & np.array([side == "train" for side in items.splits]))

    def fit(rows, value=None):
        return HEADS[kind](vectors[rows], y[rows], clusters[rows], n_classes=2, seed=0, value=value)

    def answer(head, row):
        return ["bad", "good"][int(head.probabilities(vectors[[row]])[0].argmax())]

    whole, other = fit(train), 0
    every = list(cards(people_store, head=kind))
    for card in every:
        row = items.ids.index(card.id)
        kept = train[clusters[train] != clusters[row]]
        refit = fit(kept, whole.choice.value) if len(kept) < len(train) else whole
        assert card.answer == answer(whole, row)
        assert card.stated == pytest.approx(whole.probabilities(vectors[[row]]).max())
        assert card.without.answer == answer(refit, row)
        assert card.without.removed == len(train) - len(kept)
        other += card.without.answer != card.answer
        assert len(card.relatives) == np.sum(clusters == clusters[row]) - 1
    assert other or kind == "logistic"


def test_a_share_is_printed_as_it_is_and_100_only_where_all_are_below():
    shares = [0.57, 0.29, 0.9999, 1.0, 0.0, 1 / 3]
    assert [_percent(one) for one in shares] == [
        "57.0%",
        "29.0%",
        "99.9%",
        "100.0%",
        "0.0%",
        "33.3%",
    ]


def test_percentiles_are_counts_of_what_is_less_similar(people_store):
    items, vectors = people_store.items, people_store.space().vectors.astype(np.float64)
    known = np.array([name is not None for name in items.labels])
    train = np.flatnonzero(known & np.array([side == "train" for side in items.splits]))
    test = np.flatnonzero(known & np.array([side == "test" for side in items.splits]))
    nearest = (vectors[test] @ vectors[train].T).max(axis=1)
    for row in test[:10].tolist():
        card = explain(people_store, items.ids[row], head="knn", k=3)
        own = vectors[train] @ vectors[row]
        assert card.neighbours[0].neighbour.id == items.ids[train[own.argmax()]]
        for one in card.neighbours:
            cosine = one.neighbour.similarity
            assert one.of_train == np.mean(own < cosine - 1e-6)
            assert one.of_test == np.mean(nearest < cosine - 1e-6)
        assert card.nearest == card.neighbours[0].of_test


def test_every_planted_copy_in_train_is_named_on_the_card(planted, planted_store):
    exact = [twin for twin in planted.twins if twin["kind"] == "exact"]
    assert exact
    made = {card.id: card for card in cards(planted_store, head="knn", backbone="pixels")}
    for twin in exact:
        card = made[twin["a"]]
        assert [one.relation for one in card.in_train if one.id == twin["b"]] == ["exact_twin"]
        assert card.neighbours[0].relation == "exact_twin"
        assert card.neighbours[0].neighbour.similarity == pytest.approx(1, abs=1e-6)
        assert "the same photograph is in train" in card.sentence
        assert card.sentence.startswith("Right, but" if card.right else "Wrong (its label is")
        assert card.without.removed >= 1


def test_without_relatives_nothing_changes_and_nobody_is_named(clean_store):
    for card in cards(clean_store, backbone="pixels"):
        assert card.relatives == ()
        assert (card.without.removed, card.without.answer) == (0, card.answer)
        assert card.without.probability == pytest.approx(card.probability)
        assert card.entry.total == 0
        assert [part.answer for part in card.entry.parts] == [card.answer] * 2
        assert "the same photograph" not in card.sentence
        if card.right:
            assert card.sentence == "Right, and no copy of it is in train."


def test_a_copy_with_the_other_label_says_that_one_of_the_two_is_wrong(people_store):
    (swapped,) = [id_ for id_ in people_store.items.ids if id_.endswith("swapped.jpg")]
    twins = find_twins(people_store)
    (id_,) = [
        pair.a if pair.b == swapped else pair.b
        for pair in twins.pairs
        if swapped in (pair.a, pair.b) and pair.across_splits and pair.kind == "exact"
    ]
    card = explain(people_store, id_)
    assert "in train carries the label 'bad': one of the two labels is wrong" in card.sentence
    assert card.label == "good"


def test_a_person_whom_train_shows_is_said_where_there_is_no_copy(people_store, folder):
    with (folder / "labels.csv").open(newline="") as stream:
        person = {row["path"]: row["person"] for row in csv.DictReader(stream)}
    splits = dict(zip(people_store.items.ids, people_store.items.splits, strict=True))
    said = 0
    for card in cards(people_store, head="knn"):
        named = {one.id for one in card.relatives}
        # Photographs of this very person; through a person's copies others can belong to it too.
        own = {id_ for id_ in splits if person[id_] == person[card.id] and id_ != card.id}
        assert own <= named
        if card.in_train and card.in_train[0].relation == "sibling":
            said += 1
            assert "another photograph of the same person is in train; without" in card.sentence
        if not card.in_train and card.right:
            assert card.sentence == "Right, and nobody related to it is in train."
        assert card.people_unknown == ""
    assert said


def test_a_picture_from_outside_meets_the_same_rules(people_store, folder, tmp_path):
    id_ = next(
        id_
        for id_, side in zip(people_store.items.ids, people_store.items.splits, strict=True)
        if side == "train"
    )
    with Image.open(people_store.items.path(id_)) as image:
        image.convert("RGB").resize((80, 80)).save(tmp_path / "smaller.png")
    shutil.copy(people_store.items.path(id_), tmp_path / "copy.jpg")
    noise(7).save(tmp_path / "noise.png")
    copy, smaller, strange = (
        explain(people_store, tmp_path / name, head="knn")
        for name in ("copy.jpg", "smaller.png", "noise.png")
    )
    for card in (copy, smaller, strange):
        assert (card.known, card.label, card.split, card.entry) == (False, None, None, None)
        assert card.no_entry == "it is not one of the test images"
        assert card.sentence.startswith(f"Answered {card.answer!r} (no label")
    assert [one.relation for one in copy.relatives if one.id == id_] == ["exact_twin"]
    assert [one.relation for one in smaller.relatives if one.id == id_] == ["near_twin"]
    assert copy.without.removed >= 1
    assert smaller.without.removed >= 1
    assert (strange.relatives, strange.without.removed) == ((), 0)
    assert "no copy of it is in train" in strange.sentence


def test_a_picture_of_the_store_is_answered_alone_as_it_was_in_the_batch(planted_store, tmp_path):
    id_ = next(
        id_
        for id_, side in zip(planted_store.items.ids, planted_store.items.splits, strict=True)
        if side == "valid"
    )
    shutil.copy(planted_store.items.path(id_), tmp_path / "one.png")
    inside, outside = (
        explain(planted_store, one, backbone="mtcnn") for one in (id_, tmp_path / "one.png")
    )
    assert (inside.known, outside.known) == (True, False)
    assert inside.no_entry == "it is not one of the test images, but of valid"
    assert outside.answer == inside.answer
    assert outside.stated == pytest.approx(inside.stated, abs=1e-4)


def test_a_training_image_is_answered_by_a_head_that_has_not_seen_it(people_store):
    row = people_store.items.splits.index("train")
    card = explain(people_store, people_store.items.ids[row])
    assert card.sentence.startswith("A training image, so the head has seen its label.")
    assert card.without.removed >= 1
    assert card.no_entry == "it is not one of the test images, but of train"
    assert card.id not in [one.neighbour.id for one in card.neighbours]


def test_an_image_without_a_label_has_no_part_of_the_ledger(people_store):
    items = people_store.items
    id_ = next(
        id_
        for id_, name, side in zip(items.ids, items.labels, items.splits, strict=True)
        if name is None and side == "test"
    )
    card = explain(people_store, id_)
    assert (card.right, card.entry, card.no_entry) == (None, None, "it has no label")
    assert "no label says whether that is right" in card.sentence
    document = json.dumps(card.to_dict(), allow_nan=False)
    assert json.loads(document)["right"] is None


def test_without_a_test_split_there_is_an_answer_and_no_ledger(tmp_path):
    names = [f"train/{c}/{n}.png" for c in ("x", "y") for n in range(8)]
    store = embed(make_different(tmp_path / "faces", *names), tmp_path / "s", backbone="pixels")
    card = explain(store, "train/x/3.png")
    assert card.no_entry == "there is no labelled test (or valid) split"
    assert np.isnan(card.nearest)
    assert "test images" not in card_text(card)
    with pytest.raises(InputError, match="no images with a 'label' in the test split"):
        next(cards(store))
    json.dumps(card.to_dict(), allow_nan=False)


def test_a_class_that_goes_with_the_relatives_is_said(tmp_path):
    names = [f"train/x/{n}.png" for n in range(6)]
    names += [f"test/{c}/{n}.png" for c in ("x", "y") for n in range(4)]
    folder = make_different(tmp_path / "faces", *names)
    (folder / "train/y").mkdir()
    shutil.copy(folder / "test/y/0.png", folder / "train/y/only.png")
    store = embed(folder, tmp_path / "s", backbone="pixels")
    card = explain(store, "test/y/0.png", head="knn")
    assert card.without.answer is None
    assert "the purge leaves no training image of y" in card.sentence
    assert all(part.answer is None for part in card.entry.parts)
    assert "not measured" in card_text(card)
    json.dumps(card.to_dict(), allow_nan=False)


@pytest.mark.parametrize("way", ["id", "end", "path", "relative"])
def test_an_image_can_be_named_in_several_ways(people_store, way, monkeypatch):
    row = 5
    id_ = people_store.items.ids[row]
    path = people_store.items.path(id_)
    monkeypatch.chdir(path.parent)
    given = {"id": id_, "end": "/".join(id_.split("/")[-2:]), "path": path, "relative": path.name}
    assert find_image(people_store, given[way]) == row


def test_a_name_that_does_not_do_says_which_would(planted, planted_store):
    ids = planted_store.items.ids
    with pytest.raises(InputError, match=f"did you mean .*{ids[3]}"):
        find_image(planted_store, ids[3].replace(".", "x."))
    with pytest.raises(InputError, match="nor a picture file; an id looks like "):
        find_image(planted_store, "?")
    broken = next(iter(planted.unreadable))
    with pytest.raises(InputError, match=f"{broken} could not be read when the store was made"):
        find_image(planted_store, broken)


def test_an_end_that_several_images_have_is_refused(tmp_path):
    names = [f"{s}/{c}/1.png" for s in ("train", "test") for c in ("x", "y")]
    store = embed(make_different(tmp_path / "faces", *names), tmp_path / "s", backbone="pixels")
    with pytest.raises(InputError, match=r"4 images .* end in '1.png': .*, \.\.\.; name one"):
        find_image(store, "1.png")
    assert find_image(store, "test/x/1.png") == store.items.ids.index("test/x/1.png")


def test_what_cannot_be_explained_is_refused(planted_store, tmp_path):
    id_ = planted_store.items.ids[0]
    with pytest.raises(InputError, match="no head is called 'svm'; known are logistic, knn"):
        explain(planted_store, id_, head="svm", backbone="pixels")
    with pytest.raises(InputError, match="several spaces"):
        explain(planted_store, id_)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match="broken.jpg cannot be read: not a picture"):
        explain(planted_store, tmp_path / "broken.jpg", backbone="pixels")
    names = [f"{s}/x/{n}.png" for s in ("train", "test") for n in range(3)]
    store = embed(make_different(tmp_path / "faces", *names), tmp_path / "s", backbone="pixels")
    with pytest.raises(NotEnoughImagesError, match="one class only"):
        explain(store, "test/x/0.png")


def test_the_command_prints_a_card_and_draws_it(people_store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    card = next(card for card in cards(people_store) if card.in_train)
    assert main(["explain", str(people_store.path), card.id, "-o", "card"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(card_text(card))
    assert out.endswith("wrote card.png\n")
    with Image.open("card.png") as image:
        assert image.format == "PNG"
    documents = []
    for _ in range(2):
        assert main(["explain", str(people_store.path), card.id, "--json"]) == 0
        documents.append(capsys.readouterr().out)
    assert documents[0] == documents[1]
    made = json.loads(documents[0])
    assert [made.pop(key) for key in ("sheet", "occlusion", "class_activation", "layers")] == [
        None,
        None,
        None,
        [],
    ]
    assert made == card.to_dict()
    assert made["schema"] == "embedkit.explain/1"
    noise(3).save("outside.png")
    assert main(["explain", str(people_store.path), "outside.png", "-o", "other.png"]) == 0
    assert "a picture that is not in the store" in capsys.readouterr().out
    with Image.open("card.png") as card_, Image.open("other.png") as other:
        assert card_.tobytes() != other.tobytes()
    assert main(["explain", str(people_store.path), "nothing.jpg"]) == 2
    assert "nothing.jpg" in capsys.readouterr().err
