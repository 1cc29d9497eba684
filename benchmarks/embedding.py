"""How fast four networks embed 2,000 mixed JPEGs: embedkit, its bounds, and what others would do.

Figures are kept in `docs/embedding.json`; `--network NAME` measures one network anew.
`--rivals DIR` names a folder of virtual environments, `DIR/imagededup` and `DIR/fastdup`; a rival
that has none is reported as not run.
"""

import argparse
import io
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import DOCS, machine, measure, table, write_page
from PIL import Image
from references import NETWORKS, make_weights, reference

from embedkit.backbones import load_backbone
from embedkit.engines.local import _keep_memory
from embedkit.images import decode, strict_pillow
from embedkit.pipeline.choices import SAMPLE, agreement_of
from embedkit.synthetic.drawing import draw_face, draw_person, draw_photograph
from embedkit.vectors import unit_rows

SIZES = ((224, 224), (640, 480), (1920, 1080))
HERE = Path(__file__).parent
MOBILE = "mobilenet_v3_small"
EVERY = {**NETWORKS, MOBILE: "torchvision:mobilenet_v3_small"}
RIVALS = ("imagededup", "fastdup")
FIGURES = DOCS / "embedding.json"
TITLES = [
    "network",
    "precision",
    "decode",
    "decode and facts",
    "prepare",
    "forward",
    "forward, eager fp32",
    "load",
    "agreement with the library's fp32",
]


def draw_pictures(folder: Path, n: int, seed: int) -> None:
    """Write n JPEGs, a third of each size: a drawn face before a blurred ground with grain."""
    generator = np.random.default_rng(seed)
    for number in range(n):
        width, height = SIZES[number % 3]
        person = draw_person(generator, smiles=0.3)
        side = int(height * 0.7)
        ground = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        picture = np.asarray(Image.fromarray(ground).resize((width, height))).astype(np.float32)
        small = draw_face(person, draw_photograph(generator, person), 200)
        face = Image.fromarray(small).resize((side, side))
        top, left = (height - side) // 2, (width - side) // 2
        picture[top : top + side, left : left + side] = np.asarray(face)
        picture += generator.normal(0, 5, (height, width, 1))
        stream = io.BytesIO()
        pixels = np.clip(picture, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(stream, "JPEG", quality=int(generator.integers(75, 96)))
        path = folder / "ab"[number % 2] / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stream.getvalue())


