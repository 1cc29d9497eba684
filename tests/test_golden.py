"""What earlier versions wrote, and what pictures looked like to them; see `tests/golden/`.

Lossless formats have the same pixels for ever. Decoders of JPEG, WebP, AVIF and JPEG 2000 may round
otherwise from version to version: there a value may differ by `LOSSY`, and on average by `MEAN`.
"""

import json
import tarfile
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from helpers import noise

import embedkit as ek
from embedkit.audits.kept import kept
from embedkit.audits.ticks import Answer, ticks
from embedkit.images import decode
from embedkit.store import Store
from embedkit.store.schema import SCHEMA
from embedkit.wholeness import faults_of

GOLDEN = Path(__file__).parent / "golden"
STORES = sorted(GOLDEN.glob("store-*.tar.xz"))
LOSSY, MEAN = 6, 1.0  # of 255


@pytest.fixture(scope="module")
def pictures():
    with tarfile.open(GOLDEN / "pictures.tar.xz") as packed:
        files = {one.name: packed.extractfile(one).read() for one in packed}
    return json.loads(files.pop("told.json")), files


def test_every_format_mode_and_turn_has_the_pixels_that_it_had(pictures, figure):
    told, files = pictures
    assert told.keys() == files.keys()
    same = 0
    for name, data in files.items():
        known, found = told[name], decode(data)
        assert [found.facts.width, found.facts.height] == known["size"], name
        same += found.facts.pixel_sha256 == known["pixel_sha256"]
        if known["exact"]:
            assert found.facts.pixel_sha256 == known["pixel_sha256"], name
        pixels = np.frombuffer(b64decode(known["pixels"]), np.uint8).reshape(found.pixels.shape)
        away = np.abs(pixels.astype(int) - found.pixels)
        assert away.max() <= LOSSY, name
        assert away.mean() <= MEAN, name
    exact = sum(one["exact"] for one in told.values())
    figure(
        "C5",
        f"{len(files)} drawn pictures of every format, mode and turn: {exact} of {exact} lossless "
        f"ones have the pixels of golden hashes, the rest within {LOSSY} of 255 ({same} of all "
        "have the very same)",
    )


def test_a_picture_is_turned_as_its_file_says(pictures):
    """So what is golden is right: each is the upright one turned, or mirrored, as EXIF says."""
    _, files = pictures
    upright = decode(files["png-RGB"]).pixels
    turned = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, -1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright),
    }
    for turn, pixels in turned.items():
        for kind in ("png-", "tiff-", "webp-lossless "):
            assert np.array_equal(decode(files[f"{kind}turn {turn}"]).pixels, pixels), turn


@pytest.fixture(params=STORES, ids=lambda path: path.name)
def old(request, tmp_path):
    """A store as an earlier version wrote it, with its pictures, and what is in it."""
    with tarfile.open(request.param) as packed:
        packed.extractall(tmp_path, filter="data")
    return tmp_path, json.loads((tmp_path / "told.json").read_bytes())


def test_a_store_of_an_earlier_version_opens_and_answers_as_then(old):
    root, known = old
    store = Store.open(root / "store")
    assert faults_of(store) == []
    assert list(store.items.ids) == known["ids"]
    assert list(store.items.labels) == known["labels"]
    assert list(store.items.splits) == known["splits"]
    assert list(store.items.column("pixel_sha256")) == known["pixels"]
    space = store.space("pixels")
    assert np.allclose(space.vectors.astype(np.float64).sum(axis=1), known["vectors"], atol=1e-12)
    for index in (space.index, space.stored_index):
        found = index.search(space.vectors, 3)
        assert found.rows.tolist() == known["near"]
        assert np.allclose(found.similarities, known["similarities"], atol=1e-6)
    ids, n = known["copies"]
    assert [list(space.augmented.ids), len(space.augmented.vectors)] == [ids, n]
    for name, expected in known["heads"].items():
        head = ek.load_head(store.path / "heads" / name)
        found = head.probabilities(space, range(len(store.items)))
        assert np.allclose(found, expected, atol=1e-9), name
    assert list(kept(store)) == ["quality"]
    ((claim, one),) = ticks(store).items()
    assert (claim.finding, claim.ids, one.answer) == (
        "quality",
        ("train/a/0.png",),
        Answer.NOT_REAL,
    )


def test_it_is_brought_up_to_date(old, figure):
    """One picture has another name, one is new: what is known of the others is not made again."""
    root, known = old
    before = np.array(Store.open(root / "store").space("pixels").vectors)
    moved, new = "train/a/moved.png", "train/b/new.png"
    (root / "faces" / known["ids"][0]).rename(root / "faces" / moved)
    noise(1, 8).save(root / "faces" / new)
    store = ek.embed(root / "faces", root / "store", backbone="pixels")
    assert faults_of(store) == []
    assert set(store.items.ids) == {*known["ids"][1:], moved, new}
    after = dict(zip(store.items.ids, store.space("pixels").vectors, strict=True))
    for id_, row in zip([moved, *known["ids"][1:]], before, strict=True):
        assert np.array_equal(after[id_], row)
    for id_ in (known["ids"][1], new):
        found = [one.id for one in ek.search(store, root / "faces" / id_, k=20)]
        assert sorted(found) == sorted({*store.items.ids} - {id_})
    figure("A8", f"{len(STORES)} golden store: opens, searches, answers and is brought up to date")


def test_the_newest_golden_store_is_of_the_schema_that_is_written_now():
    """A new schema needs one more: `python tests/golden/make.py tests/golden/store-….tar.xz`."""
    assert STORES[-1].name.startswith(f"store-{SCHEMA}-")
