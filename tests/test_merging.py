"""Stores made one: the same vectors, each picture once, ids that lead to the pictures."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from embedkit_cli import main
from helpers import make_different

import embedkit as ek
from embedkit.errors import InputError, SpaceMismatchError, StoreError
from embedkit.files import sha256_of_file
from embedkit.store import composing
from embedkit.store.composing import Part, Plan, compose, made_from
from embedkit.store.store import Store


def table(path, rows):
    with path.open("w") as file:
        csv.writer(file).writerows(rows)
    return path


def embedded(source, place):
    return ek.embed(source, place, backbone="pixels", threads=1)


def copy_of(picture, *others):
    for other in others:
        other.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, other)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two data sets beside each other: folders by class, and a table with more columns."""
    home = tmp_path_factory.mktemp("merging")
    names = [f"{s}/{c}/{n}.png" for s in ("train", "test") for c in "xy" for n in range(4)]
    make_different(home / "one", *names)
    (home / "one/train/x/torn.png").write_bytes(b"no picture")
    make_different(home / "two", *(f"{n}.png" for n in range(20, 32)))
    for n in range(20, 32):  # other pictures than those of `one`
        make_different(home / "two", *[f"more/{n}-{k}.png" for k in range(n - 18)])
        shutil.move(home / f"two/more/{n}-{n - 19}.png", home / f"two/{n}.png")
    shutil.rmtree(home / "two/more")
    copy_of(home / "one/train/x/0.png", home / "two/20.png")
    rows = [
        (f"{n}.png", "zw"[n % 2], ("test", "train")[n % 3 > 0], f"p{n // 2}", n)
        for n in range(20, 32)
    ]
    table(home / "two/all.csv", [("path", "label", "split", "group", "age"), *rows])
    embedded(home / "one", home / "stores/one")
    embedded(home / "two/all.csv", home / "stores/two")
    return home


@pytest.fixture
def stores(home):
    return Store.open(home / "stores/one"), Store.open(home / "stores/two")


def told(stores, path, **options):
    notes = []
    return ek.merge(stores, path, say=notes.append, **options), notes


@pytest.mark.parametrize("rows", [1, 7, 1024])
def test_every_row_keeps_its_vector_its_facts_and_its_words(stores, tmp_path, monkeypatch, rows):
    monkeypatch.setattr(composing, "ROWS", rows)
    one, two = stores
    made, _ = told(stores, tmp_path / "made")
    assert made.verify() == []
    assert len(made.items) == len(one.items) + len(two.items)
    both = np.concatenate([one.space().vectors, two.space().vectors])
    assert np.array_equal(made.space().vectors, both)
    assert {n for _, n in made.record.blocks} <= {rows, len(both) % rows}
    for name in ("label", "split", "group", "sha256", "width", "phash", "nuisance"):
        assert made.items.column(name) == one.items.column(name) + two.items.column(name)
    assert made.items.column("age") == [None] * len(one.items) + two.items.column("age")


def test_ids_are_paths_from_the_folder_above_all(stores, home, tmp_path):
    one, two = stores
    made, notes = told(stores, tmp_path / "made")
    assert made.items.root == home
    assert (made.name, one.name) == ("made", "one")
    assert made.items.ids == [f"one/{id_}" for id_ in one.items.ids] + [
        f"two/{id_}" for id_ in two.items.ids
    ]
    for id_, digest in zip(made.items.ids, made.items.column("sha256"), strict=True):
        assert sha256_of_file(made.items.path(id_)) == digest
    assert [bad.id for bad in made.unreadable] == ["one/train/x/torn.png"]
    assert any(f"relative to {home}" in note for note in notes)


def test_a_store_of_a_folder_inside_another_is_one_with_it(stores, home, tmp_path):
    part = embedded(home / "one/train", tmp_path / "part")
    made, notes = told([stores[0], part], tmp_path / "made")
    assert made.items.ids == stores[0].items.ids
    assert [bad.id for bad in made.unreadable] == ["train/x/torn.png"]
    assert "8 pictures are in more than one store and are taken once" in notes
    # `part` has a split of its own, which embedkit made.
    assert any("of them have another split there; that of the first stays" in n for n in notes)
    assert made.items.splits == stores[0].items.splits


