"""A camera's loop, with frames that are injected: there is no camera where tests run."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time

import av
import numpy as np
import pytest
from clips import LABEL, PEOPLE, frames_of, moving, scene
from embedkit_cli import console, live, main

from embedkit.errors import InputError
from embedkit.items import Unreadable
from embedkit.videos import cameras
from embedkit.videos.cameras import camera_frames, newest_frames
from embedkit.videos.frames import Frame


def decoded(pixels):
    """Return a frame as PyAV gives it."""
    return av.VideoFrame.from_ndarray(pixels, format="rgb24")


def shade(value):
    return decoded(np.full((16, 16, 3), value, np.uint8))


@pytest.fixture
def shown(monkeypatch):
    """Watch frames as the command does; what is printed is JSON."""
    monkeypatch.setattr(live, "open_window", lambda: None)
    console.reset(["--json"])
    yield
    console.reset([])


def people(n):
    return [
        Frame("camera 0", "camera 0", scene(one), t, t / 10)
        for t, one in enumerate(moving(n, PEOPLE))
    ]


# The newest frame.


def test_frames_that_came_while_nobody_asked_are_dropped():
    taken, asked = threading.Event(), threading.Event()

    def coming():
        yield shade(10)
        taken.wait(10)
        for value in (20, 30, 40):
            yield shade(value)
        asked.set()

    frames = newest_frames(coming(), "camera 0")
    first = next(frames)
    taken.set()
    asked.wait(10)
    rest = list(frames)
    assert [int(one.pixels[0, 0, 0]) for one in (first, *rest)] == [10, 40]
    assert [one.number for one in (first, *rest)] == [0, 1]
    assert rest[0].seconds >= first.seconds >= 0


def test_a_broken_frame_is_told_and_the_next_one_comes():
    steps = [threading.Event(), threading.Event()]

    def coming():
        yield "Invalid data found"
        steps[0].wait(10)
        yield shade(50)

    frames = newest_frames(coming(), "camera 0")
    assert next(frames) == Unreadable("camera 0", "Invalid data found")
    steps[0].set()
    assert next(frames).number == 0


def test_a_camera_that_falls_silent_ends_with_a_reason(monkeypatch):
    monkeypatch.setattr(cameras, "SILENCE", 0.05)
    monkeypatch.setattr(cameras, "FAREWELL", 0.05)
    wait = threading.Event()

    def coming():
        yield shade(1)
        wait.wait(20)

    closed = []
    results = list(newest_frames(coming(), "camera 0", close=lambda: closed.append(True)))
    wait.set()
    assert [type(one) for one in results] == [Frame, Unreadable]
    assert "nothing came for" in results[1].reason
    assert closed == []  # not under the thread that still reads it


def test_what_is_no_longer_wanted_is_closed_once_nobody_reads_it():
    closed = []

    def coming():
        while True:
            yield shade(1)
            time.sleep(0.001)

    frames = newest_frames(coming(), "camera 0", close=lambda: closed.append(True))
    next(frames)
    frames.close()
    assert closed == [True]
    assert not [one for one in threading.enumerate() if one.name == "camera 0"]


# No camera.


def test_no_camera_says_which_there_are(monkeypatch, tmp_path):
    monkeypatch.setattr(cameras.sys, "platform", "linux")
    monkeypatch.setattr(cameras, "DEVICES", tmp_path)
    with pytest.raises(InputError, match="there is no camera 0: .*; this machine has none"):
        camera_frames(0)
    (tmp_path / "video2").touch()
    with pytest.raises(InputError, match="there is no camera 0: .*; there are video2"):
        camera_frames(0)
    with pytest.raises(InputError, match="camera 2 cannot be read: "):
        camera_frames(2)  # a file, not a device


def test_a_camera_of_another_group_says_how_to_join(monkeypatch, tmp_path):
    monkeypatch.setattr(cameras.sys, "platform", "linux")
    monkeypatch.setattr(cameras, "DEVICES", tmp_path)
    (tmp_path / "video0").touch()

    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cameras.Path, "open", refused)
    with pytest.raises(InputError, match="camera 0 may not be read: .* usermod -aG video"):
        camera_frames(0)


# The loop.


def test_every_frame_is_a_line_and_the_last_line_is_the_summary(panel, shown, capsys, tmp_path):
    broken = Unreadable("camera 0", "Invalid data found")
    frames = [*people(2), broken, *people(3)[2:]]
    live.watch(panel, iter(frames), output=tmp_path / "seen.mp4", k=0)
    out = capsys.readouterr()
    *lines, last = [json.loads(line) for line in out.out.splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2]
    for line in lines:
        assert (line["schema"], len(line["faces"])) == ("embedkit.look/1", 3)
        said = {one["predictions"][1]["label"] for one in line["faces"]}
        assert said == {f"p{seed}" for seed in PEOPLE}
    assert last["schema"] == "embedkit.faces/1"
    assert (last["frames"], last["faces"], last["unreadable"]) == (3, 9, 1)
    assert last["frames_per_second"] > 0
    assert "camera 0: Invalid data found" in out.err
    assert "3 frames" in out.err
    assert len(frames_of(tmp_path / "seen.mp4")) == 3


def test_a_frame_is_answered_before_the_next_is_asked_for(panel, shown, capsys):
    asked = []

    def coming():
        for place, frame in enumerate(people(3)):
            asked.append((place, len(capsys.readouterr().out.splitlines())))
            yield frame

    live.watch(panel, coming(), output=None, k=0)
    assert asked == [(0, 0), (1, 1), (2, 1)]


def test_ctrl_c_is_how_one_stops_and_keeps_what_was_recorded(panel, shown, capsys, tmp_path):
    def coming():
        yield from people(2)
        raise KeyboardInterrupt

    live.watch(panel, coming(), output=tmp_path / "seen.mkv", k=0)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["frames"] == 2
    assert len(frames_of(tmp_path / "seen.mkv")) == 2


def test_a_camera_without_a_single_frame_is_an_error(panel, shown):
    with pytest.raises(InputError, match="gave no picture: nothing came"):
        live.watch(panel, [Unreadable("camera 0", "nothing came")], output=None, k=0)


class FakeWindow:
    def __init__(self, last):
        self.pictures, self.titles, self.last, self.closed = [], [], last, False

    def show(self, image, title):
        self.pictures.append(np.asarray(image))
        self.titles.append(title)
        return len(self.pictures) < self.last

    def close(self):
        self.closed = True


def test_a_window_shows_the_boxes_until_it_is_closed(panel, monkeypatch, capsys):
    window = FakeWindow(last=2)
    monkeypatch.setattr(live, "open_window", lambda: window)
    frames = people(5)
    live.watch(panel, iter(frames), output=None, k=0)
    assert len(window.pictures) == 2
    assert window.closed
    assert all(title.endswith(" frames/s") for title in window.titles)
    for picture, frame in zip(window.pictures, frames, strict=False):
        assert picture.shape == frame.pixels.shape
        assert (picture != frame.pixels).any()
    out = capsys.readouterr()
    assert out.out == ""
    assert "2 frames, 2 of them looked at; 6 faces" in out.err


def test_without_a_screen_there_are_lines(monkeypatch, capsys):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    pytest.importorskip("tkinter", reason="this Python has no tkinter")
    if sys.platform == "darwin":
        pytest.skip("a Mac always has a screen")
    assert live.open_window() is None
    assert "There is no window" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="there is no Xvfb to show a window on")
def test_a_real_window_shows_and_closes(tmp_path):
    """On a screen that nobody sees; a process of its own, for Tk stays with its first screen."""
    code = (
        "from PIL import Image\n"
        "from embedkit_cli.live import open_window\n"
        "window = open_window()\n"
        "assert window.show(Image.new('RGB', (320, 200), 'red'), '5.0 frames/s')\n"
        "assert window._label.winfo_width() == 320\n"
        "window._root.focus_force()\n"
        "window._root.update()\n"
        "window._root.event_generate('<Escape>')\n"
        "assert not window.show(Image.new('RGB', (320, 200)), '')\n"
        "window.close()\n"
    )
    reading, writing = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-nolisten", "tcp"],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    try:
        with os.fdopen(reading) as pipe:
            number = pipe.readline().strip()
        environment = {**os.environ, "DISPLAY": f":{number}"}
        subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=120)
    finally:
        server.terminate()
        server.wait()


def test_the_command_looks_at_the_camera_that_is_named(monkeypatch, face_heads, capsys):
    asked = []
    monkeypatch.setattr(cameras, "camera_frames", lambda n: asked.append(n) or iter(people(1)))
    assert main(["predict", str(face_heads[0]), "--camera", "3", "--json"]) == 0
    assert asked == [3]
    first, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {face["predictions"][0]["label"] for face in first["faces"]} == {
        LABEL[seed] for seed in PEOPLE
    }
    assert last["frames"] == 1
