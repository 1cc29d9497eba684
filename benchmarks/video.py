"""Faces in a video: frames a second, memory, faces found again and with their label."""

import csv
import hashlib
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import av
import numpy as np
from common import Measured, data_folder, embedkit, table, write_page
from PIL import Image

WIDTH, HEIGHT, RATE = 640, 360, 24
ACROSS, DOWN = 4, 2
SIDE = 150  # of each picture in a frame, in pixels
PAGE = 6  # frames in which the same pictures are shown, each moving a little
FRAMES = 120
# Of data/models/README: where its five landmarks lie in its input.
MOBILEFACENET = {
    "size": [112, 96],
    "resize": "squash",
    "channels": "RGB",
    "range": 255,
    "mean": 127.5,
    "std": 128,
    "landmarks": [
        [30.2946, 51.6963],
        [65.5318, 51.5014],
        [48.0252, 71.7366],
        [33.5493, 92.3655],
        [62.7299, 92.2041],
    ],
}

Shown = list[tuple[dict, int, int]]  # a row of the manifest, and where its picture is


def held_out(name: str) -> bool:
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 4 == 0


def manifest(source: Path, columns: tuple[str, ...], group: str, path: Path) -> list[dict]:
    """Write a manifest of a data set, a quarter of its groups held out; returns those rows."""
    with (source / "labels.csv").open() as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["gender"].lower() in ("male", "female")  # LFW's lists leave one out
        ]
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["path", "label", *columns[1:], "split"])
        for row in rows:
            row["path"] = str(source / row["file"])
            row["split"] = "test" if held_out(row[group]) else "train"
            out.writerow([row["path"], *(row[column] for column in columns), row["split"]])
    return [row for row in rows if row["split"] == "test"]


