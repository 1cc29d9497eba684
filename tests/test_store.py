"""Stores on disk: damage is found, one writer, any number of readers, a full disk."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers import make_different, tree

from embedkit.errors import InputError, StoreError, StoreSchemaError
from embedkit.pipeline import embed
from embedkit.store import Store
from embedkit.store.schema import SCHEMA, sealed, unsealed

NAMES = [f"{c}/{n}.png" for c in ("x", "y") for n in range(6)]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_different(tmp_path_factory.mktemp("store") / "faces", *NAMES)


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    return embed(source, tmp_path_factory.mktemp("whole") / "store", backbone="pixels", block=4)


@pytest.fixture
def store(whole, tmp_path):
    return shutil.copytree(whole.path, tmp_path / "store")


def test_a_whole_store_has_no_faults(whole):
    assert Store.open(whole.path).verify() == []


def use(path):
    """Open a store and use everything in it."""
    opened = Store.open(path)
    return opened.space().index.search(opened.space().vectors, 3)


def damage(data: bytes, generator) -> bytes:
    place = int(generator.integers(len(data))) if data else 0
    match int(generator.integers(4)):
        case 0:
            return (
                data[:place]
                + bytes([data[place] ^ (1 << int(generator.integers(8)))])
                + data[place + 1 :]
            )
        case 1:
            return data[:place]
        case 2:
            return data + b"\0"
        case _:
            return data[:place] + bytes(min(64, len(data) - place)) + data[place + 64 :]


def test_damage_to_any_file_is_found_or_changes_nothing(whole, store):
    generator = np.random.default_rng(0)
    expected = use(whole.path)
    originals = {name: data for name, data in tree(store).items() if data}
    found = mended = 0
    for _ in range(250):
        name = sorted(originals)[generator.integers(len(originals))]
        new = damage(originals[name], generator)
        if new == originals[name]:
            continue
        (store / name).write_bytes(new)
        try:
            rows = use(store).rows
        except StoreError as error:
            found += 1
            assert str(store) in str(error)
            assert "\n" not in str(error)
        else:
            # Only the index may be damaged without an error: it is built again from the vectors.
            assert name.startswith("pixels/index")
            assert np.array_equal(rows, expected.rows)
            assert Store.open(store).verify()
            mended += 1
        (store / name).write_bytes(originals[name])
    assert found > 100
    assert mended > 20


@pytest.mark.parametrize("name", ["items.parquet", "unreadable.parquet", "pixels/space.json"])
def test_a_missing_file_is_named(store, name):
    (store / name).unlink()
    with pytest.raises(StoreError, match=f"{name} is missing"):
        Store.open(store)


def test_a_shard_that_belongs_to_another_place_is_found(store):
    a, b = store / "pixels/vectors-00000.npy", store / "pixels/vectors-00001.npy"
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second)
    b.write_bytes(first)
    with pytest.raises(StoreError, match="vectors-00000"):
        _ = Store.open(store).space().vectors


@pytest.mark.parametrize(
    ("schema", "hint"),
    [(SCHEMA + 1, "update embedkit"), (0, "make the store again"), (None, "again")],
)
def test_a_store_of_another_schema_is_refused_as_such(store, schema, hint):
    record = json.loads((store / "store.json").read_text())
    record.pop("seal")
    (store / "store.json").write_bytes(sealed(record | {"schema": schema}))
    with pytest.raises(StoreSchemaError, match=hint):
        Store.open(store)


def test_what_is_no_store_is_said_to_be_none(tmp_path):
    with pytest.raises(StoreSchemaError, match="does not exist"):
        Store.open(tmp_path / "nowhere")
    with pytest.raises(StoreSchemaError, match="is no store"):
        Store.open(tmp_path)


def test_a_record_seals_what_it_holds(tmp_path):
    record = {"schema": SCHEMA, "blocks": [[0, 4]], "name": "é"}
    assert unsealed(sealed(record), tmp_path) == record
    with pytest.raises(StoreError, match="checksum"):
        unsealed(sealed(record).replace(b"4", b"5"), tmp_path)


def test_the_space_can_be_left_out_only_where_there_is_one(whole, planted_store):
    assert whole.space().name == "pixels"
    with pytest.raises(InputError, match=r"several spaces \(mtcnn, pixels\)"):
        planted_store.space()
    with pytest.raises(InputError, match="no space 'clip', only pixels; 'embedkit embed"):
        whole.space("clip")


def test_a_store_opens_from_a_read_only_folder(store):
    folders = [store, store / "pixels"]
    for path in store.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    store.chmod(0o555)
    try:
        (store / "pixels").chmod(0o755)
        (store / "pixels/index.faiss").unlink()
        (store / "pixels").chmod(0o555)
        assert use(store).rows.shape == (12, 3)
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_a_full_disk_is_one_clear_line_and_status_3(source, tmp_path):
    """A real full disk: a small tmpfs, where the machine lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=60k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    try:
        run = subprocess.run(
            [
                sys.executable,
                "-m",
                "embedkit_cli",
                "embed",
                str(source),
                "-b",
                "pixels",
                "-o",
                str(disk / "store"),
            ],
            capture_output=True,
            text=True,
        )
        assert run.returncode == 3
        assert run.stderr.splitlines()[-1].startswith("Error: ")
        assert "No space left on device" in run.stderr
        assert "Traceback" not in run.stderr
    finally:
        subprocess.run(["umount", str(disk)], check=True)
