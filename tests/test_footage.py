"""What was seen, drawn and written: annotated pictures and videos, JSON lines, the command."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clips import LABEL, PEOPLE, frames_of, moving, portrait, scene, spoil, write_clip
from embedkit_cli import main
from PIL import Image

from embedkit.backbones.faces import Face, cut_out, face_finder
from embedkit.errors import InputError, OutputError
from embedkit.files import growing
from embedkit.heads.faces import Look, Sighting
from embedkit.heads.predict import Prediction
from embedkit.reports.annotations import annotated
from embedkit.reports.footage import Footage, wants_folder
from embedkit.videos.frames import Frame
from embedkit.videos.recordings import Recording

GREY = 120


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run the program in an empty folder; returns status, stdout, stderr."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(*arguments):
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        out = capsys.readouterr()
        return status, out.out, out.err

    return call


def lines_of(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def look(*boxes, side=(300, 400), number=None):
    """Return a plain picture with faces in boxes; the first head says a, b, a, b and so on."""
    said = [("a", "b"), ("p0", "p1"), ("a", "b")]
    sightings = tuple(
        Sighting(
            Face(box, ((0.0, 0.0),) * 5, 0.9),
            tuple(
                Prediction("x", names[place % 2], {names[place % 2]: 0.875}, ()) for names in said
            ),
        )
        for place, box in enumerate(boxes)
    )
    pixels = np.full((*side, 3), GREY, np.uint8)
    seconds = None if number is None else number / 10
    return Look(Frame("x.png", "x.png", pixels, number, seconds), sightings)


def changed(look, panel):
    """Return where the drawing differs from the picture, (h, w) bool."""
    return (np.asarray(annotated(look, panel)) != GREY).any(axis=2)


# The drawing.


def test_a_box_is_drawn_on_its_edges_and_leaves_the_face_free(panel):
    drawing = changed(look((150, 120, 250, 220), side=(600, 800)), panel)
    assert drawing[120, 150:251].all()
    assert drawing[220, 150:251].all()
    assert drawing[120:221, 150].all()
    assert drawing[120:221, 250].all()
    assert not drawing[130:211, 160:241].any()


@pytest.mark.parametrize("box", [(-50, -40, 60, 70), (350, 250, 900, 700), (-9, -9, 999, 999)])
def test_of_a_box_that_reaches_out_of_the_picture_the_part_inside_is_drawn(panel, box):
    picture = look(box)
    drawing = changed(picture, panel)
    scale = drawing.shape[0] // 300
    assert drawing.shape == (300 * scale, 400 * scale)
    left, right = max(box[0], 0) * scale, min(box[2] * scale, 400 * scale - 1)
    top, bottom = max(box[1], 0) * scale, min(box[3] * scale, 300 * scale - 1)
    assert drawing[(top + bottom) // 2, left]
    assert drawing[(top + bottom) // 2, right]
    assert drawing[top:bottom, left].mean() > 0.99


@pytest.mark.parametrize(
    ("side", "scale"), [((48, 48), 10), ((240, 320), 2), ((481, 480), 1), ((2000, 3000), 1)]
)
def test_the_text_is_legible_at_any_size(panel, side, scale):
    height, width = side
    box = (width * 0.4, height * 0.4, width * 0.6, height * 0.6)
    picture = look(box, side=side)
    drawing = changed(picture, panel)
    assert drawing.shape == (height * scale, width * scale)
    plate = drawing.copy()
    plate[int(0.39 * height * scale) : int(0.61 * height * scale) + 1] = False
    rows = np.flatnonzero(plate.any(axis=1))
    assert 3 * 12 <= len(rows) <= max(drawing.shape) / 8  # three heads, each a line of its own


def test_plates_do_not_cover_each_other(panel):
    near = [(100 + 90 * place, 100, 160 + 90 * place, 170) for place in range(4)]
    from embedkit.reports import annotations

    taken = []
    boxes = [tuple(map(int, box)) for box in near]
    for box in boxes:
        x, y = annotations._place(box, (110, 40), (640, 360), taken, boxes)
        assert 0 <= x <= 640 - 110
        assert 0 <= y <= 360 - 40
        mine = (x, y, x + 110, y + 40)
        assert not any(annotations._meet(mine, other) for other in taken)
        assert not any(annotations._meet(mine, other) for other in boxes)
        taken.append(mine)


def test_a_picture_without_a_face_says_so_and_a_frame_is_left_as_it_is(panel):
    assert changed(look(), panel)[:20].any()
    assert not changed(look(number=3), panel).any()
    passed = Look(look(number=4).frame, None)
    assert not changed(passed, panel).any()


def test_a_label_that_is_too_long_is_shortened_and_keeps_its_number(panel):
    from embedkit.reports.annotations import _font, _shortened

    font = _font(20)
    shown = _shortened("emotion: " + "very " * 60 + "happy 93%", font, 300)
    assert font.getlength(shown) <= 300
    assert shown.startswith("emotion: very")
    assert shown.endswith("… 93%")
    assert _shortened("happy 93%", font, 300) == "happy 93%"


# Files.


def test_a_recording_keeps_the_times_and_the_picture(tmp_path):
    times = [0.0, 0.04, 0.08, 0.5, 0.55]
    pictures = [scene([], 321)[:239] // 2 + 20 * place for place in range(5)]
    with Recording(tmp_path / "x", ".mkv") as recording:
        for seconds, pixels in zip(times, pictures, strict=True):
            recording.write(pixels, seconds)
    frames = frames_of(tmp_path / "x")
    assert [seconds for seconds, _ in frames] == pytest.approx(times, abs=0.001)
    for (_, seen), pixels in zip(frames, pictures, strict=True):
        assert seen.shape == (240, 322, 3)  # made even
        assert np.abs(seen[:239, :321].astype(int) - pixels).mean() < 4


def test_two_frames_of_one_moment_are_both_kept(tmp_path):
    with Recording(tmp_path / "x", ".mp4") as recording:
        for seconds in (0.0, 0.1, 0.1, 0.05):
            recording.write(scene([]), seconds)
    assert len(frames_of(tmp_path / "x")) == 4


def test_a_growing_file_is_whole_or_not_there(tmp_path):
    with growing(tmp_path / "new/a.txt") as path:
        path.write_text("whole")
        assert not (tmp_path / "new/a.txt").exists()

    def interrupted():
        with growing(tmp_path / "new/b.txt") as path:
            path.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(OutputError, match="is a folder"), growing(tmp_path / "new"):
        pass
    assert [one.name for one in (tmp_path / "new").iterdir()] == ["a.txt"]


def test_an_interrupted_run_leaves_neither_video_nor_lines(panel, tmp_path):
    def interrupted():
        with Footage(tmp_path / "seen.mp4", panel, folder=False) as footage:
            footage.write(look((9, 9, 99, 99), number=0))
            footage.write(look((9, 9, 99, 99), number=1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("output", "inputs", "folder"),
    [
        ("seen", ["a.jpg"], True),
        ("seen.png", ["a.jpg"], False),
        ("seen", ["a.jpg", "b.jpg"], True),
        ("seen.v2", ["a.jpg", "b.jpg"], True),
    ],
)
def test_several_inputs_go_into_a_folder_and_one_into_a_file(output, inputs, folder, tmp_path):
    assert wants_folder(tmp_path / output, inputs) == folder


@pytest.mark.parametrize(
    ("output", "inputs", "message"),
    [
        ("seen.png", ["a.jpg", "b.jpg"], "is one file, and there may be several; name a folder"),
        ("seen.gif", ["a.jpg"], "is no picture that can be written; allowed are .png"),
        ("seen.mp4", ["a.jpg"], "is no picture that can be written"),
        ("seen.jpg", ["clip"], "is no video that can be written; allowed are .mp4"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    output, inputs, message, tmp_path, clip
):
    given = [clip if one == "clip" else one for one in inputs]
    with pytest.raises(InputError, match=message):
        wants_folder(tmp_path / output, given)


# The command.


def test_a_video_becomes_a_video_and_lines(run, face_heads, clip):
    first, *others = face_heads
    also = [part for one in others for part in ("--also", one)]
    status, out, err = run("predict", first, clip, "--faces", "-o", "seen.mp4", *also)
    assert status == 0
    assert out.splitlines() == ["wrote seen.mp4", "wrote seen.jsonl"]
    assert "24 frames, 24 of them looked at; 72 faces; " in err
    assert " a second, peak memory " in err
    lines = lines_of("seen.jsonl")
    assert [line["frame"] for line in lines] == list(range(24))
    for line, where in zip(lines, moving(24, PEOPLE), strict=True):
        assert (line["schema"], line["width"], line["height"]) == ("embedkit.look/1", 640, 240)
        assert line["seconds"] == pytest.approx(line["frame"] / 24, abs=0.001)
        assert len(line["faces"]) == 3
        for face in line["faces"]:
            left, top, right, bottom = face["box"]
            (seed,) = (s for s, x, y in where if x < (left + right) / 2 < x + 160)
            said = {one["head"]: one["label"] for one in face["predictions"]}
            assert said == {"mood": LABEL[seed], "who": f"p{seed}", "aligned": LABEL[seed]}
            assert all(left < x < right and top < y < bottom for x, y in face["landmarks"])
    frames = frames_of("seen.mp4")
    assert len(frames) == 24
    assert frames[0][1].shape == (240, 640, 3)
    plain = frames_of(clip)
    assert all(
        np.abs(a[1].astype(int) - b[1]).mean() > 4 for a, b in zip(frames, plain, strict=True)
    )


def test_frames_between_those_looked_at_are_in_the_video_without_boxes(run, face_heads, clip):
    status, _, err = run("predict", face_heads[0], clip, "--faces", "--every", 6, "-o", "s.mkv")
    assert status == 0
    assert "24 frames, 4 of them looked at; 12 faces" in err
    assert [line["frame"] for line in lines_of("s.jsonl")] == [0, 6, 12, 18]
    pairs = zip(frames_of("s.mkv"), frames_of(clip), strict=True)
    differences = [np.abs(seen[1].astype(int) - plain[1]).mean() for seen, plain in pairs]
    drawn = [number for number, one in enumerate(differences) if one > 4]
    assert drawn == [0, 6, 12, 18]


def test_the_document_has_what_the_run_came_to(run, face_heads, clip, tmp_path):
    (tmp_path / "bad.jpg").write_text("no picture")
    Image.new("RGB", (90, 90)).save(tmp_path / "plain.png")
    inputs = (clip, tmp_path / "bad.jpg", tmp_path / "plain.png")
    status, out, _ = run("predict", face_heads[0], *inputs, "--faces", "--every", 8, "--json")
    assert status == 0
    document = json.loads(out)
    assert document["schema"] == "embedkit.faces/1"
    counts = {name: document[name] for name in ("pictures", "frames", "looked_at", "faces")}
    assert counts == {"pictures": 1, "frames": 24, "looked_at": 3, "faces": 9}
    assert (document["without_face"], document["unreadable"]) == (1, 1)
    assert document["first_unreadable"][0]["reason"] == "not a picture (text)"
    assert document["frames_per_second"] > 0
    assert document["peak_memory_mib"] > 50
    assert [len(one["faces"]) for one in document["looks"]] == [3, 3, 3, 0]
    assert document["heads"][0]["labels"] == ["a", "b"]
    assert document["files"] == []


def test_a_folder_of_pictures_becomes_a_folder_of_pictures(run, face_heads, tmp_path):
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    Image.fromarray(portrait(PEOPLE[0])).save(source / "one.jpg")
    Image.fromarray(portrait(PEOPLE[1])).save(source / "one.png")
    Image.fromarray(scene([(PEOPLE[0], 10, 30), (PEOPLE[1], 300, 40)])).save(source / "sub/two.bmp")
    Image.new("RGB", (100, 80)).save(source / "none.png")
    status, out, err = run("predict", face_heads[0], source, "--faces", "-o", "seen")
    assert status == 0
    assert "4 pictures; 4 faces; 1 without a face" in err
    made = ["none.png", "one.jpg", "one.png", "sub/two.bmp.png"]
    assert out.splitlines() == [f"wrote seen/{one}" for one in [made[0], "faces.jsonl", *made[1:]]]
    assert [len(line["faces"]) for line in lines_of("seen/faces.jsonl")] == [0, 1, 1, 2]
    with Image.open("seen/none.png") as picture:
        assert picture.size == (500, 400)


def test_without_an_output_every_face_is_a_line(run, face_heads, clip, tmp_path):
    Image.fromarray(portrait(PEOPLE[0])).save(tmp_path / "one.png")
    Image.new("RGB", (100, 80)).save(tmp_path / "none.png")
    inputs = (tmp_path / "one.png", tmp_path / "none.png", clip)
    also = ("--also", face_heads[1])
    status, out, _ = run("predict", face_heads[0], *inputs, *also, "--faces", "--every", 20)
    assert status == 0
    lines = out.splitlines()
    assert lines[0] == f"{tmp_path / 'one.png'}: 1 face"
    assert f"label: {LABEL[PEOPLE[0]]} " in lines[1]
    assert f"; who: p{PEOPLE[0]} " in lines[1]
    assert lines[2] == f"{tmp_path / 'none.png'}: no face found"
    assert lines[3] == f"{clip}, frame 0 at 0.00 s: 3 faces"
    assert lines[7] == f"{clip}, frame 20 at 0.83 s: 3 faces"
    assert len(lines) == 11


def test_several_heads_on_whole_pictures_add_keys_and_rename_none(run, face_heads, tmp_path):
    whole = portrait(PEOPLE[0])
    Image.fromarray(cut_out(whole, face_finder().find(whole)[0])).save(tmp_path / "one.png")
    first, second, _ = face_heads
    alone = json.loads(run("predict", first, tmp_path / "one.png", "-k", 1, "--json")[1])
    both = json.loads(
        run("predict", first, tmp_path / "one.png", "-k", 1, "--also", second, "--json")[1]
    )
    assert list(alone["predictions"][0]) == [
        "source",
        "label",
        "probabilities",
        "neighbours",
        "also",
    ]
    assert alone["predictions"][0]["also"] == []
    assert both["predictions"][0] | {"also": []} == alone["predictions"][0]
    (other,) = both["predictions"][0]["also"]
    assert (other["head"], other["label"]) == ("who", f"p{PEOPLE[0]}")
    assert sum(other["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    _, out, _ = run("predict", first, tmp_path / "one.png", "-k", 1, "--also", second)
    lines = out.splitlines()
    assert lines[0] == f"{tmp_path / 'one.png'}:"
    assert lines[1].startswith(f"  label: {LABEL[PEOPLE[0]]} ")
    assert lines[3].startswith(f"  who: p{PEOPLE[0]} ")
    assert len(lines) == 5  # a neighbour below each


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{clip}"], "is a video; --faces looks at the faces in it"),
        (["x.jpg", "-o", "seen.jpg"], "--output and --every go with --faces or --camera"),
        (["x.jpg", "--every", "2"], "--output and --every go with --faces or --camera"),
        ([], "name pictures, folders or videos, or a camera with --camera N"),
        (["x.jpg", "--camera", "0"], "name pictures, folders or videos, or a camera"),
        (["--camera", "0", "--every", "2"], "--every is for videos"),
        (["{clip}", "--faces", "-o", "seen.jpg"], "is no video that can be written"),
        (["nowhere.mp4", "--faces"], "nothing could be read; nowhere.mp4: No such file"),
        (["text.mp4", "--faces", "-o", "s.mp4"], "nothing could be read; text.mp4: not a video"),
        (["empty", "--faces"], "nothing could be read; empty: a folder without pictures"),
        (["copy.mp4", "--faces", "-o", "copy.mp4"], "copy.mp4 is the input itself"),
        (["--camera", "97"], "there is no camera 97: /dev/video97 does not exist"),
    ],
)
def test_what_cannot_be_done_is_one_line(run, face_heads, clip, arguments, message):
    Path("empty").mkdir()
    Path("text.mp4").write_text("no video")
    Path("copy.mp4").write_bytes(clip.read_bytes())
    given = [one.format(clip=clip) for one in arguments]
    status, out, err = run("predict", face_heads[0], *given)
    errors = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert (status, out, len(errors)) == (2, "", 1)
    assert message in errors[0]
    assert sorted(one.name for one in Path().iterdir()) == ["copy.mp4", "empty", "text.mp4"]
    assert Path("copy.mp4").read_bytes() == clip.read_bytes()


def test_json_lines_never_take_the_place_of_another_file(run, face_heads, tmp_path):
    path = tmp_path / "one.png"
    Image.new("RGB", (64, 64)).save(path)
    Path("seen.jsonl").write_text("mine")
    status, _, err = run("predict", face_heads[0], path, "--faces", "-o", "seen.png")
    assert status == 2
    assert "seen.jsonl holds no JSON lines, and they would take its place" in err
    assert Path("seen.jsonl").read_text() == "mine"
    assert not Path("seen.png").exists()


def test_a_broken_frame_is_told_and_does_not_end_the_run(run, face_heads, tmp_path):
    path = write_clip(tmp_path / "clip.mp4", [scene(one) for one in moving(16, PEOPLE)])
    spoil(path, 5)
    status, _, err = run("predict", face_heads[0], path, "--faces", "-o", "seen.mp4")
    assert status == 0
    assert f"{path}: not read: after 5 frames: Invalid data found" in err
    assert "15 frames, 15 of them looked at" in err
    assert "1 could not be read" in err
    assert len(frames_of("seen.mp4")) == 15


@pytest.mark.slow
def test_an_interrupted_command_leaves_nothing(face_heads, tmp_path):
    path = write_clip(tmp_path / "clip.mp4", [scene(one) for one in moving(24, PEOPLE)] * 20)
    command = [sys.executable, "-m", "embedkit_cli", "predict", str(face_heads[0]), str(path)]
    (tmp_path / "out").mkdir()
    process = subprocess.Popen(
        [*command, "--faces", "-o", "out/seen.mp4"], cwd=tmp_path, stderr=subprocess.PIPE
    )
    try:
        until = time.monotonic() + 120
        while not list((tmp_path / "out").iterdir()) and time.monotonic() < until:
            time.sleep(0.1)
        assert [one.name for one in (tmp_path / "out").iterdir()]
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert list((tmp_path / "out").iterdir()) == []


def test_faces_that_are_found_are_blurred_and_a_frame_not_looked_at_is_wholly(panel):
    found = look((150, 120, 250, 220), side=(600, 800))
    noise = np.random.default_rng(0).integers(0, 256, found.frame.pixels.shape, np.uint8)
    seen = replace(found, frame=replace(found.frame, pixels=noise))
    drawn = np.asarray(annotated(seen, panel, blur_faces=True), np.int16)
    rough = np.abs(np.diff(drawn, axis=1)).mean(axis=2)
    assert rough[135:205, 165:235].mean() < 10 < 60 < rough[300:, 400:].mean()
    passed_over = annotated(replace(seen, sightings=None), panel, blur_faces=True)
    assert np.abs(np.diff(np.asarray(passed_over, np.int16), axis=1)).mean() < 10