def places(rows: list[dict], frames: int) -> Iterator[Shown]:
    """Yield what each frame shows: a page of pictures, each on its own small way."""
    each = ACROSS * DOWN
    for t in range(frames):
        first = t // PAGE * each
        page = [rows[(first + place) % len(rows)] for place in range(each)]
        yield [
            (
                row,
                place % ACROSS * (WIDTH // ACROSS) + int(5 + 4 * np.sin(t / 3 + place)),
                place // ACROSS * (HEIGHT // DOWN) + int(15 + 10 * np.cos(t / 4 + place)),
            )
            for place, row in enumerate(page)
        ]


def write_clip(path: Path, shown: list[Shown]) -> None:
    """Write frames as H.264."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for pictures in shown:
            frame = Image.new("RGB", (WIDTH, HEIGHT), (70, 80, 90))
            for row, x, y in pictures:
                with Image.open(row["path"]) as picture:
                    frame.paste(picture.convert("RGB").resize((SIDE, SIDE)), (x, y))
            out.mux(stream.encode(av.VideoFrame.from_image(frame)))
        out.mux(stream.encode(None))


def judged(lines: Path, shown: list[Shown], given: Callable[[dict], str]) -> tuple[int, int, int]:
    """Count pictures shown, those with a face found in them, and those with the right label.

    Of several faces in one picture the largest counts, which comes first.
    """
    n = found = right = 0
    for line in lines.read_text().splitlines():
        look = json.loads(line)
        for row, x, y in shown[look["frame"]]:
            n += 1
            for face in look["faces"]:
                left, top, low, high = face["box"]
                if x < (left + low) / 2 < x + SIDE and y < (top + high) / 2 < y + SIDE:
                    found += 1
                    right += face["predictions"][0]["label"] == given(row)
                    break
    return n, found, right


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}"


def main() -> None:
    data = data_folder()
    work = Path(tempfile.mkdtemp())
    shutil.copy(data / "models/mobilefacenet_128.onnx", work / "face.onnx")
    (work / "face.json").write_text(json.dumps(MOBILEFACENET))
    sets = (
        ("FairFace", "fairface", ("gender", "age"), "file", ("-b", "mtcnn")),
        (
            "LFW",
            "lfw_deepfunneled",
            ("gender",),
            "identity",
            ("-b", "onnx:face.onnx", "--align", "mtcnn"),
        ),
    )
    speed = [["clip", "heads", "--every", "frames/s", "CPU s", "peak MiB"]]
    again = [["clip", "space", "pictures", "face found, %", "right label, %", "`predict`, %"]]
    again[0].append("margin alone, %")
    for name, folder, columns, group, how in sets:
        rows = manifest(data / folder, columns, group, work / f"{folder}.csv")
        random.Random(0).shuffle(rows)
        embedkit("embed", f"{folder}.csv", "--root", "/", "-o", folder, *how, folder=work)
        heads = []
        for column in ("label", *columns[1:]):
            heads.append(f"{folder}-{column}.safetensors")
            embedkit("train", folder, "--label", column, "-o", heads[-1], folder=work)
        for frames in (FRAMES, 4 * FRAMES) if folder == "fairface" else (FRAMES,):
            shown = list(places(rows, frames))
            write_clip(work / "clip.mp4", shown)
            for every, many in ((1, 1), (1, 2), (3, 1), (frames, 1)):
                if many > len(heads) or (frames > FRAMES and (every, many) != (3, 1)):
                    continue
                also = [part for head in heads[1:many] for part in ("--also", head)]
                measured, document = embedkit(
                    *("predict", heads[0], "clip.mp4", "--faces", "-o", "seen.mp4"),
                    *("--every", str(every), *also),
                    folder=work,
                )
                speed.append(speed_row(name, frames, many, every, measured, document))
                if (every, many) == (1, 1):
                    n, found, right = judged(work / "seen.jsonl", shown, lambda row: row["gender"])
                    alone = share_right(work, heads[0], shown)
                    space = "`mtcnn`" if folder == "fairface" else "faces aligned (MobileFaceNet)"
                    again.append(
                        [name, space, str(n), percent(found, n), percent(right, found), alone]
                    )
                    again[-1].append(without_store(work, folder, heads[0], shown))
                print(speed[-1], flush=True)
    shutil.rmtree(work)
    write_page(
        "video.md",
        "video.py",
        f"""# Faces in a video

Clips of {WIDTH} × {HEIGHT} at {RATE} frames a second, H.264: {ACROSS * DOWN} held-out pictures of
real people a frame, {SIDE} pixels each, moving, other ones every {PAGE} frames. The command is
`embedkit predict HEAD clip.mp4 --faces -o seen.mp4`: every face is found by MTCNN and judged by
each head; an annotated video and JSON lines are written. PyAV {metadata.version("av")}.

## Speed and memory

{table(speed)}

Frames a second are those of the clip, passed-over ones included, from the first frame to the last;
CPU seconds and peak memory are of the whole process, start-up included. `--every N` looks at each
N-th frame. The row that looks at a single frame shows what decoding and encoding cost.

## Found again, with their label

{table(again)}

*Pictures* counts a picture in every frame that shows it. *Right label* is of the faces found, for
gender as the data set has it; *`predict`* is the same head on the same pictures, whole, each as
often. In a space of aligned faces both see the same part of a picture. In any other space
`predict --faces` cuts each face as the training pictures frame theirs, found on a few of them; in
these clips that framing is there, because the pictures are whole. *Margin alone* is what comes of
the detector's box with facenet-pytorch's margin instead, which is taken where the head's store is
not at hand (one frame of each page is looked at).
""",
    )


def speed_row(
    name: str, frames: int, many: int, every: int, measured: Measured, document: dict
) -> list[str]:
    return [
        f"{name}, {frames} frames",
        str(many),
        str(every) if every < frames else "one frame",
        f"{document['frames_per_second']:.1f}",
        f"{measured.cpu:.0f}",
        f"{measured.peak:.0f}",
    ]


def without_store(work: Path, store: str, head: str, shown: list[Shown]) -> str:
    """Return the share of right labels where nobody knows how training pictures frame faces."""
    (work / store).rename(work / "away")
    options = ("--faces", "--every", str(PAGE), "-o", "margin.mp4")
    embedkit("predict", head, "clip.mp4", *options, folder=work)
    (work / "away").rename(work / store)
    _, found, right = judged(work / "margin.jsonl", shown, lambda row: row["gender"])
    return percent(right, found)


def share_right(work: Path, head: str, shown: list[Shown]) -> str:
    """Return the share of right answers on the pictures themselves, each as often as shown."""
    given = {row["path"]: row["gender"] for pictures in shown for row, _, _ in pictures}
    _, document = embedkit("predict", head, *given, "-k", "0", folder=work)
    right = {one["source"]: one["label"] == given[one["source"]] for one in document["predictions"]}
    every = [right[row["path"]] for pictures in shown for row, _, _ in pictures]
    return percent(sum(every), len(every))


if __name__ == "__main__":
    main()
