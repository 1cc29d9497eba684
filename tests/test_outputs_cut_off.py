"""What commands write beside the rows of a store, cut off at any change of a file.

The long work is done once; what writes its result is then run over and over, by the program.
"""

import contextlib
import errno
import io
import os
import re
import shutil
import signal
from dataclasses import replace
from functools import partial
from random import Random
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from embedkit_cli import main
from faults import Failing, Signalling, Stop, Stopping, changes_go_to
from helpers import PNG, make_different, tree

from embedkit.audits import audit
from embedkit.audits.claims import Claim
from embedkit.audits.explain import explain_decision
from embedkit.audits.sights import VIEWS
from embedkit.audits.ticks import Answer, tick, ticks
from embedkit.backbones import load_backbone
from embedkit.errors import OutputError
from embedkit.finetuning import finetune
from embedkit.pipeline import embed
from embedkit.pipeline.views import make_views
from embedkit.store import Store, composing
from embedkit.wholeness import faults_of

NAMES = [f"{split}/{c}/{n}.png" for split in ("train", "test") for c in "xy" for n in range(6)]
CODES = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A store, and of it a network, an audit and a decision."""
    folder = tmp_path_factory.mktemp("cut")
    make_different(folder / "faces", *NAMES)
    store = embed(folder / "faces", folder / "store", backbone="pixels", block=16)
    return SimpleNamespace(
        faces=folder / "faces",
        store=store.path,
        network=finetune(store, size=16, epochs=1),
        audit=audit(store, checks=["quality"]),
        decision=explain_decision(store, NAMES[0]),
    )


def finetuned(home, at):
    def run(store, *, keep, **_):
        keep(made := replace(home.network, store=store.path))
        return made

    stack = contextlib.ExitStack()
    stack.enter_context(patch("embedkit.finetuning.finetune", run))
    stack.enter_context(patch("embedkit.reports.finetunings.training_curves"))
    stack.enter_context(patch("embedkit.reports.finetunings.figure_bytes", lambda *_: PNG))
    return stack


def audited(home, at):
    def run(store, **_):
        return replace(home.audit, store=store)

    return patch("embedkit.audits.audit", run)


def viewed(home, at):
    def run(store, **_):
        make_views(store, store.space(), load_backbone("pixels"), SEEN)
        return replace(home.audit, store=store)

    return patch("embedkit.audits.audit", run)


def explained(home, at):
    return patch("embedkit.audits.explain.explain_decision", lambda *_, **__: home.decision)


def in_small_blocks(home, at):
    return patch.object(composing, "ROWS", 8)


def as_it_is(home, at):
    return contextlib.nullcontext()


SEEN = [view for view in VIEWS if not view.of_face][:2]
# The command, given the data and the folder that it may change, and what does its long work.
WORKS = {
    "finetune": (lambda home, at: ["finetune", at / "store"], finetuned),
    "findings": (lambda home, at: ["audit", at / "store"], audited),
    "report": (
        lambda home, at: [
            *("audit", at / "store", "--report", at / "a/page.html", "--report", at / "a.json"),
            *("--write-baseline", at / "b/known.json"),
        ],
        audited,
    ),
    "views": (lambda home, at: ["audit", at / "store", "--views"], viewed),
    "explain": (
        lambda home, at: ["explain", at / "store", NAMES[0], "-o", at / "cards/0.png"],
        explained,
    ),
    "subset": (
        lambda home, at: ["subset", home.store, "--where", "label = 'x'", "-o", at / "part"],
        in_small_blocks,
    ),
    "train": (lambda home, at: ["train", at / "store", "--head", "knn"], as_it_is),
    "index": (lambda home, at: ["index", at / "store", "--type", "hnsw"], as_it_is),
}
TICKING = ("open", "write", "fsync")
# A result that cannot be kept is shown all the same: `map` and `view` have less to show then.
LENIENT = ("findings", "report", "views")


class Command:
    """A command that changes one folder, and can be run again from the start.

    Attributes:
        n: changes of files that it makes.
    """

    def __init__(self, name, home, at) -> None:
        arguments, self.stands_in = WORKS[name]
        quiet = [] if name == "findings" else ["-q"]
        self.arguments = [str(one) for one in (*arguments(home, at), *quiet)]
        self.name, self.home, self.at = name, home, at
        self.start()
        self.before = self.found()
        all_let_through = Stopping(1_000_000)
        assert self.run(all_let_through) == (0, "")
        self.expected, self.n = self.found(), 1_000_000 - all_let_through.left

    def start(self) -> None:
        shutil.rmtree(self.at, ignore_errors=True)
        shutil.copytree(self.home.store, self.at / "store")

    def points(self, few: int, thorough: bool) -> list[int]:
        """Return which change is to be the last: each one, or a few."""
        return list(range(self.n)) if thorough else Random(self.name).sample(range(self.n), few)

    def run(self, change=None) -> tuple[int, str]:
        """Return the exit status and what is said on stderr."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
            err = stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
            stack.enter_context(self.stands_in(self.home, self.at))
            if change is not None:
                stack.enter_context(changes_go_to(change))
            status = main(self.arguments)
        return status, err.getvalue()

    def check_repaired(self, where) -> None:
        """No file looks whole that is not, the store is, and the command again does it all."""
        for name, data in self.found().items():
            known = [self.expected.get(name), self.before.get(name)]
            unfinished = name.endswith(".tmp") or name.startswith("part/")
            assert data in known or unfinished, (where, name)
        store = Store.open(self.at / "store")
        assert all(one.endswith("makes the index again") for one in store.verify()), where
        assert len(store.space().vectors) == len(store.items), where
        assert self.run() == (0, ""), where
        assert self.found() == self.expected, where
        assert faults_of(store) == [], where

    def found(self) -> dict[str, bytes]:
        """Return all files but those that are locked; they may keep the number of a process."""
        return {name: data for name, data in tree(self.at).items() if not name.endswith(".lock")}


