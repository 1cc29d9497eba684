"""Exports of a store, each read again by the rules of the tool that it is for."""

import base64
import csv
import io
import json
import os
import re
import resource
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from embedkit_cli import main
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from helpers import noise, saved, tree
from PIL import Image
from pyarrow import parquet

import embedkit as ek
from embedkit import exports
from embedkit.audits import Audit
from embedkit.audits.kept import keep
from embedkit.errors import InputError, OutputError
from embedkit.exports import atlas, fiftyone, fiftyone_fields, projector
from embedkit.exports.places import write_record
from embedkit.pipeline import embed
from embedkit.store import Space

ROOT = Path(__file__).resolve().parents[1]
TARGETS = ("parquet", "npy", "fiftyone", "atlas", "projector")
FOLDERS = ("npy", "fiftyone", "projector")
HOSTILE = (
    "<img src=x onerror=alert(1)>.png",
    "\"';--.png",
    "\u202egnp.exe.png",
    "new\nline.png",
    "a\ttab.png",
    "back\\slash.png",
    "plain.png",
    "=cmd().png",
    "日本.png",
)


@dataclass
class Made:
    """A finding that is made up; what an audit's looks like is in its schema."""

    name: str
    found: dict

    def to_dict(self):
        return {
            "name": self.name,
            "verdict": "present",
            "not_run_reason": None,
            "details": self.found,
        }


@pytest.fixture(scope="module")
def findings(clean):
    """Return details of findings in the form that the schema describes."""
    ids = sorted(clean.kind)
    pairs = [("exact", 1, 2, True), ("near", 2, 3, False), ("near", 50, 60, False)]
    keys = ("a", "b", "kind", "score", "across_splits")
    doubted = zip(ids[3:60:19], ("good", "bad"), (0.02, None), strict=False)
    return {
        "twins": {
            "pairs": [
                dict(zip(keys, (ids[a], ids[b], kind, 1.0, across), strict=True))
                for kind, a, b, across in pairs
            ],
            "clusters": [
                {"images": [ids[n] for n in rows], "keep": ids[rows[0]], "reason": "the first"}
                for rows in ((1, 2, 3), (50, 60))
            ],
        },
        "labels": {
            "issues": [
                {
                    "id": id_,
                    "given": "x",
                    "suggested": other,
                    "score": score,
                    "reason": "its copy is a tab\tand says so",
                    "split": "train",
                    "by": ["head"],
                    "other": None,
                }
                for id_, other, score in doubted
            ]
        },
        "quality": {
            "flagged": [
                {
                    "id": id_,
                    "label": "x",
                    "split": "train",
                    "faults": [fault(one) for one in checks],
                }
                for id_, checks in (
                    (ids[9], ("dark", "blurred")),
                    (ids[10], ("blurred",)),
                    ("gone.jpg", ("unreadable",)),
                )
            ]
        },
    }


def fault(check):
    return {"check": check, "value": None, "threshold": None, "words": check}


