"""Natural cases: real sets whose splits part relatives or keep them together, audited in full.

Nothing is planted: several crops of one picture, copies across a published split, people on both
sides. Needs the anime, FER2013 and LFW samples of the real data.
"""

import csv
import shutil
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import data_folder, embedkit, table, write_page

from embedkit.store import Store

TEST_SHARE = 0.2
EVIDENCE = 3  # pairs shown of each case
CAUSES = {"exact_twins": "exact copies", "near_twins": "near copies", "siblings": "other relatives"}


@dataclass(frozen=True)
class Case:
    """One audited split.

    Attributes:
        title: of its section.
        about: what the split is, in words.
        commands: that made it, as typed.
        document: of `embedkit audit --json`.
        pairs: names of a test and of a training image that are related, and how.
        cpu: seconds that the audit took.
    """

    title: str
    about: str
    commands: tuple[str, ...]
    document: dict[str, Any]
    pairs: tuple[tuple[str, str, str], ...]
    cpu: float

    def finding(self, name: str) -> dict[str, Any]:
        """Return the finding of one audit."""
        return next(one for one in self.document["findings"] if one["name"] == name)

    def head(self, kind: str) -> dict[str, Any]:
        """Return the ledger of one head."""
        heads = self.finding("ledger")["details"]["heads"]
        return next(one for one in heads if one["head"] == kind)


def divided(source: Path, label: str, folder: Path, name: str) -> Path:
    """Write a table of a data set again, a fifth of each class drawn into test image by image."""
    with source.open() as stream:
        rows = list(csv.DictReader(stream))
    test = np.zeros(len(rows), bool)
    generator = np.random.default_rng(0)
    classes = np.array([row[label] for row in rows])
    for one in np.unique(classes):
        places = np.flatnonzero(classes == one)
        test[generator.permutation(places)[: round(TEST_SHARE * len(places))]] = True
    path = folder / name
    with path.open("w") as stream:
        writer = csv.DictWriter(stream, [*rows[0], "drawn"])
        writer.writeheader()
        for row, side in zip(rows, test, strict=True):
            writer.writerow(row | {"drawn": "test" if side else "train"})
    return path


def audited(
    title: str,
    about: str,
    source: Path,
    options: list[str],
    *,
    name: str,
    data: Path,
    work: Path,
) -> Case:
    """Embed a data set with `mtcnn` and run the full audit."""
    arguments = ["embed", str(source), *options, "-o", name, "-b", "mtcnn"]
    embedkit(*arguments, folder=work)
    measured, document = embedkit("audit", name, folder=work)
    commands = (" ".join(arguments), f"audit {name}")
    shown = tuple(
        f"embedkit {one}".replace(str(data), "DATA").replace(f"{work}/", "") for one in commands
    )
    print(f"{title}: {measured.cpu:.0f} s of CPU", flush=True)
    return Case(title, about, shown, document, evidence(document, work / name), measured.cpu)


def evidence(document: dict[str, Any], store: Path) -> tuple[tuple[str, str, str], ...]:
    """Return a few pairs across the split: copies first, the surest first, then one group's."""
    items = Store.open(store).items
    twins = next(one for one in document["findings"] if one["name"] == "twins")["details"]
    pairs = []
    for pair in twins["pairs"]:
        if set(pair["splits"]) == {"train", "test"}:
            ends = (pair["a"], pair["b"])
            test, train = ends if pair["splits"][0] == "test" else ends[::-1]
            labels = "" if len(set(pair["labels"])) == 1 else ", labels differ"
            pairs.append((test, train, f"{pair['kind']} copy{labels}"))
    groups: dict[str, dict[str | None, str]] = defaultdict(dict)
    for id_, side, group in zip(items.ids, items.splits, items.groups, strict=True):
        if group is not None:
            groups[group].setdefault(side, id_)
    copies = {pair[:2] for pair in pairs}
    across = (ends for ends in groups.values() if {"train", "test"} <= ends.keys())
    pairs.extend(
        (ends["test"], ends["train"], "same group")
        for ends in across
        if (ends["test"], ends["train"]) not in copies
    )
    return tuple(pairs[:EVIDENCE])


