"""After a loss of power, a store is what it was or what it had been promised to be.

All changes of a run are recorded; after each of them the disk is rebuilt in every state that a
file system may leave which keeps only what was synced: names there or not, bytes whole, not there,
half there or zeros.
"""

import random
import shutil
from functools import partial
from unittest.mock import patch

import kills
import pytest
from faults import Disk, Recorder, changes_go_to, restore, states
from helpers import make_different, tree

from embedkit.errors import EmbedkitError
from embedkit.heads import load_head, train
from embedkit.pipeline import embed
from embedkit.store import Store
from embedkit.store.index_build import index_space
from embedkit.store.index_plans import plan_index
from embedkit.store.merging import merge
from embedkit.store.writer import StoreWriter

NAMES = [f"{split}/{c}/{n}.png" for split in ("train", "test") for c in "xy" for n in range(2)]


def recorded(work, root) -> list[tuple]:
    """Do some work, and return its changes below a folder and what was safe in between."""
    recorder, real = Recorder(root), StoreWriter.add

    def add(writer, entry):
        real(writer, entry)
        recorder.say(shards(writer))

    with patch.object(StoreWriter, "add", add), changes_go_to(recorder):
        work()
    recorder.say("done")
    return recorder.steps


def shards(writer):
    return {shard.sha256 for block in writer.blocks for shard in block.shards.values()}


