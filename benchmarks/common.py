"""What every benchmark shares: the machine, a stopwatch for commands, the place of the data."""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
BENCH = ROOT / ".bench"  # ignored by git
WORK = "folder for data and measurements, which are not taken again; by default in .bench/"
PACKAGES = ("torch", "pillow", "faiss-cpu", "scikit-learn", "numpy", "facenet-pytorch")


@dataclass(frozen=True)
class Measured:
    """One finished command.

    Attributes:
        command: as it would be typed.
        output: its standard output.
        wall: seconds by the clock.
        cpu: seconds of all cores, user and system.
        peak: resident memory at its highest, in MiB.
    """

    command: str
    output: str
    wall: float
    cpu: float
    peak: float


def measure(arguments: list[str], *, folder: Path) -> Measured:
    """Run a command to its end and take its time and memory from the operating system."""
    began = time.perf_counter()
    with (folder / ".stdout").open("w+") as out, (folder / ".stderr").open("w+") as talk:
        process = subprocess.Popen(arguments, cwd=folder, stdout=out, stderr=talk)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        output = out.read()
        talk.seek(0)
        last = talk.read().strip().rpartition("\n")[2][-300:]
    if process.returncode:
        status = f"ended with status {process.returncode}"
        raise SystemExit(f"{' '.join(arguments)} {status}: {last or 'it says nothing'}")
    cpu = usage.ru_utime + usage.ru_stime
    return Measured(" ".join(arguments), output, wall, cpu, usage.ru_maxrss / 1024)


def embedkit(*arguments: str, folder: Path) -> tuple[Measured, dict]:
    """Run one command of embedkit with --json; returns the measurement and the document."""
    program = str(Path(sys.executable).with_name("embedkit"))
    measured = measure([program, *arguments, "--json"], folder=folder)
    return measured, json.loads(measured.output)


def machine() -> str:
    """Say on what the figures were taken, as a line of Markdown."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        flags = next((line for line in lines if line.startswith("flags")), "")
        cpu = names[0] if names else cpu
        if "amx_bf16" in flags:
            cpu += " with AMX"
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    return (
        f"Machine: {cores} cores of {cpu}, {platform.system()}, Python "
        f"{platform.python_version()}; "
        f"{versions}. Load when the script ended: {load:.1f}. Taken on {time.strftime('%Y-%m-%d')}."
    )


def data_folder() -> Path:
    """Return the folder of the real data sets, from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    folder = parser.parse_args().data
    if not folder.is_dir():
        raise SystemExit(f"the real data sets are not at {folder}; say where with --data")
    return folder.resolve()


def table(rows: list[list[str]], *, words: Collection[int] = ()) -> str:
    """Return rows as a Markdown table; the first is the heading.

    Args:
        rows: of cells.
        words: columns that hold words, besides the first; the others are aligned as numbers.
    """
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    rules = ["---" if column in (0, *words) else "---:" for column in range(len(rows[0]))]
    lines.insert(1, "| " + " | ".join(rules) + " |")
    return "\n".join(lines)


def write_page(name: str, script: str, text: str) -> None:
    """Write a page of the documentation with the command that makes it again."""
    DOCS.mkdir(exist_ok=True)
    foot = f"\n\n{machine()}\n\nMade by `python benchmarks/{script}`; do not edit.\n"
    (DOCS / name).write_text(text.strip() + foot)
    print(f"wrote docs/{name}")
