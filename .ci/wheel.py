"""The wheel in an environment of its own, with no tool of ours: without any extra, without each.

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
EXTRAS = PROJECT["optional-dependencies"]
TOOLS = ("pytest", "mypy", "hypothesis", "playwright")
DRAW = (
    "from embedkit.synthetic import make_faces as m; m('faces', people=12, photographs=2, size=48)"
)
WORK = (
    "--help",
    "embed faces -o store -b pixels",
    "embed faces -o other -b mtcnn",
    "info store",
    "train store -o head.safetensors",
)
# What each extra is for, as commands that end without it in a line that names it. Without `fast`
# vectors are made all the same (above); of those that were made with it, see test_extras.py.
WITHOUT = {
    "onnx": (
        "export head.safetensors --to onnx -o head.onnx",
        "embed faces -o more -b onnx:net.onnx",
    ),
    "video": ("predict head.safetensors clip.mp4 --faces", "predict head.safetensors --camera 0"),
    "ray": ("embed faces -o more -b pixels --engine ray", "audit store --engine ray"),
    "fast": (),
}


def link(environment: Path, extras: list[str]) -> None:
    """Have the wheel's dependencies in an environment, those of some extras among them."""
    here = Path(sysconfig.get_path("purelib"))
    there = next(environment.glob("lib/*/site-packages"))
    for old in filter(Path.is_symlink, there.iterdir()):
        old.unlink()
    for name in needed([*PROJECT["dependencies"], *(one for e in extras for one in EXTRAS[e])]):
        for file in metadata.files(name) or []:
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (there / top).exists():
                (there / top).symlink_to(here / top)


def check(folder: Path) -> None:
    """Install the wheel below an empty folder and use it there."""
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    venv.create(folder / "venv", with_pip=False)
    link(folder / "venv", [])
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
    for line in WORK:
        done = embedkit(line)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        print(f"ok: embedkit {line}")
    assert WITHOUT.keys() == EXTRAS.keys()
    for extra, lines in WITHOUT.items():
        link(folder / "venv", [other for other in EXTRAS if other != extra])
        for line in lines:
            done = embedkit(line)
            assert done.returncode == 2, (line, done.returncode, done.stderr)
            *notes, said = done.stderr.splitlines()
            assert f"pip install 'embedkit[{extra}]'" in said, (line, done.stderr)
            assert not any("Traceback" in note for note in notes), done.stderr
            print(f"ok: without {extra}: embedkit {line}: {said}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        check(Path(folder))
