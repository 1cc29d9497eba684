"""The page docs/scale.md: what was measured, and what follows from it by arithmetic."""

from typing import Any

import numpy as np
from common import table, write_page
from plan_cluster import COMMIT_S, DETECTED, IMAGES, PER_NODE
from plan_pieces import BLOCK, DIMENSION, PIECES

from embedkit.engines.ray import AHEAD, HANGS

SIZES = (10_000_000, 100_000_000, 1_000_000_000)
WORKERS = (16, 256, 4096)
MEMORY = 64e9  # bytes of the machine that runs the driver
DAY = 86_400.0
VECTORS = {"mtcnn": 1536, "clip": 512, "vgg16": 4096, "facenet": 512}
CALLED = {
    "mtcnn": "mtcnn (UTKFace, 200 × 200)",
    "clip": "ViT-B/32",
    "vgg16": "VGG16",
    "facenet": "FaceNet, whole pictures",
}
QUOTED = (
    ("clip-retrieval's README: ViT-B/32 on one RTX 3080", 1, 1500.0),
    ("clip-retrieval, docs/distributed_clip_inference.md: ViT-B/32 on 8 A100", 8, 7000.0),
)
LARGER = "the same, blocks of 16,384"
INSTEAD = {
    "list": "blocks as ranges of rows of a table on disk; no list of ids in the driver",
    "write": "a part of items.parquet a block, named in the records; none of them whole in memory",
    "read": "columns read where they are asked for, by DuckDB or Arrow over the parts",
    "replay": "larger blocks; the journal folded into a record every so many lines",
    "commit": "larger blocks, or several lines a flush; stores of parts, merged",
    "flat": "cells and compressed indexes, their candidates scored again exactly",
}


def share(value: float) -> str:
    """Return a share as per cent."""
    return f"{value:.1%}"


def big(value: float) -> str:
    """Return a number with about two digits that count."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def span(seconds: float) -> str:
    """Return a time in the unit that fits."""
    for unit, length in (("years", 365 * DAY), ("days", DAY), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{big(seconds / length)} {unit}"
    return f"{big(seconds)} s"


def size(amount: float) -> str:
    """Return bytes in the unit that fits."""
    for unit, length in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if amount >= length:
            return f"{big(amount / length)} {unit}"
    return f"{big(amount / 1e3)} kB"


def costs(
    found: dict[str, Any], larger: dict[str, dict[str, Any]], core_hour: float, done: float
) -> tuple[str, str]:
    """Return tables of what embedding takes, by network."""
    here = found["pieces_on"].removeprefix("Machine: ").partition(",")[0]
    known = {
        "mtcnn": {"cpu": found["mtcnn"]["cpu_ms"], "precision": "fp32", "machine": here},
        **larger,
    }
    items = found["mtcnn"]["items_bytes"]
    disk = {name: items + 2 * 4 * width for name, width in VECTORS.items()}
    first = [["network", "CPU ms an image", "computed in", "on", "numbers", "bytes on disk"]]
    second = [["images", "network", "core-hours", "dollars"]]
    second[0] += [*(f"on {n:,} cores" for n in WORKERS), "disk"]
    for name, one in known.items():
        each, width = f"{one['cpu']:.1f}", f"{VECTORS[name]:,}"
        bytes_ = f"{disk[name]:,.0f}"
        first.append([CALLED[name], each, one["precision"], one["machine"], width, bytes_])
    for n in SIZES:
        for name, one in known.items():
            seconds = n * one["cpu"] / 1000 / done
            commits = n / BLOCK * COMMIT_S
            spans = [
                f"{span(max(seconds / workers, commits))}{'*' * (commits > seconds / workers)}"
                for workers in WORKERS
            ]
            hours, paid = f"{seconds / 3600:,.0f}", f"{seconds / 3600 * core_hour:,.0f}"
            what = [f"{n // 10**6:,} M", CALLED[name].partition(" (")[0], hours, paid]
            second.append([*what, *spans, size(n * disk[name])])
    return table(first), table(second)


def gpus(gpu_hour: float) -> str:
    """Return what others say of GPUs, as a table."""
    rows = [["published elsewhere, not measured here", "images/s a GPU", "dollars for 100 M"]]
    for what, n, rate in QUOTED:
        each = rate / n
        rows.append([what, f"{each:,.0f}", f"{IMAGES / each / 3600 * gpu_hour:,.0f}"])
    return table(rows)


def jobs(outcomes: list[dict[str, Any]]) -> str:
    """Return the simulated jobs as a table."""
    heading = ["what happens", "workers", "images a block", "hours", "unused", "blocks done again"]
    rows = [[*heading, "waiting: mean", "most", "journal lines", "scheduler's CPU ms a block"]]
    for one in outcomes:
        scene = one["scene"]
        rows.append(
            [
                scene["name"],
                f"{scene['workers']:,}",
                f"{scene['block']:,}",
                f"{one['hours']:.2f}",
                share(1 - one["used"]),
                f"{one['repeated']:,} ({one['wasted']:.2%} of the time)",
                f"{one['waiting'][0]:,.0f}",
                f"{one['waiting'][1]:,}",
                f"{one['lines']:,}",
                f"{one['driver_ms']:.3f}",
            ]
        )
    return table(rows)


def stuck(by_name: dict[str, dict[str, Any]]) -> str:
    """Say what a block that takes very long costs, and large blocks."""
    long = by_name["1 block in 10,000 takes 100 times as long"]
    usual, larger = by_name["uneven blocks, workers and nodes die"], by_name[LARGER]
    dying = by_name["the same, ten times as often"]
    return f"""What hangs costs more than what dies: where 1 block in 10,000 takes
