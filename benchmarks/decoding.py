"""What it costs to decode every picture in a process that can be killed, beside threads.

3,000 real pictures, in runs of 100 that are decoded by one way and then by the other, whichever is
first taking turns, on two threads each. Then the same pictures as TIFF, which threads never decode.
CPU time is that of this process and of its decoders, from the operating system.
"""

import io
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from common import data_folder, table, write_page
from PIL import Image

from embedkit.images import decode, pictures, strict_pillow

N, RUN, THREADS = 3_000, 100, 2


def cpu_of(pid: int) -> float:
    """Return the CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read(data: Path) -> list[bytes]:
    """Return pictures of all sets, mixed."""
    paths = sorted(p for p in data.rglob("*") if p.suffix in (".jpg", ".png") and p.is_file())
    order = np.random.default_rng(0).permutation(len(paths))[:N]
    return [paths[place].read_bytes() for place in order]


def as_tiff(data: bytes) -> bytes:
    """Return the same picture as an uncompressed TIFF file."""
    stream = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.convert("RGB").save(stream, "TIFF")
    return stream.getvalue()


@contextmanager
def everything_outside() -> Iterator[None]:
    """Send what threads would decode to processes too."""
    before = pictures.INSIDE_BYTES
    pictures.INSIDE_BYTES = 0
    try:
        yield
    finally:
        pictures.INSIDE_BYTES = before


def measured(pool: ThreadPoolExecutor, run: list[bytes]) -> tuple[float, float]:
    """Return CPU and wall milliseconds a picture; no decoder is started or ended meanwhile."""
    decoders = pictures.DECODERS.processes()
    began = time.process_time() + sum(map(cpu_of, decoders)), time.perf_counter()
    list(pool.map(decode, run))
    ended = time.process_time() + sum(map(cpu_of, decoders)), time.perf_counter()
    return tuple(1000 * (b - a) / len(run) for a, b in zip(began, ended, strict=True))


def main() -> None:
    found = read(data_folder())
    sizes = statistics.median(len(one) for one in found)
    runs = [found[start : start + RUN] for start in range(0, len(found), RUN)]
    ways: dict[str, list[tuple[float, float]]] = {"threads": [], "processes": [], "TIFF": []}
    started = []
    with strict_pillow(), ThreadPoolExecutor(THREADS) as pool:

        def outside(run: list[bytes]) -> tuple[float, float]:
            with everything_outside():
                return measured(pool, run)

        def tiff(run: list[bytes]) -> tuple[float, float]:
            return measured(pool, [as_tiff(one) for one in run])

        for _ in range(5):
            pictures.DECODERS.close()
            began = time.perf_counter()
            decode(as_tiff(found[0]))
            (pid,) = pictures.DECODERS.processes()
            started.append((cpu_of(pid), time.perf_counter() - began))
        outside(runs[0])  # both are started
        order: list[tuple[str, Callable[[list[bytes]], tuple[float, float]]]] = [
            ("threads", lambda run: measured(pool, run)),
            ("processes", outside),
            ("TIFF", tiff),
        ]
        for turn, run in enumerate(runs):
            for name, way in order[turn % 3 :] + order[: turn % 3]:
                ways[name].append(way(run))
    rows = [["way", "CPU ms a picture", "wall ms a picture", "CPU, of that of threads"]]
    for name, told in (
        ("JPEG and PNG, in threads", "threads"),
        ("JPEG and PNG, in processes", "processes"),
        ("the same as TIFF, in processes", "TIFF"),
    ):
        cpu, wall = (statistics.median(one[k] for one in ways[told]) for k in (0, 1))
        ratio = statistics.median(
            a[0] / b[0] for a, b in zip(ways[told], ways["threads"], strict=True)
        )
        rows.append([name, f"{cpu:.2f}", f"{wall:.2f}", f"{ratio:.2f}"])
    start = [statistics.median(one[k] for one in started) for k in (0, 1)]
    write_page(
        "decoding.md",
        "decoding.py",
        f"""# What decoding in processes costs

{len(found)} real pictures (median {sizes / 1024:.1f} KiB), in {len(runs)} runs of {RUN} that every
way decodes in turn, on {THREADS} threads with a decoder each; medians of the runs. Facts and hashes
of the pictures are made here as in `embedkit embed`, the network is not.

{table(rows)}

A decoder takes {start[0]:.2f} s of CPU and {start[1]:.2f} s by the clock to start, once.

So what threads decode without ever having hung stays in threads: JPEG, PNG, WebP, GIF, BMP and PPM
of up to {pictures.INSIDE_BYTES // 2**20} MiB, a JPEG of up to
{pictures.INSIDE_PIXELS // 10**6} million pixels times scans. The rest, and every TIFF, AVIF and
JPEG 2000, goes to a process that is ended after 30 seconds of processor time, and can take 2 GiB.
""",
    )


if __name__ == "__main__":
    main()
