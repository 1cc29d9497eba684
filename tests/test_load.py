"""Cells of CSV files, and disks that go away or never answer."""

import errno
import os
import subprocess
import threading
import time
from types import SimpleNamespace

import pytest
from helpers import noise, saved, tree
from hostile import called

from embedkit import cells, images
from embedkit.engines import local
from embedkit.pipeline import embed
from embedkit.store import Store

FORMULA = tuple("=+-@\t\r\n")


# ---- names


def shown(store):
    """Return what a store says of each picture, and the file that it names."""
    rows = zip(store.items.ids, store.items.labels, store.items.column("sha256"), strict=True)
    return {id_: (label, hash_) for id_, label, hash_ in rows}


@pytest.mark.parametrize(
    "text", ["=1", "'=1", "''=1", "+1+1", "-x", "@a", "\ta", "'", "a=1", "", "+", "-", "x'=", "\n="]
)
def test_a_guarded_cell_is_no_formula_and_comes_back(text):
    written = cells.guarded(text)
    assert not written.startswith(FORMULA)
    assert cells.bare(written) == text


@pytest.mark.parametrize("text", ["-1", "+1", "-0.5", "1e-3", "-.5", "+2.E4"])
def test_a_number_is_no_formula(text):
    assert cells.guarded(text) == cells.bare(text) == text


# ---- a source that goes away, or never answers


def drawn(folder, n):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n):
        (folder / f"{number}.png").write_bytes(saved(noise(number, 16), "PNG"))
    return folder


def taken(disk, _):
    """Put a folder elsewhere; return what brings it back."""
    away = disk.with_name("away")
    disk.rename(away)
    disk.mkdir()  # the empty place of a mount
    return lambda: (disk.rmdir(), away.rename(disk))


def mounted(disk, draw):
    """Mount a disk and draw pictures on it."""
    disk.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", disk]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    draw()


def unmounted(disk, draw):
    """Take a mount away though files of it are open; return what mounts it again."""
    subprocess.run(["umount", "-l", disk], check=True)
    return lambda: mounted(disk, draw)


@pytest.mark.parametrize("how", ["renamed", "unmounted", "unmounted below"])
def test_a_source_that_goes_away_costs_the_store_nothing(
    how, tmp_path, monkeypatch, figure, thorough, request
):
    """At a new run and at one that only looks whether all is as it was; then it comes back."""
    n = 400 if thorough else 60
    source, store = tmp_path / "f", tmp_path / "store"
    below = how == "unmounted below"
    disk = source / "below" if below else source

    def draw():
        if not below:
            drawn(source, n // 2)
        drawn(source / "below", n // 2)

    if below:
        drawn(source, n // 2)
    if how == "renamed":
        draw()
    else:
        mounted(disk, draw)
        request.addfinalizer(lambda: subprocess.run(["umount", "-l", disk], check=True))
    away = taken if how == "renamed" else unmounted
    read = images.read_bytes
    left = SimpleNamespace(n=0, back=None)
    lock = threading.Lock()

    def vanishing(path):
        with lock:
            left.n -= 1
            if left.n == 0:
                left.back = away(disk, draw)
        return read(path)

    for module in ("blocks", "known"):
        monkeypatch.setattr(f"embedkit.pipeline.{module}.read_bytes", vanishing)
    ended = 0
    for when in (n // 3, n // 2):
        left.n = when
        status, _, err = called("embed", source, "-b", "pixels", "-o", store)
        assert status == 3
        assert f"{disk} went away while it was being read" in err.splitlines()[-1]
        ended += 1
        left.back()
        left.n = 0
        assert len(embed(source, store, backbone="pixels").items) == n
    whole = tree(embed(source, tmp_path / "other", backbone="pixels").path / "pixels")
    assert tree(store / "pixels").keys() == whole.keys()
    assert shown(Store.open(store)) == shown(Store.open(tmp_path / "other"))
    figure(
        "C6",
        f"{how} in mid-run: {ended} runs over {n} pictures ended with one line and status 3, all "
        f"{n} pictures in the store once it was back",
    )


def test_a_slow_source_gives_the_same_store(tmp_path, monkeypatch, figure):
    source = drawn(tmp_path / "f", 24)
    read = images.read_bytes

    def slow(path):
        time.sleep(0.05 if path.name == "7.png" else 0.01)
        return read(path)

    fast = embed(source, tmp_path / "fast", backbone="pixels")
    monkeypatch.setattr("embedkit.pipeline.blocks.read_bytes", slow)
    assert tree(embed(source, tmp_path / "slow", backbone="pixels").path / "pixels") == tree(
        fast.path / "pixels"
    )
    figure("C6", "a source that takes 10 to 50 ms for a picture: the same bytes")


@pytest.mark.parametrize("number", ["ENOTCONN", "ESTALE", "EIO"])
def test_a_share_that_fails_is_named(tmp_path, monkeypatch, number):
    """A server that is away ends the run; a bad sector is one picture's."""
    source = drawn(tmp_path / "f", 12)
    opened = os.open

    def failing(path, *rest, **options):
        if str(path).endswith("/7.png"):
            raise OSError(getattr(errno, number), os.strerror(getattr(errno, number)), str(path))
        return opened(path, *rest, **options)

    monkeypatch.setattr(os, "open", failing)
    status, _, err = called("embed", source, "-b", "pixels", "-o", tmp_path / "store")
    assert "7.png" in err
    assert status == (0 if number == "EIO" else 3)
    monkeypatch.undo()
    assert len(embed(source, tmp_path / "store", backbone="pixels").items) == 12


def test_a_read_that_never_returns_is_not_waited_for_for_ever(tmp_path, monkeypatch, figure):
    source = drawn(tmp_path / "f", 12)
    released = threading.Event()
    read = images.read_bytes

    def stuck(path):
        if path.name == "7.png":
            released.wait(60)
        return read(path)

    monkeypatch.setattr("embedkit.pipeline.blocks.read_bytes", stuck)
    monkeypatch.setattr(local, "PATIENCE", 0.3)
    try:
        status, _, err = called("embed", source, "-b", "pixels", "-o", tmp_path / "store")
    finally:
        released.set()
    assert status == 3
    assert "7.png has been waited for for 0.3 s" in err.splitlines()[-1]
    monkeypatch.undo()
    assert len(embed(source, tmp_path / "store", backbone="pixels").items) == 12
    figure("C6", "a read that never returns: the run ended with the picture's name and status 3")
