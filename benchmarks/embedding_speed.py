"""Ten thousand pictures: speed beside a plain DataLoader, cores in use, memory flat in N."""

import io
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import embedkit, measure, table, write_page
from PIL import Image

from embedkit.synthetic.drawing import draw_face, draw_person, draw_photograph

SIDE = 200
DRAWN = 400
ROUNDS = 3
N = 10_000


def make_pictures(folder: Path, n: int) -> None:
    """Write n different JPEGs of 200 x 200: drawn faces, each in many exposures."""
    generator = np.random.default_rng(0)
    faces = []
    for _ in range(DRAWN):
        person = draw_person(generator, smiles=0.0)
        faces.append(draw_face(person, draw_photograph(generator, person), SIDE).astype(np.float32))
    for number in range(n):
        light = generator.uniform(0.7, 1.2)
        grain = generator.normal(0, 4, (SIDE, SIDE, 1))
        pixels = np.clip(faces[number % DRAWN] * light + grain, 0, 255).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=int(generator.integers(70, 96)))
        split = "test" if number % 5 == 0 else "train"
        path = folder / split / "ab"[number % 2] / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stream.getvalue())


def main() -> None:
    work = Path(tempfile.mkdtemp())
    make_pictures(work / "ten", N)
    make_pictures(work / "one", N // 10)
    script = str(Path(__file__).with_name("plain_dataloader.py"))
    ours, plain = [], []
    for turn in range(ROUNDS):  # in turn, so that both meet the same machine
        arguments = ("embed", "ten", "-b", "mtcnn", "-o", f"store{turn}")
        ours.append(embedkit(*arguments, folder=work)[0])
        plain.append(measure([sys.executable, script, "ten", "plain.npy"], folder=work))
        print(f"{N / ours[-1].wall:.0f}/s, plain {N / plain[-1].wall:.0f}/s", flush=True)
    small = [
        embedkit("embed", "one", "-b", "mtcnn", "-o", f"small{turn}", folder=work)[0]
        for turn in range(ROUNDS)
    ]
    small_plain = [
        measure([sys.executable, script, "one", "plain.npy"], folder=work) for _ in range(ROUNDS)
    ]

    def middle(some: list, what: str) -> float:
        return statistics.median(getattr(one, what) for one in some)

    # The slope between two sizes leaves start-up out.
    def rate(large: list, little: list, what: str) -> float:
        return (N - N // 10) / (middle(large, what) - middle(little, what))

    rows = [["", "embedkit embed", "plain DataLoader"]]
    for title, what in (("seconds, 10,000 pictures", "wall"), ("CPU seconds", "cpu")):
        rows.append([title, f"{middle(ours, what):.1f}", f"{middle(plain, what):.1f}"])
    rows.append(
        ["pictures/s, start-up included", *(f"{N / middle(s, 'wall'):.0f}" for s in (ours, plain))]
    )
    pairs = ((ours, small), (plain, small_plain))
    rows.append(["pictures/s, start-up left out", *(f"{rate(*p, 'wall'):.0f}" for p in pairs)])
    rows.append(
        ["CPU ms a picture, start-up left out", *(f"{1e3 / rate(*p, 'cpu'):.2f}" for p in pairs)]
    )
    rows.append(
        [
            "cores in use, start-up left out",
            *(f"{rate(*p, 'wall') / rate(*p, 'cpu'):.2f}" for p in pairs),
        ]
    )
    rows.append(
        ["peak memory at 1,000, MiB", *(f"{middle(s, 'peak'):.0f}" for s in (small, small_plain))]
    )
    rows.append(
        ["peak memory at 10,000, MiB", *(f"{middle(s, 'peak'):.0f}" for s in (ours, plain))]
    )
    ratio = statistics.median(p.wall / o.wall for o, p in zip(ours, plain, strict=True))
    size = sum(p.stat().st_size for p in (work / "store0").rglob("*") if p.is_file())
    write_page(
        "performance.md",
        "embedding_speed.py",
        f"""# Speed and memory of embedding

{N:,} JPEGs of {SIDE} × {SIDE} (drawn faces, qualities 70 to 95), `mtcnn`, medians of {ROUNDS}
rounds taken in turn in one run. The plain loop is `benchmarks/plain_dataloader.py`: the same
network, the same read-out, batches of 64, two worker processes, torch's default memory layout; it
keeps the vectors and nothing else. `embedkit embed` also hashes every file and its pixels, computes
the perceptual hash and the header facts, and commits shards, table and index to disk.

{table(rows)}

embedkit takes {1 / ratio:.2f} of the plain loop's time (median of the rounds' ratios). The store
takes {size / N / 1024:.1f} KiB a picture on disk, vectors twice: in the shards and in the index.

What makes the difference: the channels-last layout, and passes of 16 pictures side by side, each on
one thread, in place of one pass on all threads. What each of the two is worth alone is not measured
here. The peak is of one process; the
plain loop's workers come on top of its figure. embedkit holds a bounded number of pictures, one
block of vectors and the table of items (under 1 KiB a picture); the index is written shard by
shard.
""",
    )


if __name__ == "__main__":
    main()
