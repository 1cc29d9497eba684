"""Where a program may be started: nobody listens, no folder, no home, few files, an old clock."""

import io
import os
import resource
import subprocess
import sys
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import pytest
from embedkit_cli.app import main
from helpers import make_different, tree
from hostile import called

from embedkit.pipeline import embed

FEW = 64  # open files
# In a process of its own, where a warning is an error.
COMMANDS = """
embed faces -b pixels -o store
info store --deep
search store faces/test/x/0.png --sheet sheet.png
train store -o head.safetensors
predict head.safetensors faces/test
export store --to npy -o npy
""".strip().splitlines()
LONGER = """
embed faces -b mtcnn -o store
evaluate head.safetensors
explain store test/x/0.png -b mtcnn -o card.png
audit store -b mtcnn --report audit.html
map store -b mtcnn -o map.html
split store -b mtcnn -o split.csv
export store -b mtcnn --to parquet -o rows.parquet
subset store --where split='test' -o test
forget store test/x/0.png --yes
""".strip().splitlines()


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    names = [f"{s}/{c}/{n}.png" for s in ("train", "test") for c in "xy" for n in range(12)]
    return make_different(tmp_path_factory.mktemp("surroundings") / "faces", *names)


@pytest.fixture(scope="module")
def store(faces):
    return embed(faces, faces.with_name("store"), backbone="pixels").path


@contextmanager
def deaf(kind):
    """Give a stream that takes nothing: of a full disk, or of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    where = "/dev/full" if kind == "full" else writing
    stream = open(where, "w", buffering=1)  # noqa: PTH123, SIM115 (a descriptor has no path)
    try:
        yield stream
    finally:
        with suppress(OSError):  # of what it holds back
            stream.close()
        if kind == "full":
            os.close(writing)


@pytest.mark.parametrize("kind", ["full", "broken"])
def test_talk_that_nobody_can_hear_changes_no_status(kind, faces, store, tmp_path, figure):
    lines = (
        (["embed", faces, "-b", "pixels", "-o", tmp_path / "store"], 0),
        (["info", "nowhere"], 2),
        (["info", "nowhere", "--json"], 2),
        (["info", store, "--nonsense"], 2),
        (["nonsense"], 2),
    )
    for line, status in lines:
        with deaf(kind) as stream, redirect_stderr(stream), redirect_stdout(io.StringIO()):
            assert main(list(map(str, line))) == status
    assert tree(tmp_path / "store/pixels") == tree(store / "pixels")
    figure("J3", f"a {kind} stderr: {len(lines)} of {len(lines)} commands keep their status")


@pytest.mark.parametrize(("kind", "status"), [("full", 3), ("broken", 0)])
def test_a_result_that_nobody_can_take_is_no_gate(kind, status, store, figure):
    for more in ([], ["--json"]):
        with deaf(kind) as stream, redirect_stdout(stream), redirect_stderr(io.StringIO()) as said:
            assert main(["info", str(store), *more]) == status
        assert said.getvalue().count("\n") == (status != 0)
    figure("J3", f"a {kind} stdout: status {status}")


def test_without_a_working_folder_there_is_one_line(store, tmp_path, monkeypatch, figure):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    status, out, err = called("info", store)
    assert (status, out) == (2, "")
    assert err.startswith("Error: the working folder is gone")
    assert err.count("\n") == 1
    figure("J3", "a working folder that was removed: one line, status 2")


def test_the_clock_may_be_set_back(faces, store, tmp_path, monkeypatch, figure):
    monkeypatch.setattr(time, "time", lambda: 86_400.0)
    for path in faces.rglob("*.png"):
        os.utime(path, (4e9, 4e9))  # the pictures are of the year 2096
    again = tmp_path / "store"
    for _ in range(2):
        status, _, err = called("embed", faces, "-b", "pixels", "-o", again)
        assert status == 0, err
    assert tree(again / "pixels") == tree(store / "pixels")
    assert called("train", again)[0] == 0
    assert called("info", again, "--deep")[0] == 0
    figure("J3", "a clock of 1970 and pictures of 2096: the same bytes")


@pytest.mark.slow
def test_warnings_as_errors_few_files_and_no_home(faces, tmp_path, thorough, figure):
    (tmp_path / "faces").symlink_to(faces)
    lines = COMMANDS + LONGER * thorough
    code = (
        "import sys; from embedkit_cli.app import main\n"
        "sys.exit(next((line for line in sys.argv[1:] if main(line.split()) != 0), 0))"
    )
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *lines],
        cwd=tmp_path,
        env=kept | {"XDG_STATE_HOME": str(tmp_path / "state")},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, FEW)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    figure("J3", f"python -W error, {FEW} open files, no home: {len(lines)} commands end well")


def test_a_space_of_many_shards_is_read_with_few_files(tmp_path, monkeypatch):
    """A hundred thousand pictures have more shards than files may be open."""
    source = make_different(tmp_path / "faces", *(f"x/{n}.png" for n in range(56)))
    space = embed(source, tmp_path / "store", backbone="pixels", block=1).space("pixels")
    monkeypatch.setattr("embedkit.store.store.READ", 0)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, before[1]))
    try:
        assert (space.rows[:] == space.vectors).all()
        assert len(list(Path("/proc/self/fd").iterdir())) < FEW - 4
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert len(space.record.shards) > FEW - 10
