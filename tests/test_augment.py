"""Altered copies: of training images only, tied to their originals, never scored."""

import shutil

import numpy as np
import pytest
from PIL import Image

from embedkit.backbones import load_backbone
from embedkit.errors import HeadError, InputError, StoreError
from embedkit.heads import evaluate, load_head, train
from embedkit.heads.curve import learning_curve
from embedkit.heads.knn import fit_knn
from embedkit.heads.logistic import fit_logistic
from embedkit.images import decode, read_bytes
from embedkit.pipeline import embed
from embedkit.pipeline.augment import CHANGES, altered

ALL = tuple(CHANGES)


@pytest.fixture(scope="module")
def folder(clean, tmp_path_factory):
    return shutil.copytree(clean.folder, tmp_path_factory.mktemp("augment") / "faces")


@pytest.fixture(scope="module")
def store(folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("augmented") / "store"
    return embed(folder, place, backbone=["mtcnn", "pixels"], augment=ALL, copies=3, seed=1)


@pytest.fixture
def copied(store, tmp_path):
    return shutil.copytree(store.path, tmp_path / "store")


def training_images(store):
    hashes = store.items.column("sha256")
    every = zip(store.items.ids, hashes, store.items.splits, strict=True)
    return [(id_, hash_) for id_, hash_, split in every if split == "train"]


def test_copies_are_made_of_training_images_and_of_no_others(store):
    images = training_images(store)
    for name in ("mtcnn", "pixels"):
        copies = store.space(name).augmented
        assert copies.policy == {"changes": list(ALL), "copies": 3, "seed": 1}
        assert list(copies.ids) == [id_ for id_, _ in images for _ in range(3)]
        assert copies.vectors.shape == (3 * len(images), store.space(name).record.dimension)
        # They are no rows of the space: nothing that is scored, searched or audited sees them.
        assert len(store.space(name).vectors) == len(store.items)


def test_a_copy_is_the_vector_of_the_altered_picture(store):
    copies, backbone = store.space("pixels").augmented, load_backbone("pixels")
    for row in (0, 4, len(copies.ids) - 1):
        picture = decode(read_bytes(store.items.path(copies.ids[row])))
        pixels = altered(picture.pixels, ALL, copies.originals[row], row % 3, seed=1)
        vector = backbone.embed(backbone.prepare(pixels)[None])[0]
        assert np.array_equal(vector, copies.vectors[row])


def test_copies_are_nearer_to_their_original_than_to_others(store):
    space, images = store.space("mtcnn"), training_images(store)
    vectors, origin = space.augmented.of(images)
    rows = [store.items.ids.index(id_) for id_, _ in images]
    nearest = (vectors @ space.vectors[rows].T).argmax(axis=1)
    assert (nearest == origin).mean() > 0.8  # by chance one in a hundred
    assert not np.allclose(vectors, space.vectors[rows][origin], atol=1e-3)


@pytest.mark.parametrize("change", ALL)
def test_every_change_changes_the_picture_and_not_its_size(change):
    picture = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    made = [altered(picture, [change], "0" * 64, copy, seed=0) for copy in range(8)]
    assert all(one.shape == picture.shape for one in made)
    assert any(not np.array_equal(one, picture) for one in made)
    assert len({one.tobytes() for one in made}) > 1
    assert np.array_equal(made[3], altered(picture, [change], "0" * 64, 3, seed=0))


def test_a_picture_of_one_pixel_has_copies_too():
    assert altered(np.zeros((1, 1, 3), np.uint8), ALL, "0" * 64, 0, seed=0).shape == (1, 1, 3)


@pytest.mark.parametrize("kind", ["logistic", "knn"])
def test_a_head_is_fitted_on_copies_and_says_so(store, kind, tmp_path):
    head = train(store, head=kind, backbone="mtcnn")
    without = train(store, head=kind, backbone="mtcnn", augmented=False)
    rows = np.arange(len(store.items))
    space = store.space("mtcnn")
    probabilities = head.probabilities(space, rows)
    assert not np.array_equal(probabilities, without.probabilities(space, rows))
    assert len(head.training.copies[0]) == 3 * len(head.training.ids)
    assert evaluate(head, store).n == store.items.splits.count("test")
    again = load_head(head.save(tmp_path / kind))
    assert np.array_equal(again.probabilities(space, rows), probabilities)
    # Evidence is what is in the data set, not its copies.
    answer = again.predict(store.items.path(store.items.ids[0]), k=3)
    assert len({one.id for one in answer.neighbours}) == 3
    curve = learning_curve(again)
    assert curve.points[-1].accuracy.value == pytest.approx(evaluate(again).accuracy.value)


def test_copies_are_never_scored_and_never_divided_from_their_original():
    # Copies that give the answer away: their class is written into them, originals are noise.
    generator = np.random.default_rng(0)
    n = 120
    y = generator.integers(0, 2, n)
    noise = generator.normal(size=(n, 8)).astype(np.float32)
    telling = np.concatenate([noise, noise])
    telling[n:, 0] = 40 * (2 * y - 1)
    telling /= np.linalg.norm(telling, axis=1, keepdims=True)
    every, clusters = np.tile(y, 2), np.tile(np.arange(n), 2)
    options = {"n_classes": 2, "seed": 0, "originals": n}
    chosen = fit_logistic(telling, every, clusters, **options).choice
    assert min(loss for _, loss in chosen.tried) > 0.6  # of coin tossing: 0.69
    # Each image's copy is its own nearest neighbour: if it voted, accuracy would be 1.
    same = np.concatenate([noise, noise])
    same /= np.linalg.norm(same, axis=1, keepdims=True)
    chosen = fit_knn(same, every, clusters, **options).choice
    assert max(accuracy for _, accuracy in chosen.tried) < 0.75


def test_a_run_that_was_cut_off_makes_the_same_copies(folder, store, tmp_path, monkeypatch):
    from embedkit.pipeline import augment

    monkeypatch.setattr(augment, "CHUNK", 16)
    options = {"backbone": ["pixels"], "augment": ALL, "copies": 3, "seed": 1}
    whole = embed(folder, tmp_path / "whole", **options)

    class StopError(Exception):
        pass

    def stop(now):
        if now.stage == "augmenting" and now.safe >= 32:
            raise StopError

    with pytest.raises(StopError):
        embed(folder, tmp_path / "cut", progress=stop, **options)
    there = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("cut/pixels/augm*.npy")}
    assert len(there) >= 2
    cut = embed(folder, tmp_path / "cut", **options)
    for path in sorted((whole.path / "pixels").glob("augmented*")):
        assert (cut.path / "pixels" / path.name).read_bytes() == path.read_bytes()
    kept = {name: (cut.path / "pixels" / name).stat().st_mtime_ns for name in there}
    assert kept == there
    assert np.array_equal(
        cut.space("pixels").augmented.vectors, store.space("pixels").augmented.vectors
    )