100 times as long, {share(long["used"])} of the workers' time is used and the job takes
{long["hours"]:.1f} h. A block hangs when {HANGS} blocks a worker were finished since it was
begun; a worker with nothing else to do begins it again, and whichever is first counts. Only the
block that all others wait for is begun again, and all wait until its second start is done. Deaths
are cheap: with {dying["deaths"]:,} of workers,
{share(dying["used"])} of the time is used. Blocks of {larger["scene"]["block"]:,} use
{share(larger["used"])} of the time where those of {usual["scene"]["block"]:,} use
{share(usual["used"])}: the last ones are waited for longer."""


def exponent(runs: list[dict[str, Any]]) -> float:
    """Fit CPU seconds ~ n^b."""
    n, cpu = ([one[key] for one in runs] for key in ("n", "cpu"))
    return float(np.polyfit(np.log(n), np.log(cpu), 1)[0])


def breaks(pieces: dict[str, Any]) -> tuple[str, list[tuple[float, str, str]]]:
    """Return the pieces as a table, and at how many images each is too much, least first."""
    rows = [["piece", "measured", "CPU grows as", "bytes in memory an image"]]
    rows[0] += [f"{n // 1_000_000:,} M: CPU, memory" for n in SIZES]
    limits = []
    for name, runs in pieces.items():
        piece, last, first = PIECES[name], runs[-1], runs[0]
        growth = 2.0 if name == "flat" else exponent(runs)
        slope = (last["peak"] - first["peak"]) / (last["n"] - first["n"]) / piece.per
        cells = []
        for n in SIZES:
            cpu = last["cpu"] * (n / piece.per / last["n"]) ** growth
            cells.append(f"{span(cpu)}, {size(slope * n)}")
        most = f"{last['n']:,} {piece.unit}s"
        done = f"{most} in {last['cpu']:.2g} s"
        rows.append([piece.words, done, f"n^{exponent(runs):.2f}", f"{max(slope, 0):,.0f}", *cells])
        by_time = last["n"] * piece.per * (DAY / last["cpu"]) ** (1 / growth)
        by_memory = MEMORY / slope if slope > 0 else float("inf")
        why = f"{size(MEMORY)} of memory" if by_memory < by_time else "a day of one core"
        limits.append((min(by_time, by_memory), name, why))
    return table(rows), sorted(limits)


def summary(
    found: dict[str, Any],
    larger: dict[str, dict[str, Any]],
    core_hour: float,
    done: float,
    limits: list[tuple[float, str, str]],
) -> str:
    """Say the most important first."""
    hours = IMAGES * larger["clip"]["cpu"] / 3.6e6 / done
    disk = IMAGES * (found["mtcnn"]["items_bytes"] + 8 * VECTORS["clip"])
    wall = span(3600 * hours / WORKERS[1])
    first, second = ((f"“{PIECES[name].words}”", f"{n / 1e6:,.0f} M") for n, name, _ in limits[:2])
    return f"""**{IMAGES // 10**6} M images with ViT-B/32**: {hours:,.0f} core-hours
({hours * core_hour:,.0f} dollars), {wall} on {WORKERS[1]} cores, {size(disk)} on disk. It is not
embedding that breaks but what one process does for all: first {first[0]}, from {first[1]} images,
then {second[0]}, from {second[1]}."""


def page(
    found: dict[str, Any],
    larger: dict[str, dict[str, Any]],
    *,
    core_hour: float,
    gpu_hour: float,
) -> None:
    """Write docs/scale.md."""
    outcomes = found["simulation"]
    by_name = {one["scene"]["name"]: one for one in outcomes}
    usual = by_name["uneven blocks, workers and nodes die"]
    done = usual["used"]
    scene = usual["scene"]
    first, second = costs(found, larger, core_hour, done)
    measured, limits = breaks(found["pieces"])
    known = DETECTED
    flat = found["pieces"]["flat"][-1]
    pair = 1e9 * flat["cpu"] / flat["n"] ** 2
    listed = [["too much from", "what", "for want of", "what replaces it"]]
    for n, name, why in limits:
        much = f"{n / 1e6:,.0f} M images" if n <= SIZES[-1] else f"beyond {SIZES[-1] // 10**6:,} M"
        listed.append([much, PIECES[name].words, why, INSTEAD[name]])
    write_page(
        "scale.md",
        "plan.py",
        f"""# The plan past this machine

What {" M, ".join(f"{n // 10**6:,}" for n in SIZES)} M images would take, from what can be
measured on two shared cores. Every figure is one of three kinds: *measured* here; *by arithmetic*
from what was measured, with the exponent that was fitted; *published* by others, with the source.
Nothing on this page was run on a cluster.

{summary(found, larger, core_hour, done, limits)}

**Assumed, and to be changed** (`--core-hour`, `--gpu-hour`): a core-hour costs {core_hour:.3f}
dollars, a GPU-hour {gpu_hour:.2f}. Storage, traffic and the pictures' own bytes are not counted.

## What an image costs

Measured: CPU of all of `embed` (reading, hashing, facts, network, writing, index), medians. `mtcnn`
is measured by this script on small pictures, the others by `embedding_speed.py`
([embedding.md](embedding.md)) on larger ones, a third of them 1920 × 1080, on the machine named:
bf16 is what AMX makes fast, without it a network takes several times as long. Bytes are those of
items.parquet (UTKFace's), the vectors, and the flat index, which is as large again. A worker with
`mtcnn` had {found["mtcnn"]["peak_mib"]:,.0f} MiB at its peak.

{first}

By arithmetic, with the {share(1 - done)} of the workers' time that the simulated job below
does not use (“{scene["name"]}”). Storage is taken to deliver pictures as fast as they are read.
With * it is not the cores that decide but the one writer, at {1000 * COMMIT_S:.0f} ms a commit:
{BLOCK / COMMIT_S:,.0f} images a second, whatever the cores. Larger blocks move that limit.

{second}

{gpus(gpu_hour)}

Of the second its source says that resizing is what limits it: pictures have to be decoded, on
cores, as fast as a GPU takes them. What decoding costs here is in [embedding.md](embedding.md).

## The job, in fake time

Simulated: {IMAGES // 10**6} M images of {1000 * scene["image_s"]:.0f} ms (ViT-B/32) on workers of
one core, {PER_NODE} a node. The scheduler is the real one, `RayEngine.make`; what answers it is
not Ray but a module in its place that counts fake seconds (`benchmarks/plan_cluster.py`). A commit
takes the driver {1000 * COMMIT_S:.0f} ms, a worker {scene["start_s"]:.0f} s to start; another node
comes after {scene["away_s"] / 60:.0f} min. That a worker died is known after {known[0]:.0f} s,
that a node went after {known[1]:.0f}.

“Unused” is the share of the workers' time that did not go into a block that counted. “Waiting” are
blocks that are made and cannot be committed yet, because one before them is not: at most
{AHEAD} a worker. They, and those that are being made, are made again when the driver dies.

{jobs(outcomes)}

{stuck(by_name)}

Not in it: the network, disks that slow down under load, Ray's own time for a call.

## Pieces that one process does for all

Measured, each size in a process of its own, with the growth of CPU time fitted over the sizes; the
last three columns are arithmetic with that exponent, memory in proportion (flat search: squared,
as every image is compared with every other). A block has {BLOCK:,} images, a vector {DIMENSION}
numbers; to compare a pair of them took {pair:.0f} ns, index and exact scores included.

{measured}

## Where the design breaks first

By arithmetic from these, taking {size(MEMORY)} of memory or a day of one core as too much:

{table(listed)}

Embedding itself has no such limit: blocks do not know of one another, and what a worker needs does
not grow with the job.

Two parts were measured at their own times. Simulation:
{found["simulation_on"].removeprefix("Machine: ")}
Pieces and `mtcnn`: {found["pieces_on"].removeprefix("Machine: ")}
""",
    )