@pytest.fixture(scope="module")
def audited(clean, findings, tmp_path_factory):
    """Return a store with the findings of an audit in it."""
    store = embed(clean.folder, tmp_path_factory.mktemp("audited") / "store", backbone="pixels")
    settings = {"label": "label", "backbone": "pixels"}
    keep(Audit(store, tuple(Made(*one) for one in findings.items()), settings))
    return store


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Return a store of files, classes and attributes with names that break tables."""
    folder = tmp_path_factory.mktemp("hostile")
    lines = [
        ("file", "label", "split", "remark", "vector", "path2", "projection_x", "_a.b$", "age")
    ]
    for number, name in enumerate(HOSTILE):
        (folder / name).write_bytes(saved(noise(number), "PNG"))
        label = ("tab\there", "new\nline\u2028", '<b>"&')[number % 3]
        split = "train" if number % 2 else "test"
        remark = ("\r\n", "", " \t ", '"quoted"')[number % 4]
        lines.append((name, label, split, remark, "v", "=1+1", "left", "x", str(number)))
    with (folder / "t.csv").open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows(lines)
    return embed(folder / "t.csv", folder / "store", backbone="pixels")


@pytest.fixture(scope="module")
def not_unicode(tmp_path_factory):
    """Return a store with a file whose name is no Unicode."""
    folder = tmp_path_factory.mktemp("names") / "faces/x"
    folder.mkdir(parents=True)
    for number, name in enumerate((b"caf\xe9.png", b"a.png", b"b.png", b"c.png", b"d.png")):
        (folder / os.fsdecode(name)).write_bytes(saved(noise(number), "PNG"))
    return embed(folder.parent, folder.parent.parent / "store", backbone="pixels", layout="class")


def export(store, path, to, **more):
    return ek.export(store, path, to=to, backbone="pixels", **more)


def column(table, name):
    return table.column(name).to_pylist()


# Parquet.


def test_a_table_holds_each_image_with_its_vector(audited, tmp_path):
    made = export(audited, tmp_path / "t", "parquet")
    (path,) = made.paths
    space = audited.space("pixels")
    table = parquet.read_table(path)
    assert column(table, "id") == audited.items.ids
    assert column(table, "label") == audited.items.labels
    assert column(table, "split") == audited.items.splits
    assert table.schema.field("vector").type == pa.list_(pa.float32(), space.record.dimension)
    vectors = np.stack(column(table, "vector")).astype(np.float32)
    assert np.array_equal(vectors, space.vectors)
    assert all(Path(one).is_file() for one in column(table, "path"))
    sharpness = [one["sharpness"] for one in audited.items.column("nuisance")]
    assert column(table, "nuisance.sharpness") == sharpness
    assert parquet.ParquetFile(path).num_row_groups == len(space.record.shards)
    facts = json.loads(table.schema.metadata[b"embedkit"])
    assert (facts["backbone"], facts["contract_sha256"]) == ("pixels", space.contract_sha256)
    frame = pd.read_parquet(path)
    assert np.array_equal(np.stack(frame["vector"]), space.vectors)
    assert frame["label"].tolist() == audited.items.labels


def test_a_table_is_written_a_shard_at_a_time(audited, tmp_path, monkeypatch):
    """So that its memory does not grow with the store."""

    def never(self):
        raise AssertionError("all vectors at once")

    monkeypatch.setattr(Space, "vectors", property(never))
    for to in ("parquet", "npy", "fiftyone"):
        export(audited, tmp_path / to, to)


def test_what_the_audit_found_goes_along(audited, findings, tmp_path):
    made = export(audited, tmp_path / "t", "parquet")
    frame = pd.read_parquet(made.paths[0]).set_index("id")
    clusters = findings["twins"]["clusters"]
    assert clusters
    for number, one in enumerate(clusters):
        assert set(frame.index[frame["twin_cluster"] == number]) == set(one["images"])
    across = {
        id_
        for one in findings["twins"]["pairs"]
        if one["across_splits"]
        for id_ in (one["a"], one["b"])
    }
    exact = {
        id_
        for one in findings["twins"]["pairs"]
        if one["kind"] == "exact"
        for id_ in (one["a"], one["b"])
    }
    assert set(frame.index[frame["twin_across_splits"].eq(True)]) == across
    assert set(frame.index[frame["twin_kind"] == "exact"]) == exact
    assert frame["twin_cluster"].notna().sum() == sum(len(one["images"]) for one in clusters)
    issues = {one["id"]: one for one in findings["labels"]["issues"]}
    assert issues
    assert set(frame.index[frame["label_suggested"].notna()]) == set(issues)
    for id_, one in issues.items():
        assert frame.loc[id_, "label_suggested"] == one["suggested"]
        assert frame.loc[id_, "label_reason"] == one["reason"]
        score = frame.loc[id_, "label_score"]
        assert np.isnan(score) if one["score"] is None else score == one["score"]
    flags = {
        one["id"]: "; ".join(fault["check"] for fault in one["faults"])
        for one in findings["quality"]["flagged"]
        if one["id"] in frame.index
    }
    assert frame["quality_flags"].dropna().to_dict() == flags


@pytest.mark.parametrize(
    ("name", "part"),
    [("twins", "pairs"), ("twins", "clusters"), ("labels", "issues"), ("quality", "flagged")],
)
def test_findings_are_read_in_the_form_that_their_schema_describes(findings, name, part):
    schema = json.loads((ROOT / "docs/audit.schema.json").read_bytes())
    form = {"$defs": schema["$defs"], **schema["$defs"][name]["properties"][part]}
    jsonschema.validate(findings[name][part], form)


def test_without_an_audit_there_are_no_such_columns_and_it_is_said(hostile, tmp_path):
    made = export(hostile, tmp_path / "t", "parquet")
    names = parquet.read_schema(made.paths[0]).names
    assert not [one for one in names if one.startswith(("twin_", "label_", "quality_"))]
    assert any("'embedkit audit" in note for note in made.notes)


def test_what_an_audit_of_another_label_found_stays_out(audited, tmp_path):
    made = export(audited, tmp_path / "t", "parquet", label="split")
    assert "twin_cluster" not in parquet.read_schema(made.paths[0]).names
    assert any("--label split" in note for note in made.notes)


def test_columns_of_the_data_set_keep_their_content_under_another_name(hostile, tmp_path):
    made = export(hostile, tmp_path / "t", "parquet")
    table = parquet.read_table(made.paths[0])
    assert set(column(table, "vector (given)")) == {"v"}
    assert column(table, "remark") == hostile.items.column("remark")
    assert sorted(Path(one).name for one in column(table, "path")) == sorted(HOSTILE)


def test_a_path_that_is_no_unicode_is_left_empty_and_it_is_said(not_unicode, tmp_path):
    made = export(not_unicode, tmp_path / "t", "parquet")
    table = parquet.read_table(made.paths[0])
    assert column(table, "path").count(None) == 1
    assert "1 paths are no Unicode" in " ".join(made.notes)
    for to in ("npy", "atlas", "projector"):
        assert export(not_unicode, tmp_path / to, to).n == 5
    made = export(not_unicode, tmp_path / "f", "fiftyone")
    assert made.n == len(read_fiftyone(tmp_path / "f")[1]) == 4
    assert "1 images are left out" in made.notes[0]


# NumPy.


def test_arrays_are_read_by_numpy_and_their_items_by_pandas(audited, tmp_path):
    export(audited, tmp_path / "a", "npy")
    vectors = np.load(tmp_path / "a/vectors.npy", mmap_mode="r", allow_pickle=False)
    assert vectors.dtype == np.dtype("<f4")
    assert np.array_equal(vectors, audited.space("pixels").vectors)
    items = pd.read_csv(tmp_path / "a/items.csv")
    assert items["id"].tolist() == audited.items.ids
    assert items["label"].tolist() == audited.items.labels
    assert "twin_cluster" in items


def test_a_table_of_text_keeps_its_rows_whatever_the_names(hostile, tmp_path):
    export(hostile, tmp_path / "a", "npy")
    with (tmp_path / "a/items.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["id"] for row in rows] == hostile.items.ids
    assert [row["label"] for row in rows] == hostile.items.labels
    assert [row["remark"] for row in rows] == [one or "" for one in hostile.items.column("remark")]


# FiftyOne: the rules of `FiftyOneDatasetImporter` and of MongoDB's extended JSON.


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


def read_fiftyone(folder):
    """Return the documents as FiftyOne's importer reads them."""
    description = json.loads((folder / "metadata.json").read_bytes(), parse_constant=refuse)
    text = (folder / "samples.json").read_text("utf-8")
    # It takes the list apart itself, without white space before the key.
    assert text.startswith('{"samples": [')
    return description, json.loads(text, parse_constant=refuse)["samples"]


