"""Run every benchmark in turn, each writing its page of docs/."""

import subprocess
import sys
from pathlib import Path

SCRIPTS = (
    "demo_run.py",
    "results.py",
    "readout.py",
    "twins.py",
    "siblings.py",
    "planted_truth.py",
    "sampled_controls.py",
    "shortcuts.py",
    "associations.py",
    "cases.py",
    "natural.py",
    "audit_scale.py",
    "million.py",
    "audit_cost.py",
    "parity.py",
    "labels.py",
    "quality.py",
    "bias.py",
    "mitigation.py",
    "views.py",
    "pages.py",
    "screenshots.py",
    "video.py",
    "explanations.py",
    "maps.py",
    "export.py",
    "pairs.py",
    "finetune.py",
    "embedding_speed.py",
    "embedding.py",
    "decoding.py",
    "ray_faults.py",
    "ray_audit.py",
    "plan.py",
    "whole_audit.py",
    "all_pairs.py",
    "growth.py",
    "heads.py",
    "layouts.py",
    "reliability_load.py",
)


def main() -> None:
    for script in SCRIPTS:
        print(f"== {script}", flush=True)
        path = Path(__file__).with_name(script)
        subprocess.run([sys.executable, str(path), *sys.argv[1:]], check=True)


if __name__ == "__main__":
    main()
