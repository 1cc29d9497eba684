"""Parts of a store by a condition: what SQL says, and nothing but the table can be asked."""

import json
import shutil

import numpy as np
import pytest
from embedkit_cli import main
from helpers import make_different
from test_merging import embedded, table

import embedkit as ek
from embedkit.errors import InputError
from embedkit.store.store import Store

AGES = (3, 20, 100, 19, None, 5, 21, 9, 7, 8, 30, 1)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with numbers, numbers written as text, empty cells and a torn picture."""
    home = tmp_path_factory.mktemp("subsets")
    make_different(home / "data", *(f"{n}.png" for n in range(12)))
    (home / "data/torn.png").write_bytes(b"no picture")
    rows = [
        (f"{n}.png", "xy"[n % 2], ("test", "train")[n % 3 > 0], age or "", f"{n % 4:02}", n / 2)
        for n, age in enumerate(AGES)
    ]
    rows.append(("torn.png", "x", "test", "4", "00", 0.5))
    embedded(
        table(home / "data/all.csv", [("path", "label", "split", "age", "Code", "score"), *rows]),
        home / "store",
    )
    made = Store.open(home / "store")
    # As a reader of file names has them: text.
    ages = made.items.column("age")
    text = made.items.with_column("age", [None if age is None else str(age) for age in ages])
    return Store(made.path, made.record, text, made.unreadable, made.spaces)


def numbers(made):
    return sorted(int(id_.removesuffix(".png")) for id_ in made.items.ids)


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        ("split = 'test' and age < 20", [0, 3, 9]),
        ("age < 20", [0, 3, 5, 7, 8, 9, 11]),
        ("age < '20'", [0, 3, 5, 7, 8, 9, 11]),  # as text, '100' would be less
        ("AGE between 20 and 30", [1, 6, 10]),
        ("age is null", [4]),
        ("not age < 20", [1, 2, 6, 10]),
        ("age in (1, 100)", [2, 11]),
        ("code = '03'", [3, 7, 11]),  # no number: it begins with 0
        ("label = 'x' or split <> 'train'", [0, 2, 3, 4, 6, 8, 9, 10]),
        ("score >= 5.5", [11]),
        ("id like '1%' and width > 0", [1, 10, 11]),
        ("nuisance.brightness > 0 and id = '4.png'", [4]),
        ("label = 'x' -- all of them", [0, 2, 4, 6, 8, 10]),
        ("items.label = 'x' and case when age > 5 then true else false end", [2, 6, 8, 10]),
        ("\"Code\" = '00' and \"label\" = 'x'", [0, 4, 8]),
        ("regexp_matches(id, '^[12][.]')", [1, 2]),
    ],
)
def test_a_condition_means_what_sql_means(store, tmp_path, where, wanted):
    made = ek.subset(store, tmp_path / "part", where=where)
    assert numbers(made) == wanted
    assert made.verify() == []
    place = {id_: row for row, id_ in enumerate(store.items.ids)}
    rows = [place[id_] for id_ in made.items.ids]
    assert rows == sorted(rows)
    assert np.array_equal(made.space().vectors, store.space().vectors[rows])
    assert made.items.table.equals(store.items.take(rows).table)
    assert made.items.root == store.items.root
    assert made.record.source["split"] == store.record.source["split"]


HOSTILE = [
    "id in (select column0 from read_csv('/etc/passwd'))",
    "exists (select 1)",
    "age < (select avg(age) from items)",
    "id = any(select id from secret)",
    "(values (true))",
    "true; drop table items",
    "true); attach '/tmp/x.db'; select (true",
    "true) union select (1",
    "true) union all select 1 --",
    "true) from read_text('/etc/passwd') where (true",
    "true from items",
    "true limit 1",
    "true, true",
    "true as yes",
    "/* label = 'x'",
    "copy items to '/tmp/x'",
    "attach '/tmp/x.db'",
    "pragma version",
    "set enable_external_access = true",
    "install httpfs",
    "select 1",
    "label = ?",
    "label = $name",
    "*",
    "columns('l.*') = 'x'",
    "count(*) > 1",
    "row_number() over () = 1",
    "label = 'x' and row_number() over (order by id) < 3",
    "read_text('/etc/passwd') = label",
    "label = getenv('HOME')",
    "true",
    "1 = 1",
    "",
    "label = ",
    "label",
    "label = 'x'\x00",
    "label\n=\n'x' and\nwidth <",
    "age like '2%'",
    "(((((((",
]


@pytest.mark.parametrize("where", HOSTILE)
def test_whatever_is_no_condition_is_refused_in_one_line(store, tmp_path, where):
    secret = store.items.table  # noqa: F841 (Python's variables are not tables)
    with pytest.raises(InputError) as error:
        ek.subset(store, tmp_path / "part", where=where)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("--where ")
    assert not (tmp_path / "part").exists()


def test_a_wrong_column_is_answered_with_those_there_are_and_the_nearest(store, tmp_path):
    with pytest.raises(InputError) as error:
        ek.subset(store, tmp_path / "part", where="agee < 20 and split = 'test'")
    assert "no column 'agee'; did you mean 'age'? known are id, label, split" in str(error.value)
    with pytest.raises(InputError, match="no column 'test'; text stands in single quotes"):
        ek.subset(store, tmp_path / "part", where='split = "test"')


def test_text_that_was_compared_as_numbers_and_splits_that_are_gone_are_said(store, tmp_path):
    notes = []
    ek.subset(store, tmp_path / "part", where="age < 20 and split = 'test'", say=notes.append)
    assert notes == [
        "age is text of whole numbers and was compared as numbers",
        "1 of 1 unreadable images are not on the new store's list: the condition does not hold for "
        "what is known of them, their id",
        "no image of the split 'train' is left",
    ]
    with pytest.raises(InputError, match="age is text of whole numbers and compared as numbers"):
        ek.subset(store, tmp_path / "other", where="age like '2%'")


def test_an_unreadable_picture_stays_listed_where_its_id_fulfils_the_condition(store, tmp_path):
    made = ek.subset(store, tmp_path / "part", where="id like '%o%' or label = 'x'")
    assert [one.id for one in made.unreadable] == ["torn.png"]
    assert "torn.png" not in made.items.ids


def test_a_condition_that_nothing_fulfils_leaves_nothing(store, tmp_path):
    with pytest.raises(InputError, match="none of the 12 images fulfils it"):
        ek.subset(store, tmp_path / "part", where="age > 1000")
    assert not (tmp_path / "part").exists()


def test_another_subset_does_not_take_its_place(store, tmp_path):
    ek.subset(store, tmp_path / "part", where="age < 20")
    ek.subset(store, tmp_path / "part", where="age < 20")
    with pytest.raises(InputError, match="is a store already"):
        ek.subset(store, tmp_path / "part", where="age < 21")


def test_parts_merge_into_the_whole(store, tmp_path):
    parts = [ek.subset(store, tmp_path / name, where=f"label = '{name}'") for name in ("x", "y")]
    made = ek.merge(parts, tmp_path / "made")
    assert sorted(made.items.ids) == sorted(store.items.ids)
    assert made.items.root == store.items.root


def test_a_part_can_be_searched_audited_and_trained_on(planted_store, planted_audit, tmp_path):
    made = ek.subset(planted_store, tmp_path / "part", where="width > 0 and split <> 'valid'")
    id_ = made.items.ids[0]
    assert ek.search(made, made.items.path(id_), k=1, backbone="mtcnn")[0].id
    assert ek.train(made, backbone="mtcnn").training.ids
    found = ek.audit(made, checks=["twins"], backbone="mtcnn")
    assert len(found["twins"].pairs) == len(planted_audit["twins"].pairs)


def test_on_the_command_line(store, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(store.path, "store")
    assert main(["subset", "store", "--where", "label = 'x'", "-o", "part", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["n"]) == ("embedkit.subset/1", 6)
    assert main(["subset", "store", "--where", "label = 'x'; drop table x", "-o", "no"]) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert err.startswith("Error: --where ")
