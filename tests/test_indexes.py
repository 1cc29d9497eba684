"""Indexes of other types: checked, mapped, the same bytes again, and scored exactly."""

import json

import faiss
import numpy as np
import pytest
import torch
from embedkit_cli import main

from embedkit.errors import InputError
from embedkit.files import sha256, write_whole
from embedkit.neighbours import search
from embedkit.store import Store
from embedkit.store.index import NeighbourIndex, build_index, serialized
from embedkit.store.index_again import build_again
from embedkit.store.index_build import build_stored_index, index_space
from embedkit.store.index_files import has_index, read_record
from embedkit.store.index_plans import TYPES, parse_memory, plan_index
from embedkit.store.schema import JOURNAL, Shard, SpaceRecord, npy_bytes, sealed
from embedkit.store.store import Space
from embedkit.vectors import unit_rows

N, D = 1500, 16
APPROXIMATE = [kind for kind in TYPES if kind != "flat"]


def drawn(n=N, d=D):
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(30, d))
    return unit_rows(centres[generator.integers(30, size=n)] + generator.normal(size=(n, d)))


def space_of(folder, vectors, *, shard=400):
    folder.mkdir(exist_ok=True)
    shards = []
    for start in range(0, len(vectors), shard):
        data = npy_bytes(vectors[start : start + shard])
        write_whole(folder / f"v-{start}.npy", data)  # never in place: it may be mapped
        shards.append(Shard(f"v-{start}.npy", len(vectors[start : start + shard]), sha256(data)))
    record = SpaceRecord("drawn", {}, "", vectors.shape[1], len(vectors), tuple(shards), {})
    return Space(folder, record)


