"""What was seen, on disk: annotated pictures and videos, and a JSON line for each frame."""

import io
import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TextIO

import numpy as np

from embedkit.errors import InputError, OutputError
from embedkit.fetch import is_address
from embedkit.files import growing, write_output
from embedkit.heads.faces import Look
from embedkit.heads.predict import Panel
from embedkit.inputs import Input
from embedkit.reports import documents
from embedkit.reports.annotations import annotated
from embedkit.videos.files import is_video
from embedkit.videos.recordings import CONTAINERS, Recording

PICTURES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
LINES = "faces.jsonl"


class Footage:
    """Annotated pictures and videos, and their JSON lines, that grow while frames are looked at.

    A picture is whole as soon as it is there. A video and the JSON lines get their names when they
    are whole; after an interruption or a failure nothing is left of them. Videos have no sound.
    """

    def __init__(
        self, output: Path, panel: Panel, *, folder: bool, blur_faces: bool = False
    ) -> None:
        """Plan the files.

        Args:
            output: the folder, or the one annotated file.
            panel: whose heads answer.
            folder: whether there may be several files; see `wants_folder`.
            blur_faces: whether every face that is found is made unrecognisable.

        Raises:
            InputError: a file that holds no JSON lines is where they would be written.
        """
        self._noted = output / LINES if folder else output.with_suffix(".jsonl")
        if self._noted.is_file() and self._noted.read_bytes()[:1] not in (b"", b"{"):
            raise InputError(
                f"{self._noted} holds no JSON lines, and they would take its place; name another "
                "place with -o"
            )
        self.files: list[Path] = []
        self._output = output
        self._panel = panel
        self._folder = folder
        self._blur = blur_faces
        self._names: dict[str, Path] = {}
        self._whole = ExitStack()
        self._lines: TextIO | None = None
        self._video = ExitStack()
        self._recording: Recording | None = None
        self._recorded = ""

    def write(self, look: Look) -> None:
        """Add a picture, or the next frame of a video.

        Raises:
            InputError: a file would take the place of its own source.
            OutputError: a file cannot be written.
        """
        frame = look.frame
        if frame.source != self._recorded:
            self._finish_video()
        image = annotated(look, self._panel, blur_faces=self._blur)
        if frame.number is None:
            target = self._target(frame.source, frame.within, PICTURES, ".png")
            stream = io.BytesIO()
            image.save(stream, PICTURES[target.suffix.lower()], quality=92)
            write_output(target, stream.getvalue())
            self.files.append(target)
        else:
            if self._recording is None:
                target = self._target(frame.source, frame.within, CONTAINERS, ".mp4")
                temporary = self._video.enter_context(growing(target))
                self._recording = self._video.enter_context(
                    Recording(temporary, target.suffix.lower())
                )
                self._recorded = frame.source
                self.files.append(target)
            self._recording.write(np.asarray(image), frame.seconds or 0.0)
        if look.sightings is not None:
            self._note(look)

    def __enter__(self) -> "Footage":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give what is whole its name."""
        try:
            self._video.__exit__(kind, error, trace)
        except BaseException as failure:
            self._whole.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._whole.__exit__(kind, error, trace)

    def _finish_video(self) -> None:
        self._video.close()
        self._recording, self._recorded = None, ""

    def _note(self, look: Look) -> None:
        path = self._noted
        try:
            if self._lines is None:
                temporary = self._whole.enter_context(growing(path))
                self._lines = self._whole.enter_context(temporary.open("w", encoding="utf-8"))
                self.files.append(path)
            self._lines.write(json.dumps(documents.look(look, self._panel)) + "\n")
        except OSError as failure:
            raise OutputError(f"{path} cannot be written: {failure.strerror}") from None

    def _target(self, source: str, within: str, kinds: dict[str, str], usual: str) -> Path:
        """Return where to write what was made of a source."""
        if not self._folder:
            target = self._output
        else:
            name = Path(within)
            if name.suffix.lower() not in kinds:
                name = name.with_name(name.name + usual)
            target = self._output / name
            number = 2
            while target in self.files:
                target = self._output / name.with_stem(f"{name.stem}-{number}")
                number += 1
        if not is_address(source) and target.exists() and target.samefile(source):
            raise InputError(f"{target} is the input itself; name another place with -o")
        return target


def wants_folder(output: Path, inputs: Sequence[Input]) -> bool:
    """Say whether annotated files go into a folder of their own, or are the one file named.

    Raises:
        InputError: there are several and one file is named, or the kind of file cannot be written.
    """
    known = PICTURES | CONTAINERS
    suffix = output.suffix.lower()
    several = len(inputs) > 1 or any(_is_folder(one) for one in inputs)
    if output.is_dir() or not suffix:
        return True
    if several:
        if suffix in known:
            raise InputError(f"{output} is one file, and there may be several; name a folder")
        return True
    video = isinstance(inputs[0], str | Path) and is_video(Path(inputs[0]))
    check_suffix(output, video=video)
    return False


def check_suffix(output: Path, *, video: bool) -> None:
    """Refuse a file that cannot be written for its suffix.

    Raises:
        InputError: with the suffixes that can.
    """
    kinds = CONTAINERS if video else PICTURES
    if output.suffix.lower() not in kinds:
        raise InputError(
            f"{output} is no {'video' if video else 'picture'} that can be written; allowed are "
            f"{', '.join(kinds)}, or a folder"
        )


def _is_folder(one: Input) -> bool:
    return isinstance(one, str | Path) and Path(one).is_dir()
