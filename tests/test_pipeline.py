"""Embedding: what is in the store afterwards, and what a second run does."""

import json
import os
import shutil
import time

import numpy as np
import pyarrow.parquet as parquet
import pytest
from helpers import make, make_different, saved, tree
from PIL import Image

from embedkit.backbones import embed_pictures, load_backbone
from embedkit.errors import (
    EmbedkitError,
    InputError,
    SpaceMismatchError,
    StoreError,
    TooManyUnreadableError,
)
from embedkit.images import decode
from embedkit.pipeline import blocks, default_store, embed, passes, spaces, store_of
from embedkit.store import Store

NAMES = [
    f"{split}/{c}/{n}.png" for split in ("train", "test") for c in ("x", "y") for n in range(5)
]


@pytest.fixture
def source(tmp_path):
    return make_different(tmp_path / "faces", *NAMES)


def stop_after_eight(progress):
    if progress.safe >= 8:
        raise KeyboardInterrupt


def embed_pixels(source, store, **options):
    return embed(source, store, backbone="pixels", **options)


def expected(store, name="pixels"):
    backbone = load_backbone(name)
    pictures = [decode(store.items.path(id_).read_bytes()).pixels for id_ in store.items.ids]
    return embed_pictures(backbone, pictures)


def test_every_image_has_its_own_vector(source, tmp_path):
    store = embed(source, tmp_path / "store", backbone=["mtcnn", "pixels"], block=7)
    assert store.items.ids == sorted(NAMES)
    for name in ("mtcnn", "pixels"):
        assert np.array_equal(store.space(name).vectors, expected(store, name))


def test_a_store_can_be_read_without_embedkit(source, tmp_path):
    embed_pixels(source, tmp_path / "store", block=6)
    record = json.loads((tmp_path / "store/pixels/space.json").read_text())
    rows = np.concatenate(
        [np.load(tmp_path / "store/pixels" / shard["file"]) for shard in record["shards"]]
    )
    items = parquet.read_table(tmp_path / "store/items.parquet")
    assert rows.shape == (items.num_rows, record["dimension"])
    assert items.column("id").to_pylist() == sorted(NAMES)
    assert set(items.column("split").to_pylist()) == {"train", "test"}


@pytest.mark.parametrize("options", [{"threads": 1}, {"threads": 4}])
def test_the_bytes_do_not_depend_on_the_threads(source, tmp_path, options):
    embed(source, tmp_path / "a", backbone="mtcnn", block=8, threads=2)
    embed(source, tmp_path / "b", backbone="mtcnn", block=8, **options)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_the_vectors_do_not_depend_on_the_blocks(source, tmp_path):
    a = embed(source, tmp_path / "a", backbone="mtcnn", block=3)
    b = embed(source, tmp_path / "b", backbone="mtcnn", block=100)
    assert np.array_equal(a.space().vectors, b.space().vectors)


def test_a_second_run_writes_nothing(source, tmp_path):
    embed_pixels(source, tmp_path / "store")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "store").rglob("*.*") if p.is_file()}
    embed_pixels(source, tmp_path / "store")
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "store").rglob("*.*") if p.is_file()}
    del before[tmp_path / "store/.lock"], after[tmp_path / "store/.lock"]
    assert after == before


def counting(monkeypatch):
    decoded = []
    real = blocks.decode

    def decode_and_count(data, **limits):
        decoded.append(data)
        return real(data, **limits)

    monkeypatch.setattr(blocks, "decode", decode_and_count)
    return decoded


def test_only_new_images_are_embedded(source, tmp_path, monkeypatch):
    embed_pixels(source, tmp_path / "store", block=6)
    make_different(source, "train/x/new.png", "test/y/another.png")
    decoded = counting(monkeypatch)
    store = embed_pixels(source, tmp_path / "store", block=6)
    assert len(decoded) == 2
    assert set(store.items.ids) == {*NAMES, "train/x/new.png", "test/y/another.png"}
    assert np.array_equal(store.space().vectors, expected(store))


