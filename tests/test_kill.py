"""A run that is killed at any moment is finished by the next one, to the same bytes."""

import contextlib
import itertools
import os
import random
import shutil
import signal
import time
from functools import partial
from pathlib import Path

import kills
import pytest
from helpers import make_different, tree

from embedkit.pipeline import embed
from embedkit.store import Store

NAMES = [
    f"{split}/{c}/{n}.jpg" for split in ("train", "test") for c in ("x", "y") for n in range(24)
]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_different(tmp_path_factory.mktemp("kill") / "faces", *NAMES)


def started(source: Path, store: Path, backbone: str, block: int):
    """Return a process that is about to begin the work, and what it says."""
    told, tell = kills.FORKS.Pipe(duplex=False)
    run = kills.FORKS.Process(
        target=kills.embed_and_tell, args=(tell, source, store, backbone, block)
    )
    run.start()
    tell.close()
    assert told.recv() == "start"
    return run, told


def ended(told) -> bool:
    """Say whether a process said that its work was done."""
    try:
        return bool(told.poll()) and told.recv() == "end"
    except EOFError:
        return False


def some(source: Path, folder: Path, every: int) -> Path:
    """Copy some of the pictures."""
    for name in NAMES[::every]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def half(source, tmp_path_factory):
    """A store of half of the pictures, and its folder of them."""
    root = tmp_path_factory.mktemp("half")
    return embed(some(source, root / "faces", 2), root / "store", backbone="pixels")


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["pixels", "mtcnn"])
def test_killed_at_random_moments_and_resumed_the_store_is_the_same(
    source, half, tmp_path, backbone, thorough, figure
):
    """Every other store is new, the others grow; somebody reads them all the while."""
    many, block = 200 if thorough else 8, 12
    if backbone == "mtcnn":  # where a picture costs as much as a block of `pixels`
        many, block = 20 if thorough else 3, 3
        source = some(source, tmp_path / "faces", 8)
    stores = tmp_path / "stores"
    stores.mkdir()

    def begin(name, grows):
        if grows:
            shutil.copytree(half.path, tmp_path / "copy")
            (tmp_path / "copy").rename(stores / name)
        return stores / name

    def finish(store):
        return embed(source, store, backbone=backbone, block=block)

    growing = [False, True] if backbone == "pixels" else [False]
    expected = {grows: finish(begin(f"{grows:d}", grows)) for grows in growing}
    whole = {grows: tree(store.path) for grows, store in expected.items()}
    known = kills.vectors_by_file(expected[False])
    moments = random.Random(0)
    took, hits = 1.0, 0
    with kills.Onlooker(stores, known) as onlooker:
        for kill in range(many):
            grows = growing[kill % len(growing)]
            store = begin(f"{kill + 2}", grows)
            run, told = started(source, store, backbone, block)
            began = time.monotonic()
            told.poll(moments.random() * took)  # ends early where the work is done
            run.kill()
            run.join()
            hit = run.exitcode == -signal.SIGKILL and not ended(told)
            took = took if hit else time.monotonic() - began  # load comes and goes
            hits += hit
            finish(store)
            assert tree(store) == whole[grows], f"kill {kill}"
    seen = onlooker.seen
    assert seen.wrong == []
    assert seen.whole
    # A kill after the end proves nothing; most must have hit.
    assert hits >= many // 2
    figure(
        "A1",
        f"{backbone}: {many} kills at random moments, {hits} of them while it ran: {many} of "
        f"{many} stores resumed to the same bytes; a reader beside opened {seen.whole} whole "
        f"stores, {len(seen.wrong)} of them torn",
    )


