"""The wheel in an environment of its own: what `pip install .` gives, no extra, no tool of ours.

    .venv/bin/python .ci/wheel.py

Nothing is downloaded: of this environment's packages those are linked into the new one that the
wheel's requirements bring along, and no others.
"""

import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from importlib import metadata
from pathlib import Path

from components import PROJECT, needed
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ("pytest", "mypy", "ray", "onnx", "onnxruntime", "openvino", "av", "playwright")
DRAW = (
    "from embedkit.synthetic import make_faces as m; m('faces', people=12, photographs=2, size=48)"
)
# What asks for an extra, and how to get it.
WITHOUT = {
    "export head.safetensors --to onnx -o head.onnx": "pip install 'embedkit[onnx]'",
    "embed faces -o other -b onnx:net.onnx": "pip install 'embedkit[onnx]'",
    "predict head.safetensors clip.mp4 --faces": "pip install 'embedkit[video]'",
    "embed faces -o other -b pixels --engine ray": "pip install 'embedkit[ray]'",
}


def link(environment: Path) -> None:
    """Put the wheel's dependencies into an empty environment."""
    here = Path(sysconfig.get_path("purelib"))
    there = next(environment.glob("lib/*/site-packages"))
    for name in needed(PROJECT["dependencies"]):
        for file in metadata.files(name) or []:
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (there / top).exists():
                (there / top).symlink_to(here / top)


def check(folder: Path) -> None:
    """Install the wheel below an empty folder and use it there."""
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    venv.create(folder / "venv", with_pip=False)
    link(folder / "venv")
    python = folder / "venv/bin/python"
    install = ["--isolated", "--python", python, "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([sys.executable, "-m", "pip", *install, wheel], check=True)
    home = folder / "home"
    home.mkdir()
    surroundings = {"PATH": os.defpath, "HOME": str(home)}

    def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=folder, env=surroundings, capture_output=True, text=True, check=False
        )

    def embedkit(line: str) -> subprocess.CompletedProcess[str]:
        return run(folder / "venv/bin/embedkit", *line.split())

    for tool in TOOLS:
        assert "ModuleNotFoundError" in run(python, "-c", f"import {tool}").stderr, tool
    (folder / "clip.mp4").write_bytes(bytes(64))
    (folder / "net.onnx").write_bytes(bytes(64))
    (folder / "net.json").write_text('{"size": [8, 8], "mean": [0, 0, 0], "std": [1, 1, 1]}')
    assert run(python, "-c", DRAW).returncode == 0
    for line in (
        "--help",
        "embed faces -o store -b pixels",
        "info store",
        "train store -o head.safetensors",
    ):
        done = embedkit(line)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        print(f"ok: embedkit {line}")
    for line, way_out in WITHOUT.items():
        done = embedkit(line)
        *_, last = done.stderr.strip().splitlines()
        assert done.returncode == 2, (line, done.returncode, done.stderr)
        assert way_out in last, (line, done.stderr)
        assert "Traceback" not in done.stderr, done.stderr
        print(f"ok: embedkit {line}: {last}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        check(Path(folder))
