"""Containers: pictures inside tables and archives come out as files that say what they are."""

import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pytest
from helpers import PNG, counts, noise, saved
from PIL import Image
from pyarrow import parquet

from embedkit.errors import InputError
from embedkit.images import decode, read_bytes
from embedkit.readers import read_source, unpack
from embedkit.readers.containers import EMOTIONS

JPEG = saved(noise(1), "JPEG")


def fer2013(path, rows, header="emotion,pixels,Usage"):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def grey(seed):
    return np.random.default_rng(seed).integers(0, 256, (48, 48), np.uint8)


def pixels(seed):
    return " ".join(map(str, grey(seed).ravel()))


def tar(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


# FER2013.


def test_fer2013s_table_becomes_pictures_with_emotion_and_split(tmp_path):
    usages = ["Training", "PublicTest", "PrivateTest"]
    rows = [(n % 7, pixels(n), usages[n % 3]) for n in range(21)]
    made = unpack(fer2013(tmp_path / "fer2013.csv", rows), tmp_path / "out")
    assert (made.pictures, made.without) == (21, ())
    items = read_source(tmp_path / "out")
    assert set(items.labels) == set(EMOTIONS)
    splits = ["train", "valid", "test"]
    for n, id_ in enumerate(sorted(items.ids)):
        row = items.ids.index(id_)
        assert (items.labels[row], items.splits[row]) == (EMOTIONS[n % 7], splits[n % 3])
        assert np.array_equal(decode(read_bytes(items.path(id_))).pixels[..., 0], grey(n))


def test_rows_of_fer2013_without_a_picture_are_listed_and_not_dropped(tmp_path):
    rows = [(3, pixels(0), "Training"), (3, "1 2 3", "Training"), (3, "", "Training")]
    rows += [(3, pixels(1).replace("7", "x"), "Training"), (9, pixels(2), "Training")]
    made = unpack(fer2013(tmp_path / "fer2013.csv", rows), tmp_path / "out")
    assert made.pictures == 2
    assert list(made.without) == ["00002", "00003", "00004"]
    items = read_source(tmp_path / "out")
    assert items.labels == ["happy", None]
    assert [one.id for one in items.unreadable] == ["00002", "00003", "00004"]


# Parquet.


def hugging_face(path, pictures, labels, names=None):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = [{"bytes": data, "path": None} for data in pictures]
    table = pa.table({"image": pa.array(cells, kind), "label": labels, "age": range(len(labels))})
    if names:
        features = {"label": {"names": names, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
        info = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": info})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path)
    return path


def test_hugging_faces_parquet_shards_keep_class_names_splits_and_columns(tmp_path):
    for shard, split in enumerate(("train", "test")):
        name = f"{split}-0000{shard}-of-00002.parquet"
        hugging_face(tmp_path / "data" / name, [PNG, JPEG, PNG], [0, 1, 1], ["bad", "good"])
    made = unpack(tmp_path / "data", tmp_path / "out")
    assert made.pictures == 6
    items = read_source(tmp_path / "out")
    assert counts(items) == {split: {"bad": 1, "good": 2} for split in ("train", "test")}
    assert sorted(items.column("age")) == [0, 0, 1, 1, 2, 2]
    assert {path.suffix for path in items.path(items.ids[0]).parent.iterdir()} == {".jpg", ".png"}


def test_a_parquet_file_of_plain_bytes_is_read_and_a_missing_picture_listed(tmp_path):
    table = pa.table({"jpg": [JPEG, None, b"no picture"], "label": ["a", "b", "c"]})
    parquet.write_table(table, tmp_path / "faces.parquet")
    made = unpack(tmp_path / "faces.parquet", tmp_path / "out")
    assert (made.pictures, len(made.without)) == (1, 2)
    assert read_source(tmp_path / "out").labels == ["a"]


# WebDataset.


def test_tar_shards_are_samples_with_a_picture_a_class_and_columns(tmp_path):
    for shard in range(2):
        files = []
        for n in range(3):
            key = f"faces/{shard}{n}"
            said = json.dumps({"age": n, "boxes": [1, 2], "split": "valid" if n else "train"})
            files += [(f"{key}.jpg", JPEG), (f"{key}.cls", str(n % 2).encode())]
            files += [(f"{key}.json", said.encode())]
        tar(tmp_path / "shards" / f"train-{shard:06}.tar", files)
    unpack(tmp_path / "shards", tmp_path / "out")
    items = read_source(tmp_path / "out")
    assert sorted(items.ids) == [f"faces/{s}{n}.jpg" for s in range(2) for n in range(3)]
    assert counts(items) == {"train": {"0": 2}, "valid": {"1": 2, "0": 2}}
    assert items.attributes == ("age",)


def test_a_shard_gives_its_split_and_equal_keys_stay_apart(tmp_path):
    tar(tmp_path / "shards/val/0.tar", [("1.png", PNG), ("2.txt", b"no picture here")])
    tar(tmp_path / "shards/train-0.tar", [("1.png", PNG)])
    made = unpack(tmp_path / "shards", tmp_path / "out")
    assert (made.pictures, made.without) == (2, ("2",))
    items = read_source(tmp_path / "out")
    assert dict(zip(items.ids, items.splits, strict=True)) == {"1.png": "train", "1-2.png": "valid"}


def test_photographs_go_before_masks_and_hidden_files_are_left_out(tmp_path):
    files = [("a.jpg", JPEG), ("a.cls", b"1"), ("a.seg.png", PNG), ("._a.png", b"x")]
    unpack(tar(tmp_path / "x.tar", [*files, (".DS_Store", b"x")]), tmp_path / "out")
    assert read_source(tmp_path / "out").ids == ["a.jpg"]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = pa.array([{"bytes": JPEG, "path": None}], kind)
    masks = pa.array([{"bytes": PNG, "path": None}], kind)
    table = pa.table({"key": [b"k"], "mask": masks, "image": cells, "label": ["a"]})
    parquet.write_table(table, tmp_path / "x.parquet")
    unpack(tmp_path / "x.parquet", tmp_path / "other")
    assert read_source(tmp_path / "other").ids == ["x/000001.jpg"]


def test_names_that_clash_with_made_up_ones_overwrite_nothing(tmp_path):
    for shard, keys in enumerate((["a-2", "a"], ["b", "a"], ["a"])):
        tar(tmp_path / f"s/{shard}.tar", [(f"{key}.png", PNG) for key in keys])
    made = unpack(tmp_path / "s", tmp_path / "out")
    assert made.pictures == 5 == len(list((tmp_path / "out").glob("*.png")))
    assert len(read_source(tmp_path / "out")) == 5


def test_shards_are_no_classes_and_the_only_named_column_is_the_label(tmp_path):
    for shard in range(2):
        name = f"d/train-0000{shard}-of-00002.parquet"
        path = hugging_face(tmp_path / name, [PNG, JPEG], [0, 1], ["cat", "dog"])
        table = parquet.read_table(path)
        info = table.schema.metadata[b"huggingface"].replace(b'"label"', b'"animal"')
        table = table.rename_columns(["image", "animal", "age"])
        parquet.write_table(table.replace_schema_metadata({"huggingface": info}), path)
    unpack(tmp_path / "d", tmp_path / "out")
    items = read_source(tmp_path / "out")
    assert set(items.labels) == {"cat", "dog"}
    tar(tmp_path / "t.tar", [("one/1.png", PNG), ("two/2.png", JPEG)])
    unpack(tmp_path / "t.tar", tmp_path / "plain")
    assert read_source(tmp_path / "plain").labels == [None, None]


def test_odd_cells_become_text_or_nothing(tmp_path):
    hugging_face(tmp_path / "x.parquet", [PNG, JPEG], [-1, 1], ["cat", "dog"])
    unpack(tmp_path / "x.parquet", tmp_path / "a")
    assert sorted(map(str, read_source(tmp_path / "a").labels)) == ["None", "dog"]
    when = pa.array([0, 1], pa.timestamp("s"))
    table = pa.table({"image": [PNG, JPEG], "when": when, "label": [float("nan"), 1.0]})
    parquet.write_table(table, tmp_path / "y.parquet")
    unpack(tmp_path / "y.parquet", tmp_path / "b")
    items = read_source(tmp_path / "b")
    assert items.labels == [None, "1.0"]
    assert items.column("when")[0].year == 1970
    said = [("a", {"age": 3, "File_Name": "x"}), ("b", {"age": "old", "Label": "c"})]
    files = [(f"{k}.json", json.dumps(v).encode()) for k, v in said]
    tar(tmp_path / "z.tar", sorted([*files, ("a.png", PNG), ("b.png", PNG)]))
    unpack(tmp_path / "z.tar", tmp_path / "c")
    items = read_source(tmp_path / "c")
    assert items.column("age") == ["3", "old"]
    assert items.labels == [None, "c"]
    fer2013(tmp_path / "f.csv", [("²", pixels(0), "Training")])
    unpack(tmp_path / "f.csv", tmp_path / "d")
    assert read_source(tmp_path / "d").labels == [None]


def test_a_table_that_names_its_pictures_may_have_a_column_called_pixels(tmp_path):
    (tmp_path / "x.png").write_bytes(PNG)
    (tmp_path / "list.csv").write_text("path,label,pixels\nx.png,a,256\n")
    assert read_source(tmp_path / "list.csv").column("pixels") == [256]


@pytest.mark.parametrize("name", ["/etc/x.png", "../x.png", "a/../../x.png"])
def test_a_tar_file_cannot_write_elsewhere(tmp_path, name):
    with pytest.raises(InputError, match="no name of a sample"):
        unpack(tar(tmp_path / "x.tar", [(name, PNG)]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Bad input.


def test_what_holds_no_pictures_is_one_clear_line_and_leaves_nothing(tmp_path):
    (tmp_path / "list.csv").write_text("file,label\na.png,good\n")
    (tmp_path / "broken.tar").write_bytes(b"no archive")
    (tmp_path / "broken.parquet").write_bytes(b"no table")
    parquet.write_table(pa.table({"label": ["a"]}), tmp_path / "words.parquet")
    tar(tmp_path / "empty.tar", [("a.txt", b"x")])
    tar(tmp_path / "bad.tar", [("a.png", PNG), ("a.json", b"{")])
    for name in ("list.csv", "broken.tar", "broken.parquet", "words.parquet", "empty.tar"):
        with pytest.raises(InputError):
            unpack(tmp_path / name, tmp_path / "out")
        assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match=r"a\.json"):
        unpack(tmp_path / "bad.tar", tmp_path / "out")
    for name in ("nowhere", "list.txt"):
        (tmp_path / "list.txt").write_text("x")
        with pytest.raises(InputError):
            unpack(tmp_path / name, tmp_path / "out")


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(InputError, match="not empty"):
        unpack(fer2013(tmp_path / "f.csv", [(0, pixels(0), "Training")]), tmp_path / "out")
    assert (tmp_path / "out" / "mine").read_text() == "x"


def test_fer2013s_table_given_as_a_source_says_how_to_unpack_it(tmp_path):
    fer2013(tmp_path / "fer2013.csv", [(0, pixels(0), "Training")])
    with pytest.raises(InputError, match="embedkit unpack"):
        read_source(tmp_path / "fer2013.csv")


def test_the_largest_grey_value_and_deep_pictures_are_kept(tmp_path):
    white = " ".join(["255"] * 48 * 48)
    rows = [(0, white, "Training"), (0, white.replace("255", "256", 1), "Training")]
    made = unpack(fer2013(tmp_path / "f.csv", rows), tmp_path / "out")
    assert made.without == ("00002",)
    assert Image.open(tmp_path / "out/00001.png").getextrema() == (255, 255)
