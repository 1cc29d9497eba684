"""Pictures that are not as they were embedded are listed, and nothing is written."""

import json
import shutil

import pytest
from embedkit_cli import main
from helpers import make_different, noise, tree

import embedkit as ek
from embedkit.errors import InputError
from embedkit.pipeline.sources import changes_of
from embedkit.store import Store

NAMES = [f"{split}/{c}/{n}.png" for split in ("train", "test") for c in "ab" for n in range(3)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("changes")
    faces = make_different(root / "faces", *NAMES)
    (faces / "train/a/broken.png").write_bytes(b"no picture")
    ek.embed(faces, root / "store", backbone="pixels")
    return root


@pytest.fixture
def place(made, tmp_path):
    """A copy of a data set, and a store that was made of it."""
    shutil.copytree(made / "faces", tmp_path / "faces")
    ek.embed(tmp_path / "faces", tmp_path / "store", backbone="pixels")
    return tmp_path


def test_what_changed_is_gone_or_is_new_is_listed_and_embed_agrees(place, capsys, figure):
    assert main(["info", str(place / "store"), "--changed"]) == 0
    assert "12 pictures were compared with their files: 0 changed, 0 missing, 0 new" in (
        capsys.readouterr().out
    )
    noise(1).save(place / "faces/train/a/0.png")
    (place / "faces/train/b/1.png").unlink()
    (place / "faces/test/a/2.png").write_bytes(b"")
    noise(2).save(place / "faces/test/b/new.png")
    before = tree(place / "store")
    assert main(["info", str(place / "store"), "--changed", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["changes"] == {
        "compared": 12,
        "changed": ["train/a/0.png"],
        "missing": ["test/a/2.png", "train/b/1.png"],
        "new": ["test/b/new.png"],
    }
    assert tree(place / "store") == before
    store = ek.embed(place / "faces", place / "store", backbone="pixels")
    found = changes_of(store)
    assert (found.changed, found.missing, found.new) == ((), (), ())
    figure("C10", "changed, missing and new files: all listed by `info --changed`, which writes 0")


def test_what_was_forgotten_is_not_new(place):
    ek.forget(place / "store", ids=["train/a/0.png"])
    found = changes_of(Store.open(place / "store"))
    assert (found.changed, found.missing, found.new, found.n) == ((), (), (), 11)


def test_a_store_that_was_made_from_others_has_nothing_new(place):
    half = ek.subset(place / "store", place / "half", where="split = 'train'")
    noise(2).save(place / "faces/test/b/new.png")
    (place / "faces/train/b/1.png").unlink()
    found = changes_of(half)
    assert (found.changed, found.missing, found.new) == ((), ("train/b/1.png",), ())


def test_a_data_set_that_is_gone_is_one_line(place, capsys):
    (place / "faces").rename(place / "elsewhere")
    with pytest.raises(InputError, match="does not exist"):
        changes_of(Store.open(place / "store"))
    assert main(["info", str(place / "store"), "--changed"]) == 2
    assert "does not exist" in capsys.readouterr().err