def test_new_images_get_vectors_in_every_space(source, tmp_path):
    embed(source, tmp_path / "store", backbone=["mtcnn", "pixels"])
    make_different(source, "train/x/new.png")
    store = embed_pixels(source, tmp_path / "store")
    for name in ("mtcnn", "pixels"):
        assert np.array_equal(store.space(name).vectors, expected(store, name))


def test_a_second_backbone_stands_beside_the_first(source, tmp_path):
    first = embed_pixels(source, tmp_path / "store", block=6)
    shards = {p.name: p.read_bytes() for p in (tmp_path / "store/pixels").iterdir()}
    store = embed(source, tmp_path / "store", backbone="mtcnn", block=6)
    assert list(store.spaces) == ["mtcnn", "pixels"]
    assert store.items.table.equals(first.items.table)
    assert {p.name: p.read_bytes() for p in (tmp_path / "store/pixels").iterdir()} == shards
    assert np.array_equal(store.space("mtcnn").vectors, expected(store, "mtcnn"))


def test_an_image_that_changed_is_embedded_again_and_one_that_is_gone_leaves(source, tmp_path):
    embed_pixels(source, tmp_path / "store", block=6)
    changed, gone = NAMES[3], NAMES[12]
    Image.fromarray(np.full((20, 30, 3), 77, np.uint8)).save(source / changed)
    (source / gone).unlink()
    store = embed_pixels(source, tmp_path / "store", block=6)
    assert sorted(store.items.ids) == sorted(set(NAMES) - {gone})
    assert np.array_equal(store.space().vectors, expected(store))
    width = dict(zip(store.items.ids, store.items.column("width"), strict=True))
    assert width[changed] == 30
    assert Store.open(tmp_path / "store").verify() == []


def test_no_file_of_an_earlier_state_is_left_behind(source, tmp_path):
    embed_pixels(source, tmp_path / "store", block=6)
    (source / NAMES[0]).unlink()
    store = embed_pixels(source, tmp_path / "store", block=6)
    kept = {shard.file for shard in store.space().record.shards}
    assert {p.name for p in (tmp_path / "store/pixels").glob("*.npy")} == kept
    assert {p.name for p in (tmp_path / "store").iterdir() if p.is_file()} == {
        ".lock",
        "items.parquet",
        "store.json",
        "unreadable.parquet",
    }


def test_labels_and_splits_follow_the_source_without_embedding_again(source, tmp_path, monkeypatch):
    rows = [f"{name},{'cat' if '/x/' in name else 'dog'},{n}\n" for n, name in enumerate(NAMES)]
    table = source / "labels.csv"
    table.write_text("file,label,age\n" + "".join(rows))
    embed_pixels(table, tmp_path / "store")
    table.write_text("file,label,age\n" + "".join(row.replace("cat", "lion") for row in rows))
    decoded = counting(monkeypatch)
    store = embed_pixels(table, tmp_path / "store")
    assert decoded == []
    assert set(store.items.labels) == {"lion", "dog"}
    assert store.items.column("age")[store.items.ids.index(NAMES[7])] == 7


def test_a_split_that_embedkit_makes_is_recorded_and_kept(tmp_path):
    names = [f"{c}/{n}.png" for c in ("x", "y") for n in range(20)]
    source = make_different(tmp_path / "faces", *names)
    store = embed_pixels(source, tmp_path / "store", seed=4)
    assert store.record.source["split"] == {"made_by": "embedkit", "seed": 4, "test_share": 0.2}
    before = dict(zip(store.items.ids, store.items.splits, strict=True))
    assert sorted(before.values()).count("test") == 8
    make_different(source, *(f"x/new{n}.png" for n in range(20)))
    store = embed_pixels(source, tmp_path / "store", seed=9)
    after = dict(zip(store.items.ids, store.items.splits, strict=True))
    assert {id_: after[id_] for id_ in before} == before
    assert sum(side == "test" for id_, side in after.items() if id_.startswith("x/")) == 8


