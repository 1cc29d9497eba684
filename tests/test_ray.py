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
from types import ModuleType
from warnings import catch_warnings

import numpy as np
import pytest
from embedkit_cli.app import main
from helpers import make_different, tree
from PIL import Image
from test_ledger import World

from embedkit.audits.refits import CONTROLS
from embedkit.audits.sights import VIEWS, neutral_views
from embedkit.backbones import load_again
from embedkit.engines import Block, LocalEngine, choose_engine
from embedkit.engines.ray_workers import Making
from embedkit.errors import InputError, WorkerError
from embedkit.heads.training import fit
from embedkit.pipeline import embed
from embedkit.pipeline.views import make_views
from embedkit.pipeline.witnesses import Witness, of_pictures, of_store
from embedkit.reports.model_cards import ledger_of
from embedkit.store import Store

NAMES = [
    f"{split}/{c}/{n}.jpg" for split in ("train", "test") for c in ("x", "y") for n in range(30)
]


@pytest.fixture(scope="module")
def cluster():
    """Return Ray with two cores, joined once, and left before other tests: it may end a process."""
    pytest.importorskip("ray", reason="Ray is not installed")
    with ExitStack() as started:
        # Ray gives up on a node that takes 30 s to start, which it may on a busy machine; what it
        # had begun, it leaves to Python's exit to end.
        with catch_warnings(action="ignore", category=ResourceWarning):
            for last in (False, False, False, True):
                try:
                    engine = started.enter_context(choose_engine("ray"))
                    break
                except InputError:
                    if last:
                        raise
                gc.collect()
        folder = Path(engine._ray._private.worker._global_node.get_temp_dir_path())
        assert folder.is_dir()
        yield engine
    assert not folder.exists()
    assert "RAY_AUTH_TOKEN" not in os.environ


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


def test_an_interruption_ends_what_was_begun_even_what_does_not_listen(cluster, tmp_path):
    """Processes that are stopped stand for those that a busy machine does not let run."""

    def interrupt():
        while len(list(tmp_path.glob("[01]"))) < 2:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    helper = Thread(target=interrupt)
    helper.start()
    with pytest.raises(KeyboardInterrupt):
        cluster.map(stand_still, [(str(tmp_path), n) for n in range(2)])
    helper.join()
    begun = [Path("/proc") / one.read_text() for one in tmp_path.iterdir()]
    until = time.monotonic() + 60
    while any(map(is_alive, begun)) and time.monotonic() < until:
        time.sleep(0.2)
    assert not any(map(is_alive, begun))
    assert cluster.map(slowly_add, [(np.arange(5), n) for n in range(2)]) == [10, 11]


def is_alive(process):
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


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


def stand_still(path, own):
    whole = Path(path) / f"{own}.part"
    whole.write_text(str(os.getpid()))
    whole.rename(Path(path) / str(own))
    os.kill(os.getpid(), signal.SIGSTOP)


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


