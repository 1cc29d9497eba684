"""Cameras: the newest frame each time one is asked for; those that came in between are dropped."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from embedkit.errors import InputError
from embedkit.items import Unreadable
from embedkit.videos.files import decoded_frames, load_av, plain, upright
from embedkit.videos.frames import Frame

DEVICES = Path("/dev")
SILENCE = 10.0  # seconds without a frame after which a camera counts as gone
FAREWELL = 2.0  # seconds in which the thread comes back from its last read


def camera_frames(number: int) -> Iterator[Frame | Unreadable]:
    """Read a camera until it goes away; see `newest_frames`.

    Args:
        number: of the camera, 0 for the first: `/dev/video0` on Linux.

    Raises:
        InputError: there is no such camera, it may not be read, or PyAV is not installed.
    """
    av = load_av()
    where, how = _place(number)
    try:
        container = av.open(where, format=how)
    except (av.FFmpegError, ValueError) as error:
        raise InputError(f"camera {number} cannot be read: {plain(error)}") from None
    coming = decoded_frames(av, container, container.streams.video[0])
    return newest_frames(coming, f"camera {number}", close=container.close)


def newest_frames(
    coming: Iterable[Any], source: str, *, close: Callable[[], None] = lambda: None
) -> Iterator[Frame | Unreadable]:
    """Yield the newest of frames that come by themselves, so that what is shown is now.

    Args:
        coming: PyAV's frames, or reasons for what is none; read by a thread of its own.
        source: what the frames are called.
        close: called at the end, once nobody reads any more.

    Yields:
        A frame, or why there is none; ends when `coming` does, or after `SILENCE` seconds in which
        nothing came.
    """
    slot = _Slot()
    thread = threading.Thread(target=slot.fill, args=(coming,), name=source, daemon=True)
    thread.start()
    started = time.monotonic()
    number = 0
    try:
        for one in iter(slot.take, None):
            if isinstance(one, str):
                yield Unreadable(source, one)
            else:
                yield Frame(source, source, upright(one), number, time.monotonic() - started)
                number += 1
    finally:
        slot.closed = True
        thread.join(FAREWELL)
        if not thread.is_alive():  # closed under the thread that reads it, it would end the process
            close()


class _Slot:
    """Holds the newest of what one thread brings until another takes it."""

    def __init__(self) -> None:
        self.closed = False
        self._changed = threading.Condition()
        self._newest: Any = None
        self._ended = False

    def fill(self, coming: Iterable[Any]) -> None:
        """Bring everything that comes, until there is no more or nobody wants it."""
        try:
            for one in coming:
                with self._changed:
                    self._newest = one
                    self._changed.notify()
                if self.closed:
                    return
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()

    def take(self) -> Any:
        """Return the newest thing that nobody has taken; None once there will be none."""
        with self._changed:
            there = self._changed.wait_for(lambda: self._newest is not None or self._ended, SILENCE)
            if not there:
                self._ended = True
                return f"nothing came for {SILENCE:.0f} s"
            newest, self._newest = self._newest, None
            return newest


def _place(number: int) -> tuple[str, str]:
    """Return a camera's name for FFmpeg, and its format there.

    Raises:
        InputError: there is no such camera, or it may not be read.
    """
    if sys.platform == "darwin":
        return str(number), "avfoundation"
    path = DEVICES / f"video{number}"
    if not path.exists():
        there = ", ".join(sorted(one.name for one in DEVICES.glob("video[0-9]*")))
        raise InputError(
            f"there is no camera {number}: {path} does not exist; "
            + (f"there are {there}" if there else "this machine has none")
        )
    try:
        path.open("rb").close()
    except PermissionError:
        raise InputError(
            f"camera {number} may not be read: {path} is for another group of users; "
            "sudo usermod -aG video $USER lets you, from the next login on"
        ) from None
    except OSError as error:
        raise InputError(f"camera {number} cannot be read: {error.strerror}") from None
    return str(path), "v4l2"
