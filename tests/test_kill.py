"""A run that is killed at any moment is finished by the next one, to the same bytes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import make_different, tree

NAMES = [
    f"{split}/{c}/{n}.jpg" for split in ("train", "test") for c in ("x", "y") for n in range(90)
]

# Prints a line when the work begins, and after each block that is safe.
RUN = """
import sys
import embedkit.pipeline
from embedkit.backbones import load_backbone
source, store, backbone = sys.argv[1:]
load_backbone(backbone)
print("start", flush=True)
embedkit.pipeline.embed(source, store, backbone=backbone, block=20, threads=2)
print("end", flush=True)
"""

# Kills itself before the n-th change of a file: every point between two changes, one by one.
CRASH = """
import os, signal, sys
import embedkit.pipeline
from embedkit import files
source, store, backbone, n = sys.argv[1:]
left = int(n)
def before(real):
    def change(*arguments):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)
    return change
for name in ("write_durably", "append_durably", "rename", "sync_folder"):
    setattr(files, name, before(getattr(files, name)))
embedkit.pipeline.embed(source, store, backbone=backbone, block=100, threads=1)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_different(tmp_path_factory.mktemp("kill") / "faces", *NAMES)


def start(source: Path, store: Path, backbone: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(source), str(store), backbone],
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(source: Path, store: Path, backbone: str) -> float:
    """Run to the end and return the seconds that the work itself took."""
    run = start(source, store, backbone)
    assert run.stdout.readline() == "start\n"
    began = time.monotonic()
    assert run.stdout.readline() == "end\n"
    took = time.monotonic() - began
    run.stdout.close()
    assert run.wait() == 0
    return took


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "kills"), [("pixels", 20), ("mtcnn", 3)])
def test_killed_at_random_moments_and_resumed_the_store_is_the_same(
    source, tmp_path, backbone, kills
):
    took = finish(source, tmp_path / "whole", backbone)
    expected = tree(tmp_path / "whole")
    moments = random.Random(0)
    in_the_middle = 0
    for kill in range(kills):
        store = tmp_path / f"{kill}"
        run = start(source, store, backbone)
        assert run.stdout.readline() == "start\n"
        time.sleep(moments.random() * took)
        run.send_signal(signal.SIGKILL)
        run.wait()
        run.stdout.close()
        in_the_middle += not (store / "store.json").exists()
        finish(source, store, backbone)
        assert tree(store) == expected, f"kill {kill}"
    # A kill after the end proves nothing; most must have hit.
    assert in_the_middle >= kills // 2


@pytest.mark.slow
def test_killed_before_every_single_change_of_a_file_the_store_is_the_same(source, tmp_path):
    few = [name for name in NAMES if name.endswith(("1.jpg", "2.jpg"))]
    small = make_different(tmp_path / "faces", *few[:24])
    from embedkit.pipeline import embed

    embed(small, tmp_path / "whole", backbone="pixels", block=100)
    expected = tree(tmp_path / "whole")
    point = 0
    while True:
        store = tmp_path / f"{point}"
        run = subprocess.run(
            [sys.executable, "-c", CRASH, str(small), str(store), "pixels", str(point)]
        )
        if run.returncode == 0:
            break
        assert run.returncode == -signal.SIGKILL
        embed(small, store, backbone="pixels", block=100)
        assert tree(store) == expected, f"killed before change {point}"
        point += 1
    assert point > 20


def test_a_kill_that_tears_a_journal_line_loses_only_that_block(source, tmp_path):
    from embedkit.pipeline import embed

    embed(source, tmp_path / "whole", backbone="pixels", block=60)

    def stop(progress):
        if progress.safe >= 180:
            raise KeyboardInterrupt

    for cut in (1, 40, 400):
        store = tmp_path / f"cut{cut}"
        with pytest.raises(KeyboardInterrupt):
            embed(source, store, backbone="pixels", block=60, progress=stop)
        journal = store / "journal.jsonl"
        os.truncate(journal, journal.stat().st_size - cut)
        embed(source, store, backbone="pixels", block=60)
        assert tree(store) == tree(tmp_path / "whole")