@pytest.fixture(scope="module", params=WORKS)
def command(request, home, tmp_path_factory):
    return Command(request.param, home, tmp_path_factory.mktemp("at"))


def test_a_fault_at_any_change_is_one_line_and_the_next_run_repairs_it(command, thorough, figure):
    told = passed = 0
    for point in command.points(2, thorough):
        codes = CODES[point % len(CODES)], CODES[(point + 2) % len(CODES)]
        kinds = list(zip(codes, (False, True), strict=True))
        for code, for_ever in kinds if thorough else [kinds[point % 2]]:
            command.start()
            fault = Failing(point, code, for_ever=for_ever)
            status, err = command.run(fault)
            where = point, fault.failed, os.strerror(code), for_ever, err
            assert fault.failed, where
            if status == 0:
                passed += 1
                not_kept = rf"not kept in the store for map and view: .*{os.strerror(code)}\n"
                assert re.fullmatch(not_kept if command.name == "findings" else "", err), where
            else:
                told += 1
                assert status == 3, where
                assert err.startswith("Error: "), where
                assert err.count("\n") == 1, where
                assert os.strerror(code) in err, where
            command.check_repaired(where)
    assert told or command.name in LENIENT
    figure(
        "A3",
        f"{command.name}: {told + passed} faults at {command.n} changes of a file; {told} told in "
        f"one line with status 3, {passed} passed over, {told + passed} of {told + passed} "
        "repaired to the same bytes",
    )


def test_stopped_dead_at_any_change_no_file_is_half_and_the_next_run_finishes(
    command, thorough, figure
):
    points = command.points(1, thorough)
    for point in points:
        command.start()
        stopping = Stopping(point)
        with contextlib.suppress(Stop):
            command.run(stopping)
        assert stopping.stopped
        command.check_repaired((point, stopping.stopped))
    n = len(points)
    figure(
        "A1",
        f"{command.name}: stopped dead at {n} changes of a file: {n} of {n} without a file that "
        "is neither the old one nor the new, and finished to the same bytes",
    )


def test_a_signal_at_any_change_ends_it_with_130_and_loses_nothing(command, thorough, figure):
    points = command.points(1, thorough)
    for point in points:
        command.start()
        sending = Signalling(point, (signal.SIGINT, signal.SIGTERM)[point % 2])
        assert command.run(sending) == (130, ""), point
        assert sending.sent
        assert not list(command.at.rglob("*.tmp")), point
        command.check_repaired(point)
    n = len(points)
    figure(
        "A11",
        f"{command.name}: a signal at {n} changes of a file: status 130 each time, nothing half "
        f"written, {n} of {n} finished to the same bytes",
    )


@pytest.mark.parametrize("point", range(3), ids=TICKING)
@pytest.mark.parametrize("kind", [Stopping, partial(Failing, code=errno.EIO, for_ever=True)])
def test_an_answer_that_is_cut_off_takes_no_other_with_it(home, tmp_path, point, kind):
    first, second = (Claim("quality", "blurred", (id_,)) for id_ in NAMES[:2])
    store = Store.open(shutil.copytree(home.store, tmp_path / "store"))
    tick(store, first, Answer.REAL)
    with changes_go_to(change := kind(point)), pytest.raises((Stop, OutputError)):
        tick(store, second, Answer.NOT_REAL)
    assert change.left < 0
    given = {claim: one.answer for claim, one in ticks(store).items()}
    assert given.pop(first) is Answer.REAL
    assert given in ({}, {second: Answer.NOT_REAL})
    tick(store, second, Answer.UNSURE)
    assert [one.answer for one in ticks(store).values()] == [Answer.REAL, Answer.UNSURE]
