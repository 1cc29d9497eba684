"""Processes that die: forks of one that has imported everything, so that each costs its work."""

import gc
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from unittest.mock import patch

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        *("pytest", "pandas", "pyarrow.dataset", "embedkit.pipeline", "embedkit.backbones.mtcnn"),
        *("embedkit.audits.sights", "embedkit.store.subsets", "embedkit.pipeline.views"),
    ]
)


def died_before(n, work, *arguments):
    """Let a process do some work, killed before its n-th change of a file; False if it lived on.

    A write is cut off in its middle.
    """
    process = FORKS.Process(target=_work, args=(n, work, arguments))
    process.start()
    process.join()
    status = process.exitcode
    process.close()
    assert status in (0, -signal.SIGKILL)
    return status != 0


def _work(n, work, arguments):
    from faults import Dying, changes_go_to

    _settle()
    with changes_go_to(Dying(n)):
        work(*arguments)


def _settle():
    gc.freeze()  # or the first collection copies all that was imported
    os.fsync = lambda _: None  # as in conftest.py


def embed(source, store, **options):
    """Embed in such a process."""
    from embedkit import pipeline

    pipeline.embed(source, store, **options)


def merge(stores, place, rows):
    """Merge in such a process, few rows at a time."""
    from embedkit.store import composing, merging

    with patch.object(composing, "ROWS", rows):
        merging.merge(stores, place)


def subset(store, place, where, rows):
    """Make a store of some pictures in such a process, few rows at a time."""
    from embedkit.store import composing, subsets

    with patch.object(composing, "ROWS", rows):
        subsets.subset(store, place, where=where)


def views(store):
    """Look at all pictures in two views in such a process."""
    from embedkit.audits.sights import VIEWS
    from embedkit.backbones import load_backbone
    from embedkit.pipeline.views import make_views
    from embedkit.store import Store

    opened, eye = Store.open(store), load_backbone("pixels")
    make_views(opened, opened.space(), eye, [one for one in VIEWS if not one.of_face][:2])


def index(store, kind):
    """Make an index in such a process."""
    from embedkit.store import Store, index_build, index_plans

    opened = Store.open(store)
    space = opened.space()
    plan = index_plans.plan_index(*space.rows.shape, asked=kind)
    index_build.index_space(opened, space, plan)


def train(store, path):
    """Fit and save a head in such a process."""
    from embedkit import heads
    from embedkit.store import Store

    heads.train(Store.open(store), head="knn").save(path)


def forget(store, id_):
    """Forget a picture in such a process, or finish that; not where it is done already."""
    from embedkit.store import Store, forgetting

    if forgetting.is_cut_off(store):
        forgetting.forget(store)
    elif id_ in Store.open(store).items.ids:
        forgetting.forget(store, [id_])


def embed_and_tell(told, source, store, backbone, block):
    """Embed in such a process; says when the work begins and when it is done."""
    from embedkit import backbones, pipeline

    _settle()
    backbones.load_backbone(backbone)
    told.send("start")
    pipeline.embed(source, store, backbone=backbone, block=block, threads=2)
    told.send("end")


def command(told, arguments, said):
    """Run a command in such a process, its stderr in a file; `told` hears when it begins."""
    from embedkit_cli.app import program

    _settle()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 2)
    sys.argv = ["embedkit", *arguments]
    told.send("start")
    program()


def hold(told, barrier, path):
    """Become the writer of a store, or be refused; then wait to be killed."""
    from embedkit.errors import StoreError
    from embedkit.store.writer import StoreWriter

    barrier.wait(60)
    try:
        with StoreWriter(path):
            told.send(("holds", os.getpid()))
            time.sleep(600)
    except StoreError as error:
        told.send(("refused", str(error)))


