import json
from pathlib import Path

import pyarrow as pa
import pytest
from helpers import counts, make
from pyarrow import parquet

from embedkit.errors import InputError
from embedkit.readers import read_source

ROWS = [
    {"file": "a/1.png", "label": "good", "split": "train", "person": "p1", "age": 30},
    {"file": "a/2.png", "label": "bad", "split": "Testing", "person": "p2", "age": 41},
    {"file": "b/3.png", "label": "good", "split": "val", "person": "p1", "age": 25},
]


def write(path: Path, rows: list[dict], separator: str = ",") -> Path:
    if path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix in (".jsonl", ".ndjson"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        lines = [list(rows[0])] + [[str(v) for v in row.values()] for row in rows]
        path.write_text("".join(separator.join(line) + "\n" for line in lines))
    return path


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path, "a/1.png", "a/2.png", "b/3.png", "b/unnamed.png")


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.parquet", "x.jsonl", "x.ndjson", "X.CSV"])
def test_every_kind_of_table_says_the_same(folder, name):
    path = write(folder / name, ROWS, separator="\t" if name.endswith("tsv") else ",")
    items = read_source(path)
    assert items.ids == ["a/1.png", "a/2.png", "b/3.png"]
    assert items.labels == ["good", "bad", "good"]
    assert items.splits == ["train", "test", "valid"]
    assert items.groups == ["p1", "p2", "p1"]
    assert items.attributes == ("age",)
    assert items.column("age") == [30, 41, 25]


def test_semicolons_separate_too(folder):
    assert read_source(write(folder / "x.csv", ROWS, separator=";")).labels[1] == "bad"


def test_a_byte_order_mark_is_no_part_of_a_column_name(folder):
    path = write(folder / "x.csv", ROWS)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_source(path).ids[0] == "a/1.png"


def test_columns_can_be_named(folder):
    rows = [{"file": row["file"], "mood": row["label"], "who": row["person"]} for row in ROWS]
    items = read_source(write(folder / "x.csv", rows), label="mood", group="who")
    assert items.labels == ["good", "bad", "good"]
    assert items.groups == ["p1", "p2", "p1"]


def test_a_named_column_that_is_not_there_shows_those_that_are(folder):
    with pytest.raises(InputError, match="no column 'moood'.*file, label, split, person, age"):
        read_source(write(folder / "x.csv", ROWS), label="moood")


def test_a_table_without_paths_says_what_is_expected(folder):
    with pytest.raises(InputError, match="file_name"):
        read_source(write(folder / "x.csv", [{"id": 1, "label": "a"}]))


def test_names_that_look_like_numbers_stay_names(folder):
    make(folder, "007.png")
    rows = [{"file": "007.png", "label": "01", "person": "0042"}]
    items = read_source(write(folder / "x.csv", rows))
    assert (items.labels, items.groups) == (["01"], ["0042"])


def test_an_empty_label_is_no_label(folder):
    rows = [ROWS[0], ROWS[1] | {"label": ""}]
    assert read_source(write(folder / "x.csv", rows)).labels == ["good", None]


def test_images_that_are_not_there_are_listed_with_the_reason(folder):
    items = read_source(write(folder / "x.csv", [*ROWS, ROWS[0] | {"file": "a/9.png"}]))
    assert len(items) == 3
    assert [one.id for one in items.unreadable] == ["a/9.png"]
    assert "not on disk" in items.unreadable[0].reason


def test_a_table_of_which_nothing_is_there_points_to_the_root(folder):
    with pytest.raises(InputError, match="--root"):
        read_source(write(folder / "x.csv", [ROWS[0] | {"file": "zzz/1.png"}]))


def test_the_root_can_be_elsewhere(folder, tmp_path_factory):
    path = write(tmp_path_factory.mktemp("elsewhere") / "x.csv", ROWS)
    assert len(read_source(path, root=folder)) == 3


def test_an_absolute_path_inside_the_root_is_taken_relative(folder):
    rows = [row | {"file": str(folder / row["file"])} for row in ROWS]
    assert read_source(write(folder / "x.csv", rows)).ids[0] == "a/1.png"


@pytest.mark.parametrize("path", ["../secret.png", "a/../../x.png", "/etc/passwd"])
def test_a_path_that_leaves_the_root_is_refused(folder, path):
    with pytest.raises(InputError, match="outside"):
        read_source(write(folder / "x.csv", [ROWS[0] | {"file": path}]))


def test_an_address_is_no_file(folder):
    with pytest.raises(InputError, match="address"):
        read_source(write(folder / "x.csv", [ROWS[0] | {"file": "https://x.org/a.png"}]))


def test_a_row_that_is_repeated_counts_once(folder):
    items = read_source(write(folder / "x.csv", [*ROWS, ROWS[0]]))
    assert len(items) == 3
    assert any("repeat" in note for note in items.notes)


def test_two_rows_that_disagree_about_an_image_are_an_error(folder):
    with pytest.raises(InputError, match="rows 1 and 4"):
        read_source(write(folder / "x.csv", [*ROWS, ROWS[0] | {"label": "bad"}]))


