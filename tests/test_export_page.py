"""The page on exports: its commands and its Python run from top to bottom."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from embedkit_cli import main

import embedkit as ek
from embedkit.exports import KINDS

PAGE = (Path(__file__).resolve().parents[1] / "docs/export.md").read_text()
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", PAGE, re.DOTALL)


def test_what_the_page_shows_runs_from_top_to_bottom(clean, tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    ek.embed(shutil.copytree(clean.folder, "faces"), "indexes/faces", backbone="pixels")
    names: dict[str, object] = {}
    asked = []
    for kind, block in BLOCKS:
        if kind == "python":
            exec(compile(block, "docs/export.md", "exec"), names)
            continue
        for line in block.splitlines():
            program, *arguments = shlex.split(line)
            assert program == "embedkit"
            assert main(arguments) == 0, capsys.readouterr().err
            asked += [arguments[arguments.index("--to") + 1]] if "--to" in arguments else []
    assert tuple(asked) == KINDS
    assert len(names["vectors"]) == len(names["items"]) == len(clean.kind)
    assert np.allclose(names["probabilities"].sum(axis=1), 1)
    assert names["labels"] == ["bad", "good"]
