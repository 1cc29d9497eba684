"""Without an extra, every command that needs it says so in one line; the others do without.

The packages are here and are hidden; `.ci/wheel.py` tries it where they are not installed.
"""

import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from embedkit_cli import main
from onnx_files import mean_colour_classifier

from embedkit.backbones import load_backbone
from embedkit.errors import BackboneError
from embedkit.heads import train
from embedkit.pipeline import embed
from embedkit.synthetic import make_faces

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# What an extra brings, as Python calls it; hidden one at a time.
BRINGS = {
    "onnx": ("onnx", "onnxruntime"),
    "fast": ("openvino",),
    "video": ("av",),
    "ray": ("ray",),
}
NEEDING = {
    "onnx": ("export HEAD --to onnx -o NEW.onnx", "embed FACES -o NEW -b onnx:NET"),
    "video": (
        "predict HEAD CLIP --faces",
        "predict HEAD CLIP --faces -o NEW.mp4",
        "predict HEAD --camera 0",
    ),
    "ray": (
        "embed FACES -o NEW -b pixels --engine ray",
        "audit STORE --engine ray",
        "train STORE --ledger --engine ray -o NEW.safetensors",
    ),
}
CASES = [
    (extra, module, line)
    for extra, lines in NEEDING.items()
    for module in BRINGS[extra]
    for line in lines
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """What the commands are given, and where they would write."""
    folder = tmp_path_factory.mktemp("given")
    make_faces(folder / "faces", people=12, photographs=2, size=48)
    store = embed(folder / "faces", folder / "store", backbone="pixels")
    (folder / "net.onnx").write_bytes(mean_colour_classifier(np.eye(3), np.zeros(3), 8))
    (folder / "net.json").write_text('{"size": [8, 8], "mean": [0, 0, 0], "std": [1, 1, 1]}')
    (folder / "clip.mp4").write_bytes(bytes(64))
    head = train(store).save(folder / "head")
    return {
        "STORE": store.path,
        "FACES": store.items.root,
        "HEAD": head,
        "NET": folder / "net.onnx",
        "CLIP": folder / "clip.mp4",
        "NEW": folder / "new",
    }


def test_every_extra_is_tried():
    assert BRINGS.keys() == PROJECT["optional-dependencies"].keys()


@pytest.mark.parametrize(("extra", "module", "line"), CASES)
def test_a_command_says_in_one_line_which_extra_it_needs(
    place, extra, module, line, capsys, monkeypatch, figure
):
    monkeypatch.setitem(sys.modules, module, None)
    for word, path in place.items():
        line = line.replace(word, str(path))
    assert main(line.split()) == 2
    said = capsys.readouterr()
    assert f"pip install 'embedkit[{extra}]'" in (said.err + said.out).splitlines()[-1]
    assert not list(place["NEW"].parent.glob("new.*"))
    assert not (place["NEW"] / "store.json").exists()
    figure("I4", f"{len(CASES)} commands without a package of their extra: 1 line each")


def test_vectors_of_the_fast_extra_say_what_they_were_made_with(weights_of, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    name = "timm:mobilenetv3_small_050"
    with pytest.raises(BackboneError, match=r"pip install 'embedkit\[fast\]'"):
        load_backbone(name, weights=weights_of(name), precision="openvino-fp32")