def test_views_are_the_local_engines_byte_for_byte(cluster, source, tmp_path):
    by_itself(source, tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for name, engine in (("a", LocalEngine(1)), ("b", cluster)):
        store = Store.open(tmp_path / name)
        space = store.space()
        eye = load_again(**space.record.backbone, contract_sha256=space.contract_sha256, where=name)
        told = []
        views = [*VIEWS, *neutral_views(store)]
        make_views(store, space, eye, views, engine=engine, progress=told.append)
        assert (told[-1].stage, told[-1].done) == ("looking at views", len(NAMES))
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert (tmp_path / "a/views/pixels@grey").is_dir()


# Who may come near, and who is no help.


def test_a_ray_of_our_own_is_reached_from_this_machine_only_and_with_a_token(cluster):
    open_ports = {}  # by inode of the socket; 0A is LISTEN
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            cells = line.split()
            if cells[3] == "0A":
                open_ports[cells[9]] = cells[1].partition(":")[0]
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", f"{1 << 24:032X}"}
    assert set(listening(cluster, open_ports)) <= loopback
    assert len(listening(cluster, open_ports)) >= 3
    assert cluster.map(token_of, [(None, 0)]) == [os.environ["RAY_AUTH_TOKEN"]]
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert cluster._ray._private.worker._global_node.webui_url in (None, "")


def listening(cluster, open_ports):
    """Return the addresses on which processes listen that were told Ray's folder."""
    folder = cluster._ray._private.worker._global_node.get_temp_dir_path()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            ours = folder in (process / "cmdline").read_text() or int(process.name) == os.getpid()
            sockets = [str(one.readlink()) for one in (process / "fd").iterdir()] if ours else []
        except OSError:
            continue
        inodes = {one[8:-1] for one in sockets if one.startswith("socket:")}
        found += [open_ports[inode] for inode in inodes & open_ports.keys()]
    return found


def token_of(_, own):
    return os.environ.get("RAY_AUTH_TOKEN")


def test_workers_of_another_version_are_refused(cluster, monkeypatch):
    monkeypatch.setattr("embedkit.__version__", "9.9")
    with pytest.raises(InputError, match=r"on .*: there is embedkit [0-9.]+, and 9\.9 where the"):
        list(cluster.make([Block(0, ("0",))], Toy()))
    cluster._end_callers()
    with pytest.raises(InputError, match="install the same on every machine of the cluster"):
        cluster.map(slowly_add, [(np.arange(5), 0)])


def test_a_machine_without_embedkit_is_refused(cluster, monkeypatch):
    elsewhere = ModuleType("embedkit.elsewhere")
    making = type("Making", (Making,), {"__module__": elsewhere.__name__})
    elsewhere.Making = making
    monkeypatch.setitem(sys.modules, elsewhere.__name__, elsewhere)
    monkeypatch.setattr("embedkit.engines.ray_workers.Making", making)
    with pytest.raises(InputError, match="a machine of the Ray cluster.* has no embedkit"):
        list(cluster.make([Block(0, ("0",))], Toy()))


@pytest.mark.parametrize("what", ["of_pictures", "of_store"])
def test_a_worker_that_sees_something_else_is_refused(cluster, source, tmp_path, monkeypatch, what):
    def seen(place, *_):
        return (Witness(Path(place) / "not/here"),)

    by_itself(source, tmp_path / "a")
    before = tree(tmp_path / "a")
    make_different(source, "train/x/new.jpg")
    monkeypatch.setattr(f"embedkit.pipeline.run.{what}", seen)
    with pytest.raises(InputError, match="on .*: .*not/here is not what the command sees there"):
        by_ray(source, tmp_path / "a")
    assert {name: tree(tmp_path / "a")[name] for name in before} == before


def test_witnesses_are_what_is_there(source, tmp_path):
    (picture,) = of_pictures(source, ["gone.jpg", NAMES[1], NAMES[0]])
    assert picture.path == source / NAMES[1]
    picture.check()
    assert of_pictures(source, ["gone.jpg"]) == ()
    assert of_pictures(Path("s3:/bucket"), [NAMES[0]]) == ()
    assert of_store(tmp_path) == ()
    (tmp_path / "store.json").write_text("{}")
    (tmp_path / "journal.jsonl").write_text("one\n")
    (store,) = of_store(tmp_path)
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write("two\n")
    store.check()
    (tmp_path / "journal.jsonl").write_text("other\n")
    with pytest.raises(InputError, match="it is another file"):
        store.check()
    (tmp_path / "journal.jsonl").unlink()
    with pytest.raises(InputError, match="No such file"):
        store.check()
    assert of_store(tmp_path) == (Witness(tmp_path / "store.json", b"{}"),)


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


def test_training_is_divided_only_where_there_is_something_to_divide(tmp_path, capsys):
    by_itself(make_different(tmp_path / "faces", *NAMES[::10]), tmp_path / "store")
    for options, said in (
        (["--engine", "ray"], "--engine ray divides what --ledger trains again"),
        (["--engine", "rya", "--ledger"], "--engine is 'rya'; known are local, ray"),
        (["--ray-address", "localhost:1"], "--ray-address belongs to --engine ray"),
    ):
        assert main(["train", str(tmp_path / "store"), "--quiet", *options]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
        assert not (tmp_path / "store/heads").exists()


def test_the_ledger_of_a_card_is_the_same_by_either_engine(cluster, planted_store, monkeypatch):
    divided = []
    original = type(cluster).map

    def counted(self, function, tasks):
        divided.append(len(tasks))
        return original(self, function, tasks)

    monkeypatch.setattr("embedkit.engines.ray.RayEngine.map", counted)
    head = fit(planted_store, head="knn", backbone="mtcnn")
    local, ray = (ledger_of(head, engine=engine).to_dict() for engine in ("local", "ray"))
    assert json.dumps(local) == json.dumps(ray)
    assert sum(divided) > CONTROLS


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
