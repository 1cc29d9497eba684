"""The Ray engine: the same store, and the same findings, whoever dies while they are made."""

import gc
import json
import os
import shutil
import signal
import sys
import tarfile
import time
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from warnings import catch_warnings

import numpy as np
import pytest
from embedkit_cli.app import main
from helpers import make_different, tree
from PIL import Image
from test_ledger import World

from embedkit.audits.refits import CONTROLS
from embedkit.engines import Block, choose_engine
from embedkit.errors import InputError, WorkerError
from embedkit.pipeline import embed

END = "end"
NAMES = [
    f"{split}/{c}/{n}.jpg" for split in ("train", "test") for c in ("x", "y") for n in range(30)
]


@pytest.fixture(scope="session")
def cluster():
    """Return Ray with two cores, joined once for all tests."""
    pytest.importorskip("ray", reason="Ray is not installed")
    with ExitStack() as started:
        # Ray gives up on a node that takes 30 s to start, which it may on a busy machine.
        for last in (False, False, False, True):
            try:
                engine = started.enter_context(choose_engine("ray"))
                break
            except InputError:
                if last:
                    raise
            with catch_warnings(action="ignore", category=ResourceWarning):
                gc.collect()  # what Ray had begun, which it leaves to Python's exit to end
        yield engine


@pytest.fixture
def source(tmp_path):
    made = make_different(tmp_path / "faces", *NAMES)
    (made / "train/x/bad.jpg").write_bytes(b"no picture")
    return made


def by_ray(source, store, **options):
    return embed(source, store, **{"backbone": "pixels", "block": 10} | options, engine="ray")


def by_itself(source, store, **options):
    return embed(source, store, **{"backbone": "pixels", "block": 10} | options)


def workers():
    """Return the processes that make blocks for this one, below it."""
    parents, found = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[folder.name] = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            named = (folder / "cmdline").read_bytes().startswith(b"ray::Making")
        except OSError:
            continue
        if named:
            found.append(folder.name)

    def ours(pid):
        return pid == str(os.getpid()) or (pid in parents and ours(parents[pid]))

    return [int(pid) for pid in found if ours(pid)]