# What is killed at every change: the work, and what is there before it.
WORKS = {
    "embed": lambda home, at: partial(kills.embed, home / "faces", at / "store", **EASY),
    "grow": lambda home, at: partial(kills.embed, home / "more", at / "store", **EASY),
    "shrink": lambda home, at: partial(kills.embed, home / "fewer", at / "store", **EASY),
    "index": lambda home, at: partial(kills.index, at / "store", "hnsw"),
    "train": lambda home, at: partial(kills.train, at / "store", at / "store/heads/head"),
    "forget": lambda home, at: partial(kills.forget, at / "store", "train/x/1.jpg"),
    "merge": lambda home, at: partial(
        kills.merge, [home / "store", home / "second"], at / "store", rows=10
    ),
    "subset": lambda home, at: partial(
        kills.subset, home / "store", at / "store", "label = 'x'", rows=4
    ),
    "copies": lambda home, at: partial(
        kills.embed, home / "faces", at / "store", augment=["flip"], copies=1, **EASY
    ),
    "views": lambda home, at: partial(kills.views, at / "store"),
}
EASY = {"backbone": "pixels", "block": 8, "threads": 1}
ANEW = ("embed", "merge", "subset")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Three states of a data set, the store of the one in the middle, and a store of others."""
    home = tmp_path_factory.mktemp("works")
    names = [name for name in NAMES if name.endswith(("1.jpg", "2.jpg"))][:16]
    make_different(home / "faces", *names)
    shutil.copytree(home / "faces", home / "more")
    make_different(home / "more", "train/x/new.jpg", "test/y/new.jpg")
    shutil.copytree(home / "faces", home / "fewer")
    (home / "fewer" / names[0]).unlink()
    (home / "fewer" / names[1]).rename(home / "fewer" / names[2])
    make_different(home / "other", "train/x/a.jpg", "test/y/b.jpg")
    embed(home / "faces", home / "store", **EASY)
    embed(home / "other", home / "second", **EASY)
    kills.train(home / "store", home / "store/heads/old")
    return home


class Killed:
    """Some work on one folder, killed over and over."""

    def __init__(self, name, home, at) -> None:
        self.at, self.before = at, None if name in ANEW else home / "store"
        self.work = WORKS[name](home, at)
        self.start()
        self.work()
        self.expected = self.found()
        sides = [len(Store.open(one).items) for one in (self.before, at / "store") if one]
        self.sizes = set(sides)

    def start(self) -> None:
        shutil.rmtree(self.at, ignore_errors=True)
        self.at.mkdir()
        if self.before:
            shutil.copytree(self.before, self.at / "store")

    def check(self, where) -> None:
        """What is there can be used, and the work done again makes it whole."""
        if self.before or (self.at / "store/store.json").exists():
            opened = Store.open(self.at / "store")
            assert len(opened.items) in self.sizes, where
            assert len(opened.space().vectors) == len(opened.items), where
        self.work()
        assert self.found() == self.expected, where

    def found(self) -> dict[str, bytes]:
        """Return all files but the one that is locked; it may keep the number of a process."""
        return {name: data for name, data in tree(self.at).items() if name != "store/.lock"}


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKS)
def test_killed_before_every_single_change_of_a_file_the_result_is_the_same(
    home, tmp_path, name, thorough, figure
):
    killed = Killed(name, home, tmp_path / "at")
    step = 1 if thorough else 2 if name in ("index", "train") else 17
    for point in itertools.count(0, step):
        killed.start()
        died = kills.died_before(point, killed.work)
        killed.check(point)
        if not died:
            break
    n = len(range(0, point, step))
    assert n > 1
    figure(
        "A1",
        f"{name}: killed before {n} changes of a file, {step} apart: {n} of {n} usable at once "
        "and finished to the same bytes",
    )


@pytest.mark.slow
def test_killed_again_while_it_recovers_the_result_is_the_same(home, tmp_path, thorough, figure):
    many, points = 50 if thorough else 4, random.Random(1)
    for kill in range(many):
        killed = Killed(("embed", "grow")[kill % 2], home, tmp_path / "at")
        killed.start()
        where = points.randrange(60), points.randrange(20), points.randrange(20)
        died = [kills.died_before(point, killed.work) for point in where]
        assert died[1], where
        killed.check(where)
    figure("A1", f"{many} times killed, and twice again in recovering: {many} of {many} finished")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signals", "many"),
    [
        ([signal.SIGINT], (3, 100)),
        ([signal.SIGTERM], (3, 100)),
        ([signal.SIGINT, signal.SIGINT], (3, 50)),
    ],
    ids=["Ctrl-C", "TERM", "Ctrl-C twice"],
)
def test_a_signal_at_a_random_moment_ends_the_command_with_130_and_no_traceback(
    source, tmp_path, signals, many, thorough, figure
):
    many, moments, took, hits = many[thorough], random.Random(2), 1.0, 0
    embed(source, tmp_path / "whole", backbone="pixels")
    expected = tree(tmp_path / "whole")
    for number in range(many):
        store, said = tmp_path / f"{number}", tmp_path / f"{number}.txt"
        told, tell = kills.FORKS.Pipe(duplex=False)
        arguments = ["embed", str(source), "-o", str(store), "-b", "pixels"]
        run = kills.FORKS.Process(target=kills.command, args=(tell, arguments, said))
        run.start()
        tell.close()
        assert told.recv() == "start"
        began = time.monotonic()
        told.poll(moments.random() * took)
        for one in signals:
            with contextlib.suppress(ProcessLookupError):
                os.kill(run.pid, one)
            time.sleep(moments.random() / 50)
        run.join()
        took = took if run.exitcode == 130 else time.monotonic() - began
        words = said.read_text()
        assert run.exitcode in (0, 130), words
        assert "Traceback" not in words
        hits += run.exitcode == 130
        embed(source, store, backbone="pixels")
        assert tree(store) == expected, number
        assert not list(store.rglob("*.tmp"))
    assert hits >= many // 2
    name = " and ".join(one.name for one in signals)
    figure(
        "A11",
        f"{name} at {many} random moments, {hits} of them while it ran: status 130 without a "
        f"traceback {hits} times, {many} of {many} stores finished to the same bytes without a "
        "*.tmp",
    )


def test_a_kill_that_tears_a_journal_line_loses_only_that_block(source, tmp_path):
    embed(source, tmp_path / "whole", backbone="pixels", block=20)

    def stop(progress):
        if progress.safe >= 60:
            raise KeyboardInterrupt

    for cut in (1, 40, 400):
        store = tmp_path / f"cut{cut}"
        with pytest.raises(KeyboardInterrupt):
            embed(source, store, backbone="pixels", block=20, progress=stop)
        journal = store / "journal.jsonl"
        os.truncate(journal, journal.stat().st_size - cut)
        embed(source, store, backbone="pixels", block=20)
        assert tree(store) == tree(tmp_path / "whole")
