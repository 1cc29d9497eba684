"""A camera's faces as they are seen: in a window, or as JSON lines."""

import json
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedkit_cli import console

if TYPE_CHECKING:
    from PIL import Image

    from embedkit.heads.faces import Eye, Sight
    from embedkit.heads.predict import Panel
    from embedkit.items import Unreadable
    from embedkit.videos.frames import Frame

ENDS = ("<Escape>", "q")


def watch(
    panel: "Panel",
    frames: "Iterable[Frame | Unreadable]",
    *,
    output: Path | None,
    k: int,
    blur_faces: bool = False,
) -> None:
    """Show what the heads say of every face until the window is closed, or Ctrl-C.

    Each frame is answered before the next is asked for. Without a screen, or where JSON is wanted,
    every frame is a line, and the summary the last one.

    Args:
        panel: the heads.
        frames: of a camera.
        output: a video to record the annotated frames in.
        k: nearest training images as evidence, in the JSON.
        blur_faces: whether every face that is found is made unrecognisable.
    """
    from embedkit.errors import InputError
    from embedkit.heads.faces import look_at_faces
    from embedkit.heads.tallies import Tally
    from embedkit.items import Unreadable
    from embedkit.reports import documents, text
    from embedkit.reports.annotations import annotated
    from embedkit.reports.footage import Footage, check_suffix

    if output is not None:
        check_suffix(output, video=True)
    seen_with = eyes(panel)
    window = None if console.json_wanted() else open_window()
    tally = Tally()
    with ExitStack() as stack:
        footage = output and stack.enter_context(
            Footage(output, panel, folder=False, blur_faces=blur_faces)
        )
        with suppress(KeyboardInterrupt):  # how one stops looking where there is no window
            for one in look_at_faces(panel, frames, eyes=seen_with, gather=1, k=k):
                tally.count(one)
                if isinstance(one, Unreadable):
                    console.say(f"{one.id}: {one.reason}")
                    continue
                if footage:
                    footage.write(one)
                if window is None:
                    console.line(json.dumps(documents.look(one, panel)))
                elif not window.show(
                    annotated(one, panel, blur_faces=blur_faces), f"{tally.per_second:.1f} frames/s"
                ):
                    break
        if not tally.anything:
            reasons = "; ".join(one.reason for one in tally.unreadable)
            raise InputError(f"the camera gave no picture: {reasons or 'it was interrupted'}")
    if window is not None:
        window.close()
    files = footage.files if footage else []
    console.say(text.tally(tally))
    if window is None:
        console.line(json.dumps(documents.faces(panel, tally, [], files)))
    else:
        console.show("\n".join(f"wrote {path}" for path in files), {})


def eyes(panel: "Panel") -> "dict[Sight, Eye]":
    """Return what the heads see of faces, with a word where that is a guess."""
    from embedkit.heads.faces import eyes_of

    found = eyes_of(panel)
    for (_, store), eye in found.items():
        if eye.guesses:
            console.say(
                f"How the pictures of {store} frame their faces is not known; each face is seen "
                "with a small margin. If the store is elsewhere, say where with --store."
            )
    return found


class Window:
    """A window of one picture."""

    def __init__(self) -> None:
        import tkinter

        self._root = tkinter.Tk()
        self._root.title("embedkit")
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        self._picture: Any = None
        self._open = True
        self._root.protocol("WM_DELETE_WINDOW", self._end)
        for key in ENDS:
            self._root.bind(key, lambda _: self._end())

    def show(self, image: "Image.Image", title: str) -> bool:
        """Show a picture in place of the last one; returns whether the window is still wanted."""
        from PIL import ImageTk

        self._picture = ImageTk.PhotoImage(image, master=self._root)  # Tk holds no reference
        self._label.configure(image=self._picture)
        self._root.title(f"embedkit  {title}")
        self._root.update()
        return self._open

    def close(self) -> None:
        """Take the window away."""
        self._root.destroy()

    def _end(self) -> None:
        self._open = False


def open_window() -> Window | None:
    """Return a window, or None, with a word on why, where there is no screen."""
    try:
        import tkinter
    except ImportError:
        console.say("This Python has no tkinter, so there is no window; JSON lines follow.")
        return None
    try:
        return Window()
    except tkinter.TclError as error:
        console.say(f"There is no window ({error}); JSON lines follow.")
        return None