class Onlooker:
    """A process that reads the newest store of a folder over and over, without a lock.

    Args:
        root: the folder; stores come and grow in it, none goes back.
        known: the bytes of the vector that each file's hash must have.
        copies: where it copies each store to before it reads the copy, if it is to do that.
    """

    def __init__(self, root, known, copies=None) -> None:
        self._stop = FORKS.Event()
        self._seen, tell = FORKS.Pipe(duplex=False)
        work = tell, self._stop, root, known, copies
        self._process = FORKS.Process(target=_look_on, args=work)

    def __enter__(self):
        self._process.start()
        return self

    def wait(self):
        """Wait until it has looked once."""
        assert self._seen.recv() == "looked"

    def stop(self):
        """Let it look no more."""
        self._stop.set()

    def __exit__(self, *_):
        self.stop()
        while isinstance(seen := self._seen.recv(), str):  # before it is waited for: it is long
            pass
        self.seen = seen
        self._process.join()


def vectors_by_file(store):
    """Return what an onlooker knows: the vector of each file, by the file's hash."""
    rows = [row.tobytes() for row in store.space().vectors]
    return dict(zip(store.items.column("sha256"), rows, strict=True))


def _look_on(tell, stop, root, known, copies):
    _settle()
    seen, looked = Seen(), False
    try:
        while not stop.is_set():
            stores = sorted(root.iterdir(), key=lambda one: int(one.name))
            if stores and copies is None:
                seen.look(stores[-1], known)
            elif stores:
                seen.look_at_copy(stores[-1], copies, known)
            if not looked:
                tell.send("looked")
                looked = True
            time.sleep(0.01)
    except Exception as error:  # noqa: BLE001 (whatever it is, the test is to know)
        seen.wrong.append(repr(error))
    tell.send(seen)


@dataclass
class Seen:
    """What an onlooker saw.

    Attributes:
        wrong: what no reader may see.
        whole: times that a store was found whole.
        unfinished: times that there was none yet.
        changed: times that a store was another one before it had been read.
        not_whole: times that a copy said that it was not whole.
        states: of each store, in the order of being seen: hash of the vectors of each.
    """

    wrong: list = field(default_factory=list)
    whole: int = 0
    unfinished: int = 0
    changed: int = 0
    not_whole: int = 0
    states: dict = field(default_factory=dict)

    def look_at_copy(self, path, place, known):
        """Copy a store while it is written, and read the copy, which must be whole or say so."""
        from embedkit.errors import StoreError
        from embedkit.store import Store

        subprocess.run(["cp", "-r", path, place], stderr=subprocess.DEVNULL)
        try:
            store = Store.open(place)
            hashes, vectors = store.items.column("sha256"), store.space().vectors
        except StoreError:
            self.not_whole += 1
        else:
            self.whole += 1
            if [row.tobytes() for row in vectors] != [known[one] for one in hashes]:
                self.wrong.append(f"{place}: vectors of other pictures")
        shutil.rmtree(place)

    def look(self, path, known):
        """Open a store and compare all that is in it."""
        from embedkit.errors import StoreError, StoreSchemaError
        from embedkit.store import Store

        try:
            store = Store.open(path)
            space = store.space()
            hashes, vectors = store.items.column("sha256"), space.vectors
            found = space.index.search(vectors[-1:], 1)
        except StoreSchemaError as error:
            self.unfinished += 1
            none_yet = str(error).startswith((f"{path} is an unfinished", f"{path} is no store"))
            if path in self.states or not none_yet:
                self.wrong.append(str(error))
            return
        except StoreError as error:
            self.changed += 1
            if "was changed by another process" not in str(error):
                self.wrong.append(str(error))
            return
        self.whole += 1
        if [row.tobytes() for row in vectors] != [known[one] for one in hashes]:
            self.wrong.append(f"{path}: vectors of other pictures")
        if vectors[found.rows[0, 0]].tobytes() != vectors[-1].tobytes():
            self.wrong.append(f"{path}: another picture is nearest")
        states = self.states.setdefault(path, [])
        if space.vectors_sha256 not in states:
            states.append(space.vectors_sha256)
        elif states[-1] != space.vectors_sha256:
            self.wrong.append(f"{path}: an older state after a newer one")
