"""Damage of every kind to every file of a store: found, named, and no answer is wrong."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from damage import KINDS, deep
from embedkit_cli import main
from helpers import make_different, tree
from networks import SQUEEZENET, save_weights

from embedkit.audits import audit
from embedkit.audits.claims import Claim
from embedkit.audits.kept import keep, kept
from embedkit.audits.ticks import Answer, tick
from embedkit.backbones import contract_hash, load_backbone
from embedkit.errors import EmbedkitError, HeadError, SpaceMismatchError, StoreError
from embedkit.files import sha256
from embedkit.finetuning import finetune
from embedkit.heads import load_head, train
from embedkit.neighbours import search
from embedkit.pipeline import embed
from embedkit.pipeline.augment import augment
from embedkit.pipeline.views import View, make_views
from embedkit.reports import finetunings
from embedkit.store import Store
from embedkit.store.index_build import index_space
from embedkit.store.index_plans import plan_index
from embedkit.store.index_search import StoredIndex
from embedkit.store.schema import npy_bytes, sealed, unsealed
from embedkit.wholeness import faults_of

HERE = Path(__file__).parent
CHUNK = 2500  # damages that one process does at the most


def names(first, last):
    return [
        f"{split}/{label}/{n}.png"
        for split, share in (("train", 3), ("test", 1))
        for label in ("1-9", "10-19", "20-29")
        for n in range(share * first, share * last)
    ]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A store with everything that can lie in one, and what it was before it grew."""
    root = tmp_path_factory.mktemp("mutations")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(root / "state"))
        weights = save_weights(SQUEEZENET, root)
        source = make_different(root / "faces", *names(0, 3))
        make_store(source, root / "store", weights)
        shutil.copytree(root / "store", root / "older")
        make_different(source, *names(0, 4))
        store = make_store(source, root / "store", weights)
        for head in ("logistic", "knn", "cumulative"):
            train(store, head=head, backbone="pixels").save(store.path / "heads" / head)
        for space in store.spaces:
            keep(audit(store, checks=["quality"], backbone=space))
        for n in range(4):
            tick(store, Claim("quality", "dark", (store.items.ids[n],)), Answer.REAL)
        made = finetune(store, backbone="pixels", size=16, epochs=1, patience=1)
        finetunings.write(made, finetunings.default_folder(made))
    return root


