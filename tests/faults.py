"""Disks that fail, die or forget: stand-ins for the `os` of `embedkit.files`."""

import errno
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from unittest.mock import patch

from helpers import tree

from embedkit import files

CHANGES = ("open", "write", "pwrite", "ftruncate", "fsync", "replace", "unlink", "mkdir", "rmdir")
Change = Callable[..., object]


class Os:
    """Hands every change of a file to `change(name, make, *arguments)`, which makes it or not."""

    def __init__(self, change: Change) -> None:
        self._change = change

    def __getattr__(self, name: str) -> object:
        real = getattr(os, name)
        if name not in CHANGES:
            return real

        def made(*arguments):
            if name == "open" and not arguments[1] & os.O_CREAT:
                return real(*arguments)
            return self._change(name, real, *arguments)

        return made


@contextmanager
def changes_go_to(change: Change) -> Iterator[None]:
    """Let something else make all changes of files."""
    with patch.object(files, "os", Os(change)):
        yield


def half(name: str, make: Change, *arguments) -> None:
    """Write the first half of what is to be written, where something is."""
    if name == "write":
        descriptor, data = arguments
        make(descriptor, data[: len(data) // 2])


class Failing:
    """Lets the first n changes through and fails the next one, half done, or all that follow."""

    def __init__(self, n: int, code: int, *, for_ever: bool) -> None:
        self.left, self.code, self.for_ever, self.failed = n, code, for_ever, ""

    def __call__(self, name, make, *arguments):
        self.left -= 1
        if self.left == -1 or (self.left < -1 and self.for_ever):
            self.failed = self.failed or name
            half(name, make, *arguments)
            raise OSError(self.code, os.strerror(self.code))
        return make(*arguments)


def short(name, make, *arguments):
    """Write no more than half of what is asked for, as a disk or a signal may."""
    if name != "write":
        return make(*arguments)
    descriptor, data = arguments
    return make(descriptor, data[: -(-len(data) // 2)])


class Dying:
    """Kills the process before its n-th change, a write in its middle."""

    def __init__(self, n: int) -> None:
        self.left = n

    def __call__(self, name, make, *arguments):
        self.left -= 1
        if self.left < 0:
            half(name, make, *arguments)
            os.kill(os.getpid(), signal.SIGKILL)
        return make(*arguments)


class Stop(BaseException):
    """Ends a run as a kill does: not even what cleans up behind an error is done."""


class Stopping:
    """Stops the run at its n-th change, a write in its middle, and lets it change nothing more.

    What is left is what a killed process leaves, at a hundredth of what a process costs.
    """

    def __init__(self, n: int) -> None:
        self.left, self.stopped = n, ""

    def __call__(self, name, make, *arguments):
        self.left -= 1
        if self.left == -1:
            self.stopped = name
            half(name, make, *arguments)
        if self.left < 0:
            raise Stop
        return make(*arguments)


class Signalling:
    """Sends the process a signal before its n-th change."""

    def __init__(self, n: int, number: int) -> None:
        self.left, self.number, self.sent = n, number, False

    def __call__(self, name, make, *arguments):
        self.left -= 1
        if self.left == -1:
            self.sent = True
            os.kill(os.getpid(), self.number)
        return make(*arguments)


class Full:
    """A disk of so many bytes, on which each file takes whole pages.

    Attributes:
        most: bytes that were ever taken.
        full: whether there was not enough.
        given: every name, relative to the root, that a file was given, with the file's bytes.
    """

    def __init__(self, root: Path, size: float) -> None:
        self.root, self.size, self.most, self.full = root, size, 0, False
        self.given: set[tuple[str, bytes]] = set()

    def __call__(self, name, make, *arguments):
        if name == "replace":
            old, new = map(Path, arguments)
            self.given.add((str(new.relative_to(self.root)), old.read_bytes()))
        if name not in ("write", "pwrite"):
            return make(*arguments)
        descriptor, data, *at = arguments
        own, length = os.fstat(descriptor).st_size, len(data)
        others = sum(pages(one.stat().st_size) for one in self.root.rglob("*") if one.is_file())
        others -= pages(own)
        while length and others + pages(own + length) > self.size:
            length = max(0, length - PAGE)
        self.most = max(self.most, others + pages(own + length))
        if not length and len(data):
            self.full = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return make(descriptor, data[:length], *at)


PAGE = 4096


def pages(size: int) -> int:
    """Return the bytes that a file of some size takes on a disk."""
    return -(-size // PAGE) * PAGE


# Power loss: what was not yet on disk may be there, in part, as zeros, or not at all.


class Recorder:
    """Makes all changes, and keeps those below a folder, with what the program said in between."""

    def __init__(self, root: Path) -> None:
        self.root, self.steps = root, list[tuple]()

    def __call__(self, name, make, *arguments):
        first = arguments[0]
        at = Path(f"/proc/self/fd/{first}").readlink() if isinstance(first, int) else Path(first)
        path = str(at)
        result = make(*arguments)
        if not at.is_relative_to(self.root):
            return result
        match name:
            case "open":
                self.steps.append(("open", path, bool(arguments[1] & os.O_TRUNC)))
            case "write":
                self.steps.append(("write", path, bytes(arguments[1][:result])))
            case "replace":
                self.steps.append(("replace", path, str(arguments[1])))
            case "fsync" if at.is_dir():
                self.steps.append(("sync folder", path))
            case "fsync" | "unlink" | "mkdir" | "rmdir":
                self.steps.append((name, path))
        return result

    def say(self, words: object) -> None:
        """Keep what the program has promised by now."""
        self.steps.append(("said", words))


@dataclass
class File:
    """A file's bytes: those that are on disk for sure, and those that may be."""

    safe: bytes = b""
    now: bytes = b""

    def after(self, how: str) -> bytes:
        """Return what may be found after the power was lost."""
        kept = self.safe if self.now.startswith(self.safe) else b""
        rest = self.now[len(kept) :]
        found = {
            "whole": self.now,
            "nothing": self.safe,
            "half": kept + rest[: len(rest) // 2],
            "zeros": kept + bytes(len(rest)),
        }
        return found[how]


@dataclass
class Disk:
    """What is on disk, and what waits to be: changes of names until their folder is synced.

    Attributes:
        safe: files, and None for folders, by the name that they have for sure.
        now: those that a process sees.
        waiting: changes of names, in order: folder, names taken away, names given.
        forgetful: what has no effect: "fsync" or "sync folder"; for a test of the test.
    """

    safe: dict[str, File | None] = field(default_factory=dict)
    now: dict[str, File | None] = field(default_factory=dict)
    waiting: list[tuple[str, tuple[str, ...], dict[str, File | None]]] = field(default_factory=list)
    forgetful: str = ""

    @classmethod
    def of(cls, folder: Path) -> "Disk":
        """Return a disk that holds all that lies in a folder."""
        names: dict[str, File | None] = {str(folder / name): None for name in folders(folder)}
        for name, data in tree(folder).items():
            names[str(folder / name)] = File(data, data)
        return cls(dict(names), dict(names))

    def again(self, forgetful: str) -> "Disk":
        """Return a copy that may forget."""
        return replace(deepcopy(self), forgetful=forgetful)

    def step(self, what: str, path: str, *more) -> None:
        """Take one change over."""
        if what == self.forgetful:
            return
        match what:
            case "open" if path in self.now:
                if more[0]:
                    self.now[path].now = b""
            case "open":
                self._name(path, (), {path: File()})
            case "write":
                self.now[path].now += more[0]
            case "fsync":
                self.now[path].safe = self.now[path].now
            case "replace":
                self._name(path, (path,), {more[0]: self.now[path]})
            case "unlink" | "rmdir" if path in self.now:
                self._name(path, (path,), {})
            case "mkdir":
                self._name(path, (), {path: None})
            case "sync folder":
                ripe = [one for one in self.waiting if one[0] == path]
                self.waiting = [one for one in self.waiting if one[0] != path]
                for change in ripe:
                    _apply(self.safe, change)

    def _name(self, path, gone, given) -> None:
        change = (str(Path(path).parent), gone, given)
        _apply(self.now, change)
        self.waiting.append(change)

    def after_power_loss(self) -> Iterator[dict[str, bytes | None]]:
        """Yield every state that may be found: names of files and folders with their bytes."""
        for chosen in _subsets(self.waiting):
            names = dict(self.safe)
            for change in chosen:
                _apply(names, change)
            for how in ("whole", "nothing", "half", "zeros"):
                yield {
                    path: None if file is None else file.after(how)
                    for path, file in sorted(names.items())
                    if _reached(path, names, self.now)
                }


def _apply(names, change) -> None:
    _, gone, given = change
    for path in gone:
        names.pop(path, None)
    names.update(given)


def _reached(path: str, names, folders_known) -> bool:
    """Say whether all folders above a name are there."""
    above = str(Path(path).parent)
    if above not in names:
        return above not in folders_known  # it was there before all else
    return _reached(above, names, folders_known)


def _subsets(waiting: list) -> Iterable[list]:
    n = len(waiting)
    if n <= 4:
        chosen = [set(one) for k in range(n + 1) for one in combinations(range(n), k)]
    else:  # too many: the first ones, one alone, all but one
        every = set(range(n))
        chosen = [set(range(k)) for k in range(n + 1)]
        chosen += [{k} for k in every] + [every - {k} for k in every]
    return [[waiting[k] for k in sorted(one)] for one in chosen]


def folders(folder: Path) -> list[str]:
    """Return every folder below one, itself too, by its name in it."""
    return [str(one.relative_to(folder)) for one in (folder, *folder.rglob("*")) if one.is_dir()]


def states(steps: list[tuple], disk: Disk) -> list[tuple[tuple, list]]:
    """Return every state that a loss of power may leave, with all that had been said before.

    Those come first that are older than most of what had been said, as they are where a sync is
    missing.
    """
    found: dict[tuple, list] = {}
    first: dict[tuple, int] = {}
    said: list = []
    for step in (("said", set()), *steps):
        if step[0] == "said":
            said = [*said, step[1]]
        else:
            disk.step(*step)
        for state in disk.after_power_loss():
            key = tuple(state.items())
            found[key] = said
            first.setdefault(key, len(said))
    return sorted(found.items(), key=lambda one: first[one[0]] - len(one[1]))


def restore(state: tuple, root: Path) -> None:
    """Make a folder that is not there in some state."""
    root.mkdir()
    for name, data in state:  # in the order of the names: a folder comes before what is in it
        if data is not None:
            Path(name).write_bytes(data)
        elif Path(name) != root:
            Path(name).mkdir()
