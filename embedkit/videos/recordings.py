"""Videos written frame by frame, in the codec that most players know. Without sound."""

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from embedkit.errors import OutputError
from embedkit.vectors import Pixels
from embedkit.videos.files import load_av, plain

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
CODECS = ("libx264", "mpeg4")  # the first that this FFmpeg has
TICK = Fraction(1, 90_000)  # seconds; every frame keeps the time that it had


class Recording:
    """A video file that grows.

    Frames keep their times, so a video with gaps keeps them. The first frame sets the size, made
    even by repeating the last column and row, which H.264 needs.
    """

    def __init__(self, path: Path, suffix: str) -> None:
        """Begin a file.

        Args:
            path: to write to, whatever its suffix.
            suffix: one of `CONTAINERS`.

        Raises:
            InputError: PyAV is not installed.
            OutputError: the file cannot be written.
        """
        self._av = load_av()
        self._path = path
        self._last = -1
        self._stream: Any = None
        try:
            self._container = self._av.open(str(path), "w", format=CONTAINERS[suffix])
        except self._av.FFmpegError as error:
            raise self._failed(error) from None

    def write(self, pixels: Pixels, seconds: float) -> None:
        """Add a frame.

        Args:
            pixels: (h, w, 3) uint8 RGB.
            seconds: its time, later than the last frame's.

        Raises:
            OutputError: no space, for example.
        """
        height, width = (side + side % 2 for side in pixels.shape[:2])
        if self._stream is None:
            self._stream = self._begun(width, height)
        even = np.pad(pixels, [(0, side % 2) for side in pixels.shape[:2]] + [(0, 0)], mode="edge")
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        frame = frame.reformat(self._stream.width, self._stream.height, "yuv420p")
        self._last = max(self._last + 1, round(seconds / TICK))
        frame.pts, frame.time_base = self._last, TICK
        self._add(frame)

    def __enter__(self) -> "Recording":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write the end of the file; after an exception it is of no use."""
        if kind is None:
            self._add(None)
        try:
            self._container.close()
        except self._av.FFmpegError as failure:
            if kind is None:
                raise self._failed(failure) from None

    def _begun(self, width: int, height: int) -> Any:
        codec = next(one for one in CODECS if one in self._av.codecs_available)
        stream = self._container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = TICK
        return stream

    def _add(self, frame: Any) -> None:
        """Encode a frame, None for the end."""
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except self._av.FFmpegError as error:
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> OutputError:
        return OutputError(f"{self._path} cannot be written: {plain(error)}")