def vector_of(document):
    assert document["$binary"]["subType"] == "00"
    packed = base64.b64decode(document["$binary"]["base64"], validate=True)
    return np.load(io.BytesIO(zlib.decompress(packed)), allow_pickle=False)


OF_TYPE = {
    "StringField": str,
    "IntField": int,
    "FloatField": (float, int),
    "BooleanField": bool,
    "ListField": list,
    "VectorField": dict,
    "EmbeddedDocumentField": dict,
}


@pytest.mark.parametrize("which", ["audited", "hostile"])
def test_every_field_of_a_fiftyone_sample_is_described_and_of_its_type(which, request, tmp_path):
    store = request.getfixturevalue(which)
    export(store, tmp_path / "f", "fiftyone")
    description, samples = read_fiftyone(tmp_path / "f")
    assert description["media_type"] == "image"
    assert re.fullmatch(r"\d+\.\d+\.\d+", description["version"])
    fields = {one["name"]: one for one in description["sample_fields"]}
    assert len(fields) == len(description["sample_fields"])
    made_by_it = {"id", "_dataset_id", "created_at", "last_modified_at"}
    seen = set()
    for sample in samples:
        assert set(sample) == set(fields) - made_by_it | {"_id"}
        assert re.fullmatch("[0-9a-f]{24}", sample["_id"]["$oid"])
        seen.add(sample["_id"]["$oid"])
        assert 0 <= sample["_rand"] < 1
        for name, value in sample.items():
            if name == "_id" or value is None:
                continue
            kind = fields[name]["ftype"].removeprefix("fiftyone.core.fields.")
            assert isinstance(value, OF_TYPE[kind]), name
            assert kind != "IntField" or not isinstance(value, bool)
            if kind == "EmbeddedDocumentField":
                inner = {one["db_field"] for one in fields[name]["fields"]}
                assert set(value) - {"_cls"} <= inner
                assert fields[name]["embedded_doc_type"].endswith(f".{value['_cls']}")
    assert len(seen) == len(samples)
    for name in set(fields) - {"_media_type", "_rand", "_dataset_id"}:
        assert not name.startswith("_")
        assert not set(name) & set(".$")


