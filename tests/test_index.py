import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.errors import EmbedkitError
from embedkit.store.index import NeighbourIndex, build_index, serialized, write_index
from embedkit.store.index_files import has_index, index_faults
from embedkit.vectors import unit_rows


def index_of(rows):
    vectors = unit_rows(np.asarray(rows, np.float32))
    return NeighbourIndex(vectors), vectors


def brute_force(vectors, queries, k, exclude):
    rows = []
    for place, query in enumerate(queries):
        scores = np.clip(
            [float(np.sum(v.astype(float) * query.astype(float))) for v in vectors], -1, 1
        )
        order = [int(i) for i in np.lexsort((np.arange(len(vectors)), -np.round(scores, 7)))]
        rows.append([i for i in order if i != exclude[place]][:k])
    return rows


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_neighbours_are_those_of_brute_force_with_ties_and_copies(data):
    n = data.draw(st.integers(1, 30))
    # Few different values, so that copies and ties are common.
    values = st.lists(st.sampled_from([-1, 0, 1, 2]), min_size=3, max_size=3)
    rows = data.draw(st.lists(values.filter(any), min_size=n, max_size=n))
    k = data.draw(st.integers(1, 12))
    index, vectors = index_of(rows)
    exclude = np.array([data.draw(st.integers(-1, n - 1)) for _ in range(n)])
    found = index.search(vectors, k, exclude=exclude)
    expected = brute_force(vectors, vectors, k, exclude)
    assert [[int(r) for r in row if r >= 0] for row in found.rows] == expected


def test_the_answer_does_not_depend_on_the_other_queries():
    generator = np.random.default_rng(0)
    centre = generator.normal(size=64)
    index, vectors = index_of(centre + 1e-3 * generator.normal(size=(400, 64)))  # a tight cluster
    together = index.search(vectors, 10)
    for batch in (1, 7, 64):
        parts = [index.search(vectors[i : i + batch], 10) for i in range(0, 400, batch)]
        assert np.array_equal(np.concatenate([p.rows for p in parts]), together.rows)
        assert np.array_equal(
            np.concatenate([p.similarities for p in parts]), together.similarities
        )


def test_an_image_is_left_out_of_its_own_neighbours_by_number_and_its_copies_are_not():
    rows = np.repeat(np.random.default_rng(1).normal(size=(50, 16)), 8, axis=0)
    index, vectors = index_of(rows)
    found = index.search(vectors, 7, exclude=np.arange(400))
    for row in range(400):
        assert row not in found.rows[row]
        assert {int(r) // 8 for r in found.rows[row]} == {row // 8}


def test_more_neighbours_than_there_are_give_those_that_there_are():
    index, vectors = index_of(np.eye(3))
    found = index.search(vectors[:1], 10)
    assert found.rows[0, :3].tolist() == [0, 1, 2]
    assert (found.rows[0, 3:] == -1).all()
    assert np.isneginf(found.similarities[0, 3:]).all()


@pytest.mark.parametrize(
    "bad",
    [
        np.array([[np.nan, 1, 0]]),
        np.array([[np.inf, 0, 0]]),
        np.zeros((1, 3)),
        np.array([[3.0, 0, 0]]),
        np.ones((1, 4)) / 2,
        np.array([1.0, 0, 0]),
    ],
)
def test_bad_queries_are_refused(bad):
    index, _ = index_of(np.eye(3))
    with pytest.raises(EmbedkitError):
        index.search(bad.astype(np.float32), 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_a_vector_without_a_direction_is_named_by_its_row(bad):
    rows = np.ones((5, 3))
    rows[3] = bad
    with pytest.raises(EmbedkitError, match="row 3 of 5"):
        unit_rows(rows)


def test_an_index_written_shard_by_shard_is_the_one_that_faiss_writes(tmp_path):
    for n, d in ((1, 5), (7, 3), (100, 16)):
        vectors = unit_rows(np.random.default_rng(n).normal(size=(n, d)))
        write_index(tmp_path, (vectors[i : i + 6] for i in range(0, n, 6)), n, d, "x")
        assert (tmp_path / "index.faiss").read_bytes() == serialized(build_index(vectors))


def test_a_faiss_of_another_format_would_be_built_in_memory(tmp_path, monkeypatch):
    import embedkit.store.index as module

    monkeypatch.setattr(module, "_flat_header", lambda n, d: b"another format")
    vectors = unit_rows(np.random.default_rng(0).normal(size=(20, 4)))
    write_index(tmp_path, [vectors[:7], vectors[7:]], 20, 4, "x")
    assert (tmp_path / "index.faiss").read_bytes() == serialized(build_index(vectors))
    assert has_index(tmp_path, "x")


def test_a_damaged_index_is_no_index(tmp_path):
    vectors = unit_rows(np.random.default_rng(0).normal(size=(60, 8)))
    write_index(tmp_path, [vectors], 60, 8, "of these vectors")
    data = serialized(build_index(vectors))
    assert index_faults(tmp_path, "of these vectors") == []
    assert "index.json is of other vectors" in index_faults(tmp_path, "of others")[0]
    generator = np.random.default_rng(1)
    for _ in range(200):
        damaged = bytearray(data)
        damaged[generator.integers(len(damaged))] ^= 1 << int(generator.integers(8))
        (tmp_path / "index.faiss").write_bytes(bytes(damaged))
        assert "index.faiss is damaged" in index_faults(tmp_path, "of these vectors")[0]
    (tmp_path / "index.faiss").write_bytes(data + b"x")
    assert not has_index(tmp_path, "of these vectors")
    (tmp_path / "index.json").write_text("no json")
    assert "index.json is damaged" in index_faults(tmp_path, "of these vectors")[0]
