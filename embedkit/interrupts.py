"""Interruptions: a signal stops a run between two pictures, not in the middle of a step."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], object]


class _Held:
    """What hears signals in a block.

    Attributes:
        before: the handler of each signal outside of the block, which may be that of another one.
        came: the signal that waits.
        again: whether the next one takes effect at once.
    """

    def __init__(self) -> None:
        self.before: dict[int, Handler] = {}
        self.came: list[int] = []
        self.again = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.again:
            self._act(number, frame)
        else:
            self.came, self.again = [number], True

    def begin(self, number: int, handler: Handler) -> None:
        """Take the place of a handler, and over what waits there."""
        self.before[number] = handler
        if isinstance(handler, _Held) and handler.came:
            self.came, handler.came = handler.came, []
        signal.signal(number, self)

    def take_effect(self) -> None:
        """Let the signal that came act."""
        if self.came:
            self.again = False
            self._act(self.came.pop(), None)

    def end(self) -> None:
        """Put the handlers back; let what came act, or wait further in the block around this."""
        self.again = False  # nothing may raise before all of them are back
        for number, before in self.before.items():
            signal.signal(number, before)
        if self.came:
            number = self.came.pop()
            before = self.before[number]
            if isinstance(before, _Held):
                before.came, before.again = [number], True
            else:
                before(number, None)

    def _act(self, number: int, frame: FrameType | None) -> None:
        """Let a signal act through all blocks; those around this one have had theirs."""
        before = self.before[number]
        if isinstance(before, _Held):
            before.again = True
            before._act(number, frame)
        else:
            before(number, frame)


@contextmanager
def held_back() -> Iterator[Callable[[], None]]:
    """Hold SIGINT and SIGTERM back; the function given lets the one that came take effect.

    An exception out of a handler can come anywhere: with the lock of a future held, for which its
    thread then waits for ever, or where Python drops it. A second signal takes effect at once. What
    nobody asked for takes effect at the end, in a block inside of another one at that one's. A
    signal without a handler in Python, and those of other threads than the main one, are left as
    they are.
    """
    held = _Held()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if callable(handler):
                held.begin(number, handler)
    try:
        yield held.take_effect
    finally:
        held.end()
