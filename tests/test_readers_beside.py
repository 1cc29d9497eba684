"""Processes that meet at one store: one writes, any number reads, and no answer is wrong."""

import contextlib
import os
import shutil
import threading
import time

import kills
import numpy as np
import pytest
from embedkit_cli import main
from helpers import make_different

from embedkit.files import sha256
from embedkit.pipeline import blocks, embed
from embedkit.store import Store
from embedkit.store.writer import StoreWriter

SPLITS = [f"{split}/{c}" for split in ("train", "test") for c in "xy"]
FEWEST = 12


@pytest.fixture(scope="module")
def pool(tmp_path_factory, request):
    """Return pictures that come one by one, and the vectors that they must have."""
    many = 1500 if request.config.getoption("--thorough") else 48
    root = tmp_path_factory.mktemp("pool")
    names = [f"{SPLITS[n % 4]}/{n:04d}.png" for n in range(many)]
    make_different(root / "faces", *names)
    store = embed(root / "faces", root / "store", backbone="pixels")
    return root / "faces", names, kills.vectors_by_file(store)


class Writer:
    """Commits one state after another: a picture comes, and of many the oldest goes."""

    def __init__(self, pool, faces, store) -> None:
        self.pool, self.names, _ = pool
        self.faces, self.store, self.next = faces, store, 0
        for _ in range(FEWEST - 1):
            self._come()
        self.commit()

    def _come(self) -> None:
        name = self.names[self.next]
        (self.faces / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.pool / name, self.faces / name)
        self.next += 1

    def commit(self) -> bool:
        """Commit a state that never was; False where there is none left."""
        if self.next == len(self.names):
            return False
        self._come()
        if self.next > 2 * FEWEST and self.next % 3:
            (self.faces / self.names[self.next - 2 * FEWEST]).unlink(missing_ok=True)
        embed(self.faces, self.store, backbone="pixels", block=5)
        return True


@pytest.mark.slow
def test_readers_and_copies_beside_a_writer_are_never_wrong(pool, tmp_path, thorough, figure):
    """Processes read a store and one copies it, while it grows, shrinks and changes."""
    (tmp_path / "stores").mkdir()
    writer = Writer(pool, tmp_path / "faces", tmp_path / "stores/0")
    known, commits = pool[2], 1
    many = 8 if thorough else 4
    with contextlib.ExitStack() as stack:
        readers = [
            stack.enter_context(kills.Onlooker(tmp_path / "stores", known)) for _ in range(many)
        ]
        copier = stack.enter_context(kills.Onlooker(tmp_path / "stores", known, tmp_path / "copy"))
        for one in (*readers, copier):
            one.wait()
        began, seconds = time.monotonic(), 600 if thorough else 5
        while time.monotonic() < began + seconds and writer.commit():
            commits += 1
        took = time.monotonic() - began
        for one in (*readers, copier):
            one.stop()
    seen = [one.seen for one in readers]
    assert [one.wrong for one in (*seen, copier.seen)] == [[]] * (many + 1)
    whole, changed = sum(one.whole for one in seen), sum(one.changed for one in seen)
    states = {state for one in seen for found in one.states.values() for state in found}
    assert len(states) > 1
    assert whole > many
    wrong = sum(len(one.wrong) for one in seen)
    figure(
        "A6",
        f"{many} reader processes opened and searched {whole} times in {took:.0f} s beside "
        f"{commits} commits, {len(states)} states seen: {wrong} wrong rows, wrong "
        f"neighbours and steps back; {changed} times told that the store was changed by another "
        "before all was read",
    )
    copies = copier.seen.whole + copier.seen.not_whole
    assert copies
    figure(
        "A12",
        f"{copies} copies by cp -r during {commits} commits: {copier.seen.whole} whole, "
        f"{copier.seen.not_whole} said not to be, {len(copier.seen.wrong)} mixtures",
    )