def test_what_the_first_store_leaves_empty_the_second_fills_in(home, tmp_path):
    names = [f"{n}.png" for n in range(20, 32)]
    first = table(tmp_path / "a.csv", [("path", "label"), *((one, "k") for one in names[:8])])
    second = table(
        tmp_path / "b.csv",
        [
            ("path", "label", "group"),
            *((one, "m" if n < 6 else "k", f"g{n}") for n, one in enumerate(names)),
        ],
    )
    stores = [
        ek.embed(path, tmp_path / path.stem, backbone="pixels", root=home / "two")
        for path in (first, second)
    ]
    made, notes = told(stores, tmp_path / "made")
    assert sorted(made.items.ids) == names
    assert made.verify() == []
    groups = dict(zip(made.items.ids, made.items.groups, strict=True))
    assert groups == {one: f"g{n}" for n, one in enumerate(names)}
    assert made.items.labels == ["k"] * 12
    assert "6 of them have another label there; that of the first stays" in notes
    by_id = {
        id_: row
        for store in stores
        for id_, row in zip(store.items.ids, store.space().vectors, strict=True)
    }
    assert np.array_equal(made.space().vectors, [by_id[id_] for id_ in made.items.ids])


def test_columns_of_two_kinds_become_text_and_that_is_said(home, tmp_path):
    for name, ages in (("a", (1, 2)), ("b", ("old", "young"))):
        first = 20 if name == "a" else 22
        rows = [(f"{first + n}.png", name, age) for n, age in enumerate(ages)]
        ek.embed(
            table(tmp_path / f"{name}.csv", [("path", "label", "age"), *rows]),
            tmp_path / name,
            backbone="pixels",
            root=home / "two",
        )
    made, notes = told([tmp_path / "a", tmp_path / "b"], tmp_path / "made")
    assert made.items.column("age") == ["1", "2", "old", "young"]
    assert any("'age' is text now" in note for note in notes)
    assert "no label is in all stores; all are kept as they are" in notes


def test_the_same_id_with_other_bytes_is_refused(home, tmp_path):
    shutil.copytree(home / "one", tmp_path / "data")
    first = embedded(tmp_path / "data", tmp_path / "first")
    copy_of(home / "two/25.png", tmp_path / "data/test/x/0.png")
    second = embedded(tmp_path / "data", tmp_path / "second")
    with pytest.raises(
        InputError, match=r"test/x/0.png is another file in .*second than in .*first"
    ):
        ek.merge([first, second], tmp_path / "made")
    assert not (tmp_path / "made").exists()


def altered(store, path, **contract):
    """Return a copy of a store whose space was made otherwise."""
    record = store.space().record
    other = record.contract | contract
    record = replace(record, contract=other, contract_sha256="0" * 64, n=0, shards=())
    rows = np.arange(len(store.items))
    source = store.record.source | {"made_from": made_from("subset", [store])}
    return compose(
        path, Plan((Part(store, rows),), store.items.table, (), {record.name: record}, source)
    )


def test_vectors_that_cannot_be_compared_are_refused_with_what_differs(stores, tmp_path):
    preprocessing = stores[0].space().record.contract["preprocessing"] | {"side": 7}
    other = altered(stores[1], tmp_path / "other", preprocessing=preprocessing, precision="bf16")
    with pytest.raises(SpaceMismatchError) as error:
        ek.merge([stores[0], other], tmp_path / "made")
    assert "precision is 'fp32' in the first, 'bf16' in the second" in str(error.value)
    assert "preprocessing side is" in str(error.value)
    assert "network" not in str(error.value)


def test_a_space_that_one_store_lacks_is_refused_or_left_out_by_name(stores, home, tmp_path):
    shutil.copytree(home / "stores/one", tmp_path / "one")
    more = ek.embed(home / "one", tmp_path / "one", backbone="mtcnn", threads=1)
    with pytest.raises(InputError, match=r"two has no vectors of mtcnn.*-b pixels merges what all"):
        ek.merge([more, stores[1]], tmp_path / "made")
    with pytest.raises(InputError, match=r"no space 'clip'"):
        ek.merge([more, stores[1]], tmp_path / "made", backbone="clip")
    assert list(ek.merge([more, stores[1]], tmp_path / "made", backbone="pixels").spaces) == [
        "pixels"
    ]


