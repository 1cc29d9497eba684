import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedkit.errors import InputError
from embedkit.items import ItemTable, id_of_path, item_table, path_of_id

names = st.binary(min_size=1, max_size=30).filter(lambda b: b"\0" not in b)


@given(names)
def test_every_name_that_a_file_system_holds_comes_back_from_its_id(name):
    path = os.fsdecode(name)
    id_ = id_of_path(path)
    id_.encode("utf-8")  # an id is always valid Unicode
    assert os.fsencode(path_of_id(id_)) == name


@given(names)
def test_an_id_is_one_line_that_cannot_mislead_a_terminal_or_a_reader(name):
    id_ = id_of_path(os.fsdecode(name))
    assert not set(id_) & {chr(c) for c in (*range(32), 127, *range(0x80, 0xA0), 0x202E, 0x2028)}
    assert len(id_.splitlines()) == 1


@pytest.mark.parametrize("id_", ["a\\x", "\\xg0", "a\\", "\\X41", "\\y", "x\\x4"])
def test_an_id_that_embedkit_never_writes_stands_for_itself(id_):
    assert path_of_id(id_) == id_


def test_names_in_every_script_are_left_as_they_are():
    for name in ("école/é.jpg", "日本/顔.png", "a b/c'd\"e.jpg", "👨\u200d👩.png", "x\u202f1.png"):
        assert id_of_path(name) == name


@given(st.lists(names, unique=True, max_size=8))
def test_different_files_have_different_ids(several):
    assert len({id_of_path(os.fsdecode(name)) for name in several}) == len(several)


def test_an_id_hangs_on_the_bytes_of_a_name_not_on_the_language_of_the_machine(tmp_path, figure):
    raw = ["é.png".encode(), "日本.png".encode(), b"\xff\xc3.png", "a\u202eb.png".encode(), b"a\nb"]
    for name in raw:
        (tmp_path / os.fsdecode(name)).touch()
    code = (
        "import os, sys; from embedkit.items import id_of_path, path_of_id\n"
        "ids = {id_of_path(name): name for name in sorted(os.listdir())}\n"
        "assert all(path_of_id(id_) == name for id_, name in ids.items())\n"
        "sys.stdout.buffer.write('\\n'.join(sorted(ids)).encode())"
    )
    ascii_ = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | ascii_, stdout=-1, check=True
    ).stdout
    assert said == "\n".join(sorted(id_of_path(os.fsdecode(name)) for name in raw)).encode()
    figure("C7", f"{len(raw)} names on a machine that reads names as UTF-8, or as ASCII: 1 id each")


def test_an_id_that_occurs_twice_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"'a\.jpg' is listed twice"):
        item_table(tmp_path, ["a.jpg", "b.jpg", "a.jpg"])


def test_an_unknown_column_names_the_known_ones(tmp_path):
    with pytest.raises(InputError, match="known are id, label, split, group"):
        item_table(tmp_path, ["a.jpg"]).column("gender")


@pytest.mark.parametrize("name", ["id", "sha256", "nuisance", "width"])
def test_what_was_read_of_the_files_is_no_label(name):
    names = {"id", "label", "split", "group", "age", name}
    items = ItemTable(Path("f"), pa.table({one: ["a"] for one in sorted(names)}))
    with pytest.raises(InputError, match=rf"'{name}' is no label.* 'group', 'age' can be one"):
        items.label_column(name)
    assert items.label_column("age") == ["a"]