def test_fiftyone_gets_classes_tags_paths_and_vectors(audited, findings, tmp_path):
    made = export(audited, tmp_path / "f", "fiftyone")
    _, samples = read_fiftyone(tmp_path / "f")
    assert [one["ground_truth"]["label"] for one in samples] == audited.items.labels
    vectors = np.stack([vector_of(one["embedding"]) for one in samples])
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, audited.space("pixels").vectors)
    rel_dir = re.search(r'rel_dir="(.+?)"', made.opens)[1]
    issues = {one["id"]: one["suggested"] for one in findings["labels"]["issues"]}
    copies = {id_ for one in findings["twins"]["clusters"] for id_ in one["images"]}
    flagged = {one["id"]: one["faults"] for one in findings["quality"]["flagged"]}
    for id_, split, sample in zip(audited.items.ids, audited.items.splits, samples, strict=True):
        path = Path(rel_dir) / sample["filepath"]
        assert path == audited.items.path(id_).absolute()
        with Image.open(path) as image:
            size = (sample["metadata"]["width"], sample["metadata"]["height"])
            assert image.size == size
        tags = sample["tags"]
        assert tags[0] == split
        assert (id_ in copies) == bool({"copy", "copy in another split"} & set(tags))
        assert (id_ in issues) == ("label in doubt" in tags)
        if id_ in issues:
            assert sample["suggested_label"]["label"] == issues[id_]
        for fault in flagged.get(id_, []):
            assert fault["check"] in tags


def test_fiftyone_finds_files_with_hostile_names(hostile, tmp_path):
    export(hostile, tmp_path / "f", "fiftyone")
    _, samples = read_fiftyone(tmp_path / "f")
    assert {one["filepath"] for one in samples} == set(HOSTILE)


# Embedding Atlas: `load_pandas_data` and the columns that its command line asks for.


def test_the_atlas_has_places_neighbours_and_pictures(audited, tmp_path):
    made = export(audited, tmp_path / "a", "atlas")
    (path,) = made.paths
    frame = pd.read_parquet(path)
    named = dict(zip(made.opens.split()[2::2], made.opens.split()[3::2], strict=True))
    assert str(path) == made.opens.split()[1]
    x, y = frame[named["--x"]].to_numpy(), frame[named["--y"]].to_numpy()
    assert np.isfinite(x).all()
    assert np.isfinite(y).all()
    assert len(set(zip(x, y, strict=True))) > 0.9 * len(frame)
    vectors = audited.space("pixels").vectors.astype(np.float64)
    distances = 1 - vectors @ vectors.T
    for row, near in enumerate(frame[named["--neighbors"]]):
        assert near["ids"][0] == row
        assert (np.diff(near["distances"]) >= -1e-6).all()
        others = np.sort(np.delete(distances[row], row))[: len(near["ids"]) - 1]
        assert near["distances"][1:] == pytest.approx(others, abs=1e-5)
        assert near["distances"] == pytest.approx(distances[row][near["ids"]], abs=1e-5)
    for picture, id_ in zip(frame[named["--image"]][:5], audited.items.ids, strict=False):
        with Image.open(io.BytesIO(picture["bytes"])) as small:
            assert small.format == "JPEG"
            assert max(small.size) <= atlas.SIDE
            with Image.open(audited.items.path(id_)) as whole:
                whole = np.asarray(whole.convert("RGB").resize(small.size), float)
            assert np.abs(np.asarray(small, float) - whole).mean() < 12
    assert "vector" not in frame
    assert frame["id"].tolist() == audited.items.ids


