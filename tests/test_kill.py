"""A run that is killed at any moment is finished by the next one, to the same bytes."""

import os
import random
import time
from functools import partial
from pathlib import Path

import kills
import pytest
from helpers import make_different, tree

from embedkit.pipeline import embed

NAMES = [
    f"{split}/{c}/{n}.jpg" for split in ("train", "test") for c in ("x", "y") for n in range(45)
]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_different(tmp_path_factory.mktemp("kill") / "faces", *NAMES)


def started(source: Path, store: Path, backbone: str):
    """Return a process that is about to begin the work, and what it says."""
    told, tell = kills.FORKS.Pipe(duplex=False)
    run = kills.FORKS.Process(target=kills.embed_and_tell, args=(tell, source, store, backbone))
    run.start()
    tell.close()
    assert told.recv() == "start"
    return run, told


def finish(source: Path, store: Path, backbone: str) -> float:
    """Run to the end and return the seconds that the work itself took."""
    run, told = started(source, store, backbone)
    began = time.monotonic()
    assert told.recv() == "end"
    took = time.monotonic() - began
    run.join()
    assert run.exitcode == 0
    return took


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "many"), [("pixels", 20), ("mtcnn", 3)])
def test_killed_at_random_moments_and_resumed_the_store_is_the_same(
    source, tmp_path, backbone, many
):
    if backbone == "mtcnn":  # where a picture costs as much as a block of `pixels`
        source = make_different(tmp_path / "faces", *NAMES[::2])
    took = finish(source, tmp_path / "whole", backbone)
    expected = tree(tmp_path / "whole")
    moments = random.Random(0)
    in_the_middle = 0
    for kill in range(many):
        store = tmp_path / f"{kill}"
        run, _ = started(source, store, backbone)
        time.sleep(moments.random() * took)
        run.kill()
        run.join()
        in_the_middle += not (store / "store.json").exists()
        finish(source, store, backbone)
        assert tree(store) == expected, f"kill {kill}"
    # A kill after the end proves nothing; most must have hit.
    assert in_the_middle >= many // 2


@pytest.mark.slow
def test_killed_before_every_single_change_of_a_file_the_store_is_the_same(tmp_path):
    few = [name for name in NAMES if name.endswith(("1.jpg", "2.jpg"))]
    small = make_different(tmp_path / "faces", *few[:24])
    embedded = partial(kills.embed, small, backbone="pixels", block=100)
    embedded(tmp_path / "whole")
    expected = tree(tmp_path / "whole")
    point = 0
    while kills.died_before(point, partial(embedded, threads=1), store := tmp_path / f"{point}"):
        embedded(store)
        assert tree(store) == expected, f"killed before change {point}"
        point += 1
    assert tree(store) == expected
    assert point > 20


def test_a_kill_that_tears_a_journal_line_loses_only_that_block(source, tmp_path):
    embed(source, tmp_path / "whole", backbone="pixels", block=60)

    def stop(progress):
        if progress.safe >= 120:
            raise KeyboardInterrupt

    for cut in (1, 40, 400):
        store = tmp_path / f"cut{cut}"
        with pytest.raises(KeyboardInterrupt):
            embed(source, store, backbone="pixels", block=60, progress=stop)
        journal = store / "journal.jsonl"
        os.truncate(journal, journal.stat().st_size - cut)
        embed(source, store, backbone="pixels", block=60)
        assert tree(store) == tree(tmp_path / "whole")