def test_test_pictures_that_are_in_anothers_train_are_counted(stores, tmp_path):
    # `two` calls its copy of one/train/x/0.png a training or a test picture by its number.
    made, notes = told(stores, tmp_path / "made")
    assert stores[1].items.splits[0] == "train"
    assert not any("splits are kept" in note for note in notes)
    test = stores[1].items.with_column("split", ["test"] * len(stores[1].items))
    two = Store(stores[1].path, stores[1].record, test, (), stores[1].spaces)
    _, notes = told([stores[0], two], tmp_path / "again")
    assert any("1 test pictures have the pixels of a training picture" in note for note in notes)
    assert made.record.source["split"] == {"made_by": "data set"}


def test_groups_of_one_name_are_pointed_out(stores, tmp_path):
    one = stores[0].items.with_column("group", ["p10"] * len(stores[0].items))
    first = Store(stores[0].path, stores[0].record, one, (), stores[0].spaces)
    _, notes = told([first, stores[1]], tmp_path / "made")
    assert (
        "1 group names are in more than one store ('p10') and count as the same person or video"
        in notes
    )


def test_the_same_command_again_changes_nothing_another_is_refused(stores, home, tmp_path):
    ek.merge(stores, tmp_path / "made")
    before = (tmp_path / "made/store.json").stat().st_mtime_ns
    ek.merge(stores, tmp_path / "made")
    assert (tmp_path / "made/store.json").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="is a store already"):
        ek.merge(stores[::-1], tmp_path / "made")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/letter.txt").write_text("dear")
    with pytest.raises(StoreError, match="a folder with other files"):
        ek.merge(stores, tmp_path / "full")
    with pytest.raises(InputError, match="lies inside the store"):
        ek.merge(stores, home / "stores/one/made")
    with pytest.raises(InputError, match="two stores or more"):
        ek.merge([stores[0], stores[0]], tmp_path / "twice")
    with pytest.raises(InputError, match="is a store already"):
        ek.merge(stores, home / "stores/one")
    assert Store.open(home / "stores/one").verify() == []


def test_pictures_behind_a_url_and_pictures_here_have_no_folder_above_them(stores, tmp_path):
    here, there = stores
    elsewhere = replace(there.items, root=Path("s3://bucket/faces"))
    with pytest.raises(InputError, match="no folder lies above all pictures"):
        ek.merge([here, Store(there.path, there.record, elsewhere, (), {})], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_a_damaged_store_is_not_merged(home, tmp_path):
    shutil.copytree(home / "stores/one", tmp_path / "one")
    shard = tmp_path / "one/pixels/vectors-00000.npy"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(StoreError, match="damaged"):
        ek.merge([tmp_path / "one", home / "stores/two"], tmp_path / "made")


def test_a_merged_store_is_its_own_source(stores, home, tmp_path):
    made = ek.merge(stores, tmp_path / "made")
    more = ek.embed(made.path, backbone="mtcnn", threads=1)
    assert list(more.spaces) == ["mtcnn", "pixels"]
    assert more.verify() == []
    assert more.items.ids == made.items.ids
    assert more.unreadable == made.unreadable
    assert more.record.source == made.record.source
    with pytest.raises(InputError, match="is a store already"):
        ek.merge(stores, tmp_path / "made")  # which would lose the further space
    with pytest.raises(InputError, match="was made by 'embedkit merge' and holds what it was made"):
        ek.embed(home / "one", made.path)
    with pytest.raises(InputError, match="leave out --label"):
        ek.embed(made.path, label="age")
    with pytest.raises(InputError, match=r"'embedkit embed .*one -o .*one' brings it up to date"):
        ek.embed(home / "stores/one", tmp_path / "elsewhere")


def test_on_the_command_line(home, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [str(home / "stores" / one) for one in ("one", "two")]
    assert main(["merge", *names, "-o", "made", "--json"]) == 0
    out = capsys.readouterr()
    document = json.loads(out.out)
    assert (document["schema"], document["n"]) == ("embedkit.merge/1", 28)
    assert document["notes"]
    assert "Ids are relative to" in out.err
    assert main(["info", "made", "--deep"]) == 0
    assert main(["merge", names[0], "-o", "other"]) == 2
    err = capsys.readouterr().err
    assert err == "Error: merge takes two stores or more, each of them once\n"
