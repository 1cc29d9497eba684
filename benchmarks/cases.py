"""The classic tasks worked end to end: the commands as typed, what they print, and the figures.

Emotion, age, gender, race and drawn characters, each from its data set to a bias table.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import DOCS, data_folder, table, write_page

AGES = "1-3,4-10,11-17,18-22,23-26,27-32,33-37,38-45,46-53,54-62,63-73,74-120"
FIGURES = DOCS / "cases"
WIDTH = 110  # columns of the terminal


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: of its figures.
        title: of its section.
        about: what it is, in words.
        store: that it is worked on; tasks may share one.
        embed: arguments that make the store.
        label: column with the class.
    """

    name: str
    title: str
    about: str
    store: str
    embed: tuple[str, ...]
    label: str = "label"


def tasks() -> tuple[Task, ...]:
    fer = ("data/fer2013",)
    utk = ("data/utkface", "--label", "age", "--bins", AGES)
    fairface = ("data/fairface/labels.csv", "--label", "race")
    anime = ("data/anime_faces/labels.csv", "--label", "character")
    anime += ("--split", "split_in_source", "--group", "source_picture")
    lfw = ("data/lfw_deepfunneled/labels.csv", "--label", "gender", "--group", "identity")
    return (
        Task("emotion", "Emotion: FER2013", "Seven emotions, the split as published.", "fer", fer),
        Task(
            "age",
            "Age: UTKFace in twelve bins",
            "Age, gender and race stand in the file names; the data set has no split, so embedkit "
            "makes one. The bins are ordered classes.",
            "utk",
            utk,
        ),
        Task("gender", "Gender: UTKFace", "The same store, another label.", "utk", utk, "gender"),
        Task("race", "Race: UTKFace", "The same store, a third label.", "utk", utk, "race"),
        Task(
            "fairface-race",
            "Race: FairFace",
            "Seven groups; gender and age are compared, and both at once.",
            "fairface",
            fairface,
        ),
        Task(
            "fairface-gender",
            "Gender: FairFace",
            "The same store; race and age are compared, and both at once.",
            "fairface",
            fairface,
            "gender",
        ),
        Task(
            "fairface-age",
            "Age: FairFace",
            "The same store; its age groups are ordered classes.",
            "fairface",
            fairface,
            "age",
        ),
        Task(
            "anime",
            "Drawn characters",
            "Four characters, 240 crops; the split parts crops of one source picture, which are "
            "named as groups.",
            "anime",
            anime,
        ),
        Task(
            "lfw",
            "Gender: LFW",
            "Photographs of 495 people, each person on one side of the split that embedkit makes.",
            "lfw",
            lfw,
        ),
    )