def test_the_atlas_is_the_same_file_twice_and_has_no_pictures_if_not_asked(audited, tmp_path):
    one, two = (export(audited, tmp_path / name, "atlas").paths[0] for name in "ab")
    assert one.read_bytes() == two.read_bytes()
    made = export(audited, tmp_path / "c", "atlas", images=False)
    assert "image" not in pd.read_parquet(made.paths[0])
    assert "--image" not in made.opens


def test_an_atlas_of_too_few_images_says_so(tmp_path):
    for number in range(3):
        (tmp_path / "f/x").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"f/x/{number}.png").write_bytes(saved(noise(number), "PNG"))
    store = embed(tmp_path / "f", tmp_path / "store", backbone="pixels", layout="class")
    with pytest.raises(InputError, match="holds 3 images; a layout needs 4"):
        export(store, tmp_path / "a", "atlas")


# TensorBoard's projector: `projector_plugin.py` and the page's own limits.


def projector_config(text):
    """Parse the text as the message of TensorBoard's `projector_config.proto`."""
    file = descriptor_pb2.FileDescriptorProto(name="projector_config.proto", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto

    def message(name, *fields):
        made = file.message_type.add(name=name)
        for number, (field, kind, repeated) in enumerate(fields, 1):
            one = made.field.add(name=field, number=number)
            one.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            one.type = kinds.TYPE_MESSAGE if isinstance(kind, str) else kind
            if isinstance(kind, str):
                one.type_name = kind

    text_type = kinds.TYPE_STRING
    message(
        "SpriteMetadata",
        ("image_path", text_type, False),
        ("single_image_dim", kinds.TYPE_UINT32, True),
    )
    message(
        "EmbeddingInfo",
        ("tensor_name", text_type, False),
        ("metadata_path", text_type, False),
        ("bookmarks_path", text_type, False),
        ("tensor_shape", kinds.TYPE_UINT32, True),
        ("sprite", "SpriteMetadata", False),
        ("tensor_path", text_type, False),
    )
    message(
        "ProjectorConfig",
        ("model_checkpoint_path", text_type, False),
        ("embeddings", "EmbeddingInfo", True),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName("ProjectorConfig"))
    return text_format.Parse(text, kind())


def read_projector(folder):
    """Return configuration, vectors, and rows of metadata as TensorBoard and its page read them."""
    config = projector_config((folder / "projector_config.pbtxt").read_text())
    (embedding,) = config.embeddings
    lines = (folder / embedding.tensor_path).read_text().splitlines()
    vectors = np.array([[float(x) for x in line.split("\t")] for line in lines], np.float32)
    assert list(embedding.tensor_shape) == list(vectors.shape)
    text = (folder / embedding.metadata_path).read_text("utf-8")
    header, *rows = [line.split("\t") for line in text.split("\n") if line.strip()]
    assert len(header) > 1  # one column alone would have no header
    assert {len(row) for row in rows} == {len(header)}
    return embedding, vectors, [dict(zip(header, row, strict=True)) for row in rows]


def test_the_projector_gets_vectors_metadata_and_a_sprite(audited, tmp_path):
    export(audited, tmp_path / "p", "projector")
    embedding, vectors, rows = read_projector(tmp_path / "p")
    assert np.array_equal(vectors, audited.space("pixels").vectors)
    assert [row["id"] for row in rows] == audited.items.ids
    assert next(iter(rows[0])) == "label"
    assert [row["label"] for row in rows] == audited.items.labels
    width, height = embedding.sprite.single_image_dim
    with Image.open(tmp_path / "p" / embedding.sprite.image_path) as sprite:
        sprite = np.asarray(sprite.convert("RGB"), float)
    columns = sprite.shape[1] // width
    for row in (0, columns, len(rows) - 1):
        y, x = row // columns * height, row % columns * width
        cell = sprite[y : y + height, x : x + width]
        with Image.open(audited.items.path(rows[row]["id"])) as picture:
            whole = np.asarray(picture.convert("RGB").resize((width, height)), float)
        assert np.abs(cell - whole).mean() < 12


def test_no_name_adds_a_row_or_a_cell_to_the_projector(hostile, tmp_path):
    export(hostile, tmp_path / "p", "projector")
    _, vectors, rows = read_projector(tmp_path / "p")
    assert len(rows) == len(vectors) == len(HOSTILE)
    assert {row["label"] for row in rows} == {"tab here", "new line", '<b>"&'}
    # Python, too, must see as many lines as there are images.
    assert len((tmp_path / "p/metadata.tsv").read_text().splitlines()) == len(HOSTILE) + 1


def test_a_sprite_is_never_wider_than_the_projector_takes(audited, tmp_path, monkeypatch):
    monkeypatch.setattr(projector, "WIDEST", 200)
    export(audited, tmp_path / "p", "projector")
    embedding, _, rows = read_projector(tmp_path / "p")
    with Image.open(tmp_path / "p/sprite.png") as sprite:
        assert max(sprite.size) <= 200
        side = embedding.sprite.single_image_dim[0]
        assert (sprite.width // side) * (sprite.height // side) >= len(rows)


@pytest.mark.parametrize(("to", "module"), [("projector", projector), ("atlas", atlas)])
def test_of_more_images_than_the_tool_shows_some_are_drawn_and_it_is_said(
    audited, tmp_path, monkeypatch, to, module
):
    monkeypatch.setattr(module, "MOST", 50)
    made = export(audited, tmp_path / "p", to, seed=3)
    assert made.n == 50
    assert "50 of " in made.notes[0]
    if to == "atlas":
        ids = pd.read_parquet(made.paths[0])["id"].tolist()
        assert max(pd.read_parquet(made.paths[0])["neighbors"].map(lambda n: max(n["ids"]))) < 50
    else:
        _, vectors, rows = read_projector(tmp_path / "p")
        ids = [row["id"] for row in rows]
        places = [audited.items.ids.index(id_) for id_ in ids]
        assert np.array_equal(vectors, audited.space("pixels").vectors[places])
    assert ids == sorted(set(ids), key=audited.items.ids.index)
    splits = {audited.items.splits[audited.items.ids.index(id_)] for id_ in ids}
    assert splits == set(audited.items.splits)


@pytest.mark.parametrize("to", ["projector", "atlas"])
def test_pictures_that_are_gone_are_counted(hostile, tmp_path, to):
    folder = shutil.copytree(hostile.items.root, tmp_path / "copy")
    store = embed(folder / "t.csv", tmp_path / "own", backbone="pixels")
    (folder / "plain.png").unlink()
    made = export(store, tmp_path / "out", to)
    assert "1 pictures are not there or damaged" in " ".join(made.notes)


# Where it goes.


@pytest.mark.parametrize("to", TARGETS)
def test_an_export_replaces_one_of_its_kind_and_nothing_else(audited, tmp_path, to):
    first = export(audited, tmp_path / "out", to, images=False)
    before = tree(tmp_path)
    assert export(audited, tmp_path / "out", to, images=False).paths == first.paths
    assert tree(tmp_path) == before
    target = first.paths[0] if to not in FOLDERS else tmp_path / "out"
    for other in TARGETS:
        if other != to and (other in FOLDERS) == (to in FOLDERS):
            with pytest.raises(InputError, match="no export of this kind"):
                export(audited, target, other)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("to", TARGETS)
def test_files_of_others_are_left_alone(audited, tmp_path, to):
    if to in FOLDERS:
        (tmp_path / "out").mkdir()
        (tmp_path / "out/mine.txt").write_text("mine")
    else:
        (tmp_path / "out.parquet").write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(InputError, match="is there already"):
        export(audited, tmp_path / "out", to)
    assert tree(tmp_path) == before
    if to in FOLDERS:
        (tmp_path / "file").write_text("mine")
        with pytest.raises(InputError, match="is there already"):
            export(audited, tmp_path / "file", to)
        with pytest.raises(InputError, match="is there already"):
            export(audited, audited.path, to)


@pytest.mark.parametrize("to", FOLDERS)
def test_a_folder_to_which_something_was_added_is_left_alone(audited, tmp_path, to):
    (tmp_path / "out").mkdir()
    export(audited, tmp_path / "out", to, images=False)  # an empty folder may be taken
    (tmp_path / "out/notes.txt").write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(InputError, match="is there already"):
        export(audited, tmp_path / "out", to)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("to", TARGETS)
def test_a_full_disk_is_one_line_and_leaves_what_was_there(audited, tmp_path, to):
    export(audited, tmp_path / "out", to, images=False)
    before = tree(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OutputError, match="cannot be written: File too large"):
            export(audited, tmp_path / "out", to, images=False)
        with pytest.raises(OutputError, match="cannot be written: File too large"):
            export(audited, tmp_path / "new", to, images=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert tree(tmp_path) == before
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(
        {Path(name).parts[0] for name in before}
    )


@pytest.mark.parametrize("to", ["parquet", "npy"])
def test_an_interruption_leaves_nothing(audited, tmp_path, to, monkeypatch):
    shards = Space.shards

    def interrupted(self):
        yield from shards(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(Space, "shards", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(audited, tmp_path / "out", to)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_removed_and_never_looked_whole(audited, tmp_path):
    (tmp_path / ".out.tmp").mkdir()
    write_record(tmp_path / ".out.tmp", {"kind": "npy"})
    (tmp_path / ".out.tmp/vectors.npy").write_bytes(b"half")
    export(audited, tmp_path / "out", "npy")
    assert [one.name for one in tmp_path.iterdir()] == ["out"]
    (tmp_path / "out").rename(tmp_path / ".out.old")  # killed between its two renames
    export(audited, tmp_path / "out", "npy")
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("end", ["tmp", "old"])
def test_what_is_not_ours_is_never_removed(audited, tmp_path, end):
    other = tmp_path / f".out.{end}"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="no export of this kind"):
        export(audited, tmp_path / "out", "npy")
    assert (other / "thesis.txt").read_text() == "mine"


def test_no_link_leads_an_export_elsewhere(audited, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / ".x.parquet.tmp").symlink_to(victim)
    export(audited, tmp_path / "x", "parquet")
    assert victim.read_text() == "mine"
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(InputError, match="there already"):
        export(audited, tmp_path / "link", "npy")
    for nothing in ("", ".", ".."):
        for to in ("npy", "parquet"):
            with pytest.raises(InputError, match="names nothing"):
                export(audited, nothing, to)


# The command.


@pytest.fixture
def run(capsys):
    def call(*arguments):
        status = main([str(one) for one in arguments])
        out = capsys.readouterr()
        return status, out.out, out.err

    return call


@pytest.mark.parametrize("to", TARGETS)
def test_the_command_says_what_it_wrote_and_that_it_is_personal(run, audited, tmp_path, to):
    arguments = ["export", audited.path, "--to", to, "-o", tmp_path / "out", "-b", "pixels"]
    status, out, _ = run(*arguments)
    assert status == 0
    assert "open it with:" in out
    assert "personal data" in out
    status, out, _ = run(*arguments, "--json")
    one = json.loads(out)
    assert (status, one["schema"], one["kind"]) == (0, "embedkit.export/1", to)
    assert one["n"] == len(audited.items)
    assert one["bytes"] == sum(Path(path).stat().st_size for path in one["paths"])
    assert one["contract_sha256"] == audited.space("pixels").contract_sha256


@pytest.mark.parametrize(
    ("what", "more", "message"),
    [
        ("{store}", ["--to", "csv", "-o", "x"], "known are parquet, npy, fiftyone"),
        ("{store}", ["--to", "onnx", "-o", "x"], "onnx takes a head, not a store"),
        ("{head}", ["--to", "npy", "-o", "x"], "npy takes a store, not a head"),
        ("{store}", ["--to", "npy"], "Missing option '--output'"),
        ("{store}", ["-o", "x"], "Missing option '--to'"),
        ("{store}", ["--to", "npy", "-o", "x", "-b", "clip"], "holds no space 'clip'"),
        ("{two}", ["--to", "npy", "-o", "x"], "name one with --backbone"),
        ("{store}", ["--to", "npy", "-o", "x", "-b", "pixels", "--label", "y"], "no column 'y'"),
        ("nowhere", ["--to", "npy", "-o", "x"], "does not exist"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    run, audited, planted_store, tmp_path, monkeypatch, what, more, message
):
    from embedkit.heads.training import fit

    head = fit(audited, backbone="pixels").save(tmp_path / "head")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    what = what.format(store=audited.path, head=head, two=planted_store.path)
    status, _, err = run("export", what, *more)
    assert status == 2
    assert message in err
    assert "Traceback" not in err
    assert list((tmp_path / "here").iterdir()) == []


def test_all_targets_are_tested():
    assert (*TARGETS, "onnx") == exports.KINDS
    assert fiftyone.TRUTH in fiftyone_fields.TAKEN
