"""Interruptions: a signal stops a run between two pictures, not in the middle of a step."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], object]


@contextmanager
def held_back() -> Iterator[Callable[[], None]]:
    """Hold SIGINT and SIGTERM back; the function given lets the one that came take effect.

    An exception out of a handler can come anywhere: with the lock of a future held, for which its
    thread then waits for ever, or where Python drops it. A second signal takes effect at once. What
    nobody asked for takes effect at the end. A signal without a handler in Python, and those of
    other threads than the main one, are left as they are.
    """
    handlers: dict[int, Handler] = {}
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            handlers[number](number, frame)

    def take_effect() -> None:
        if came:
            handlers[came[0]](came.pop(0), None)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if callable(handler):
                handlers[number] = handler
                signal.signal(number, note)
    try:
        yield take_effect
    finally:
        for held, handler in handlers.items():
            signal.signal(held, handler)
    take_effect()