def test_unreadable_images_are_listed_and_no_row_moves(source, tmp_path):
    bad = {
        "train/x/0a.jpg": b"",
        "train/x/2a.jpg": b"no picture",
        "train/y/1a.png": (source / NAMES[0]).read_bytes()[:60],
    }
    for name, data in bad.items():
        (source / name).write_bytes(data)
    store = embed_pixels(source, tmp_path / "store", block=4)
    assert [one.id for one in store.unreadable] == sorted(bad)
    assert all(one.reason for one in store.unreadable)
    assert store.items.ids == sorted(NAMES)
    assert np.array_equal(store.space().vectors, expected(store))
    table = parquet.read_table(tmp_path / "store/unreadable.parquet").to_pylist()
    assert [row["id"] for row in table] == sorted(bad)


def test_an_unreadable_image_that_is_mended_comes_in(source, tmp_path):
    (source / "train/x/bad.png").write_bytes(b"")
    assert len(embed_pixels(source, tmp_path / "store").unreadable) == 1
    make_different(source, "train/x/bad.png")
    store = embed_pixels(source, tmp_path / "store")
    assert store.unreadable == ()
    assert "train/x/bad.png" in store.items.ids


@pytest.mark.parametrize(
    ("limit", "fails"),
    [(None, False), (2, False), (1, True), (0, True), (0.05, True), (0.5, False)],
)
def test_too_many_unreadable_images_fail_a_run_that_is_finished_all_the_same(
    source, tmp_path, limit, fails
):
    for n in range(2):
        (source / f"train/x/bad{n}.jpg").write_bytes(b"")
    if fails:
        with pytest.raises(TooManyUnreadableError, match="2 of 22 images"):
            embed_pixels(source, tmp_path / "store", max_errors=limit)
    else:
        embed_pixels(source, tmp_path / "store", max_errors=limit)
    assert len(Store.open(tmp_path / "store").items) == 20


def test_a_source_of_which_nothing_can_be_read_leaves_no_store(tmp_path):
    (tmp_path / "faces/x").mkdir(parents=True)
    (tmp_path / "faces/x/1.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="none of the 1 images could be read.*0 bytes"):
        embed_pixels(tmp_path / "faces", tmp_path / "store")
    with pytest.raises(StoreError):
        Store.open(tmp_path / "store")


def test_facts_of_each_picture_are_in_the_items(tmp_path):
    (tmp_path / "faces/x").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8))
    (tmp_path / "faces/x/a.jpg").write_bytes(saved(image, "JPEG", exif=exif))
    (tmp_path / "faces/x/b.jpg").write_bytes(saved(image.convert("L"), "PNG"))
    row_a, row_b = embed_pixels(tmp_path / "faces", tmp_path / "store").items.rows.to_pylist()
    size = (tmp_path / "faces/x/a.jpg").stat().st_size
    assert (row_a["width"], row_a["height"], row_a["orientation"]) == (30, 50, 6)
    assert (row_a["format"], row_a["mode"], row_a["bytes"]) == ("JPEG", "RGB", size)
    assert (row_b["format"], row_b["mode"]) == ("PNG", "L")


def test_progress_counts_up_to_the_total(source, tmp_path):
    seen = []
    embed_pixels(source, tmp_path / "store", block=5, progress=seen.append)
    last = [one for one in seen if one.stage == "embedding"][-1]
    assert (last.done, last.total, last.safe) == (20, 20, 20)
    assert [one.done for one in seen] == sorted(one.done for one in seen)


