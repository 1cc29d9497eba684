"""Shadows hold what the store holds, and pictures as if they had come with it."""

import shutil

import numpy as np
from helpers import noise

from embedkit.audits.shadows import Added, id_of, part_of, with_columns, with_pictures


def test_a_part_has_the_rows_asked_for_and_their_own_neighbours(clean_store):
    rows = np.array([7, 3, 11])
    part = part_of(clean_store, rows, spaces=["pixels"])
    assert part.items.ids == [clean_store.items.ids[row] for row in rows]
    vectors = clean_store.space("pixels").vectors[rows]
    assert np.array_equal(part.space().vectors, vectors)
    found = part.space().index.search(vectors, 1)
    assert found.rows[:, 0].tolist() == [0, 1, 2]


def test_an_added_picture_is_what_it_would_be_if_it_had_come_with_the_data(planted_store, tmp_path):
    items, row = planted_store.items, 4
    path = tmp_path / "a \\ b\n.img"
    shutil.copy(items.path(items.ids[row]), path)
    for backbone in ("mtcnn", "pixels"):
        added = Added(path, {"label": "good"})
        longer, refused = with_pictures(planted_store, [added], backbone=backbone)
        assert refused == []
        assert len(longer.items) == len(items) + 1
        assert longer.items.ids[-1] == id_of(path)
        assert longer.items.path(longer.items.ids[-1]).samefile(path)
        for column in ("sha256", "pixel_sha256", "phash", "width", "format"):
            assert longer.items.column(column)[-1] == items.column(column)[row]
        assert (longer.items.labels[-1], longer.items.splits[-1]) == ("good", None)
        own, there = longer.space().vectors[-1], planted_store.space(backbone).vectors[row]
        assert np.allclose(own, there, atol=1e-5)
        assert list(longer.spaces) == [backbone]
    assert len(planted_store.items) == len(items)


def test_what_cannot_be_read_is_returned_with_its_reason(clean_store, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"text")
    noise(1).save(tmp_path / "good.png")
    pictures = [Added(tmp_path / name, {}) for name in ("broken.jpg", "good.png")]
    longer, refused = with_pictures(clean_store, pictures, backbone="pixels")
    assert [one.id for one in refused] == [id_of(tmp_path / "broken.jpg")]
    assert refused[0].reason.startswith("not a picture")
    assert longer.items.ids[-1] == id_of(tmp_path / "good.png")
    assert len(longer.space().vectors) == len(longer.items) == len(clean_store.items) + 1


def test_columns_are_replaced_in_the_shadow_only(clean_store):
    hidden = with_columns(clean_store, split=["test"] * len(clean_store.items))
    assert set(hidden.items.splits) == {"test"}
    assert set(clean_store.items.splits) == {"train", "valid", "test"}