def test_pictures_that_go_or_change_under_a_run_are_told_and_never_mixed(tmp_path, monkeypatch):
    """One goes, one is cut short, one becomes another, each after the folder was listed."""
    names = [f"{SPLITS[n % 4]}/{n}.png" for n in range(12)]
    faces = make_different(tmp_path / "faces", *names)
    gone, cut, other = (faces / name for name in names[3:6])
    read = blocks.read_bytes

    def meanwhile(path):
        if path == gone:
            gone.unlink(missing_ok=True)
        elif path == cut:
            os.truncate(cut, 900)
        elif path == other:
            shutil.copyfile(faces / names[6], other)
        return read(path)

    monkeypatch.setattr(blocks, "read_bytes", meanwhile)
    store = embed(faces, tmp_path / "store", backbone="pixels", threads=2)
    told = {one.id: one.reason for one in store.unreadable}
    assert told.keys() == {names[3], names[4]}
    assert told[names[3]] == "No such file or directory"
    assert "truncated" in told[names[4]]
    row = dict(zip(store.items.ids, store.space().vectors, strict=True))
    hashes = dict(zip(store.items.ids, store.items.column("sha256"), strict=True))
    assert hashes[names[5]] == hashes[names[6]] == sha256(other.read_bytes())
    assert np.array_equal(row[names[5]], row[names[6]])


@pytest.mark.slow
def test_of_two_writers_one_is_refused_and_a_dead_ones_lock_is_free(
    pool, tmp_path, capsys, thorough, figure
):
    pairs, refused = 50 if thorough else 4, 0
    path, source = tmp_path / "0", pool[0]
    Writer(pool, tmp_path / "faces", path)
    commands = [
        ["embed", source, "-o", path, "-q"],
        ["index", path, "-q"],
        ["embed", source, "-o", path, "--augment", "flip", "-q"],
        ["merge", path, tmp_path, "-o", path, "-q"],
    ][:3]
    for pair in range(pairs):
        barrier, ends, processes = kills.FORKS.Barrier(2), [], []
        for _ in range(2):
            end, tell = kills.FORKS.Pipe(duplex=False)
            ends.append(end)
            processes.append(kills.FORKS.Process(target=kills.hold, args=(tell, barrier, path)))
            processes[-1].start()
            tell.close()
        (said, words), (other, more) = sorted(end.recv() for end in ends)
        assert (said, other) == ("holds", "refused"), (words, more)
        owner = f"is being written by process {words};"
        assert owner in more
        arguments = [str(one) for one in commands[pair % len(commands)]]
        capsys.readouterr()
        assert main(arguments) == 3
        err = capsys.readouterr().err
        assert owner in err
        assert err.count("\n") == 1
        refused += 2
        for process in processes:
            process.kill()
            process.join()
        with StoreWriter(path):
            pass
    figure(
        "A7",
        f"{pairs} pairs of writers: one won each time, {refused} others were refused with its "
        f"number; {pairs} owners killed, {pairs} locks free at once",
    )


@pytest.mark.slow
def test_threads_that_share_a_store_find_the_same_beside_a_writer(pool, tmp_path, thorough, figure):
    writer = Writer(pool, tmp_path / "faces", tmp_path / "0")
    rounds, searches = (20, 50) if thorough else (3, 10)
    found, wrong = [], []

    def search(store, expected, start):
        start.wait()
        for _ in range(searches):
            space = store.space()
            rows = space.index.search(space.vectors, 3).rows
            found.append(len(rows))
            if not np.array_equal(rows, expected):
                wrong.append(rows)

    commits = 0
    for _ in range(rounds):
        first = Store.open(tmp_path / "0").space()
        expected = np.argsort(-(first.vectors.astype(float) @ first.vectors.T), axis=1)[:, :3]
        store, start = Store.open(tmp_path / "0"), threading.Barrier(9)
        threads = [threading.Thread(target=search, args=(store, expected, start)) for _ in range(8)]
        for thread in threads:
            thread.start()
        _ = store.space().vectors  # read before the writer may take it away
        start.wait()
        while any(thread.is_alive() for thread in threads):
            commits += writer.commit()
            time.sleep(0.001)
        for thread in threads:
            thread.join()
    assert len(found) == 8 * rounds * searches
    assert wrong == []
    figure(
        "B7",
        f"8 threads, {len(found)} searches of one open store beside {commits} commits: "
        f"{len(wrong)} wrong",
    )