def run(arguments: tuple[str, ...], work: Path) -> str:
    """Run one command as typed and return what it printed."""
    program = str(Path(sys.executable).with_name("embedkit"))
    environment = {**os.environ, "COLUMNS": str(WIDTH), "NO_COLOR": "1"}
    done = subprocess.run(
        [program, *arguments], cwd=work, capture_output=True, text=True, env=environment
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
    return done.stdout.strip()


def typed(arguments: tuple[str, ...], work: Path) -> str:
    """Return a command and its output as a terminal shows them."""
    return f"```console\n$ embedkit {' '.join(arguments)}\n{run(arguments, work)}\n```"


def share(one: dict[str, Any]) -> str:
    return f"{100 * one['value']:.1f}% [{100 * one['low']:.1f}, {100 * one['high']:.1f}]"


def ledger(found: dict[str, Any]) -> str:
    """Return the ledger of every head, a column each."""
    if found["verdict"] == "not_run":
        return f"No ledger: {found['not_run_reason']}"
    heads = found["details"]["heads"]
    rows = [["", *(one["head"] for one in heads)]]
    rows.append(["reported", *(share(one["reported"]) for one in heads)])
    for place, line in enumerate(heads[0]["lines"]):
        cells = []
        for one in heads:
            own = one["lines"][place]
            points = "cannot be told" if own["value"] is None else f"{100 * own['value']:+.1f}"
            off = own["value"] is not None and own.get("taken_off") is False
            cells.append(points + (" (not taken off)" if off else ""))
        rows.append([line["cause"].replace("_", " "), *cells])
    rows.append(["honest", *(share(one["honest"]) for one in heads)])
    return table(rows)


def groups(found: dict[str, Any]) -> str:
    """Return the bias table: each attribute's groups, the worst first."""
    if found["verdict"] == "not_run":
        return ""  # the sentence above says why
    rows = [["attribute", "group", "images", "accuracy", "gap to the best, points", "verdict"]]
    for gap in found["details"]["gaps"]:
        name = " × ".join(gap["attributes"])
        members = sorted(gap["groups"], key=lambda one: one["accuracy"]["value"])
        kept = members if len(members) < 8 else [*members[:2], *members[-2:]]
        best = members[-1]["accuracy"]["value"]
        for place, one in enumerate(kept):
            behind = 100 * (best - one["accuracy"]["value"])
            verdict = gap["verdict"] if place == 0 else ""
            accuracy = share(one["accuracy"])
            images = str(one["n"])
            rows.append([name, one["group"], images, accuracy, f"{behind:.1f}", verdict])
        if len(kept) < len(members):
            rows.append([name, f"{len(members) - 4} between these", "", "", "", ""])
    return table(rows)


def section(task: Task, work: Path) -> str:
    store = f"indexes/{task.store}"
    label = () if task.label == "label" else ("--label", task.label)
    blocks = [f"## {task.title}\n\n{task.about}"]
    if not (work / store).exists():
        backbones = ("-b", "mtcnn", "-b", "pixels")
        blocks.append(typed(("embed", *task.embed, *backbones, "-o", store), work))
    blocks.append(typed(("compare", store, *label, "-o", f"{task.name}-figures"), work))
    trained = ("train", store, "-b", "mtcnn", *label, "-o", f"{task.name}.safetensors")
    blocks.append(typed(trained, work))
    drawn = ("evaluate", f"{task.name}.safetensors", "--format", "png")
    drawn += ("--figures", f"{task.name}-figures")
    run(drawn, work)
    blocks.append(f"```console\n$ embedkit {' '.join(drawn)}\n```")
    for name in ("compare", "confusion"):
        shutil.copy(
            work / f"{task.name}-figures" / f"{name}.png", FIGURES / f"{task.name}-{name}.png"
        )
        blocks.append(f"![{name} of {task.title}](cases/{task.name}-{name}.png)")
    audit = ("audit", store, "-b", "mtcnn", *label, "--check", "ledger", "--check", "bias")
    document = json.loads(run((*audit, "--json"), work))
    found = {one["name"]: one for one in document["findings"]}
    blocks.append(f"```console\n$ embedkit {' '.join(audit)}\n```")
    blocks += [found[name]["summary"] for name in ("ledger", "bias") if found[name]["summary"]]
    blocks += filter(None, [ledger(found["ledger"]), groups(found["bias"])])
    print(f"{task.title}: done", flush=True)
    return "\n\n".join(blocks)


def main() -> None:
    data = data_folder()
    FIGURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "data").symlink_to(data)
        sections = [section(task, work) for task in tasks()]
    text = f"""# The classic tasks, worked end to end

Each section is one run: the commands as typed and what they printed on standard output. `data` is
a folder with samples of the public sets (a few thousand pictures each, see
`benchmarks/README.md`), so the figures are those of the samples. In brackets: 95% intervals. Rows
of the ledger are accuracy points that a cause carries; a label is what the data set says, no
property of a person. The bias tables show the worst and the best groups of each attribute, and of
each pair of attributes, with images enough to be compared.

{(chr(10) * 2).join(sections)}
"""
    write_page("cases.md", "cases.py", text)


if __name__ == "__main__":
    main()
