"""A disk that is too small by a page, by half, by nearly all: no short file ever looks whole.

The disk is counted in pages as commands write; where a tmpfs can be mounted, exports, which other
libraries write, have a real one.
"""

import contextlib
import io
import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from embedkit_cli import main
from faults import PAGE, Full, changes_go_to, pages
from helpers import make_different, tree
from test_faults import COMMANDS as OF_FAULTS

from embedkit.errors import OutputError
from embedkit.exports import TARGETS, atlas, export
from embedkit.pipeline import embed
from embedkit.store import Store

NAMES = [f"{split}/{c}/{n}.png" for split in ("train", "test") for c in "xy" for n in range(6)]
STEP = 64 * 1024


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A data set, the same with more pictures, and a store of it."""
    home = tmp_path_factory.mktemp("full")
    make_different(home / "faces", *NAMES)
    shutil.copytree(home / "faces", home / "more")
    make_different(home / "more", *(f"train/x/new{n}.png" for n in range(4)))
    make_different(home / "other", "train/x/a.png", "test/y/b.png")
    embed(home / "faces", home / "store", backbone="pixels", block=8)
    embed(home / "other", home / "second", backbone="pixels")
    return home


COMMANDS = {name: made for name, made in OF_FAULTS.items() if name != "forget"}


def sizes(low: int, need: int, thorough: bool) -> list[int]:
    """Return sizes of disks: in steps of 64 KiB, and page by page around what is needed."""
    if not thorough:
        return [low + (need - low) // 2 // PAGE * PAGE, need - PAGE, need]
    near = range(max(low, need - STEP), need + STEP + 1, PAGE)
    return sorted({*range(low, need + STEP, STEP), *near})


def run(command):
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        status = main([str(one) for one in command])
    return status, err.getvalue()


def found(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in tree(folder).items() if not name.endswith(".lock")}


@pytest.mark.parametrize("name", COMMANDS)
def test_on_a_disk_of_any_size_all_is_written_or_it_is_said(home, tmp_path, name, thorough, figure):
    at = tmp_path / "at"
    command = [*COMMANDS[name](home, at), "-q"]

    def start():
        shutil.rmtree(at, ignore_errors=True)
        at.mkdir()
        if name not in ("embed", "merge"):
            shutil.copytree(home / "store", at / "store")

    def taken():
        return sum(pages(len(data)) for data in found(at).values())

    start()
    low, before, disk = taken(), found(at), Full(at, float("inf"))
    with changes_go_to(disk):
        assert run(command) == (0, "")
    expected, known, short = found(at), {*before.items(), *disk.given}, 0
    tried = sizes(low, disk.most, thorough)
    for size in tried:
        start()
        with changes_go_to(disk := Full(at, size)):
            status, err = run(command)
        if status == 0:
            assert not disk.full, size
            assert found(at) == expected, size
            continue
        short += 1
        assert disk.full, (size, err)
        assert status == 3, (size, err)
        assert err.startswith("Error: "), (size, err)
        assert err.count("\n") == 1, (size, err)
        assert "No space left on device" in err, (size, err)
        for path, data in found(at).items():
            unfinished = path.endswith((".next", "journal.jsonl"))
            assert unfinished or (path, data) in known, (size, path)
        if low:
            store = Store.open(at / "store")
            assert len(store.space().vectors) == len(store.items), size
            made_again = ("makes the index again", "makes it anew")
            assert all(one.endswith(made_again) for one in store.verify()), size
        assert run(command) == (0, ""), size
        assert found(at) == expected, size
    assert 0 < short < len(tried)
    figure(
        "A4",
        f"{name}: {len(tried)} sizes of disk up to {disk.most // 1024} KiB and more, {short} too "
        f"small: {short} told in one line, 0 short files under a final name, {short} finished to "
        "the same bytes once there was room",
    )


@contextlib.contextmanager
def mounted(place: Path, size: int):
    """Mount a disk of so many bytes."""
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def somewhere(graph, vectors, **_):
    """Stand in for a layout, which takes seconds."""
    return SimpleNamespace(places=vectors[:, :2])


@pytest.mark.parametrize("to", TARGETS)
def test_an_export_to_a_disk_of_any_size_is_whole_or_not_there(
    home, tmp_path, to, thorough, figure, monkeypatch
):
    monkeypatch.setattr(atlas, "lay_out", somewhere)
    with mounted(tmp_path / "disk", 64 * 2**20) as disk:
        export(Store.open(home / "store"), disk / "out", to=to)
        used = os.statvfs(disk)
        need = (used.f_blocks - used.f_bfree) * used.f_frsize
        expected = tree(disk)
    tried = sizes(PAGE, need, thorough)
    short = 0
    for size in tried:
        with mounted(tmp_path / "disk", size) as disk:
            try:
                export(Store.open(home / "store"), disk / "out", to=to)
            except OutputError as error:
                assert "No space left on device" in str(error), size
                assert list(disk.iterdir()) == [], size
                short += 1
            else:
                assert tree(disk) == expected, size
    assert 0 < short < len(tried)
    figure(
        "A4",
        f"export to {to}: {len(tried)} sizes of a real disk around {need // 1024} KiB, {short} too "
        "small: each told in one line, nothing left of it",
    )
