"""Odd names, many pictures, disks that go away or never answer, stores that are read-only."""

import csv
import errno
import io
import os
import resource
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from explorers import Client
from helpers import noise, saved, tree
from hostile import NAMES, called, make_hostile

from embedkit import cells, images
from embedkit.engines import local
from embedkit.explorer.serving import serve
from embedkit.files import sha256
from embedkit.items import id_of_path
from embedkit.pipeline import embed
from embedkit.store import Store

FORMULA = tuple("=+-@\t\r\n")


# ---- names


def shown(store):
    """Return what a store says of each picture, and the file that it names."""
    rows = zip(store.items.ids, store.items.labels, store.items.column("sha256"), strict=True)
    return {id_: (label, hash_) for id_, label, hash_ in rows}


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_every_name_goes_through_every_command(tmp_path, locale, figure):
    """In a process of its own: Python takes the locale when it starts."""
    code = "import sys, test_load; test_load.whole_way()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k not in ("LANG", "PYTHONUTF8")}
        | {
            "LC_ALL": locale,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    figure("C7", f"LC_ALL={locale}: {done.stdout.strip()}")
    figure("H4", f"LC_ALL={locale}: {done.stdout.strip()}")


def whole_way():
    """Take every name through the commands; print what was counted."""
    paths = make_hostile(Path("f"))
    ids = {id_of_path(path) for path in paths}
    of_files = {id_of_path(path): sha256(Path("f", path).read_bytes()) for path in paths}
    hostile = next(path for path in paths if "\udce9" in path and path.startswith("test"))
    steps = [
        ("scan", "f"),
        ("embed", "f", "-b", "pixels", "-o", "store"),
        ("report", "store", "-o", "r.html", "-o", "r.md", "-o", "r.json"),
        ("map", "store", "-o", "m.html"),
        ("explain", "store", f"f/{hostile}", "-o", "card.png"),
        ("search", "store", f"f/{hostile}", "--json"),
        ("split", "store", "-o", "split.csv"),
        ("clean", "store", "-o", "clean.csv"),
        ("reviews", "store", "-o", "reviews.csv"),
        ("export", "store", "--to", "npy", "-o", "npy"),
        ("export", "store", "--to", "parquet", "-o", "items.parquet"),
        ("embed", "split.csv", "--root", "f", "-b", "pixels", "-o", "again"),
        ("subset", "store", "--where", "split = 'train'", "-o", "train"),
        ("subset", "store", "--where", "split = 'test'", "-o", "test"),
        ("merge", "train", "test", "-o", "both"),
        ("info", "store", "--deep"),
    ]
    raw = 0
    for step in steps:
        status, out, err = called(*step)
        assert status == 0, (step, err)
        raw += sum(not (c.isprintable() or c == "\n") for c in out + err)
        if step[0] == "search":
            assert id_of_path(hostile) in __import__("json").loads(out)["neighbours"][0]["id"]
    assert raw == 0
    for name in ("store", "again", "both"):
        found = shown(Store.open(name))
        assert {id_: hash_ for id_, (_, hash_) in found.items()} == of_files, name
        assert found == shown(Store.open("store"))
    bad = 0
    for name in ("split.csv", "clean.csv", "reviews.csv", "npy/items.csv"):
        text = Path(name).read_bytes().decode("utf-8", "surrogateescape")
        every = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
        bad += sum(cells.guarded(cell) != cell for cell in every)
    assert bad == 0
    for page in ("r.html", "m.html"):
        assert_harmless(Path(page).read_text("utf-8"))
    with serve(Path("store")) as served:
        client = Client(served)
        assert_harmless(client.send("GET", "/")[2].decode())
        status, listed = client.get("pictures")
        assert status == 200
        assert {row["id"] for row in listed["pictures"]} <= ids
        for row in range(len(paths)):
            assert client.send("GET", f"{client.at}picture/{row}")[0] == 200
    print(
        f"{len(NAMES)} names in 2 classes through {len(steps)} commands and the explorer: "
        f"{len(paths)} of {len(paths)} files found again by id, {raw} raw control characters "
        f"printed, {bad} cells that begin a formula, {len(paths)} of {len(paths)} rows of split.csv "
        "came back with label and hash"
    )


class _Elements(HTMLParser):
    found: list

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def assert_harmless(page):
    parser = _Elements()
    parser.found = []
    parser.feed(page)
    for _, given in parser.found:
        assert not any(name.startswith("on") for name in given)
        assert not any("javascript:" in (value or "") for value in given.values())
    assert "<script>alert" not in page


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
    folder.mkdir(parents=True)
    for number in range(n):
        (folder / f"{number}.png").write_bytes(saved(noise(number, 16), "PNG"))
    return folder


def test_a_source_that_goes_away_costs_the_store_nothing(tmp_path, monkeypatch, figure, thorough):
    """At a new run and at one that only looks whether all is as it was; then it comes back."""
    n = 400 if thorough else 60
    source, away, store = drawn(tmp_path / "f", n), tmp_path / "away", tmp_path / "store"
    read = images.read_bytes
    left = SimpleNamespace(n=0)
    lock = threading.Lock()

    def vanishing(path):
        with lock:
            left.n -= 1
            if left.n == 0:
                source.rename(away)
                source.mkdir()  # the empty place of a mount
        return read(path)

    for module in ("blocks", "known"):
        monkeypatch.setattr(f"embedkit.pipeline.{module}.read_bytes", vanishing)
    ended = 0
    for when in (n // 3, n // 2):
        left.n = when
        status, _, err = called("embed", source, "-b", "pixels", "-o", store)
        assert (status, err.count("\n")) == (3, err.count("\n"))
        assert "went away while it was being read" in err.splitlines()[-1]
        ended += 1
        source.rmdir()
        away.rename(source)
        left.n = 0
        assert len(embed(source, store, backbone="pixels").items) == n
    whole = tree(embed(source, tmp_path / "other", backbone="pixels").path / "pixels")
    assert tree(store / "pixels").keys() == whole.keys()
    assert shown(Store.open(store)) == shown(Store.open(tmp_path / "other"))
    figure(
        "C6",
        f"{ended} runs over {n} pictures whose folder went away: {ended} ended with one line and "
        f"status 3, all {n} pictures in the store once it was back",
    )


@pytest.mark.parametrize("number", ["ENOTCONN", "ESTALE", "EIO"])
def test_a_share_that_fails_is_named(tmp_path, monkeypatch, number):
    """A server that is away ends the run; a bad sector is one picture's."""
    source = drawn(tmp_path / "f", 12)
    opened = os.open

    def failing(path, *rest, **options):
        if str(path).endswith("/7.png"):
            raise OSError(getattr(errno, number), os.strerror(getattr(errno, number)), str(path))
        return opened(path, *rest, **options)

    monkeypatch.setattr(images.os, "open", failing)
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


# ---- a store that cannot be written


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")
def test_everything_that_reads_works_on_a_read_only_mount(store_copy, planted, tmp_path, figure):
    picture = next(planted.folder.rglob("*.jpg"), None) or next(planted.folder.rglob("*.png"))
    status, _, err = called("train", store_copy, "-b", "mtcnn", "--head", "knn")
    assert status == 0, err
    (head,) = (store_copy / "heads").glob("*.safetensors")
    if subprocess.run(
        ["mount", "--bind", "-o", "ro", store_copy, store_copy], capture_output=True, check=False
    ).returncode:
        pytest.skip("mounting is forbidden here")
    before = tree(store_copy)
    out = tmp_path / "out"
    out.mkdir()
    reading = [
        ("info", store_copy, "--deep"),
        ("search", store_copy, picture, "-b", "mtcnn", "--sheet", out / "s.png"),
        ("explain", store_copy, picture, "-b", "mtcnn", "--head", "knn"),
        ("predict", head, picture, "--store", store_copy),
        ("export", store_copy, "-b", "mtcnn", "--to", "npy", "-o", out / "npy"),
        ("audit", store_copy, "-b", "pixels"),
    ]
    try:
        read = [(one[0], *called(*one)) for one in reading]
        writing = called("train", store_copy, "-b", "pixels", "--head", "knn")
        assert tree(store_copy) == before
    finally:
        subprocess.run(["umount", "-l", store_copy], check=True)
    assert [(name, status) for name, status, _, _ in read] == [(one[0], 0) for one in reading], read
    assert writing[0] == 3
    assert "cannot be written: Read-only file system" in writing[2]
    figure(
        "A10",
        f"{len(read)} of {len(reading)} reading commands end with 0 on a read-only mount, train "
        "with 3 and one line; no byte of the store changed",
    )


# ---- many pictures


def measured(source, store):
    """Embed in a process of its own; return its CPU seconds and peak memory in MiB."""
    code = (
        "import resource, sys\nfrom embedkit.pipeline import embed\n"
        "built = embed(sys.argv[1], sys.argv[2], backbone='pixels')\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(len(built.items), used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, source, store],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
    )
    n, seconds, memory = map(float, done.stdout.split())
    return int(n), seconds, memory


@pytest.mark.slow
@pytest.mark.parametrize("folders", [1, 10])
def test_many_pictures_need_little_memory_each(tmp_path, folders, figure, thorough):
    """With 64 files open at most. A folder holds all of them, or ten."""
    sizes = (10_000, 100_000) if thorough else (300, 3_000)
    picture = saved(noise(0, 8), "PNG")
    found = []
    for n in sizes:
        source = tmp_path / f"f{n}"
        for number in range(n):
            place = source / ("all" if folders == 1 else f"{number // 10}") / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(picture[:-12] + b"\0\0\0\4tEXtx\0%02d" % 0 + picture[-12:])
        found.append(measured(source, tmp_path / f"s{n}"))
        shutil.rmtree(source)
    (n, seconds, memory), (more, longer, larger) = found
    assert (n, more) == sizes
    per = (larger - memory) * 1024 / (more - n)
    exponent = np.log(longer / seconds) / np.log(more / n)
    assert per < 40  # KiB a picture; its vector is 5.25
    figure(
        "J2",
        f"{n} and {more} pictures of 8 x 8 in {'one folder' if folders == 1 else 'folders of ten'},"
        f" 64 open files: {seconds:.0f} and {longer:.0f} s of CPU (exponent {exponent:.2f}), "
        f"{memory:.0f} and {larger:.0f} MiB at most, {per:.1f} KiB more a picture",
    )


# ---- the explorer, asked again and again


def test_the_explorer_keeps_no_file_thread_or_memory(planted_store, figure, thorough):
    sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
    from reliability_load import soak

    seconds = 120.0 if thorough else 3.0
    with serve(planted_store.path, backbone="pixels") as served:
        first, last, rounds = soak(Client(served), seconds)
    assert rounds > 0
    assert last.files <= first.files + 5
    assert last.threads <= first.threads + 5
    assert last.memory - first.memory < 64
    figure("J5", f"view for {seconds:.0f} s, {rounds} rounds: {first} at first, {last} at last")
