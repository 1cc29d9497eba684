"""Video files: every frame that can be decoded; what cannot is told and ends nothing."""

import os
import sys

import av
import numpy as np
import pytest
from clips import (
    HEIGHT,
    PEOPLE,
    SEEDS,
    WIDTH,
    looks_at,
    moving,
    packets,
    portrait,
    scene,
    spoil,
    write_clip,
)
from helpers import saved
from PIL import Image

from embedkit.backbones.faces import face_finder
from embedkit.errors import InputError
from embedkit.heads.faces import Look
from embedkit.items import Unreadable
from embedkit.videos import files
from embedkit.videos.files import is_video, video_stills
from embedkit.videos.frames import read_frames


def test_a_spoiled_packet_is_told_and_the_rest_is_looked_at(panel, tmp_path):
    where = moving(24, PEOPLE)
    path = write_clip(tmp_path / "clip.mp4", [scene(one) for one in where])
    spoil(path, 10)
    results = looks_at(panel, path)
    bad = [one for one in results if isinstance(one, Unreadable)]
    assert [one.id for one in bad] == [str(path)]
    assert bad[0].reason == "after 10 frames: Invalid data found when processing input"
    looks = [one for one in results if isinstance(one, Look)]
    assert len(looks) == 23
    after = [one for one in looks if one.frame.seconds > 15.5 / 24]  # the next key frame is whole
    assert len(after) == 8
    assert all(len(one.sightings) == len(PEOPLE) for one in after)
    assert after[-1].frame.seconds == pytest.approx(23 / 24)


def test_a_file_that_is_cut_off_gives_the_frames_that_are_there(tmp_path):
    pictures = [scene(one) for one in moving(24, PEOPLE)]
    path = write_clip(tmp_path / "clip.mkv", pictures)
    start, _ = packets(path)[15]
    path.write_bytes(path.read_bytes()[: start + 20])
    stills = [one for one in video_stills(path) if not isinstance(one, Unreadable)]
    assert [one.number for one in stills] == list(range(15))


def test_a_file_whose_header_promises_more_frames_says_so(tmp_path):
    """The header of a file made for streaming comes first, and counts the frames."""
    source = write_clip(tmp_path / "whole.mp4", [scene(one) for one in moving(24, PEOPLE)])
    path = tmp_path / "clip.mp4"
    with (
        av.open(str(source)) as video,
        av.open(str(path), "w", options={"movflags": "faststart"}) as out,
    ):
        stream = out.add_stream_from_template(video.streams.video[0])
        for packet in video.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    start, _ = packets(path)[15]
    path.write_bytes(path.read_bytes()[:start])
    *stills, last = video_stills(path)
    assert len(stills) == 15
    assert last == Unreadable(str(path), "ends early: 15 of 24 frames are there")


def silent(path):
    """Write a file with sound alone."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.rate = 8000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.write_bytes(b"no video at all" * 99), "not a video"),
        (lambda path: path.write_bytes(b""), "not a video"),
        (lambda path: path.write_text("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n"), "not a video"),
        (silent, "only sound"),
        (os.mkfifo, "not a regular file"),
    ],
    ids=["text", "empty", "playlist", "sound", "pipe"],
)
def test_what_is_no_video_gives_one_reason(tmp_path, make, reason):
    make(tmp_path / "clip.mp4")
    (one,) = video_stills(tmp_path / "clip.mp4")
    assert one.id == str(tmp_path / "clip.mp4")
    assert reason in one.reason


def test_a_video_without_a_whole_frame_says_so(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", [scene([])] * 3)
    for number in range(3):
        spoil(path, number)
    *broken, last = video_stills(path)
    assert len(broken) == 3
    assert last.reason == "a video without a frame that can be decoded"


def test_a_playlist_of_other_files_is_not_followed(tmp_path):
    """FFmpeg itself would read the file that a playlist names."""
    write_clip(tmp_path / "secret.mp4", [scene([])] * 3)
    path = tmp_path / "clip.mp4"
    path.write_text(f"ffconcat version 1.0\nfile {tmp_path / 'secret.mp4'}\n")
    (one,) = video_stills(path)
    assert "not a video" in one.reason


def test_frames_larger_than_pictures_may_be_are_refused(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "clip.mp4", [scene([])] * 2)
    monkeypatch.setattr(files, "MAX_PIXELS", WIDTH * HEIGHT - 1)
    (one,) = video_stills(path)
    assert one.reason.startswith(f"{WIDTH} x {HEIGHT} pixels, at most")


def test_a_video_that_was_filmed_sideways_is_turned_upright(tmp_path):
    upright = scene([(SEEDS[0], 40, 40)], 320)
    path = write_clip(tmp_path / "clip.mp4", [np.ascontiguousarray(np.rot90(upright))] * 2)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 36  # version and flags, then what stands before the matrix
    assert data[at : at + 4] == bytes([0, 1, 0, 0])  # 1, as it is without a turn
    turned = (0, 1, 0, -1, 0, 0)  # a quarter clockwise
    for place, value in zip((0, 1, 2, 3, 4, 5), turned, strict=True):
        data[at + 4 * place : at + 4 * place + 4] = (value * 65536).to_bytes(4, signed=True)
    path.write_bytes(data)
    still = next(video_stills(path))
    assert still.pixels.shape == upright.shape
    assert np.abs(still.pixels.astype(int) - upright).mean() < 8
    assert len(face_finder().find(still.pixels)) == 1


def test_a_video_is_told_from_a_picture_by_its_bytes(tmp_path, clip):
    (tmp_path / "bare").write_bytes(clip.read_bytes())
    (tmp_path / "x.mp4").write_bytes(saved(Image.new("RGB", (8, 8)), "PNG"))
    (tmp_path / "notes.ts").write_text("const x = 1;\n")
    assert is_video(clip)
    assert is_video(tmp_path / "bare")
    assert not is_video(tmp_path / "x.mp4")
    assert not is_video(tmp_path / "notes.ts")
    assert not is_video(tmp_path)
    for suffix in (".avi", ".mkv", ".mpg", ".ts", ".flv"):
        codec = "mpeg1video" if suffix == ".mpg" else "flv1" if suffix == ".flv" else "libx264"
        made = write_clip(tmp_path / f"clip{suffix}", [scene([])] * 12, codec=codec)
        made = made.rename(tmp_path / f"bare of {suffix[1:]}")
        assert is_video(made), suffix
        assert sum(not isinstance(one, Unreadable) for one in video_stills(made)) == 12


def test_a_folder_may_hold_pictures_and_videos(panel, clip, tmp_path):
    (tmp_path / "a").mkdir()
    Image.fromarray(portrait(SEEDS[0])).save(tmp_path / "a/z.png")
    (tmp_path / "clip.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "notes.txt").write_text("nothing")
    frames = list(read_frames([tmp_path]))
    assert [one.within for one in frames] == ["a/z.png"] + ["clip.mp4"] * 24
    assert (frames[0].number, frames[0].seconds) == (None, None)


def test_without_pyav_there_is_one_line_on_how_to_get_it(clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"pip install 'embedkit\[video\]'"):
        list(read_frames([clip]))