def test_another_policy_takes_the_place_of_the_first(folder, tmp_path):
    embed(folder, tmp_path / "store", backbone="pixels", augment=["flip"], copies=2)
    store = embed(folder, tmp_path / "store", backbone="pixels", augment=["jitter"], copies=1)
    copies = store.space("pixels").augmented
    assert copies.policy["changes"] == ["jitter"]
    assert len(copies.ids) == len(training_images(store))
    assert len(list((tmp_path / "store/pixels").glob("augmented-*.npy"))) == 1


def test_copies_of_an_image_that_is_gone_are_not_used(folder, tmp_path):
    source = shutil.copytree(folder, tmp_path / "source")
    first = embed(source, tmp_path / "store", backbone="pixels", augment=["flip"], copies=2)
    (gone, _), (changed, _) = training_images(first)[:2]
    first.items.path(gone).unlink()
    Image.new("RGB", (50, 50), "red").save(first.items.path(changed), "PNG")
    store = embed(source, tmp_path / "store", backbone="pixels")
    head = train(store)
    assert gone not in head.training.ids
    assert changed in head.training.ids
    used = {head.training.ids[place] for place in head.training.copies[1]}
    assert changed not in used
    assert len(used) == len(head.training.ids) - 1


def test_a_head_whose_copies_are_gone_says_so(copied, folder, tmp_path):
    from embedkit.store import Store

    path = train(Store.open(copied), head="knn", backbone="pixels").save(tmp_path / "head")
    (copied / "pixels/augmented.json").unlink()
    with pytest.raises(HeadError, match="no longer has the altered copies"):
        load_head(path)


def test_a_damaged_file_of_copies_is_named_and_made_anew(copied, folder, store):
    from embedkit.store import Store

    chunk = next((copied / "mtcnn").glob("augmented-*.npy"))
    data = bytearray(chunk.read_bytes())
    data[-1] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(StoreError, match=f"{chunk.name} is missing or damaged"):
        train(Store.open(copied), backbone="mtcnn")
    # The way out that the message names: it is made anew, not taken over.
    whole = embed(folder, copied, backbone=["mtcnn", "pixels"], augment=ALL, copies=3, seed=1)
    expected = store.space("mtcnn").augmented.vectors
    assert np.array_equal(whole.space("mtcnn").augmented.vectors, expected)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"augment": ["flip", "zoom"]}, "no 'zoom'; known are flip, rotate, shear, jitter"),
        ({"augment": ["flip"], "copies": 0}, "--copies is 0"),
    ],
)
def test_what_is_no_augmentation_is_refused_before_any_work(folder, tmp_path, options, reason):
    with pytest.raises(InputError, match=reason):
        embed(folder, tmp_path / "store", **options)
    assert not (tmp_path / "store").exists()
