"""Video files: every frame that can be decoded, one after another; the others are counted.

Read by PyAV (FFmpeg). Only the containers in `CONTAINERS` are: playlists among FFmpeg's formats
open other files and addresses.
"""

import errno
import importlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from embedkit.errors import InputError
from embedkit.images import MAX_PIXELS, sniff
from embedkit.items import Unreadable
from embedkit.vectors import Pixels

CONTAINERS = "mov,matroska,avi,mpeg,mpegvideo,mpegts,flv,asf,ogg"
SUFFIXES = frozenset(
    [
        ".mp4",
        ".m4v",
        ".mov",
        ".3gp",
        ".mkv",
        ".webm",
        ".avi",
        ".mpg",
        ".mpeg",
        ".mts",
        ".m2ts",
        ".flv",
        ".wmv",
        ".ogv",
    ]
)
MOST_FAILURES = 100  # parts in a row that cannot be read, before the rest is given up
PACKET = 188  # bytes in a packet of an MPEG transport stream


@dataclass(frozen=True, slots=True)
class Still:
    """One frame of a video.

    Attributes:
        number: from 0, of those that could be decoded.
        seconds: from the video's start.
        pixels: (h, w, 3) uint8 RGB, upright.
    """

    number: int
    seconds: float
    pixels: Pixels


def is_video(path: Path) -> bool:
    """Say whether a path is a video's, by the file's first bytes, or its suffix where they don't.

    A picture is none, whatever it is called.
    """
    if not path.is_file():
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return path.suffix.lower() in SUFFIXES
    try:
        head = os.read(descriptor, 2 * PACKET + 1)
    finally:
        os.close(descriptor)
    if sniff(head[:64]) is not None:
        return False
    return path.suffix.lower() in SUFFIXES or _announces_video(head)


def video_stills(path: Path) -> Iterator[Still | Unreadable]:
    """Decode a video frame by frame; memory does not grow with its length.

    Pictures that a phone has filmed sideways are turned upright. Sound is passed over.

    Args:
        path: of a regular file.

    Yields:
        A frame; or why the file, a packet or a frame is none. What is wrong with one of them does
        not end the video.

    Raises:
        InputError: PyAV is not installed.
    """
    av = load_av()
    try:
        with _regular(path) as file:
            yield from _stills(av, file, str(path))
    except OSError as error:  # PyAV's own errors that are none of the system's are below
        yield Unreadable(str(path), error.strerror or str(error))


def load_av() -> Any:
    """Return PyAV.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module("av")
    except ImportError:
        raise InputError(
            "videos and cameras are read by PyAV; pip install 'embedkit[video]'"
        ) from None


def upright(frame: Any) -> Pixels:
    """Return a decoded frame's pixels, (h, w, 3) uint8 RGB, turned as its video says."""
    pixels: Pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


def plain(error: Exception) -> str:
    """Say in one short line what PyAV's exception means."""
    return str(getattr(error, "strerror", None) or error).split("\n", 1)[0][:120]


@contextmanager
def _regular(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading, without waiting where it is a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        yield file


def _announces_video(head: bytes) -> bool:
    """Say whether a file's first bytes are those of a container of videos."""
    return (
        head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide")
        or head[:4] == b"\x1a\x45\xdf\xa3"  # Matroska and WebM
        or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
        or head[:4] in (b"\0\0\1\xba", b"\0\0\1\xb3", b"FLV\1", b"OggS", b"\x30\x26\xb2\x75")
        or (head[:1] == b"G" and head[PACKET : PACKET + 1] == b"G" == head[2 * PACKET :])
    )


def _too_large(width: int, height: int) -> str:
    return f"{width} x {height} pixels, at most {MAX_PIXELS // 10**6} million are read"


def _stills(av: Any, file: BinaryIO, name: str) -> Iterator[Still | Unreadable]:
    try:
        container = av.open(file, options={"format_whitelist": CONTAINERS})
    except av.FFmpegError:
        yield Unreadable(name, "not a video, or one whose beginning or end is missing")
        return
    with container:
        if not container.streams.video:
            yield Unreadable(name, "holds no pictures, only sound or text")
            return
        stream = container.streams.video[0]
        context = stream.codec_context
        if context is None:
            yield Unreadable(name, "its codec is not known to this FFmpeg")
            return
        if context.width * context.height > MAX_PIXELS:
            yield Unreadable(name, _too_large(context.width, context.height))
            return
        # A video may change its size later, and FFmpeg would take the memory before we see it.
        context.options = {"max_pixels": str(MAX_PIXELS)}
        number = broken = 0
        start: float | None = None
        for decoded in decoded_frames(av, container, stream):
            if isinstance(decoded, str):
                broken += 1
                yield Unreadable(name, f"after {number} frames: {decoded}")
                continue
            seconds = decoded.time
            if seconds is None:
                seconds = number / float(stream.average_rate or 25)
            start = seconds if start is None else start
            yield Still(number, max(0.0, seconds - start), upright(decoded))
            number += 1
        missing = stream.frames - number - broken
        if not number:
            yield Unreadable(name, "a video without a frame that can be decoded")
        elif missing > stream.frames / 100 + 2:  # edit lists leave out a few
            yield Unreadable(name, f"ends early: {number} of {stream.frames} frames are there")


def decoded_frames(av: Any, container: Any, stream: Any) -> Iterator[Any]:
    """Yield PyAV's frames, and a reason for each packet or frame that is none; never raise one."""
    failures = 0
    while failures < MOST_FAILURES:
        try:
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except av.FFmpegError as error:
                    failures += 1
                    yield plain(error)
                    if failures == MOST_FAILURES:
                        return
                    continue
                for frame in frames:
                    failures = 0
                    yield "its picture is damaged" if frame.is_corrupt else frame
            return
        except av.FFmpegError as error:  # of the container; the next packet may be whole
            failures += 1
            yield plain(error)