def plan_of(kind, *, files=1):
    plan = plan_index(N, D, asked=kind)
    rows = -(-N // files)
    return type(plan)(
        **{name: getattr(plan, name) for name in plan.__slots__} | {"rows_per_file": rows}
    )


@pytest.mark.parametrize("files", [1, 3])
@pytest.mark.parametrize("kind", TYPES)
def test_what_an_index_finds_has_exact_similarities_in_the_right_order(tmp_path, kind, files):
    vectors = drawn()
    space = space_of(tmp_path / "space", vectors)
    record = build_stored_index(space, plan_of(kind, files=files))
    assert len(record.files) == files
    assert space.has_index()
    own = np.arange(0, N, 10)
    exact = NeighbourIndex(vectors).search(vectors[own], 10, exclude=own)
    found = space.stored_index.search(vectors[own], 10, exclude=own)
    if kind == "flat":
        assert np.array_equal(found.rows, exact.rows)
        assert np.array_equal(found.similarities, exact.similarities)
        return
    assert not (found.rows == own[:, None]).any()
    assert (np.diff(found.similarities) <= 1e-7).all()
    for query, rows, similarities in zip(own, found.rows, found.similarities, strict=True):
        kept = rows >= 0
        wide = vectors[rows[kept]].astype(float) @ vectors[query].astype(float)
        assert np.abs(similarities[kept] - wide).max() < 1e-12
    reached = (found.similarities >= exact.similarities[:, -1:] - 1e-6).mean()
    assert reached >= 0.9
    assert abs(reached - record.recall) < 0.08  # measured on other rows
    assert record.recall >= 0.95


def test_an_index_is_the_same_file_again_with_one_thread_and_with_two(tmp_path, monkeypatch):
    made = []
    before = torch.get_num_threads(), faiss.omp_get_max_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            faiss.omp_set_num_threads(threads)
            monkeypatch.setattr("embedkit.workers.usable_cores", lambda n=threads: n)
            for kind in TYPES:
                space = space_of(tmp_path / f"{kind}{threads}", drawn())
                build_stored_index(space, plan_of(kind, files=2), seed=5)
                made.append({path.name: path.read_bytes() for path in space.folder.iterdir()})
    finally:
        torch.set_num_threads(before[0])
        faiss.omp_set_num_threads(before[1])
    assert made[: len(TYPES)] == made[len(TYPES) :]


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_a_damaged_index_is_not_searched(tmp_path, kind):
    vectors = drawn()
    space = space_of(tmp_path / "space", vectors)
    build_stored_index(space, plan_of(kind, files=2))
    path = space.folder / "index-00001.faiss"
    whole = path.read_bytes()
    generator = np.random.default_rng(1)
    for _ in range(20):
        damaged = bytearray(whole)
        damaged[generator.integers(len(damaged))] ^= 1 << int(generator.integers(8))
        path.write_bytes(bytes(damaged))
        assert not has_index(space.folder, space.vectors_sha256)
    again = Space(space.folder, space.record)
    assert isinstance(again.stored_index, NeighbourIndex)  # exact, in memory
    path.unlink()
    assert not has_index(space.folder, space.vectors_sha256)


def test_a_file_that_is_replaced_under_a_search_is_not_seen(tmp_path):
    vectors = drawn()
    space = space_of(tmp_path / "space", vectors)
    build_stored_index(space, plan_of("ivf"))
    opened = space.stored_index
    before = opened.search(vectors[:50], 5).rows
    build_stored_index(space, plan_of("hnsw"))
    assert np.array_equal(opened.search(vectors[:50], 5).rows, before)


def test_an_index_of_another_type_leaves_no_file_of_the_one_before(tmp_path):
    space = space_of(tmp_path / "space", drawn())
    build_stored_index(space, plan_of("ivf", files=3))
    build_stored_index(space, plan_of("flat"))
    assert [path.name for path in space.folder.glob("index*")].count("index.faiss") == 1
    assert len(list(space.folder.glob("index*.faiss"))) == 1


def test_a_space_that_has_grown_gets_the_type_that_was_asked_for_last(tmp_path):
    vectors = drawn()
    space = space_of(tmp_path / "space", vectors[:1000])
    plan = plan_index(1000, D, asked="ivf", memory=1_000_000_000)
    build_stored_index(space, plan, seed=3)
    grown = space_of(tmp_path / "space", vectors)
    assert not grown.has_index()
    build_again(grown)
    record = read_record(grown.folder)
    assert grown.has_index()
    assert (record.type, record.asked, record.memory, record.seed) == ("ivf", "ivf", 10**9, 3)
    build_stored_index(grown, plan_of("ivfpq"))
    few = space_of(tmp_path / "space", vectors[:100])
    build_again(few)  # too few for codes
    assert read_record(few.folder).type == "flat"


def test_a_record_from_before_there_were_types_still_counts(tmp_path):
    vectors = drawn()
    space = space_of(tmp_path / "space", vectors)
    data = serialized(build_index(vectors))
    (space.folder / "index.faiss").write_bytes(data)
    old = {
        "schema": 3,
        "faiss": "1",
        "sha256": sha256(data),
        "vectors_sha256": space.vectors_sha256,
    }
    (space.folder / "index.json").write_bytes(sealed(old))
    assert space.has_index()
    assert space.index_record.type == "flat"


def test_rows_are_read_shard_by_shard_as_they_lie(tmp_path):
    vectors = drawn()
    space = space_of(tmp_path / "space", vectors, shard=7)
    chosen = np.random.default_rng(0).integers(N, size=300)
    assert np.array_equal(space.rows[chosen], vectors[chosen])
    assert np.array_equal(space.rows.between(3, 900), vectors[3:900])
    assert np.array_equal(space.vectors, vectors)


def test_a_plan_keeps_within_the_memory_allowed_or_says_what_it_needs():
    for kind in TYPES:
        for n in (1_000, 1_000_000, 30_000_000):
            for memory in (10**9, 4 * 10**9, 64 * 10**9):
                try:
                    plan = plan_index(n, 512, asked=kind, memory=memory)
                except InputError as error:
                    assert "at the least" in str(error)
                    continue
                assert plan.memory <= memory
                assert (plan.files - 1) * plan.rows_per_file < n <= plan.files * plan.rows_per_file
    assert plan_index(1_000_000, 8).type == "flat"
    assert plan_index(1_000_001, 8).type == "ivf"
    assert plan_index(10**7, 512, asked="ivf").files > 1
    with pytest.raises(InputError, match="no index is called 'tree'"):
        plan_index(10, 8, asked="tree")
    with pytest.raises(InputError, match="needs 256 rows"):
        plan_index(255, 8, asked="ivfpq")


def test_an_amount_of_memory_is_read_as_it_is_written():
    read = {"4GB": 4 * 10**9, "512 MiB": 2**29, "2e9": 2 * 10**9, "1.5gb": 1_500_000_000}
    assert {text: parse_memory(text) for text in read} == read
    for text in ("", "GB", "-4GB", "4 horses", "0", "1.2.3GB", "nan", "9e99", "4G B"):
        with pytest.raises(InputError, match="no amount of memory"):
            parse_memory(text)


def test_the_command_says_what_it_takes_and_what_it_finds(store_copy, capsys):
    path = store_copy
    assert main(["index", str(path), "--type", "ivf", "-b", "pixels"]) == 0
    out = capsys.readouterr()
    assert "allowed" in out.err
    assert "% of the 10 nearest of" in out.out
    assert (
        main(["index", str(path), "--type", "hnsw", "-b", "pixels", "--json", "--memory", "1GB"])
        == 0
    )
    made = json.loads(capsys.readouterr().out)
    assert (made["schema"], made["type"]) == ("embedkit.index/1", "hnsw")
    assert made["recall"] >= 0.9
    assert main(["info", str(path), "--deep"]) == 0
    assert "index hnsw" in capsys.readouterr().out
    picture = Store.open(path).items.path(Store.open(path).items.ids[0])
    sheet = str(path.parent / "sheet.png")
    assert (
        main(["search", str(path), str(picture), "-b", "pixels", "--sheet", sheet, "--json"]) == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert len(found["neighbours"]) == 10
    assert (found["index"]["type"], found["index"]["recall"]) == ("hnsw", made["recall"])
    assert main(["search", str(path), str(picture), "-b", "pixels", "--sheet", sheet]) == 0
    said = f"Approximate, so some nearer ones may be missing: hnsw, {made['effort']} rows held, "
    assert f"{said}finds {made['recall']:.1%} of the 10 nearest" in capsys.readouterr().out
    hits = search(Store.open(path), picture, backbone="pixels")
    assert hits.by is not None
    assert said in hits._repr_html_()
    assert main(["index", str(path), "--type", "flat", "-b", "pixels"]) == 0
    assert search(Store.open(path), picture, backbone="pixels").by is None
    capsys.readouterr()
    assert main(["search", str(path), str(picture), "-b", "pixels", "--sheet", sheet]) == 0
    assert "pproximate" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-b", "pixels", "--type", "tree"], "no index is called"),
        (["-b", "pixels", "--memory", "much"], "no amount of memory"),
        (["-b", "pixels", "--memory", "1KB"], "at the least"),
        (["-b", "clip"], "holds no space"),
    ],
)
def test_what_cannot_be_made_is_one_line_and_status_2(store_copy, capsys, arguments, words):
    assert main(["index", str(store_copy), *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert words in lines[0]


def test_an_unfinished_store_gets_no_index(store_copy, tmp_path, capsys):
    store = Store.open(store_copy)
    (store.path / JOURNAL).write_text("")
    plan = plan_index(*store.space("pixels").rows.shape)
    with pytest.raises(InputError, match="unfinished"):
        index_space(store, store.space("pixels"), plan)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / JOURNAL).write_text("")
    assert main(["index", str(tmp_path / "new")]) == 2
    assert "unfinished" in capsys.readouterr().err


def test_faiss_keeps_the_threads_that_it_had(tmp_path):
    before = faiss.omp_get_max_threads()
    build_stored_index(space_of(tmp_path / "space", drawn()), plan_of("ivf"))
    assert faiss.omp_get_max_threads() == before