def test_the_same_file_under_two_spellings_is_one_image(folder):
    items = read_source(write(folder / "x.csv", [*ROWS, ROWS[0] | {"file": "./a//1.png"}][3:]))
    assert items.ids == ["a/1.png"]


def test_a_column_that_means_something_else_here_is_renamed_and_said(folder):
    rows = [row | {"width": 9} for row in ROWS]
    items = read_source(write(folder / "x.csv", rows))
    assert "width_given" in items.attributes
    assert any("width_given" in note for note in items.notes)


@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe", b'file,label\n"a/1.png,x\n'])
def test_a_table_that_is_none_is_one_clear_line(folder, content):
    (folder / "x.csv").write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_source(folder / "x.csv")
    assert "\n" not in str(caught.value)


def test_a_damaged_parquet_is_one_clear_line(folder):
    (folder / "x.parquet").write_bytes(b"PAR1 no parquet")
    with pytest.raises(InputError, match="x.parquet cannot be read: "):
        read_source(folder / "x.parquet")


def test_a_file_that_is_no_manifest_is_refused(folder):
    with pytest.raises(InputError, match=r"\.csv"):
        read_source(folder / "a" / "1.png")


def test_a_layout_is_for_folders(folder):
    with pytest.raises(InputError, match="--layout"):
        read_source(write(folder / "x.csv", ROWS), layout="class")


# The Hugging Face convention.


def test_metadata_in_the_folder_is_joined(folder):
    rows = [{"file_name": row["file"], "label": row["label"], "age": row["age"]} for row in ROWS]
    write(folder / "metadata.csv", rows)
    items = read_source(folder)
    assert items.ids == ["a/1.png", "a/2.png", "b/3.png", "b/unnamed.png"]
    assert items.labels == ["good", "bad", "good", None]
    assert items.column("age") == [30, 41, 25, None]
    assert any("1 images are in no metadata" in note for note in items.notes)


def test_metadata_in_each_split_folder_is_joined(tmp_path):
    for split in ("train", "test"):
        make(tmp_path, f"{split}/1.png", f"{split}/2.png")
        rows = [{"file_name": f"{n}.png", "label": name} for n, name in ((1, "x"), (2, "y"))]
        write(tmp_path / split / "metadata.jsonl", rows)
    items = read_source(tmp_path)
    assert counts(items) == {"train": {"x": 1, "y": 1}, "test": {"x": 1, "y": 1}}


def test_metadata_without_labels_leaves_those_of_the_folders(tmp_path):
    make(tmp_path, "train/good/1.png", "train/bad/2.png", "test/good/3.png")
    write(tmp_path / "metadata.parquet", [{"file_name": "train/good/1.png", "age": 3}])
    items = read_source(tmp_path)
    assert dict(zip(items.ids, items.labels, strict=True))["train/bad/2.png"] == "bad"
    assert dict(zip(items.ids, items.column("age"), strict=True)) == {
        "test/good/3.png": None,
        "train/bad/2.png": None,
        "train/good/1.png": 3,
    }


def test_labels_in_metadata_make_folder_names_no_question(tmp_path):
    make(tmp_path, *(f"{c}/{n}.png" for c in ("car", "train") for n in (1, 2)))
    names = [f"{c}/{n}.png" for c in ("car", "train") for n in (1, 2)]
    rows = [{"file_name": name, "label": "x", "split": "train"} for name in names]
    write(tmp_path / "metadata.csv", rows)
    assert counts(read_source(tmp_path)) == {"train": {"x": 4}}


def test_two_metadata_files_that_name_one_image_are_an_error(folder):
    write(folder / "metadata.csv", [{"file_name": "a/1.png", "label": "x"}])
    write(folder / "a" / "metadata.csv", [{"file_name": "1.png", "label": "y"}])
    with pytest.raises(InputError, match=r"two metadata files name a/1\.png"):
        read_source(folder)


def test_a_table_beside_the_images_is_pointed_out(folder):
    write(folder / "labels.csv", ROWS)
    assert any("labels.csv was not read" in note for note in read_source(folder).notes)


def test_an_empty_cell_of_a_column_of_numbers_is_no_value(folder):
    names = [row["file"] for row in ROWS]
    person = [1.0, *[float("nan")] * (len(names) - 1)]
    table = pa.table({"file": names, "person": person, "age": [*person[1:], 3.0]})
    parquet.write_table(table, folder / "m.parquet")
    items = read_source(folder / "m.parquet")
    assert items.groups == ["1.0", *[None] * (len(names) - 1)]
    assert items.label_column("age") == [*[None] * (len(names) - 1), "3.0"]


def test_leading_zeros_are_kept_in_any_column(folder):
    codes = ["007", "7", "012", "12"]
    rows = [row | {"code": code} for row, code in zip(ROWS, codes, strict=False)]
    write(folder / "m.csv", rows)
    assert read_source(folder / "m.csv", label="code").labels == codes[: len(rows)]
    assert read_source(folder / "m.csv").label_column("code") == codes[: len(rows)]


def test_spaces_around_a_label_are_no_part_of_it(folder):
    write(folder / "m.csv", [row | {"label": f" {row['label']} "} for row in ROWS])
    assert read_source(folder / "m.csv").labels == [row["label"] for row in ROWS]