def percent(figure: dict[str, Any] | None, points: bool = False) -> str:
    """Return a share with its interval in percent; signed where it is a difference."""
    if figure is None or figure["value"] is None:
        return "none"
    value, low, high = (100 * figure[key] for key in ("value", "low", "high"))
    sign = "+" if points else ""
    return f"{value:{sign}.1f} [{low:.1f}, {high:.1f}]"


def figures(case: Case) -> str:
    """Return the table of a case: a row a figure, a column a head."""
    heads = case.finding("ledger")["details"]["heads"]
    rows = [["", *(one["head"] for one in heads)]]

    def add(name: str, cells: list[str]) -> None:
        rows.append([name, *cells])

    add("reported accuracy", [percent(one["reported"]) for one in heads])
    for place, line in enumerate(purges(heads[0])):
        count = f" ({line['removed_from_train']} training images out)"
        lines = [purges(one)[place] for one in heads]
        add(
            f"worth of {CAUSES[line['cause']]}{count}",
            [percent(one, points=True) if one["removed_from_train"] else "0" for one in lines],
        )
    last = [purges(one)[-1] for one in heads]
    add("accuracy without the related images", [percent(one["accuracy_after"]) for one in last])
    add("control: without as many unrelated ones", [percent(one["control"]) for one in last])
    add("**worth of all relatives**", [percent(one["total"], points=True) for one in heads])
    add("worth of following the files", [followed(one) for one in heads])
    add("**honest accuracy**", [percent(one["honest"]) for one in heads])
    add("verdict", [judged(one) for one in heads])
    add("least effect that 4 of 5 such tests find", [least(one) for one in heads])
    folds = [one["cross_validation"] for one in heads]
    add("cross-validation, folds part relatives", [percent(one["plain"]) for one in folds])
    add("cross-validation, relatives together", [percent(one["grouped"]) for one in folds])
    add("difference of the two", [percent(one["difference"], points=True) for one in folds])
    add(
        "nothing to learn: random labels (chance)",
        [
            f"{percent(one['random_labels'])} ({100 * one['random_labels']['chance']:.1f})"
            for one in heads
        ],
    )
    add("random vectors", [percent(one["controls"]["random_vectors"]) for one in heads])
    add("always the commonest class", [percent(one["controls"]["majority"]) for one in heads])
    return table(rows)


