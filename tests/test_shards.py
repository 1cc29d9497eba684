"""Shards where they lie: the same pictures, labels and vectors as of the unpacked folder."""

import io
import json
import struct
import tarfile
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from embedkit_cli.app import main
from helpers import PNG, counts, noise, saved, tree
from pyarrow import parquet

from embedkit.errors import InputError, UnreadableImageError
from embedkit.images import decode, read_bytes
from embedkit.pipeline import embed
from embedkit.readers import read_source, unpack
from embedkit.reports.pictures import Pictures
from embedkit.shards import shard_above, tables, tars
from embedkit.store import Store

PICTURES = [saved(noise(seed), "JPEG" if seed % 2 else "PNG") for seed in range(12)]


def tar(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in files:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def web_dataset(folder):
    for shard, split in enumerate(("train", "test")):
        files = []
        for n in range(6):
            key = f"{n // 3}/{shard}{n}"
            said = json.dumps({"age": n, "camera": f"no. {n % 2}"}).encode()
            files += [(f"{key}.jpg", PICTURES[6 * shard + n]), (f"{key}.cls", b"%d" % (n % 2))]
            files += [(f"{key}.json", said)]
        tar(folder / f"{split}-{shard:05}.tar", files)
    return folder


def hugging_face(folder, **options):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    info = {"info": {"features": {"label": {"names": ["bad", "good"], "_type": "ClassLabel"}}}}
    for shard, split in enumerate(("train", "test")):
        cells = [{"bytes": one, "path": None} for one in PICTURES[6 * shard : 6 * shard + 6]]
        table = pa.table(
            {
                "image": pa.array(cells, kind),
                "label": [0, 1] * 3,
                "age": range(6),
                "when": [None] * 6,
            }
        ).replace_schema_metadata({"huggingface": json.dumps(info)})
        folder.mkdir(parents=True, exist_ok=True)
        parquet.write_table(table, folder / f"{split}-{shard}-of-2.parquet", **options)
    return folder


def facts(store, *columns):
    """Return what a store knows of each picture, by the SHA-256 of its file."""
    names = ("pixel_sha256", "phash", "label", "split", "bytes", "age", *columns)
    known = zip(*(store.items.column(name) for name in names), strict=True)
    return dict(zip(store.items.column("sha256"), known, strict=True))


def vectors(store):
    return dict(zip(store.items.column("sha256"), store.space().vectors.tolist(), strict=True))


@pytest.mark.parametrize("make", [web_dataset, hugging_face])
def test_the_store_has_the_facts_and_vectors_of_the_unpacked_folder(tmp_path, make):
    shards = make(tmp_path / "shards")
    unpack(shards, tmp_path / "files")
    direct = embed(shards, tmp_path / "a", backbone="pixels", block=5)
    files = embed(tmp_path / "files", tmp_path / "b", backbone="pixels", block=5)
    assert len(direct.items) == 12
    assert facts(direct) == facts(files)
    assert vectors(direct) == vectors(files)
    assert direct.items.attributes == files.items.attributes
    assert direct.unreadable == files.unreadable == ()


@pytest.mark.parametrize("make", [web_dataset, hugging_face])
def test_a_url_gives_the_store_of_the_same_shards_on_disk(tmp_path, make):
    shards = make(tmp_path / "shards")
    system = fsspec.filesystem("memory")
    for path in shards.iterdir():
        system.pipe(f"/{tmp_path.name}/{path.name}", path.read_bytes())
    here = embed(shards, tmp_path / "a", backbone="pixels")
    there = embed(f"memory://{tmp_path.name}", tmp_path / "b", backbone="pixels")
    assert there.items.ids == here.items.ids
    assert facts(there) == facts(here)
    assert np.array_equal(there.space().vectors, here.space().vectors)
    one = next(shards.iterdir()).name
    alone = read_source(f"memory://{tmp_path.name}/{one}")
    assert alone.ids == read_source(shards / one).ids
    assert read_bytes(alone.path(alone.ids[0])) in PICTURES


def test_one_shard_is_read_with_the_ids_that_it_has_in_its_folder(tmp_path):
    web_dataset(tmp_path)
    hugging_face(tmp_path)
    items = read_source(tmp_path / "train-00000.tar")
    assert items.ids == [f"train-00000.tar/{n // 3}/0{n}.jpg" for n in range(6)]
    assert counts(items) == {"train": {"0": 3, "1": 3}}
    items = read_source(tmp_path / "test-1-of-2.parquet", label="age")
    assert items.ids == [f"test-1-of-2.parquet/{n:06}" for n in range(1, 7)]
    assert items.labels == [str(n) for n in range(6)]
    assert [read_bytes(items.path(one)) for one in items.ids] == PICTURES[6:]


def test_what_asks_for_pictures_of_a_store_finds_them(tmp_path, capsys):
    store = str(embed(web_dataset(tmp_path / "s"), tmp_path / "store", backbone="pixels").path)
    one = Store.open(store).items.ids[0]
    sheet = tmp_path / "found.png"
    asked = ["search", store, f"{tmp_path}/s/{one}", "--json", "--sheet", str(sheet)]
    assert main(asked) == 0
    found = [hit["id"] for hit in json.loads(capsys.readouterr().out)["neighbours"]]
    assert len(found) == 10
    assert one not in found
    assert sheet.exists()
    pictures = Pictures(Store.open(store).items)
    assert np.array_equal(pictures.pixels(one), decode(PICTURES[6]).pixels)  # of test-00001.tar


def test_a_second_run_takes_what_is_there_and_sees_what_changed(tmp_path):
    shards = web_dataset(tmp_path / "s")
    before = embed(shards, tmp_path / "store", backbone="pixels")
    files = tree(tmp_path / "store")
    embed(shards, tmp_path / "store", backbone="pixels")
    assert tree(tmp_path / "store") == files
    tar(shards / "test-00001.tar", [("0/10.jpg", PNG), ("0/10.cls", b"1")])
    after = embed(shards, tmp_path / "store", backbone="pixels")
    assert set(after.items.ids) < set(before.items.ids)
    row = after.items.ids.index("test-00001.tar/0/10.jpg")
    assert after.items.column("bytes")[row] == len(PNG)


# Which file a path leads into.


def test_a_folder_called_like_a_shard_is_a_folder(tmp_path):
    (tmp_path / "x.tar").mkdir()
    (tmp_path / "x.tar/1.png").write_bytes(PNG)
    assert read_source(tmp_path / "x.tar").ids == ["1.png"]
    assert read_bytes(tmp_path / "x.tar/1.png") == PNG
    fsspec.filesystem("memory").pipe(f"/{tmp_path.name}/x.tar/1.png", PNG)
    assert read_source(f"memory://{tmp_path.name}/x.tar").ids == ["1.png"]
    assert read_bytes(Path(f"memory://{tmp_path.name}/x.tar/1.png")) == PNG
    (tmp_path / "note.txt").write_text("x")
    with pytest.raises(UnreadableImageError, match="Not a directory"):
        read_bytes(tmp_path / "note.txt/1.png")


def test_names_are_exact(tmp_path):
    shard = tar(tmp_path / "x.TAR", [("./a//b.png", PNG), ("y.tar/c.png", PNG), ("d e.png", PNG)])
    items = read_source(shard)
    assert items.ids == ["x.TAR/a/b.png", "x.TAR/y.tar/c.png", "x.TAR/d e.png"]
    assert {read_bytes(items.path(one)) for one in items.ids} == {PNG}
    assert shard_above(items.path(items.ids[1])) == shard
    hugging_face(tmp_path / "p")
    for name in ("0", "1", "000000", "000007", "0000001", "+00001", "²", "x", "000001/x"):
        with pytest.raises(UnreadableImageError, match="not in"):
            read_bytes(tmp_path / "p/train-0-of-2.parquet" / name)
    for name in ("b.png", "a", "a/b.PNG", "../x.TAR/a/b.png"):
        with pytest.raises(UnreadableImageError):
            read_bytes(shard / name)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_rows_of_a_table_are_found_in_any_order(tmp_path, groups, monkeypatch):
    monkeypatch.setattr(tables, "BATCH", 2)
    hugging_face(tmp_path, row_group_size=6 // groups)
    shard = tmp_path / "train-0-of-2.parquet"
    for number in (6, 1, 2, 5, 5, 3, 6, 4, 1):
        assert read_bytes(shard / tables.name_of(number)) == PICTURES[number - 1]


# Hostile and damaged shards.


def special(kind, name="b.png"):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "a.png"
    return member


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_are_listed_and_never_followed(tmp_path, kind):
    items = read_source(tar(tmp_path / "x.tar", [("a.png", PNG), (special(kind), b"")]))
    assert items.ids == ["x.tar/a.png"]
    (one,) = items.unreadable
    assert one.id == "x.tar/b"
    assert "link" in one.reason or "regular" in one.reason
    with pytest.raises(UnreadableImageError, match=r"not in x\.tar"):
        read_bytes(tmp_path / "x.tar/b.png")


@pytest.mark.parametrize("name", ["/etc/x.png", "../x.png", "a/../../x.png"])
def test_names_that_lead_out_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="no name of a sample"):
        read_source(tar(tmp_path / "x.tar", [(name, PNG)]))


def test_a_name_that_occurs_twice_is_refused(tmp_path):
    shard = tar(tmp_path / "x.tar", [("a.png", PNG), ("b.png", PNG), ("./a.png", PICTURES[0])])
    with pytest.raises(InputError, match=r"'a\.png' twice"):
        read_source(shard)
    assert unpack(shard, tmp_path / "out").pictures == 3


def test_a_picture_of_any_size_costs_no_more_than_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("embedkit.images.files.MAX_BYTES", 1000)
    shard = tar(tmp_path / "x.tar", [("a.png", b"\0" * 10_000), ("b.png", PNG)])
    with pytest.raises(UnreadableImageError, match="too large"):
        read_bytes(shard / "a.png")
    parquet.write_table(pa.table({"image": [b"\0" * 10_000, PNG]}), tmp_path / "x.parquet")
    with pytest.raises(UnreadableImageError, match="too large"):
        read_bytes(tmp_path / "x.parquet/000001")


def test_what_is_no_picture_is_listed_with_the_reason(tmp_path):
    files = [("a.png", b""), ("b.png", b"no picture"), ("c.cls", b"1"), ("d.png", PNG)]
    store = embed(tar(tmp_path / "x.tar", files), tmp_path / "t", backbone="pixels", max_errors=9)
    assert store.items.ids == ["x.tar/d.png"]
    assert [one.id for one in store.unreadable] == ["x.tar/a.png", "x.tar/b.png", "x.tar/c"]
    parquet.write_table(pa.table({"image": [None, PNG, b""]}), tmp_path / "x.parquet")
    store = embed(tmp_path / "x.parquet", tmp_path / "p", backbone="pixels", max_errors=9)
    assert store.items.ids == ["x.parquet/000002"]
    assert {one.reason for one in store.unreadable} == {"no picture in this row"}


def damaged(data, kind):
    header = 512 + -(-len(PNG) // 512) * 512  # of the second member
    match kind:
        case "cut in a picture":
            return data[: header + 600]
        case "cut in a header":
            return data[: header + 100]
        case "header overwritten":
            return data[:header] + b"x" * 512 + data[header + 512 :]
        case "size below nothing":
            member = bytearray(data[header : header + 512])
            member[124:136] = b"\xff" * 4 + struct.pack(">q", -1024)
            member[148:156] = b" " * 8
            member[148:156] = b"%06o\0 " % sum(member)
            return data[:header] + bytes(member) + data[header + 512 :]
        case "compressed":
            import gzip

            return gzip.compress(data)
    return b"no archive"


@pytest.mark.parametrize(
    "kind",
    [
        "cut in a picture",
        "cut in a header",
        "header overwritten",
        "size below nothing",
        "compressed",
        "no archive",
    ],
)
def test_a_damaged_tar_file_is_refused_whole(tmp_path, kind):
    shard = tar(tmp_path / "x.tar", [("a.png", PNG), ("b.png", PNG), ("c.png", PNG)])
    shard.write_bytes(damaged(shard.read_bytes(), kind))
    with pytest.raises(InputError, match=r"x\.tar cannot be read: "):
        read_source(shard)
    with pytest.raises(UnreadableImageError, match=r"x\.tar cannot be read: "):
        read_bytes(shard / "a.png")


def test_a_damaged_parquet_file_is_one_clear_line(tmp_path, capsys):
    (tmp_path / "x.parquet").write_bytes(b"no table")
    assert main(["embed", str(tmp_path / "x.parquet"), "--backbone", "pixels"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(UnreadableImageError, match="cannot be read"):
        read_bytes(tmp_path / "x.parquet/000001")
    parquet.write_table(pa.table({"age": [1]}), tmp_path / "words.parquet")
    (tmp_path / "d").mkdir()
    (tmp_path / "words.parquet").rename(tmp_path / "d/words.parquet")
    with pytest.raises(InputError, match="no column of pictures"):
        read_source(tmp_path / "d")


@pytest.mark.parametrize("option", ["layout", "root"])
def test_options_for_other_sources_are_refused(tmp_path, option):
    shards = web_dataset(tmp_path / "s")
    with pytest.raises(InputError, match=f"--{option}"):
        read_source(shards / "train-00000.tar", **{option: Path("class")})


# What is kept of a shard.


def test_headers_are_read_once_and_again_when_the_file_is_another(tmp_path, monkeypatch):
    read = []
    real = tars.members
    monkeypatch.setattr(tars, "members", lambda shard: read.append(shard) or real(shard))
    shard = tar(tmp_path / "x.tar", [("a.png", PNG), ("b.png", PICTURES[0])])
    for _ in range(3):
        assert [read_bytes(shard / n) for n in ("b.png", "a.png")] == [PICTURES[0], PNG]
    assert read == [shard]
    tar(shard, [("a.png", PICTURES[2]), ("c.png", PNG), ("d.png", PNG), ("e.png", PNG)] * 5)
    assert read_bytes(shard / "a.png") == PICTURES[2]
    assert read == [shard, shard]


def test_no_more_than_the_last_shards_are_kept(tmp_path):
    shards = [tar(tmp_path / f"{n}.tar", [("a.png", PICTURES[n])]) for n in range(3)]
    kept = tars.Kept(2)
    made = []
    for n in (0, 1, 0, 2, 0, 1):
        kept.get(tars.key_of(shards[n]), lambda shard: made.append(shard.name))
    assert made == ["0.tar", "1.tar", "2.tar", "1.tar"]
