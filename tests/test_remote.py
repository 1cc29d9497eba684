"""Pictures behind a URL: the same store as of the same files on disk."""

import json
from pathlib import Path

import fsspec
import numpy as np
import pytest
from embedkit_cli.app import main
from helpers import make_different, tree

from embedkit.errors import FetchError, InputError, UnreadableImageError
from embedkit.images import read_bytes
from embedkit.pipeline import default_store, embed
from embedkit.readers import read_source
from embedkit.remote import absolute, is_url, url_of
from embedkit.store import Store
from embedkit.trust import trust

NAMES = [f"{split}/{c}/{n}.png" for split in ("train", "test") for c in "xy" for n in range(4)]


@pytest.fixture
def bucket(tmp_path):
    """Return a URL and a folder with the same files, one of them no picture."""
    folder = make_different(tmp_path / "faces", *NAMES)
    (folder / "train/x/bad.jpg").write_bytes(b"no picture")
    (folder / "train/x/empty.jpg").write_bytes(b"")
    system = fsspec.filesystem("memory")
    for path in folder.rglob("*.*"):
        system.pipe(f"/faces/{path.relative_to(folder)}", path.read_bytes())
    yield Path("memory://faces"), folder
    system.store.clear()


@pytest.mark.parametrize(
    ("given", "url"),
    [("s3://b/x y/1.jpg", "s3://b/x y/1.jpg"), ("local:///tmp/x", "local:///tmp/x")],
)
def test_a_url_is_a_path_that_can_be_joined_and_written_again(given, url):
    assert is_url(Path(given))
    assert url_of(Path(given)) == absolute(Path(given)) == url
    assert url_of(Path(given) / "a.png") == f"{url}/a.png"


def test_a_path_is_no_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:").mkdir()
    for path in ("/s3:/x", "faces", "", ".", "a/s3:/x", "s3:/there is such a folder"):
        assert not is_url(Path(path))
    assert absolute(Path("x")) == str(tmp_path / "x")


def test_the_store_is_that_of_the_same_files_on_disk(bucket, tmp_path):
    url, folder = bucket
    a = embed(folder, tmp_path / "a", backbone="pixels", block=5)
    b = embed(url, tmp_path / "b", backbone="pixels", block=5)
    assert b.record.source["path"] == "memory://faces"
    assert b.items.table.equals(a.items.table)
    assert np.array_equal(b.space().vectors, a.space().vectors)
    assert {one.id: one.reason for one in b.unreadable} == {
        one.id: one.reason for one in a.unreadable
    }
    assert read_bytes(Store.open(tmp_path / "b").items.path(NAMES[0])) == (
        (folder / NAMES[0]).read_bytes()
    )


def test_a_second_run_finds_what_changed(bucket, tmp_path):
    url, _ = bucket
    embed(url, tmp_path / "a", backbone="pixels")
    before = tree(tmp_path / "a")
    assert tree(embed(url, tmp_path / "a", backbone="pixels").path) == before
    system = fsspec.filesystem("memory")
    system.rm(f"/faces/{NAMES[0]}")
    system.pipe(f"/faces/{NAMES[2]}", system.cat(f"/faces/{NAMES[1]}"))
    store = embed(url, tmp_path / "a", backbone="pixels")
    assert set(store.items.ids) == set(NAMES) - {NAMES[0]}
    hashes = dict(zip(store.items.ids, store.items.column("sha256"), strict=True))
    assert hashes[NAMES[2]] == hashes[NAMES[1]]


def test_a_table_here_names_pictures_there(bucket, tmp_path):
    url, _ = bucket
    table = tmp_path / "labels.csv"
    table.write_text("file,label\n" + "".join(f"{n},{n[0]}\n" for n in [*NAMES, "gone.png"]))
    store = embed(table, tmp_path / "store", root=url, backbone="pixels")
    assert store.items.labels == [name[0] for name in store.items.ids]
    assert [one.id for one in store.unreadable] == ["gone.png"]


def test_labels_beside_pictures_there_are_named_and_not_read(bucket):
    url, _ = bucket
    fsspec.filesystem("memory").pipe("/faces/metadata.csv", b"file_name,label\n")
    (note,) = [one for one in read_source(url).notes if "other files" in one]
    assert "--root memory://faces" in note


def test_a_fetch_that_fails_stops_the_run_and_is_taken_up_again(bucket, tmp_path, monkeypatch):
    """An outage does not make pictures unreadable."""
    url, _ = bucket
    memory = type(fsspec.filesystem("memory"))
    real = memory.open

    def fail(self, path, *arguments, **options):
        if path.endswith(NAMES[-1]):
            raise TimeoutError("slow down")
        return real(self, path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(memory, "open", fail)
        with pytest.raises(FetchError, match="could not be fetched: slow down.*same command"):
            embed(url, tmp_path / "store", backbone="pixels", block=5)
    assert len(embed(url, tmp_path / "store", backbone="pixels", block=5).items) == len(NAMES)


def test_limits_hold_there_too(bucket, monkeypatch):
    url, _ = bucket
    trust(url_of(url), keep=False)
    monkeypatch.setattr("embedkit.images.files.MAX_BYTES", 100)
    with pytest.raises(UnreadableImageError, match="too large"):
        read_bytes(url / NAMES[0])
    with pytest.raises(UnreadableImageError):
        read_bytes(url / "none.png")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("memory://nothing/there", "memory://nothing/there holds no file, or does not exist"),
        ("quark://x/y", "Protocol not known"),
    ],
)
def test_what_cannot_be_listed_is_said_in_one_line(capsys, url, said):
    assert main(["scan", url]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    with pytest.raises(InputError):
        read_source(url)


def test_the_default_store_is_called_like_the_folder_there():
    assert str(default_store("memory://bucket/faces")) == "indexes/faces"


def test_the_command_line_takes_a_url(bucket, tmp_path, capsys):
    assert main(["embed", "memory://faces", "-o", str(tmp_path / "s"), "-b", "pixels"]) == 0
    capsys.readouterr()
    assert main(["audit", str(tmp_path / "s"), "--check", "quality", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["findings"][0]["name"] == "quality"