def purges(head: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the lines of a ledger for which a head was trained again."""
    return [line for line in head["lines"] if line["cause"] != "shortcuts"]


def followed(head: dict[str, Any]) -> str:
    """Return what following the files is worth, of which column, and whether it is taken off."""
    line = next((one for one in head["lines"] if one["cause"] == "shortcuts"), None)
    if line is None:
        return "not run"
    if line["column"] is None:
        return "no column is tied to the label"
    if line["value"] is None:
        return f"cannot be told ({line['column']})"
    off = "" if line["taken_off"] else "; not taken off"
    return f"{percent(line, points=True)} ({line['column']}{off})"


def least(head: dict[str, Any]) -> str:
    return "nothing to look for" if head["detectable"] is None else f"{head['detectable']:.1f}"


def related_words(case: Case) -> str:
    """Say how many test images have a relative in train, and what split that looks like."""
    leakage = case.finding("leakage")
    counts = leakage["details"]
    split = case.finding("ledger")["details"]["split_is"]
    found = counts["with_relative_in_train"]
    if found is None:
        found = counts["with_twin_in_train"]
    share = percent(leakage)
    return (
        f"{found} of {leakage['n']} test images ({share}%) have a relative in train, "
        f"{counts['with_twin_in_train']} of them a copy. {split['sentence']}"
    )


def verdict_words(case: Case, head: dict[str, Any]) -> str:
    """Say what a head's figures mean, and where they say nothing, why."""
    total, kind = head["total"], head["head"]
    last = purges(head)[-1]
    if not last["removed_from_train"]:
        return (
            f"- **{kind}**: nothing in train is related to test, so there is nothing to take out."
        )
    worth = f"{percent(total, points=True)} points"
    if last["control"] is None:
        left, every = last["left_in_train"], last["left_in_train"] + last["removed_from_train"]
        return (
            f"- **{kind}**: relatives and a smaller train set together carry {worth}. No control "
            f"could be made to part the two: the purge leaves {left} of {every} training images, "
            "and there are not as many unrelated ones to take out instead. So the line claims too "
            "much for relatives, and the honest accuracy is as much too low. Cross-validation "
            "below, whose folds are equally large, is the one to read."
        )
    if head["total"]["verdict"] == "present":
        reported, honest = (100 * head[name]["value"] for name in ("reported", "honest"))
        return (
            f"- **{kind}**: of its {reported:.1f}%, relatives carry {worth}; {honest:.1f}% is what "
            "photographs related to nobody in train can expect."
        )
    if head["total"]["verdict"] == "absent":
        return (
            f"- **{kind}**: relatives carry {worth}, too little to matter beside the uncertainty "
            "of the accuracy itself."
        )
    return f"- **{kind}**: not decided; relatives carry {worth}. {_why_undecided(case, head)}"


def judged(head: dict[str, Any]) -> str:
    """Return a head's verdict, and whether no control stood beside it."""
    last = purges(head)[-1]
    alone = last["removed_from_train"] and last["control"] is None
    return head["total"]["verdict"] + (", without a control" if alone else "")


def _why_undecided(case: Case, head: dict[str, Any]) -> str:
    leakage = case.finding("leakage")
    counts = leakage["details"]
    found = counts["with_relative_in_train"]
    most = 100 * (counts["with_twin_in_train"] if found is None else found) / leakage["n"]
    needed = head["detectable"]
    if most < needed:
        why = (
            f"The cause is the number of related images: {most:.1f}% of the test images have a "
            f"relative in train, and were all of them right for that reason alone it would make "
            f"{most:.1f} points, less than the {needed:.1f} that such a test finds."
        )
    else:
        why = (
            f"The cause is the size of the test set: {leakage['n']} images find effects from "
            f"{needed:.1f} points on; this one, if it is there, is smaller."
        )
    control = purges(head)[-1]["control"]
    above = 0.0 if control is None else 100 * (control["value"] - head["reported"]["value"])
    if above > 0.5:
        removed = purges(head)[-1]["removed_from_train"]
        why += (
            f" Heads without {removed} random images did better than the one on all of train, by "
            f"{above:.1f} points, so part of the figure is chance in the choice of the control's "
            "hyper-parameter and not the relatives."
        )
    return why


def folds_words(case: Case) -> str:
    """Say what cross-validation over all images adds."""
    said = []
    for head in case.finding("ledger")["details"]["heads"]:
        gap = head["cross_validation"]["difference"]
        if gap["value"] is None:
            return f"Cross-validation did not run: {head['cross_validation']['reason']}."
        if gap["low"] > 0:
            seen = "sees relatives carry accuracy"
        elif gap["high"] < 0:
            seen = "sees relatives do harm"
        else:
            seen = "cannot tell it from none"
        said.append(f"{head['head']} {percent(gap, points=True)} points ({seen})")
    return f"With every image tested once a repeat, cross-validation gives {', '.join(said)}."


def floor_words(case: Case) -> str:
    """Say what the controls with nothing to learn gave."""
    beyond = {
        head["head"]: head["random_labels"] for head in case.finding("ledger")["details"]["heads"]
    }
    looked = [kind for kind, floor in beyond.items() if floor["low"] > floor["chance"]]
    if looked:
        return (
            f"Random labels, one for each cluster of relatives, are answered above chance by "
            f"{' and '.join(looked)}: that part is looked up, for there is nothing to learn."
        )
    return "Random labels, one for each cluster of relatives, are answered as chance would have it."


def section(case: Case) -> str:
    heads = case.finding("ledger")["details"]["heads"]
    shown = "\n".join(f"- `{a}` and `{b}`: {how}" for a, b, how in case.pairs)
    pairs = f"\n\nPairs across the split, for example:\n\n{shown}" if shown else ""
    verdicts = "\n".join(verdict_words(case, head) for head in heads)
    commands = "\n".join(case.commands)
    return f"""## {case.title}

{case.about}

{related_words(case)}

{figures(case)}

{verdicts}

{folds_words(case)} {floor_words(case)}{pairs}

```
{commands}
```

The audit took {case.cpu:.0f} s of CPU."""


def compared(random: Case, apart: Case) -> str:
    """Say whether the random split's honest figure is what the other split reports."""
    said = []
    for head in random.finding("ledger")["details"]["heads"]:
        other = apart.head(head["head"])["reported"]
        honest, reported = head["honest"], head["reported"]
        gap = head["cross_validation"]["difference"]
        fits = honest["low"] <= other["high"] and other["low"] <= honest["high"]
        said.append(
            f"- **{head['head']}**: the random split reports {percent(reported)}, its honest "
            f"accuracy is {percent(honest)}, and with people apart {percent(other)} is reported: "
            f"{'the last two agree within their intervals' if fits else 'the last two disagree'}, "
            f"{100 * abs(honest['value'] - other['value']):.1f} points from each other, where "
            f"reported and reported are {100 * (reported['value'] - other['value']):+.1f} apart. "
            f"By cross-validation relatives are worth {percent(gap, points=True)} points."
        )
    return "\n".join(said)


def main() -> None:
    data = data_folder()
    work = Path(tempfile.mkdtemp())
    anime, lfw = data / "anime_faces/labels.csv", data / "lfw_deepfunneled/labels.csv"
    places = {"data": data, "work": work}
    crops = ["--root", str(anime.parent), "--label", "character", "--group", "source_picture"]
    people = ["--root", str(lfw.parent), "--label", "gender", "--group", "identity"]
    drawn = ["--split", "drawn"]
    cases = [
        audited(
            "Four anime characters, as the source divides them",
            "Crops of drawings, several of them from one picture; the split is the one that the "
            "data set's repository came with. A relative is a crop of the same picture.",
            anime,
            [*crops, "--split", "split_in_source"],
            name="anime",
            **places,
        ),
        audited(
            "Four anime characters, divided crop by crop",
            "The same crops, a fifth of each character drawn into test at random.",
            divided(anime, "character", work, "anime-drawn.csv"),
            [*crops, *drawn],
            name="anime-drawn",
            **places,
        ),
        audited(
            "FER2013, as it was published",
            "Seven expressions, training and private test set as in the challenge. Nothing says "
            "who is shown, so relatives are copies only.",
            data / "fer2013",
            [],
            name="fer2013",
            **places,
        ),
        audited(
            "LFW, gender, divided picture by picture",
            "Photographs of known people, a fifth of each class drawn into test at random: the "
            "split that a script makes which knows nothing of people.",
            divided(lfw, "gender", work, "lfw-drawn.csv"),
            [*people, *drawn],
            name="lfw-drawn",
            **places,
        ),
        audited(
            "LFW, gender, people kept apart",
            "The same photographs, divided by embedkit, which keeps the pictures of one person on "
            "one side.",
            lfw,
            people,
            name="lfw",
            **places,
        ),
    ]
    shutil.rmtree(work)
    overview = [["case", "test images", "related", "head", "reported"]]
    overview[0] += ["relatives carry", "honest", "verdict"]
    overview.extend(
        [
            case.title,
            str(head["reported"]["n"]),
            f"{100 * case.finding('leakage')['value']:.1f}%",
            head["head"],
            percent(head["reported"]),
            percent(head["total"], points=True),
            percent(head["honest"]),
            judged(head),
        ]
        for case in cases
        for head in case.finding("ledger")["details"]["heads"]
    )
    sections = "\n\n".join(section(case) for case in cases)
    write_page(
        "natural.md",
        "natural.py",
        f"""# Natural cases

Real sets in which nothing was planted, each audited in full with `mtcnn` (a face detector's third
network, no download). Accuracies in percent, differences in points, with 95% intervals. *Honest* is
the reported accuracy less what relatives carry, see [audits.md](audits.md). The sets are samples
of the published ones. `DATA` is their folder; the tables `*-drawn.csv` are written by the script.

{table(overview)}

{sections}

## The two LFW splits beside each other

{compared(cases[-2], cases[-1])}

The two have different test images, so that they need not agree to the point, and where no control
could be made the honest accuracy is that of a head trained on fewer images.
""",
    )


if __name__ == "__main__":
    main()
