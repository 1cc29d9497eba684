"""Processes that die: forks of one that has imported everything, so that each costs its work."""

import gc
import multiprocessing
import os
import signal

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["pytest", "pandas", "pyarrow.dataset", "embedkit.pipeline", "embedkit.backbones.mtcnn"]
)

# Every way in which embedkit changes a file.
CHANGES = ("write_durably", "append_durably", "rename", "sync_folder")


def died_before(change, work, *arguments):
    """Let a process do some work, killed before its n-th change of a file; False if it lived on."""
    process = FORKS.Process(target=_work, args=(change, work, arguments))
    process.start()
    process.join()
    status = process.exitcode
    process.close()
    assert status in (0, -signal.SIGKILL)
    return status != 0


def _work(left, work, arguments):
    from embedkit import files

    _settle()

    def before(real):
        def change(*args):
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args)

        return change

    for name in CHANGES:
        setattr(files, name, before(getattr(files, name)))
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

    composing.ROWS = rows
    merging.merge(stores, place)


def embed_and_tell(told, source, store, backbone):
    """Embed in such a process; says when the work begins and when it is done."""
    from embedkit import backbones, pipeline

    _settle()
    backbones.load_backbone(backbone)
    told.send("start")
    pipeline.embed(source, store, backbone=backbone, block=20, threads=2)
    told.send("end")