@pytest.mark.slow
def test_the_store_is_the_local_engines_byte_for_byte(cluster, planted, tmp_path):
    both = {"backbone": ["mtcnn", "pixels"], "block": 60}
    by_itself(planted.folder, tmp_path / "a", **both)
    by_ray(planted.folder, tmp_path / "b", **both)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_bringing_a_store_up_to_date_gives_the_same_too(cluster, source, tmp_path):
    by_itself(source, tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    make_different(source, "train/x/new.jpg", "train/x/bad.jpg")
    Image.fromarray(np.full((20, 30, 3), 77, np.uint8)).save(source / NAMES[3])
    (source / NAMES[12]).unlink()
    by_itself(source, tmp_path / "a", backbone=["mtcnn", "pixels"])
    by_ray(source, tmp_path / "b", backbone=["mtcnn", "pixels"])
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_a_worker_that_is_killed_costs_nothing_but_time(cluster, source, tmp_path, capsys):
    by_itself(source, tmp_path / "a")
    killed = []

    def kill(now):
        if now.stage == "embedding" and now.safe >= 20 * (1 + len(killed)) and workers():
            killed.append(workers()[0])
            os.kill(killed[-1], signal.SIGKILL)

    by_ray(source, tmp_path / "b", progress=kill)
    assert len(killed) >= 3
    assert capsys.readouterr().out == ""  # Ray itself would tell there
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_a_run_that_was_stopped_is_taken_up_by_either_engine(cluster, source, tmp_path):
    by_itself(source, tmp_path / "a")

    def stop(now):
        if now.safe >= 40:
            raise KeyboardInterrupt

    for name, go_on in (("b", by_ray), ("c", by_itself)):
        with pytest.raises(KeyboardInterrupt):
            by_ray(source, tmp_path / name, progress=stop)
        assert not (tmp_path / name / "store.json").exists()
        seen = []
        go_on(source, tmp_path / name, progress=seen.append)
        assert seen[-1].total == len(NAMES) + 1 - 40
        assert tree(tmp_path / "a") == tree(tmp_path / name)
    until = time.monotonic() + 30
    while workers() and time.monotonic() < until:
        time.sleep(0.2)
    assert workers() == []


def test_the_order_of_the_blocks_is_kept_and_few_are_ahead(cluster, tmp_path):
    """The first block takes longest; what is behind it waits, and not all of it is begun."""
    log = tmp_path / "log"
    log.touch()
    blocks = [Block(n, (str(n),)) for n in range(40)]
    results = cluster.make(blocks, Toy(str(log), slow=0))
    assert next(results) == 0
    assert len(log.read_text().splitlines()) < 40
    assert list(results) == list(range(1, 40))


@pytest.mark.parametrize("place", [3, 33])
def test_a_block_that_hangs_is_begun_a_second_time(cluster, tmp_path, place):
    """In the midst of a run, and where nothing is left to begin."""
    log = tmp_path / "log"
    log.touch()
    blocks = [Block(n, (str(n),)) for n in range(40)]
    assert list(cluster.make(blocks, Toy(str(log), hangs=place))) == list(range(40))
    begun = [int(line) for line in log.read_text().splitlines()]
    assert sorted(begun) == sorted([*range(40), place])


def test_an_error_of_embedkits_arrives_as_it_is(cluster, tmp_path):
    with pytest.raises(InputError, match="^7 is no good$"):
        list(cluster.make([Block(n, (str(n),)) for n in range(9)], Toy(bad=7)))
    with pytest.raises(InputError, match="on .*: cannot begin"):
        list(cluster.make([Block(0, ("0",))], Toy(closed=True)))


def test_more_cores_than_any_machine_has_are_refused(cluster):
    with choose_engine("ray", threads=5000) as engine, pytest.raises(WorkerError) as said:
        list(engine.make([Block(0, ("a",))], Toy()))
    assert "no machine of the Ray cluster has 5000 cores for a worker" in str(said.value)


def test_a_block_at_which_workers_die_again_and_again_is_named(cluster):
    with pytest.raises(WorkerError, match="5 workers ended over the 2 images from a to b"):
        list(cluster.make([Block(0, ("a", "b"))], Toy(deadly=True)))


class Toy:
    """A maker that keeps a log, or does what it should not."""

    on_gpu = False

    def __init__(self, log="", slow=None, bad=None, closed=False, deadly=False, hangs=None):
        self.log, self.slow, self.bad, self.closed, self.deadly = log, slow, bad, closed, deadly
        self.hangs = hangs

    @property
    def recipe(self):
        return self

    def open(self, threads):
        if self.closed:
            raise InputError("cannot begin")
        return self

    def load(self, block, id_):
        if self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        if block.number == self.bad:
            raise InputError(f"{id_} is no good")

    def finish(self, block, images, lanes):
        list(images)
        if self.log:
            if block.number == self.slow:
                time.sleep(2)
            first = f"{block.number}\n" not in Path(self.log).read_text()
            with Path(self.log).open("a") as file:
                file.write(f"{block.number}\n")
            if block.number == self.hangs and first:
                time.sleep(3600)
        return block.number


# What is only calculated.


def test_tasks_are_answered_in_their_order_with_what_they_share(cluster):
    shared = [np.arange(5), np.arange(7)]
    tasks = [(shared[n % 2], n) for n in range(9)]
    assert cluster.map(slowly_add, tasks) == [(10, 21)[n % 2] + n for n in range(9)]
    assert cluster.map(slowly_add, []) == []


def test_a_task_whose_worker_dies_is_done_again(cluster, tmp_path, capsys):
    tasks = [(str(tmp_path / "died"), n) for n in range(6)]
    assert cluster.map(die_once, tasks) == [0, 1, 4, 9, 16, 25]
    assert (tmp_path / "died").exists()
    assert capsys.readouterr().out == ""


def test_a_task_at_which_workers_die_again_and_again_ends_the_run(cluster):
    with pytest.raises(WorkerError, match="5 workers ended over the same task"):
        cluster.map(die, [(None, 1)])


def test_an_error_of_a_task_arrives_as_it_is(cluster):
    with pytest.raises(InputError, match="^3 is no good$"):
        cluster.map(refuse, [(3, n) for n in range(6)])


def test_an_interruption_does_not_wait_for_what_was_begun(cluster, tmp_path):
    def interrupt():
        while not list(tmp_path.iterdir()):
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    helper = Thread(target=interrupt)
    helper.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            cluster.map(wait_for_the_end, [(str(tmp_path), n) for n in range(2)])
    finally:
        (tmp_path / END).touch()  # Ray may be slow to end what is cancelled; others need the room
        helper.join()


def slowly_add(shared, own):
    time.sleep(0.2 if own == 0 else 0)
    return int(shared.sum()) + own


def die_once(path, own):
    if own == 3 and not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return own * own


def die(_, own):
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(bad, own):
    if own == bad:
        raise InputError(f"{own} is no good")


def wait_for_the_end(path, own):
    (Path(path) / str(own)).touch()
    while not (Path(path) / END).exists():
        time.sleep(0.1)


@pytest.mark.parametrize("kind", ["logistic", "knn"])
def test_the_ledger_is_the_local_engines_byte_for_byte(cluster, monkeypatch, kind):
    world = World(people=60, siblings=0.6, copies=0.4, signal=1.0, seed=2)
    divided = []
    original = type(cluster).map

    def counted(self, function, tasks):
        divided.extend(own for _, own in tasks)
        return original(self, function, tasks)

    monkeypatch.setattr(type(cluster), "map", counted)
    local, ray = (
        world.ledger(heads=(kind,), engine=engine).to_dict() for engine in (None, cluster)
    )
    assert json.dumps(local) == json.dumps(ray)
    assert len(divided) > CONTROLS


@pytest.fixture(autouse=True, scope="module")
def _sent_whole():
    """Workers cannot load the tests' modules; what is of this one is sent to them."""
    cloudpickle = pytest.importorskip("ray.cloudpickle", reason="Ray is not installed")
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--engine", "rya"], "--engine is 'rya'; known are local, ray"),
        (["--ray-address", "localhost:1"], "--ray-address belongs to --engine ray"),
        (["--engine", "ray", "--ray-address", "auto"], "give HOST:PORT"),
        (["--engine", "ray", "--ray-address", "ray://127.0.0.1:1"], "give HOST:PORT"),
        (["--engine", "ray", "--ray-address", "127.0.0.1:99999"], "no Ray cluster answers at"),
        (["--engine", "ray", "--ray-address", "127.0.0.1:1"], "Connection refused"),
    ],
)
def test_what_cannot_be_joined_is_said_in_one_line(source, tmp_path, capsys, options, said):
    given = ["embed", str(source), "-o", str(tmp_path / "store"), "-b", "pixels", *options]
    assert main(given) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--engine", "rya"], "--engine is 'rya'; known are local, ray"),
        (["--ray-address", "localhost:1"], "--ray-address belongs to --engine ray"),
        (["--engine", "ray", "--ray-address", "127.0.0.1:1"], "Connection refused"),
    ],
)
def test_an_audit_that_cannot_be_divided_is_refused_in_one_line(tmp_path, capsys, options, said):
    by_itself(make_different(tmp_path / "faces", *NAMES[::10]), tmp_path / "store")
    for source in ("store", "faces"):  # before a folder is embedded
        assert main(["audit", str(tmp_path / source), "--quiet", *options]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line


def test_without_ray_it_is_said_how_to_get_it(source, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    given = ["embed", str(source), "-o", str(tmp_path / "s"), "-b", "pixels", "--engine", "ray"]
    assert main(given) == 2
    assert "pip install 'embedkit[ray]'" in capsys.readouterr().err


def test_workers_read_shards_where_they_lie(cluster, source, tmp_path):
    (tmp_path / "shards").mkdir()
    for split in ("train", "test"):
        with tarfile.open(tmp_path / f"shards/{split}-0.tar", "w") as archive:
            archive.add(source / split, split)
    a = by_itself(tmp_path / "shards", tmp_path / "a")
    by_ray(tmp_path / "shards", tmp_path / "b")
    assert len(a.items) == len(NAMES)
    assert [one.id for one in a.unreadable] == ["train-0.tar/train/x/bad.jpg"]
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_workers_read_behind_urls_too(cluster, source, tmp_path):
    url = f"local://{source}"
    a = by_itself(url, tmp_path / "a")
    b = by_ray(url, tmp_path / "b")
    assert a.record.source["path"] == b.record.source["path"] == url
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
