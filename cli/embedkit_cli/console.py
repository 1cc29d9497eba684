"""What the user sees: results on stdout, talk and progress on stderr."""

import json
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedkit.pipeline import Progress

EVERY = 30.0


@dataclass
class _State:
    json_wanted: bool = False
    quiet: bool = False
    command: str = ""


_state = _State()


def reset(arguments: list[str]) -> None:
    """Start a run of the program."""
    _state.json_wanted = "--json" in arguments
    _state.quiet = False
    _state.command = shlex.join(["embedkit", *arguments])


def command() -> str:
    """Return the command line of this run, as a shell takes it."""
    return _state.command


def want_json(wanted: bool) -> bool:
    """Take note that results are to be JSON; also where a settings file says so."""
    _state.json_wanted = _state.json_wanted or wanted
    return wanted


def want_quiet(wanted: bool) -> bool:
    """Take note that there is to be no talk."""
    _state.quiet = _state.quiet or wanted
    return wanted


def json_wanted() -> bool:
    """Say whether results are to be JSON."""
    return _state.json_wanted


def show(text: str, document: dict[str, Any], *, commands: bool = False) -> None:
    """Print a result: the text, or the document where JSON is wanted.

    Args:
        text: for people.
        document: the same as JSON.
        commands: whether lines may be commands of GitHub's log.
    """
    if _state.json_wanted:
        _write(_json(document))
    else:
        _write((_plain if commands else _harmless)(text) + "\n" if text else "")
    sys.stdout.flush()


def _write(text: str) -> None:
    """Write to stdout; whoever reads it and has had enough changes nothing, least of all a status.

    Typer would end the program with status 1, which is a gate's.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _json(document: dict[str, Any]) -> str:
    r"""Return JSON that every parser takes: a byte that is no UTF-8 is `\xNN`, as in ids."""
    # Python writes such a byte as half of a pair; a whole pair, or \\udc80 as text, stays.
    text = json.dumps(document, indent=1, allow_nan=False)
    escape = r"\\\\|\\ud[89ab]\w\w\\ud[c-f]\w\w|\\udc([89a-f]\w)"
    return re.sub(escape, lambda one: rf"\\x{one[1]}" if one[1] else one[0], text) + "\n"


def line(text: str) -> None:
    """Print a part of a result that comes bit by bit."""
    _write(_harmless(text) + "\n")


def say(text: str, *, always: bool = False) -> None:
    """Tell the user something that is no result; where no talk is wanted, only if it must be."""
    if always or not _state.quiet:
        _talk(_harmless(text) + "\n")


def _talk(text: str) -> None:
    """Write to stderr; that nobody can hear it changes nothing, least of all a status."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _harmless(text: str) -> str:
    """Keep names from moving the cursor or changing colours, and from being no Unicode.

    A line that begins like a command of GitHub's log is none.
    """
    text = re.sub(r"(?m)^(\s*):(?=:)", r"\1 ", text)
    return _plain(text)


def _plain(text: str) -> str:
    shown = "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
    return shown.encode("utf-8", "backslashreplace").decode()


def fail(message: str, status: int) -> int:
    """Print an error as one line (as JSON too where that is wanted) and return the status."""
    _talk(_harmless(f"Error: {message}\n"))
    if _state.json_wanted:
        document = {"schema": "embedkit.error/1", "exit_code": status, "error": message}
        with suppress(OSError):  # the status says it too
            _write(_json(document))
    return status


@contextmanager
def progress() -> Iterator[Callable[["Progress"], None]]:
    """Show how far a run is: a bar on a terminal, elsewhere a line every 30 seconds."""
    if _state.quiet:
        yield lambda _: None
    elif sys.stderr.isatty():
        with _bar() as update:
            yield update
    else:
        yield _Lines()


class _Lines:
    """Progress as plain lines, far apart."""

    def __init__(self) -> None:
        self._last = self._start = time.monotonic()
        self._stage = ""
        self._from = 0

    def __call__(self, now: "Progress") -> None:
        """Print a line if the last one is long ago."""
        moment = time.monotonic()
        if now.stage != self._stage:
            self._stage, self._start, self._from = now.stage, moment, now.done
        if moment - self._last < EVERY:
            return
        self._last = moment
        line = f"{now.stage}: {now.done} of {now.total} {now.unit}"
        if now.unit == "images":
            rate = (now.done - self._from) / max(moment - self._start, 1e-9)
            line += f", {rate:.0f}/s"
            line += f", {(now.total - now.done) / rate:.0f} s left" if rate else ""
        line += f", {now.unreadable} unreadable" if now.unreadable else ""
        _talk(f"{line}\n")


@contextmanager
def _bar() -> Iterator[Callable[["Progress"], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            counted = task.fields["unit"] == "images"
            return Text(f"{task.speed or 0:.0f}/s" if counted else task.fields["unit"])

    class Time(TimeRemainingColumn):
        def render(self, task: Task) -> Text:
            if task.fields["unit"] == "images":
                return super().render(task)
            return Text(f"{task.elapsed or 0:.0f} s")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        Time(),
        TextColumn("{task.fields[bad]}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def update(now: "Progress") -> None:
            if now.stage not in tasks:
                for task in tasks.values():
                    bar.update(task, visible=False)
                tasks[now.stage] = bar.add_task(
                    now.stage, total=now.total, completed=now.done, bad="", unit=now.unit
                )
            bad = f"{now.unreadable} unreadable" if now.unreadable else ""
            bar.update(tasks[now.stage], completed=now.done, total=now.total, bad=bad)

        yield update