class Trial:
    """Some work on a folder, and what must hold of the folder whenever the power is lost.

    Args:
        root: the folder; nothing else is changed.
        work: is done once, and again from any state.
        check: is given the trial and what had been said; raises where a promise is broken.
    """

    def __init__(self, root, work, check) -> None:
        self.root, self.work, self.check = root, work, check
        self.before = Disk.of(root)
        self.old = tree(root)
        self.steps = recorded(work, root)
        self.new = tree(root)

    def bad(self, *, forgetful="", most=None, redone=0) -> tuple[int, int]:
        """Look at the states, and return how many, and how many of them break a promise.

        Args:
            forgetful: the disk is one that forgets; then a broken promise is only counted.
            most: states that are looked at, half of them drawn; all where left out.
            redone: from so many states the work is done again, to the same bytes.
        """
        found = states(self.steps, self.before.again(forgetful))
        if most is not None and len(found) > most:
            half = most // 2
            found = found[:half] + random.Random(0).sample(found[half:], half)
        again = range(0, len(found), -(-len(found) // redone)) if redone else ()
        bad = 0
        for place, (state, said) in enumerate(found):
            shutil.rmtree(self.root)
            restore(state, self.root)
            try:
                self.check(self, said)
                if place in again:
                    self.work()
                    assert tree(self.root) == self.new
            except (AssertionError, EmbedkitError, OSError):
                if not forgetful:
                    raise
                bad += 1
        return len(found), bad


def of_a_store(store):
    """Return what must hold of a store while it is being written."""
    record = f"{store.name}/store.json"

    def check(trial, said):
        now = (store / "store.json").read_bytes() if (store / "store.json").exists() else None
        assert now in (trial.old.get(record), trial.new[record])
        done = said[-1] == "done"
        if now is not None:
            opened = Store.open(store)
            assert len(opened.space().vectors) == len(opened.items)
            assert not done or opened.verify() == []
        if now != trial.new[record]:
            assert not done
            with StoreWriter(store) as writer:
                assert shards(writer) >= said[-1]

    return check


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_different(tmp_path_factory.mktemp("power") / "faces", *NAMES)


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    return embed(source, tmp_path_factory.mktemp("whole") / "store", backbone="pixels", block=4)


def new(root, source, whole):
    store = root / "store"
    return Trial(root, partial(embed, source, store, backbone="pixels", block=4), of_a_store(store))


def grown(root, source, whole):
    shutil.copytree(source, faces := root.parent / "grown")
    make_different(faces, "train/x/7.png", "test/y/8.png")
    return _changed(root, faces, whole)


def shrunk(root, source, whole):
    """Some pictures are gone, one is another: files of the old state are removed."""
    shutil.copytree(source, faces := root.parent / "shrunk")
    make_different(faces, "other/x/0.png")
    (faces / "other/x/0.png").replace(faces / "train/x/0.png")
    (faces / "test/y/1.png").unlink()
    return _changed(root, faces, whole)


def _changed(root, faces, whole):
    store = shutil.copytree(whole.path, root / "store")
    return Trial(root, partial(embed, faces, store, backbone="pixels", block=4), of_a_store(store))


def merged(root, source, whole):
    other = make_different(root.parent / "other", "train/x/a.png", "test/y/b.png")
    second = embed(other, root.parent / "second", backbone="pixels")
    store = root / "store"
    return Trial(root, partial(merge, [whole, second], store), of_a_store(store))


def forgotten(root, source, whole):
    """One picture is forgotten, and what has learned from it."""
    store = shutil.copytree(whole.path, root / "store")
    train(Store.open(store), head="knn").save(store / "heads/head")

    def check(trial, said):
        opened = Store.open(store)
        assert len(opened.space().vectors) == len(opened.items) in (len(NAMES), len(NAMES) - 1)
        # Not even a file that nothing names may come back.
        assert said[-1] != "done" or tree(root) == trial.new

    return Trial(root, partial(kills.forget, store, NAMES[0]), check)


def indexed(root, source, whole):
    store = shutil.copytree(whole.path, root / "store")
    plan = plan_index(len(whole.items), whole.space().record.dimension, asked="hnsw")

    def work():
        opened = Store.open(store)
        index_space(opened, opened.space(), plan)

    return Trial(root, work, of_a_store(store))


def saved(root, source, whole):
    """A head takes the place of another."""
    train(whole, head="logistic").save(root / "head")
    head = train(whole, head="knn")

    def check(trial, said):
        found = tree(root)["head.safetensors"]
        assert found in (trial.old["head.safetensors"], trial.new["head.safetensors"])
        assert said[-1] != "done" or found == trial.new["head.safetensors"]
        load_head(root / "head.safetensors", store=whole.path)

    return Trial(root, partial(head.save, root / "head"), check)


def altered(root, source, whole):
    """Copies of the pictures take the place of others."""
    store = root / "store"
    embed(source, store, backbone="pixels", block=4, augment=["flip"], copies=1)

    def work():
        embed(source, store, backbone="pixels", block=4, augment=["rotate"], copies=1)

    def check(trial, said):
        opened = Store.open(store)
        faults = opened.verify()  # copies of neither kind, which can be made again
        assert all("augmented" in one for one in faults)
        assert said[-1] != "done" or faults == []
        found = opened.space().augmented
        assert said[-1] != "done" or found.policy["changes"] == ["rotate"]

    return Trial(root, work, check)


@pytest.mark.slow
@pytest.mark.parametrize("work", [new, grown, shrunk, merged, forgotten, indexed, saved, altered])
def test_after_a_loss_of_power_nothing_that_was_promised_is_lost(
    work, source, whole, tmp_path, thorough, figure
):
    (tmp_path / "disk").mkdir()
    trial = work(tmp_path / "disk", source, whole)
    n, bad = trial.bad(most=None if thorough else 30, redone=40 if thorough else 3)
    assert n > 5
    figure("A2", f"{work.__name__}: {n} states of the disk after a loss of power, {bad} bad")


@pytest.mark.slow
@pytest.mark.parametrize("forgotten", ["fsync", "sync folder"])
@pytest.mark.parametrize("work", [new, saved])
def test_a_disk_that_syncs_nothing_breaks_the_promise(
    work, forgotten, source, whole, tmp_path, thorough, figure
):
    """The test of the test: what is not synced is indeed lost."""
    (tmp_path / "disk").mkdir()
    trial = work(tmp_path / "disk", source, whole)
    n, bad = trial.bad(forgetful=forgotten, most=None if thorough else 25)
    assert bad
    figure("A2", f"{work.__name__} without {forgotten}: {bad} of {n} states are bad, as they must")