def make_store(source, path, weights):
    embed(source, path, backbone="pixels", block=10)
    store = embed(source, path, backbone=SQUEEZENET, weights=weights, block=10)
    pixels = store.space("pixels")
    index_space(store, pixels, plan_index(*pixels.rows.shape, asked="ivf"))
    augment(store, ["pixels"], ["flip"], 1)
    views = [View("grey", "grey", lambda sight: sight.pixels // 2 + 64)]
    make_views(store, pixels, load_backbone("pixels"), views)
    return Store.open(path)


@pytest.fixture
def rich(places, tmp_path, monkeypatch):
    """A copy of it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(places / "state"))
    return Path(shutil.copytree(places / "store", tmp_path / "store"))


def damaged(places, scratch, seeds):
    """Return what processes say of the damages of some seeds, and the seeds at which they died."""
    chunks = [seeds[first : first + CHUNK] for first in range(0, len(seeds), CHUNK)]
    with ThreadPoolExecutor(2) as pool:
        done = list(
            pool.map(lambda chunk: of_chunk(places, scratch / f"{chunk[0]}", chunk), chunks)
        )
    return [one for said, _ in done for one in said], [one for _, died in done for one in died]


def of_chunk(places, scratch, seeds):
    said, died, first = [], [], seeds.start
    environment = os.environ | {"XDG_STATE_HOME": str(places / "state"), "OMP_NUM_THREADS": "1"}
    while first < seeds.stop:
        given = [places / "store", places / "older", first, seeds.stop, scratch]
        done = subprocess.run(
            [sys.executable, HERE / "damage.py", *map(str, given)],
            env=environment,
            capture_output=True,
            check=False,
        )
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        said += lines
        first += len(lines)
        if first < seeds.stop:
            died.append((first, done.returncode, done.stderr[-300:]))
            first += 1
    return said, died


def test_every_damage_to_every_file_is_found_and_changes_no_answer(
    places, tmp_path, thorough, figure
):
    said, died = damaged(places, tmp_path, range(10_000 if thorough else 120))
    assert died == []
    assert [one for one in said if "escaped" in one] == []
    visible = [one for one in said if one["visible"]]
    found = [one for one in visible if one["found"]]
    assert [one for one in visible if not one["found"]] == []
    assert [one for one in said if one["silent"]] == []
    assert all(one["lines"] for one in found)
    right = sum(one["named"] for one in found)
    unnamed = [one for one in found if not one["named"]]
    assert len(unnamed) <= max(3, 0.01 * len(found)), unnamed[:3]  # three of few are no rate
    kinds = Counter(one["kind"] for one in visible)
    assert set(kinds) == set(KINDS)
    gone = len(said) - len(visible)
    files = len({name for one in said for name in one["names"]})
    figure(
        "A5",
        f"{len(said)} damages of {len(kinds)} kinds to the files of a store (2 spaces, flat and "
        f"approximate index, 3 kinds of heads, findings, answers, altered copies, views, a "
        f"finetuned network; {files} names): process died 0 times; info --deep found "
        f"{len(found)} of the {len(visible)} that leave a trace and named the file of {right}; "
        f"{gone} left none (nothing changed, or a head, finding or answer gone or renamed as a "
        f"whole); answers that were other without a word: 0",
    )
    index = [one for one in said if any("/index" in name for name in one["names"])]
    figure("B1", f"{len(index)} damages to index files: 0 deaths, 0 other answers")


def test_a_whole_store_is_never_called_damaged(rich, thorough, figure):
    generator, times = np.random.default_rng(0), 1000 if thorough else 15
    loose = ["audits", "views", "reviews.jsonl", "heads"]
    loose += [f"heads/{path.name}" for path in (rich / "heads").iterdir()]
    for _ in range(times):
        away = [name for name in loose if generator.random() < 0.2]
        for name in away:
            if (rich / name).exists():
                (rich / name).rename(rich.parent / Path(name).name)
        left = rich / str(
            generator.choice([".items.parquet.0a.tmp", "items.parquet.next", ".lock"])
        )
        was = left.read_bytes() if left.exists() else None
        left.write_bytes(b"123\n")
        assert deep(rich) == []
        left.unlink()
        if was is not None:
            left.write_bytes(was)
        for name in reversed(away):
            if (rich.parent / Path(name).name).exists():
                (rich.parent / Path(name).name).rename(rich / name)
    figure("A5", f"{times} whole stores: 0 false alarms")


# What lies in a store and is none of its own.


def test_info_names_what_is_damaged_and_what_is_strange_in_one_line_each(rich, capsys):
    assert main(["info", str(rich), "--deep"]) == 0
    head = rich / "heads/knn.safetensors"
    data = bytearray(head.read_bytes())
    data[-3] ^= 1
    head.write_bytes(bytes(data))
    (rich / "foreign.bin").write_bytes(b"x")
    (rich / "pixels/vectors-00099.npy").write_bytes(b"x")
    (rich / "other").mkdir()
    capsys.readouterr()
    assert main(["info", str(rich), "--deep"]) == 3
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 4
    for name in ("heads/knn.safetensors", "foreign.bin", "pixels/vectors-00099.npy", "other"):
        assert any(str(rich / name) in line for line in lines)


def test_what_a_run_that_is_not_over_has_written_is_no_stranger(rich):
    for name in ("block-00099.parquet", "pixels/vectors-00099.npy"):
        (rich / name).write_bytes(b"x")
    assert len(faults_of(Store.open(rich))) == 2
    (rich / "journal.jsonl").write_text("")
    assert faults_of(Store.open(rich)) == []


@pytest.mark.parametrize("name", ["store.json", "items.parquet", "pixels/vectors-*.npy"])
@pytest.mark.parametrize("what", ["pipe", "folder", "device"])
def test_what_is_no_file_is_not_waited_for(rich, name, what, capsys):
    path = sorted(rich.glob(name))[0]
    path.unlink()
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    assert main(["info", str(rich), "--deep"]) == 3
    assert str(path) in capsys.readouterr().err


# Records that are sealed and make no sense.


def resealed(path, change):
    record = unsealed(path.read_bytes(), path)
    change(record)
    path.write_bytes(sealed(record))
    return path.read_bytes()


def of_space(change):
    def done(root):
        data = resealed(root / "pixels/space.json", change)
        hash_ = hashlib.sha256(data).hexdigest()
        resealed(root / "store.json", lambda record: record["spaces"].update(pixels=hash_))

    return done


def of_store(change):
    return lambda root: resealed(root / "store.json", change)


def first_shard(root):
    record = json.loads((root / "pixels/space.json").read_bytes())
    return root / "pixels" / record["shards"][0]["file"]


def rows_of_nan(root):
    path = first_shard(root)
    rows = np.load(path)
    rows[-1] = np.nan
    path.write_bytes(npy_bytes(rows))
    of_space(lambda record: record["shards"][0].update(sha256=sha256(path.read_bytes())))(root)


def deep_json(root):
    (root / "store.json").write_text("[" * 200_000)


SENSELESS = {
    "a shard elsewhere": of_space(
        lambda r: r["shards"][0].update(file=f"../pixels/{r['shards'][0]['file']}")
    ),
    "a shard above": of_space(lambda r: r["shards"][0].update(file="..")),
    "a shard without a name": of_space(lambda r: r["shards"][0].update(file="")),
    "a shard whose name is no text": of_space(lambda r: r["shards"][0].update(file=7)),
    "a shard too short": of_space(lambda r: r["shards"][0].update(n=r["shards"][0]["n"] + 1)),
    "a shard of less than nothing": of_space(lambda r: r["shards"][0].update(n=-5)),
    "no shards": of_space(lambda r: r.update(shards=[])),
    "other rows": of_space(lambda r: r.update(n=3)),
    "rows that are true": of_space(lambda r: r.update(n=True)),
    "no width": of_space(lambda r: r.update(dimension=0)),
    "another width": of_space(lambda r: r.update(dimension=r["dimension"] * 2)),
    "no backbone": of_space(lambda r: r.pop("backbone")),
    "a backbone of numbers": of_space(lambda r: r.update(backbone={"name": 3})),
    "another space": of_space(lambda r: r.update(name="mtcnn")),
    "a row of NaN": rows_of_nan,
    "items of no hash": of_store(lambda r: r["items"].pop("sha256")),
    "other items": of_store(lambda r: r["items"].update(n=5)),
    "spaces in a list": of_store(lambda r: r.update(spaces=[1])),
    "a space above": of_store(lambda r: r["spaces"].update({"../x": "0"})),
    "a space that is not there": of_store(lambda r: r["spaces"].update(x="0")),
    "a block of many": of_store(lambda r: r.update(blocks=[[0, 999]])),
    "a block of three": of_store(lambda r: r.update(blocks=[[0, 1, 2]])),
    "blocks cut otherwise": of_store(lambda r: r.update(blocks=[[0, 1], [1, r["items"]["n"] - 1]])),
    "no source": of_store(lambda r: r.update(source=None)),
    "a source of numbers": of_store(lambda r: r["source"].update(path=1)),
    "brackets without end": deep_json,
}


@pytest.mark.parametrize("what", SENSELESS)
def test_a_sealed_record_that_makes_no_sense_is_refused(rich, what, capsys):
    SENSELESS[what](rich)
    with pytest.raises(StoreError, match=str(rich)):
        _ = Store.open(rich).space("pixels").vectors
    assert main(["info", str(rich), "--deep"]) == 3
    assert "Traceback" not in capsys.readouterr().err


def test_a_parquet_file_that_is_none_is_refused_though_its_hash_fits(rich):
    for name in ("items", "unreadable"):
        shutil.copy(rich / "store.json", rich / "kept")
        shutil.copy(rich / f"{name}.parquet", rich / "whole")
        (rich / f"{name}.parquet").write_bytes(b"PAR1 no table PAR1")
        hash_ = sha256((rich / f"{name}.parquet").read_bytes())
        resealed(rich / "store.json", lambda r, n=name, h=hash_: r[n].update(sha256=h))
        with pytest.raises(StoreError, match=f"{name}.parquet"):
            Store.open(rich)
        (rich / "kept").rename(rich / "store.json")
        (rich / "whole").rename(rich / f"{name}.parquet")


# Indexes.


def index_record(root):
    return root / "pixels/index.json"


def test_an_index_that_was_made_elsewhere_is_not_given_to_faiss(
    rich, tmp_path, monkeypatch, capsys, figure
):
    expected = Store.open(rich).space("pixels")
    assert isinstance(expected.stored_index, StoredIndex)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
    given = []
    monkeypatch.setattr("embedkit.store.index_search._part", lambda *_: given.append(1))
    space = Store.open(rich).space("pixels")
    rows = space.stored_index.search(space.vectors, 3).rows
    assert given == []
    assert np.array_equal(rows, space.index.search(space.vectors, 3).rows)
    assert "was not made by you on this machine" in space.index_note
    picture = Store.open(rich).items.path(Store.open(rich).items.ids[0])
    sheet = ["--sheet", str(tmp_path / "sheet.png")]
    assert main(["search", str(rich), str(picture), "-b", "pixels", *sheet]) == 0
    assert capsys.readouterr().err.count("was not made by you") == 1
    assert main(["info", str(rich), "--deep"]) == 0
    figure("B2", "an index that was made elsewhere: given to FAISS 0 times, search exact instead")


def test_a_damaged_index_is_one_line_and_the_next_embed_makes_it_again(
    rich, places, tmp_path, capsys
):
    before = index_record(rich).read_bytes()
    (rich / "pixels/index.faiss").write_bytes(b"damaged")
    picture = Store.open(rich).items.path(Store.open(rich).items.ids[0])
    search = ["search", str(rich), str(picture), "-b", "pixels"]
    search += ["--sheet", str(tmp_path / "sheet.png")]
    assert main(search) == 0
    assert "every image is compared instead" in capsys.readouterr().err
    embed(places / "faces", rich, backbone="pixels", block=10)
    assert faults_of(Store.open(rich)) == []
    assert index_record(rich).read_bytes() == before
    assert main(search) == 0
    assert "compared instead" not in capsys.readouterr().err


def test_what_is_checked_is_what_is_read(rich, thorough, figure):
    """A thread puts other files in the place of a shard and of an index, again and again."""
    times, seen, stop = 1000 if thorough else 60, Counter(), threading.Event()
    paths = [first_shard(rich), rich / "pixels/index.faiss"]
    whole = [path.read_bytes() for path in paths]
    expected = Store.open(rich).space("pixels")
    vectors = np.array(expected.vectors)
    near = expected.stored_index.search(vectors, 3).rows

    def swap():
        generator = np.random.default_rng(0)
        while not stop.is_set():
            for path, data in zip(paths, whole, strict=True):
                bad = bytearray(data)
                bad[int(generator.integers(200, len(bad)))] ^= 64
                for one in (bytes(bad), data[: len(data) // 2], data):
                    other = path.with_name(f".{path.name}.swap.tmp")
                    other.write_bytes(one)
                    other.replace(path)
                    path.write_bytes(one)  # and in place
                    time.sleep(0.0005)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(times):
            space = Store.open(rich).space("pixels")
            try:
                assert np.array_equal(space.vectors, vectors)
                found = space.stored_index.search(vectors, 3).rows
                if not space.index_note:
                    assert np.array_equal(found, near)
                seen["index" if not space.index_note else "without its index"] += 1
            except StoreError:
                seen["refused"] += 1
    finally:
        stop.set()
        swapper.join()
    assert len(seen) > 1
    counted = ", ".join(f"{n} {what}" for what, n in sorted(seen.items()))
    figure("B2", f"{times} reads beside a thread that swaps files: 0 wrong ({counted})")


def test_a_file_that_is_cut_while_it_is_open_ends_no_process(rich):
    """Up to 256 MiB files are read, not mapped."""
    store = Store.open(rich)
    space = store.space("pixels")
    vectors, index = space.vectors.copy(), space.stored_index
    near = index.search(vectors, 3).rows
    for path in (rich / "items.parquet", first_shard(rich), rich / "pixels/index.faiss"):
        os.truncate(path, 64)
    assert len(store.items.labels) == len(vectors)
    assert np.array_equal(index.search(vectors, 3).rows, near)


# Versions, contracts, disks that cannot be written.


def test_what_is_newer_is_called_newer_and_a_field_more_is_read(rich, capsys, figure):
    names = ("store.json", "pixels/index.json", "pixels/augmented.json")
    for name in names:
        resealed(rich / name, lambda record: record.update(more={"a": 1}))
    assert len(Store.open(rich).items) > 0
    assert Store.open(rich).space("pixels").augmented is not None
    for name in names:
        record = json.loads((rich / name).read_bytes())
        del record["seal"]
        (rich / name).write_bytes(sealed(record | {"schema": 4}))
    assert main(["info", str(rich)]) == 2
    line = capsys.readouterr().err
    assert "has schema 4, this embedkit reads schema 3: update embedkit" in line
    figure("A8", "a newer store is refused as newer with both versions; unknown fields are read")


def test_vectors_that_were_made_otherwise_never_mix(rich, places, figure):
    """Every part of a space's contract changed in turn, by every way to use the space."""
    path = rich / "pixels/space.json"
    whole, store_json = path.read_bytes(), (rich / "store.json").read_bytes()
    contract = json.loads(whole)["contract"]
    head = load_head(rich / "heads/logistic.safetensors")
    picture = places / "faces/train/1-9/0.png"
    refused = 0
    for name in contract:

        def change(record, name=name):
            record["contract"][name] = "another"
            record["contract_sha256"] = contract_hash(record["contract"])

        of_space(change)(rich)
        store = Store.open(rich)
        uses = [
            lambda: embed(places / "faces", rich, backbone="pixels", block=10),
            lambda store=store: search(store, picture, backbone="pixels"),
            lambda store=store: head.probabilities(store.space("pixels"), [0]),
            lambda: load_head(rich / "heads/knn.safetensors").predict(picture),
        ]
        for use in uses:
            with pytest.raises(SpaceMismatchError):
                use()
            refused += 1
        assert store.space("pixels").augmented is None
        path.write_bytes(whole)
        (rich / "store.json").write_bytes(store_json)
    figure(
        "A9", f"{len(contract)} parts of a contract changed: {refused} of {refused} uses refused"
    )


def test_reading_needs_no_right_to_write(rich, tmp_path, capsys, figure):
    if subprocess.run(["mount", "--bind", rich, rich], check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", rich], check=True, capture_output=True)
        picture = str(Store.open(rich).items.path(Store.open(rich).items.ids[0]))
        head = str(rich / "heads/logistic.safetensors")
        reading = [
            ["info", str(rich), "--deep"],
            ["audit", str(rich), "-b", "pixels", "--check", "quality"],
            ["search", str(rich), picture, "-b", "pixels", "--sheet", str(tmp_path / "s.png")],
            ["predict", head, picture],
            ["export", str(rich), "--to", "npy", "-b", "pixels", "-o", str(tmp_path / "npy")],
        ]
        for arguments in reading:
            assert main(arguments) == 0, (arguments, capsys.readouterr().err)
        capsys.readouterr()
        for arguments in (
            ["train", str(rich), "-b", "pixels"],
            ["index", str(rich), "-b", "pixels"],
        ):
            assert main(arguments) == 3
            lines = capsys.readouterr().err.strip().splitlines()
            assert "cannot be written" in lines[-1]
    finally:
        subprocess.run(["umount", rich], check=True, capture_output=True)
    figure("A10", f"{len(reading)} reading commands on a read-only mount: all end well")


# Heads, findings.


def test_a_head_whose_arrays_are_read_as_another_type_is_refused(rich):
    path = rich / "heads/logistic.safetensors"
    data = path.read_bytes()
    other = data.replace(b'"dtype":"F64"', b'"dtype":"I64"')
    assert other != data
    path.write_bytes(other)
    with pytest.raises(HeadError, match="is damaged"):
        load_head(path)


def test_a_finding_from_before_findings_had_checksums_still_counts(rich):
    store = Store.open(rich)
    path = next((rich / "audits").rglob("quality.json"))
    space = path.parent.name.partition("@")[2]
    record = json.loads(path.read_bytes())
    del record["seal"]
    path.write_text(json.dumps(record, indent=1))
    assert "quality" in kept(store, backbone=space)
    assert faults_of(store) == []
    path.write_text(json.dumps(record | {"sea1": "0"}))
    assert "quality" not in kept(store, backbone=space)
    assert str(path) in faults_of(store)[0]


# Arrays.


@pytest.mark.parametrize("plain", [True, False])
def test_bad_arrays_are_refused_also_without_asserts(plain, figure):
    command = [sys.executable, *([] if plain else ["-O"]), str(HERE / "bad_arrays.py")]
    done = subprocess.run(command, capture_output=True, check=False)
    said = json.loads(done.stdout)
    assert said["wrong"] == {}
    assert said["plain"] == plain
    assert said["arrays"] >= 40
    how = "python" if plain else "python -O"
    figure(
        "B3",
        f"{said['arrays']} arrays under {how}: {said['done']} of {said['done']} as they should",
    )


def test_what_is_asked_for_no_neighbours_says_so(rich):
    space = Store.open(rich).space("pixels")
    for k in (0, -1):
        with pytest.raises(EmbedkitError, match="1 or more"):
            space.index.search(space.vectors, k)


def test_nothing_of_the_fixture_is_changed_by_looking(rich, places):
    before = tree(places / "store")
    faults_of(Store.open(rich))
    assert tree(rich) == before