class Contender:
    """A process that has its network loaded and waits for folders."""

    def __init__(self, python: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [python, str(HERE / "contenders.py"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.figures: list[dict[str, float]] = []
        if self._process.stdout.readline().strip() != "ready":
            raise SystemExit(f"{' '.join(arguments)} did not start")

    def run(self, folder: Path, *, keep: bool = True) -> None:
        """Embed a folder, and keep what that took per picture, in milliseconds."""
        print(folder, file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        per = {what: 1e3 * answer[what] / answer["n"] for what in ("wall", "cpu")}
        per["load"] = answer["load"]
        if keep:
            self.figures.append(per)

    def close(self) -> None:
        """Wait for the process to end."""
        self._process.stdin.close()
        self._process.wait()


def in_lanes(work: Callable[[Any], Any], pieces: list, n: int) -> dict[str, float]:
    """Do pieces of work on two threads; milliseconds a picture."""
    with ThreadPoolExecutor(2) as lanes:
        wall, cpu = time.perf_counter(), time.process_time()
        list(lanes.map(work, pieces))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"wall": 1e3 * wall / n, "cpu": 1e3 * cpu / n}


def bounds(network: str, weights: Path, precision: str, folder: Path) -> dict[str, Any]:
    """Measure decoding and forward passes alone, ours beside the library's."""
    data = [path.read_bytes() for path in sorted(folder.rglob("*.jpg"))[:96]]
    ours = load_backbone(network, weights=weights, precision=precision)
    read, transform = reference(network, str(weights))
    images = [Image.open(io.BytesIO(one)).convert("RGB") for one in data]
    pixels = [np.asarray(image) for image in images]
    inputs = np.stack([ours.prepare(one) for one in pixels[:32]])
    tensors = torch.stack([transform(image) for image in images[:32]])
    batches = [slice(0, 16), slice(16, 32)] * 3

    def eager(part: slice) -> None:
        torch.set_num_threads(1)
        with torch.no_grad():
            read(tensors[part])

    def open_and_load(one: bytes) -> None:
        Image.open(io.BytesIO(one)).load()

    def library_path(one: bytes) -> None:
        transform(Image.open(io.BytesIO(one)).convert("RGB"))

    def our_path(one: bytes) -> None:
        ours.prepare(np.asarray(Image.open(io.BytesIO(one)).convert("RGB")))

    steps: dict[str, tuple[Callable, list, int]] = {
        "forward": (lambda part: ours.embed(inputs[part]), batches, 96),
        "eager": (eager, batches, 96),
        "decode": (open_and_load, data, len(data)),
        "facts": (decode, data, len(data)),
        "library path": (library_path, data, len(data)),
        "our path": (our_path, data, len(data)),
        "library prepare": (transform, images, len(data)),
        "our prepare": (ours.prepare, pixels, len(data)),
    }
    taken: dict[str, list] = {name: [] for name in steps}
    with strict_pillow():
        for turn in range(4):
            for name, step in steps.items():
                measured = in_lanes(*step)
                if turn:  # the first warms up
                    taken[name].append(measured)
    with torch.no_grad():
        expected = read(tensors).double().numpy()
    rows = ours.embed(inputs[:16]), ours.embed(inputs[16:])
    return {
        name: {what: statistics.median(one[what] for one in some) for what in ("wall", "cpu")}
        for name, some in taken.items()
    } | {"agreement": agreement_of(np.concatenate(rows), unit_rows(expected))}


def precision_of(network: str, weights: Path, folder: Path, work: Path) -> str:
    """Return what `--precision auto` takes, and make sure that it is taken again."""
    from embedkit.pipeline import embed

    store = embed(folder, work / "first", backbone=network, weights=weights, align="none")
    (space,) = store.spaces.values()
    return space.record.backbone["precision"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--network", choices=EVERY, action="append", help="Only this; repeatable.")
    parser.add_argument("--rivals", type=Path, default=Path("rivals"))
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp())
    # Every round has pictures of its own; together they are all.
    rounds = [work / f"round{turn}" for turn in range(options.rounds)]
    for turn, folder in enumerate(rounds):
        draw_pictures(folder, options.images // options.rounds, turn)
    warm = work / "warm"
    draw_pictures(warm, 48, 99)
    some = [Image.open(path).convert("RGB").resize((224, 224)) for path in warm.rglob("*.jpg")]
    stack = torch.from_numpy(np.stack([np.asarray(one) for one in some])).permute(0, 3, 1, 2) / 255
    _keep_memory()
    record = {"networks": {}}
    if options.network and FIGURES.exists():
        record = json.loads(FIGURES.read_text())
    for short, network in EVERY.items():
        if short in (options.network or EVERY):
            weights = work / f"{short}.safetensors"
            make_weights(network, weights, stack)
            (work / short).mkdir()
            record["networks"][short] = measure_network(
                short, network, weights, warm, rounds, options.rivals, work / short
            )
            record["networks"][short] |= {"machine": machine(), "images": options.images}
    program = str(Path(sys.executable).with_name("embedkit"))
    helps = [measure([program, "--help"], folder=work).cpu for _ in range(9)]
    record |= {
        "rounds": options.rounds,
        "help": statistics.median(helps),
        "faces": detection(rounds[0]),
    }
    FIGURES.write_text(json.dumps(record, indent=1) + "\n")
    write(record)


def measure_network(
    short: str,
    network: str,
    weights: Path,
    warm: Path,
    rounds: list[Path],
    rivals: Path,
    work: Path,
) -> dict[str, Any]:
    """Let all contenders of a network embed every round in turn, and measure the bounds alone."""
    precision = precision_of(network, weights, warm, work)
    ours = [sys.executable, "embedkit", network, str(weights)]
    field = {"embedkit": Contender(*ours, "align=none")}
    if short == "facenet":
        field["embedkit, faces found and cut out"] = Contender(*ours, "align=mtcnn")
    if short == MOBILE:
        for rival in RIVALS:
            python = rivals / rival / "bin" / "python"
            if python.exists():
                field[rival] = Contender(str(python), rival, network, str(weights))
    else:
        field["plain DataLoader"] = Contender(sys.executable, "plain", network, str(weights))
    if short == "clip":
        for title, name in (
            ("clip-retrieval's path", "clip_retrieval"),
            ("sentence-transformers' path", "one_process"),
        ):
            field[title] = Contender(sys.executable, name, network, str(weights))
    for one in field.values():
        one.run(warm, keep=False)
    for folder in rounds:
        for one in field.values():
            one.run(folder)
        print(short, {k: round(v.figures[-1]["cpu"], 1) for k, v in field.items()}, flush=True)
    for one in field.values():
        one.close()
    return {
        "precision": precision,
        "bounds": bounds(network, weights, precision, rounds[0]),
        "contenders": {title: one.figures for title, one in field.items()},
    }


def detection(folder: Path) -> dict[str, float]:
    """Measure MTCNN's search for faces in pictures of one size: milliseconds a picture."""
    from facenet_pytorch import MTCNN

    from embedkit.backbones.faces import face_finder

    images = [Image.open(path).convert("RGB") for path in sorted(folder.rglob("*.jpg"))]
    images = [image for image in images if image.width == 640][:48]
    pixels = [np.asarray(image) for image in images]
    library = MTCNN(keep_all=True)

    def batches(size: int) -> Callable[[], None]:
        def run() -> None:
            with torch.no_grad():
                for start in range(0, len(images), size):
                    library.detect(images[start : start + size], landmarks=True)

        return run

    steps = {
        "embedkit, a picture at a time": lambda: [face_finder().find(one) for one in pixels],
        "facenet-pytorch, a picture at a time": batches(1),
        "facenet-pytorch, batches of 4": batches(4),
        "facenet-pytorch, batches of 16": batches(16),
    }
    torch.set_num_threads(1)
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(4):
        for name, step in steps.items():
            began = time.process_time()
            step()
            if turn:
                taken[name].append(1e3 * (time.process_time() - began) / len(images))
    return {name: statistics.median(some) for name, some in taken.items()}


def median(figures: list[dict[str, float]], what: str) -> float:
    """Return the median of the rounds."""
    return statistics.median(one[what] for one in figures)


def write(record: dict[str, Any]) -> None:
    """Write the page from the figures."""
    rows = [["", "CPU ms a picture", "wall ms", "pictures/s", "of embedkit's CPU"]]
    steps, targets = [], []
    for short, one in record["networks"].items():
        alone, field = one["bounds"], one["contenders"]
        ours = median(field["embedkit"], "cpu")
        rows.append([f"**{short}** ({one['precision']}; {one['images']:,} pictures)", *[""] * 4])
        for title, figures in field.items():
            rows.append(_line(title, median(figures, "cpu"), median(figures, "wall"), ours))
        if short == MOBILE:
            missing = [rival for rival in RIVALS if rival not in field]
            rows += [[f"{rival}: not run, no virtual environment", *[""] * 4] for rival in missing]
            continue
        bound = {w: alone["forward"][w] + alone["decode"][w] for w in ("cpu", "wall")}
        rows.append(_line("bound: decode + forward", bound["cpu"], bound["wall"], ours))
        names = ("decode", "facts", "our prepare", "forward", "eager")
        steps.append(
            [
                short,
                one["precision"],
                *(f"{alone[name]['cpu']:.1f}" for name in names),
                f"{median(field['embedkit'], 'load'):.1f}",
                f"{alone['agreement']:.4f}",
            ]
        )
        targets.append([f"{short}: share of 1/(decode + forward)", "0.95", bound["cpu"] / ours])
        if short == "clip":
            rival = median(field["clip-retrieval's path"], "cpu")
            targets.append(["clip: times clip-retrieval's path", "3.5", rival / ours])
            for title, first, second in (
                ("file to input", "library path", "our path"),
                ("picture to input", "library prepare", "our prepare"),
            ):
                ratio = alone[first]["cpu"] / alone[second]["cpu"]
                targets.append([f"preprocessing, {title}: times open_clip's", "2.5", ratio])
        if short in ("vgg16", "facenet"):
            ratio = alone["eager"]["cpu"] / alone["forward"]["cpu"]
            targets.append([f"{short}: forward, times eager fp32", "7", ratio])
    targets.append(["`embedkit --help`, CPU seconds", "≤ 0.2", record["help"]])
    targets = [[name, wanted, f"{value:.2f}"] for name, wanted, value in targets]
    loads = {
        short: re.search(r"Load when the script ended: (\d+\.\d)", one["machine"])[1]
        for short, one in record["networks"].items()
    }
    loads = ", ".join(f"{short} {load}" for short, load in loads.items())
    faces = [["", "CPU ms a picture"], *([k, f"{v:.0f}"] for k, v in record["faces"].items())]
    write_page(
        "embedding.md",
        "embedding.py",
        f"""# How fast pictures are embedded

JPEGs, a third each of 224 × 224, 640 × 480 and 1920 × 1080, drawn; in
{record["rounds"]} rounds of other pictures, all contenders in turn within each round, every one a
process that has its network loaded; medians of the rounds. CPU time is of all cores, user and
system, children included; compare by it where the machine is shared.

Weights are random, with batch statistics taken from pictures: nothing is downloaded, and speed does
not depend on them. embedkit runs as its users run it (`embed`, `--precision auto`, extra `fast`
installed), and does more than the others: it hashes files and pixels, keeps the facts of each
picture, writes the store and builds the index. Loading the network and choosing its precision is
left out, as it is for the others; it is in the second table. The plain DataLoader has two workers,
batches of 64, the library's own transform and network in fp32. The paths of clip-retrieval (one
worker, batches of 256, fp16 out) and sentence-transformers (one process, batches of 32) are written
again here with the same random weights, for their own loaders download theirs. imagededup and
fastdup are the real programs in virtual environments of their own; imagededup's network has random
weights too, fastdup brings its own network, and counts neighbours and statistics.

{table(rows)}

## Where the time goes

CPU milliseconds a picture, each step alone on two threads. “Decode” is Pillow's opening and
loading; “facts” adds what the audits need: the hashes of file and pixels, the perceptual hash, the
header. “Load” is once a run, in seconds by the clock: reading the weights, compiling, and comparing
{SAMPLE} pictures in both precisions.

{table([TITLES, *steps])}

The machine is shared; its load when each network was done: {loads}. Networks measured anew with
`--network` take the place of their earlier figures.

## Targets

{table([["", "target", "measured"], *targets])}

The share of 1/(decode + forward) is missed for the steps that stand between the two: copying the
pixels out of Pillow, hashing them for the audits (“facts” less “decode”), resizing (“prepare”). The
faster the network, the more they show. From file to input both paths spend most of their time in
the same decoder; it is the resizing that differs.

## Faces

Searching 640 × 480 pictures for faces, on one thread.

{table(faces)}

Batches of one size, which facenet-pytorch offers, gain little on a processor and shift each
picture's boxes by rounding, so that a picture's vector would depend on its neighbours. embedkit
looks at one picture at a time, in channels-last layout, and searches several side by side.
""",
    )


def _line(title: str, cpu: float, wall: float, ours: float) -> list[str]:
    return [title, f"{cpu:.1f}", f"{wall:.1f}", f"{1e3 / wall:.0f}", f"{cpu / ours:.2f}"]


if __name__ == "__main__":
    main()
