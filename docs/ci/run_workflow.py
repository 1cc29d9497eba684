"""Run the `run:` steps of a GitHub workflow on this machine.

    python docs/ci/run_workflow.py docs/ci/embedkit.yml --without Install

Steps that use an action (checkout, setup-python, cache) are named and not run: the data set, Python
and embedkit have to be here already. Each `run:` gets what GitHub gives it: `bash -e` with
pipefail, the variables of workflow, job and step, and files for GITHUB_ENV and the like. Once one
fails, the others are left out, unless they say `if: always()`. Ends with the status of the step
that failed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

SHELL = ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c")
FILES = ("GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STEP_SUMMARY")


def run_workflow(workflow: dict[str, Any], without: list[str]) -> int:
    """Run every job, one after another, and return the status of the first step that failed."""
    status = 0
    with tempfile.TemporaryDirectory() as folder:
        for job_name, job in workflow["jobs"].items():
            files = {name: str(Path(folder, f"{job_name}-{name}")) for name in FILES}
            given = os.environ | _words(workflow) | _words(job) | files | {"CI": "true"}
            failed = 0
            for step in job["steps"]:
                if "uses" in step:
                    say(f"not run here: {step['uses']}")
                elif step.get("name") in without:
                    say(f"left out as asked: {step['name']}")
                elif failed and step.get("if") != "always()":
                    say(f"left out after the failure: {step.get('name')}")
                else:
                    if "if" in step and step["if"] != "always()":
                        raise SystemExit(f"if: {step['if']} is not understood here")
                    failed = run_step(step, given) or failed
            status = status or failed
    return status


def run_step(step: dict[str, Any], given: dict[str, str]) -> int:
    """Run the commands of one step and return their status."""
    if "${{" in step["run"]:
        raise SystemExit(f"{step.get('name')}: an expression in a script is not understood here")
    say(f"run: {step.get('name')}")
    return subprocess.run([*SHELL, step["run"]], env=given | _words(step), check=False).returncode


def _words(node: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in node.get("env", {}).items()}


def say(text: str) -> None:
    """Tell what becomes of a step, apart from what the steps print."""
    print(f"[run_workflow] {text}", file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workflow", type=Path)
    parser.add_argument("--without", action="append", default=[], metavar="STEP")
    arguments = parser.parse_args()
    raise SystemExit(
        run_workflow(yaml.safe_load(arguments.workflow.read_text()), arguments.without)
    )
