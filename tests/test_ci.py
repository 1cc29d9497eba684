"""The workflow and the hook that users copy: pinned, allowed little, and run here as they are."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from embedkit_cli import main

from embedkit.synthetic import make_faces

CI = Path(__file__).resolve().parents[1] / "docs/ci"
WORKFLOW = yaml.safe_load((CI / "embedkit.yml").read_text())
HOOKS = yaml.safe_load((CI / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
STEPS = WORKFLOW["jobs"]["audit"]["steps"]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A folder for PATH with `embedkit`, this checkout's, as an installed one would be."""
    folder = tmp_path_factory.mktemp("bin")
    script = folder / "embedkit"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m embedkit_cli "$@"\n')
    script.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Two checkouts: clean faces, and the same with a training picture copied into test."""
    clean, planted = (tmp_path_factory.mktemp(name) for name in ("clean", "planted"))
    made = make_faces(clean / "faces", people=12, photographs=3, size=48, seed=3)
    shutil.copytree(made.folder, planted / "faces")
    label = next((planted / "faces/train").iterdir())
    copied = next(label.iterdir())
    shutil.copy(copied, planted / "faces/test" / label.name / f"again{copied.suffix}")
    return {"clean": clean, "planted": planted}


def run(command, folder, program):
    path = os.pathsep.join((str(program), os.environ["PATH"]))
    packages = os.pathsep.join(str(CI.parents[1] / name) for name in (".", "cli"))
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PATH": path, "PYTHONPATH": packages},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("which", "status"), [("clean", 0), ("planted", 1)])
def test_the_workflow_ends_well_on_clean_faces_and_fails_on_a_copy(faces, program, which, status):
    command = [sys.executable, CI / "run_workflow.py", CI / "embedkit.yml", "--without", "Install"]
    ran = run(command, faces[which], program)
    assert ran.returncode == status, ran.stderr
    errors = re.findall(r"^::error title=(.*?)::(.*)", ran.stdout, re.M)
    assert [title for title, _ in errors] == ["embedkit%3A leakage"] * status
    said = [line for line in ran.stderr.splitlines() if line.startswith("[run_workflow]")]
    assert sum("not run here: actions/" in line for line in said) == 3
    assert "[run_workflow] left out as asked: Install" in said
    assert "[run_workflow] run: Audit" in said


@pytest.mark.parametrize(("which", "status"), [("clean", 0), ("planted", 1)])
def test_the_hook_lets_clean_faces_pass_and_stops_a_copy(faces, monkeypatch, which, status):
    (hook,) = HOOKS
    program, *arguments = shlex.split(hook["entry"])
    monkeypatch.chdir(faces[which])
    assert program == "embedkit"
    assert main(arguments) == status


def test_actions_are_pinned_and_the_workflow_may_only_read():
    used = [step["uses"] for step in STEPS if "uses" in step]
    assert used
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", one) for one in used)
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert "permissions" not in WORKFLOW["jobs"]["audit"]
    assert WORKFLOW["jobs"]["audit"]["timeout-minutes"] <= 60
    # A name from outside in a script would run as one.
    assert not any("${{" in step.get("run", "") for step in STEPS)
    assert STEPS[0]["with"]["persist-credentials"] is False


def test_the_runner_stops_at_a_failure_and_gives_its_status(tmp_path):
    steps = [
        {"name": "first", "run": "echo $WORD $OWN", "env": {"OWN": "of the step"}},
        {"name": "second", "run": "false | cat\necho not reached"},
        {"name": "third", "run": "echo nor this"},
        {"name": "last", "run": "echo but this; exit 0", "if": "always()"},
    ]
    flow = tmp_path / "w.yml"
    flow.write_text(yaml.safe_dump({"env": {"WORD": "word"}, "jobs": {"j": {"steps": steps}}}))
    ran = run([sys.executable, CI / "run_workflow.py", flow], tmp_path, tmp_path)
    assert ran.returncode == 1
    assert ran.stdout.splitlines() == ["word of the step", "but this"]
