"""Whether other versions of Python and of packages give the same bytes, and if not, how near.

    python benchmarks/reliability_versions.py 3.11/bin/python 3.12/bin/python ... [--figures FILE]

Every interpreter has embedkit and its packages (`.ci/versions` makes such environments and calls
this). The first is what the others are held against. Everything that `tests/every_output.py` makes
of the same drawn pictures is compared: versions and hashes, which are recorded on purpose, are set
aside, and of numbers the largest difference is told. With the same torch everything else has to be
the same, and numbers to `TOLERANCE`: otherwise the status is 1.
"""

import argparse
import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from common import ROOT, table
from safetensors.numpy import load

from embedkit.synthetic import Faults, make_faces

TOLERANCE = 1e-5  # of the largest number of an array
FEW = 4
MAKER = ROOT / "tests/every_output.py"
PACKAGES = ("python", "numpy", "scipy", "torch", "scikit-learn", "pandas", "pyarrow", "umap-learn")
VERSIONS = (
    "import json, platform; from importlib.metadata import version; "
    "print(json.dumps({n: version(n) for n in %r} | {'python': platform.python_version()}))"
)
# Of a record: what made it, and hashes, which hang on that.
OURS = re.compile(r"\b[0-9a-f]{64}\b|\b\d+\.\d+(\.\d+)+\b")
PACKED = re.compile(r'"([A-Za-z0-9+/]{40,}={0,2})"')  # numbers in a page


def versions(python: Path) -> dict[str, str]:
    """Return the versions that an interpreter has."""
    said = subprocess.run(
        [python, "-c", VERSIONS % (PACKAGES[1:],)], check=True, capture_output=True, text=True
    )
    found: dict[str, str] = json.loads(said.stdout)
    return found


def outputs(python: Path, drawn: Path, folder: Path, backbone: str) -> dict[str, bytes]:
    """Make everything with an interpreter in a folder of that name; return each file."""
    folder.mkdir()
    shutil.copytree(drawn, folder / "faces")
    command = [python, MAKER, folder, backbone, "1", "1000"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{python}: {done.stderr[-2000:]}")
    shutil.rmtree(folder / "faces")
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    shutil.rmtree(folder)
    return files


def read(name: str, data: bytes) -> tuple[str, list[Any]]:
    """Return what a file says in words, without what is recorded of versions, and its numbers."""
    if name.endswith(".safetensors"):
        return "", [array for _, array in sorted(load(data).items())]
    if name.endswith(".onnx"):
        kept = onnx.load_from_string(data).graph.initializer
        return "", [onnx.numpy_helper.to_array(one) for one in kept]
    if name.endswith(".parquet"):
        rows = pq.read_table(pa.BufferReader(data))
        floats = [one.name for one in rows.schema if pa.types.is_floating(one.type)]
        numbers = [rows.column(one).to_numpy() for one in floats]
        return OURS.sub("", str(rows.drop_columns(floats).to_pylist())), numbers
    if name.endswith(".npy"):
        return "", [np.frombuffer(data[128:], np.float32)]
    text = OURS.sub("", data.decode())
    packed = [base64.b64decode(one) for one in PACKED.findall(text)]
    return PACKED.sub("", text), [np.frombuffer(one[: len(one) // 4 * 4], "<f4") for one in packed]


def compare(name: str, one: bytes, other: bytes) -> tuple[str, float]:
    """Say how two files differ, and by how much at most where that are numbers."""
    if one == other:
        return "same bytes", 0.0
    try:
        (text, numbers), (other_text, other_numbers) = read(name, one), read(name, other)
    except (UnicodeDecodeError, ValueError):
        return "other bytes", np.inf
    pairs = list(zip(numbers, other_numbers, strict=False))
    if text != other_text or len(numbers) != len(other_numbers):
        return "other words", np.inf
    if any(a.shape != b.shape for a, b in pairs):
        return "other sizes", np.inf
    apart = [(a, b) for a, b in pairs if a.tobytes() != b.tobytes()]
    if any((np.isnan(a) != np.isnan(b)).any() for a, b in apart):
        return "other words", np.inf
    # Of the largest in the same array, since a coefficient may be 100 or 0.
    most = max(
        (float(np.nanmax(np.abs(a - b)) / np.nanmax(np.abs(a))) for a, b in apart), default=0
    )
    return ("other numbers" if most else "same but for versions and hashes"), most


def some(names: list[str]) -> str:
    """Name a few of several files."""
    more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return ", ".join(names[:FEW]) + more


def difference(first: dict[str, bytes], files: dict[str, bytes]) -> tuple[str, bool]:
    """Say how the files of one interpreter differ from the first's, and whether they may."""
    kinds: dict[str, list[str]] = defaultdict(list)
    furthest = {"other numbers": 0.0}
    for name in sorted(first.keys() | files.keys()):
        kind, most = compare(name, first.get(name, b""), files.get(name, b""))
        kinds[kind].append(name)
        furthest[kind] = max(furthest.get(kind, 0.0), most)
    said = "; ".join(
        f"{len(names)} {kind}"
        + (f", by {furthest[kind]:.1g} of the largest" if kind == "other numbers" else "")
        + (f" ({some(names)})" if kind.startswith("other") else "")
        for kind, names in kinds.items()
    )
    return said, max(furthest.values()) <= TOLERANCE


def figure(has: dict[str, str], first: dict[str, str], said: str) -> str:
    """Return the figure of docs/reliability.md as a line of JSON."""
    shown = ("python", "numpy", "scipy", "torch")
    here, there = (", ".join(f"{name} {one[name]}" for name in shown) for one in (has, first))
    kept = {
        "row": "E6",
        "test": "benchmarks/reliability_versions.py",
        "thorough": True,
        "counted": f"{here} against {there}: {said}",
    }
    return json.dumps(kept) + "\n"


def main() -> int:
    """Compare, print a table, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pythons", type=Path, nargs="+", metavar="PYTHON")
    parser.add_argument("--backbone", default="mtcnn")
    parser.add_argument("--figures", type=Path, help="file that figures are appended to")
    given = parser.parse_args()
    every = [versions(python) for python in given.pythons]
    with TemporaryDirectory() as folder:
        drawn, work = Path(folder) / "drawn", Path(folder) / "work"  # paths are in some outputs
        faults = Faults(exact_twins=0.1, near_twins=0.3, unreadable=1)
        make_faces(drawn, people=40, photographs=4, size=48, seed=5, faults=faults)
        made = [outputs(python, drawn, work, given.backbone) for python in given.pythons]
    rows = [[*PACKAGES, f"{len(made[0])} files, against the first"]]
    status = 0
    for has, files in zip(every, made, strict=True):
        said, near = difference(made[0], files)
        rows.append([*(has[name] for name in PACKAGES), said])
        if has["torch"] == every[0]["torch"] and not near:
            status = 1
        if given.figures is not None and files is not made[0]:
            with given.figures.open("a", encoding="utf-8") as file:
                file.write(figure(has, every[0], said))
    print(table(rows, words=range(len(rows[0]))))
    return status


if __name__ == "__main__":
    sys.exit(main())