def test_an_interrupt_leaves_a_store_that_the_next_run_finishes(source, tmp_path):
    embed_pixels(source, tmp_path / "whole", block=4)
    seen = []

    def stop(progress):
        seen.append(progress)
        if progress.safe >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_pixels(source, tmp_path / "store", block=4, progress=stop)
    with pytest.raises(EmbedkitError, match="unfinished"):
        Store.open(tmp_path / "store")
    embed_pixels(source, tmp_path / "store", block=4)
    assert tree(tmp_path / "store") == tree(tmp_path / "whole")


def test_an_unfinished_run_can_be_taken_up_with_more_images(source, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        embed_pixels(source, tmp_path / "store", block=4, progress=stop_after_eight)
    make_different(source, "test/x/0-in-front.png")
    store = embed_pixels(source, tmp_path / "store", block=4)
    assert set(store.items.ids) == {*NAMES, "test/x/0-in-front.png"}
    assert np.array_equal(store.space().vectors, expected(store))


def test_a_space_of_another_contract_is_not_mixed_with_this_one(source, tmp_path, monkeypatch):
    embed_pixels(source, tmp_path / "store")
    real = spaces.contract
    monkeypatch.setattr(spaces, "contract", lambda b: real(b) | {"preprocessing": "other"})
    with pytest.raises(SpaceMismatchError, match="another preprocessing"):
        embed_pixels(source, tmp_path / "store")


def test_a_backbone_is_loaded_only_where_there_is_something_for_it(source, tmp_path, monkeypatch):
    embed(source, tmp_path / "store", backbone=["pixels", "mtcnn"])
    loaded = []
    real = spaces.load_backbone
    monkeypatch.setattr(
        spaces, "load_backbone", lambda name, **o: loaded.append(name) or real(name, **o)
    )
    embed_pixels(source, tmp_path / "store")
    assert loaded == ["pixels"]
    make_different(source, "train/x/new.png")
    embed_pixels(source, tmp_path / "store")
    assert loaded == ["pixels", "mtcnn", "pixels"]


def test_a_wrong_backbone_is_told_before_the_source_is_read(tmp_path):
    with pytest.raises(InputError, match="no backbone is called 'pixel'; .* did you mean 'pixels'"):
        embed(tmp_path / "missing", tmp_path / "store", backbone="pixel")


def test_an_unfinished_store_is_not_taken_for_a_data_set(source, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        embed_pixels(source, tmp_path / "store", block=4, progress=stop_after_eight)
    with pytest.raises(StoreError, match="unfinished store; run the same 'embedkit embed'"):
        store_of(tmp_path / "store")


def test_a_picture_that_was_mended_is_read_again(source, tmp_path):
    for name in NAMES[:12]:
        (source / name).write_text("no picture")
    with pytest.raises(KeyboardInterrupt):
        embed_pixels(source, tmp_path / "store", block=4, progress=stop_after_eight)
    make_different(source, NAMES[3])
    store = embed_pixels(source, tmp_path / "store", block=4)
    assert NAMES[3] in store.items.ids
    assert {one.id for one in store.unreadable} == set(NAMES[:12]) - {NAMES[3]}


def test_another_data_set_of_the_same_name_does_not_take_its_store(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_different(tmp_path / "other/faces", *NAMES)
    embed(source, backbone="pixels")
    with pytest.raises(InputError, match="holds another data set of that name"):
        embed(tmp_path / "other/faces", backbone="pixels")


def test_a_store_is_brought_up_to_date_as_it_was_read_before(source, tmp_path):
    table = ["file,gender,label"] + [f"{name},{n % 2},{n % 3}" for n, name in enumerate(NAMES)]
    (source / "m.csv").write_text("\n".join(table))
    first = embed(source / "m.csv", tmp_path / "s", backbone="pixels", label="gender")
    again = embed(source / "m.csv", tmp_path / "s", backbone="pixels")
    assert again.items.labels == first.items.labels
    other = embed(source / "m.csv", tmp_path / "s", backbone="pixels", label="label")
    assert other.items.labels != first.items.labels


def test_copies_of_one_picture_are_on_one_side_of_a_split_that_embedkit_makes(tmp_path):
    names = [f"{c}/{n}.png" for c in ("x", "y") for n in range(20)]
    make_different(tmp_path / "f", *names)
    for n in range(10):
        shutil.copy(tmp_path / f"f/x/{n}.png", tmp_path / f"f/x/copy{n}.png")
    store = embed_pixels(tmp_path / "f", tmp_path / "s")
    split = dict(zip(store.items.ids, store.items.splits, strict=True))
    assert set(split.values()) == {"train", "test"}
    assert all(split[f"x/{n}.png"] == split[f"x/copy{n}.png"] for n in range(10))


def test_an_unfinished_run_is_not_finished_with_other_weights(source, tmp_path, monkeypatch):
    real = spaces.contract
    with monkeypatch.context() as other:
        other.setattr(spaces, "contract", lambda b: real(b) | {"weights_sha256": "other"})
        with pytest.raises(KeyboardInterrupt):
            embed_pixels(source, tmp_path / "store", block=4, progress=stop_after_eight)
    with pytest.raises(SpaceMismatchError, match="is unfinished.*other weights"):
        embed_pixels(source, tmp_path / "store", block=4)


def test_a_folder_with_other_files_is_not_made_a_store(source, tmp_path):
    make(tmp_path / "mine", "holiday.png")
    with pytest.raises(StoreError, match="other files"):
        embed_pixels(source, tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["holiday.png"]


def test_a_damaged_shard_is_made_anew(source, tmp_path):
    embed_pixels(source, tmp_path / "whole", block=6)
    shutil.copytree(tmp_path / "whole", tmp_path / "store")
    shard = tmp_path / "store/pixels/vectors-00001.npy"
    shard.write_bytes(shard.read_bytes()[:-8] + bytes(8))
    embed_pixels(source, tmp_path / "store", block=6)
    assert tree(tmp_path / "store") == tree(tmp_path / "whole")


def test_a_missing_index_is_built_again(source, tmp_path):
    embed_pixels(source, tmp_path / "store")
    index = tmp_path / "store/pixels/index.faiss"
    before = index.read_bytes()
    index.unlink()
    embed_pixels(source, tmp_path / "store")
    assert index.read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_place_is_one_clear_line(source, tmp_path):
    (tmp_path / "ro").mkdir(mode=0o555)
    with pytest.raises(StoreError, match="cannot be written: Permission denied"):
        embed_pixels(source, tmp_path / "ro/store")


def test_a_place_that_cannot_be_written_is_one_clear_line(source, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        embed_pixels(source, tmp_path / "file/store")


def test_the_default_store_is_called_like_the_source(tmp_path):
    make(tmp_path / "faces", "x/1.png")
    assert str(default_store(tmp_path / "faces")) == "indexes/faces"
    assert str(default_store(tmp_path / "faces/labels.csv")) == "indexes/faces"
    assert str(default_store(tmp_path / "utk.csv")) == "indexes/utk"


def test_memory_holds_a_bounded_number_of_pictures(source, tmp_path, monkeypatch):
    """The decoders run at most a window ahead of the network, however slow it is."""
    import embedkit.engines.local as local

    monkeypatch.setattr(local, "WINDOW", 5)
    make_different(source, *(f"train/x/more{n}.png" for n in range(60)))
    loaded, taken, most = 0, 0, 0
    real_add, real_load = passes.Passes.add, blocks.BlockMaker.load

    def load(self, block, id_):
        nonlocal loaded
        loaded += 1
        return real_load(self, block, id_)

    def add(self, prepared):
        nonlocal taken, most
        time.sleep(0.002)
        taken += 1
        most = max(most, loaded - taken)
        real_add(self, prepared)

    monkeypatch.setattr(blocks.BlockMaker, "load", load)
    monkeypatch.setattr(passes.Passes, "add", add)
    embed_pixels(source, tmp_path / "store")
    assert taken == 80
    assert most <= 6
