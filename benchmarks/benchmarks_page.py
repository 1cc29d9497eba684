"""The page of all comparisons, `docs/benchmarks.md`, from the figures in `docs/benchmarks/`.

Each comparison writes it anew when it has figures; `python benchmarks/benchmarks_page.py` alone
measures nothing.
"""

import json
import re
import statistics
from collections.abc import Iterator
from typing import Any

from answered import ANSWERED, BESIDES
from common import DOCS, machine, table, write_page

FIGURES = DOCS / "benchmarks"
NAMES = ("audit", "pairs", "growth", "heads", "layouts")
NO_RESULT = "not run"
AUDIT_MINUTES, GROWTH = 15, 1.1
OURS = "embedkit"
PAIR_SIZES = 10_000, 100_000
SUMMARY = ["what", "embedkit", "beside it", "", "times embedkit's", "the answers"]
NO_AMX = "This machine has no AMX, which embedkit's bf16 blocks are made for."
TOOLS = {
    "fastdup": "fastdup",
    "cleanvision": "cleanvision",
    "cleanlab": "cleanlab Datalab",
    "fiftyone": "FiftyOne Brain",
}
Rows = Iterator[list[str]]


def figures_of(name: str) -> dict[str, Any]:
    """Return what a comparison kept; empty where it has not run."""
    path = FIGURES / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def seconds(value: float) -> str:
    """Say CPU seconds as a person would."""
    if value >= 300:
        return f"{value / 60:.1f} min"
    return f"{value:.0f} s" if value >= 20 else f"{value:.2g} s"


def cpu_of(tool: dict[str, Any]) -> float:
    """Return the CPU seconds of a tool's command, its database included."""
    database = sum(value for name, value in tool["cpu"].items() if name.startswith("its database"))
    return float(tool["total"]["cpu"]) + database


def processor(line: str) -> str:
    """Return the processor that a line about the machine names."""
    return re.search(r"cores of (.+?), ", line)[1]


def target(value: float, limit: float) -> str:
    return "met" if value <= limit else "**missed**"


def compared(what: str, ours: float, peer: str, theirs: float, answers: str) -> list[str]:
    return [what, seconds(ours), peer, seconds(theirs), f"{theirs / ours:.2g}", answers]


def audit_summary(audit: dict[str, Any]) -> Rows:
    tools = audit.get("tools", {})
    ours = tools.get(OURS, {})
    what = "audit of 12,420 real pictures, embedding included"
    if "total" not in ours:
        yield [what, ours.get(NO_RESULT, NO_RESULT), "", "", "", ""]
        return
    own = ours["total"]["cpu"]
    ran = {name: cpu_of(tools[name]) for name in TOOLS if "total" in tools.get(name, {})}
    missing = [TOOLS[name] for name in TOOLS if name not in ran]
    names = " + ".join(TOOLS[name] for name in ran)
    note = "each a part of the questions, see below"
    if missing:
        note += f"; not run: {', '.join(missing)}"
    yield compared(what, own, names, sum(ran.values()), note)


def embedding_summary(embedding: dict[str, Any]) -> Rows:
    for network, one in embedding.get("networks", {}).items():
        field = one["contenders"]
        own = statistics.median(run["cpu"] for run in field[OURS])
        for peer, runs in field.items():
            if peer.startswith(OURS):
                continue
            theirs = statistics.median(run["cpu"] for run in runs)
            note = "its own network"
            if peer != "fastdup":
                note = f"same network; embedkit's in {one['precision']}, {agreement_of(one)}"
            cells = f"{own:.0f} ms", peer, f"{theirs:.0f} ms", f"{theirs / own:.2g}", note
            yield [f"embedding a picture, {network}", *cells]


def agreement_of(one: dict[str, Any]) -> str:
    """Say how well embedkit's vectors of a network agree with the library's, means taken off."""
    return f"cosine {one['bounds']['agreement']:.4f} or more with the library's fp32"


def pairs_summary(pairs: dict[str, Any]) -> Rows:
    for n, field in sizes_of(pairs):
        what = f"all pairs of {n:,} × 512"
        own = field.get(OURS, {})
        for peer, made in field.items():
            if peer.startswith(OURS):
                continue
            if NO_RESULT in made:
                yield [what, "", peer, NO_RESULT, "", made[NO_RESULT]]
            elif "cpu" in own:
                note = f"recall {made['recall']:.4f} beside {own['recall']:.4f}"
                yield compared(what, own["cpu"], peer, made["cpu"], note)


def sizes_of(pairs: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    for name, field in sorted(pairs.items(), key=lambda one: len(one[0])):
        if name.isdigit():
            yield int(name), field


def missing_sizes(pairs: dict[str, Any]) -> str:
    """Name the sizes that were asked for and have no figures."""
    lacking = [f"{n:,}" for n in PAIR_SIZES if str(n) not in pairs]
    return (
        f" **{NO_RESULT}: {', '.join(lacking)}** (`all_pairs.py --size` does)." if lacking else ""
    )


def heads_summary(heads: dict[str, Any]) -> Rows:
    for task, one in heads.get("tasks", {}).items():
        for kind, field in one["heads"].items():
            own = field[OURS]
            for peer, made in field.items():
                if peer == OURS:
                    continue
                note = (
                    f"accuracy {made['accuracy']:.1%} beside {own['accuracy']:.1%}, "
                    f"log-loss {made['log_loss']:.3f} beside {own['log_loss']:.3f}"
                )
                yield compared(f"{kind} head, {task}", own["median"], peer, made["median"], note)


def layouts_summary(layouts: dict[str, Any]) -> Rows:
    if not layouts:
        return
    own, theirs = layouts["both"][OURS], layouts["both"]["umap-learn"]
    note = f"neighbours kept {theirs['neighbours kept']} beside {own['neighbours kept']}"
    what = f"UMAP of {layouts['n']:,} × {layouts['numbers']:,}, search included"
    yield compared(what, own["cpu"], "umap-learn that searches itself", theirs["cpu"], note)


def targets(
    audit: dict[str, Any], growth: dict[str, Any], pairs: dict[str, Any]
) -> list[list[str]]:
    rows = [["target", "asked", "measured", ""]]
    ours = audit.get("tools", {}).get(OURS, {})
    name = "whole audit of 12,420 pictures with `mtcnn`, embedding included"
    if "total" in ours:
        minutes = ours["total"]["cpu"] / 60
        met = target(minutes, AUDIT_MINUTES)
        rows.append([name, f"≤ {AUDIT_MINUTES} min of CPU", f"{minutes:.1f} min", met])
    else:
        minutes = sum(ours.get("so far", {}).values()) / 60
        done = f"{NO_RESULT} to its end; stopped after {minutes:.1f} min" if minutes else NO_RESULT
        rows.append([name, f"≤ {AUDIT_MINUTES} min of CPU", done, "not known"])
    for space, one in growth.get("spaces", {}).items():
        value = one["exponent without the start"]
        name = f"growth of embedding, `{space}`, 1,000 to 10,000 pictures"
        rows.append([name, f"exponent ≤ {GROWTH}", f"{value:.2f}", target(value, GROWTH)])
    field = pairs.get("100000", {})
    if "cpu" in field.get(OURS, {}) and "cpu" in field.get("faiss", {}):
        times = field["faiss"]["cpu"] / field[OURS]["cpu"]
        name = "all pairs of 100,000, exact: times faiss' range search"
        rows.append([name, "≥ 8", f"{times:.1f}", target(8, times)])
    return rows


def parts_of(cpu: dict[str, float]) -> str:
    return ", ".join(f"{part} {value:.1f} s" for part, value in cpu.items())


def audit_section(audit: dict[str, Any]) -> str:
    """Write what each tool was asked, what that took and which questions it answers."""
    tools = audit.get("tools", {})
    rows = [["", "CPU", "clock", "peak, main process", "what took how much CPU, itself"]]
    named = [["", "how many pictures it names"]]
    for name in (OURS, *TOOLS):
        made = tools.get(name, {NO_RESULT: "no figures"})
        title = TOOLS.get(name, name)
        if NO_RESULT in made:
            done = parts_of(made.get("so far", {}))
            why = f"{made[NO_RESULT]}{', so far: ' if done else ''}{done}"
            rows.append([title, NO_RESULT, "", "", why])
            continue
        parts = parts_of(made["cpu"])
        version = ", ".join(f"{k} {v}" for k, v in made.get("versions", {}).items())
        title += f" ({version})" if version else ""
        clock = seconds(made["total"]["wall"])
        peak = f"{made['peak']:,.0f} MiB" if "peak" in made else "not measured"
        rows.append([title, seconds(cpu_of(made)), clock, peak, parts])
        if "named" in made:
            named.append([title, ", ".join(f"{k} {v:,}" for k, v in made["named"].items())])
        if "verdicts" in made:
            verdicts = ", ".join(f"{k} {v}" for k, v in made["verdicts"].items())
            named.append([title, f"verdicts: {verdicts}"])
    loads = ", ".join(
        f"{name} {made['load'][0]:.0f}" for name, made in tools.items() if "load" in made
    )
    counted = ", ".join(f"{name} {n:,}" for name, n in audit.get("pictures", {}).items())
    return f"""## The whole audit

12,420 real pictures in one folder ({counted}); the class is the sample that a picture comes from,
the split as published or each fifth picture. embedkit is `embedkit audit FOLDER` with nothing set:
reading, embedding with `mtcnn`, and every audit but `--views`. fastdup and cleanvision look at the
same folder as they are delivered. Datalab and FiftyOne Brain are given embedkit's vectors, for
FiftyOne's networks have to be downloaded and Datalab brings none: so embedding is **not** in their
figures; they are also given the answers of scikit-learn's logistic regression, five-fold, which
both ask for and which is in their figures. FiftyOne keeps its data in a MongoDB server, counted
too. One run each; the load when each began: {loads or "no figures"}. CPU
seconds of a part are those of the main process; a tool's total counts its children.
{audit.get("note", "")}

{table(rows, words=(4,))}

{table(named, words=(1,))}

### Which questions are answered

“Part” says what is missing. What a tool does with another embedding or a head of one's own is not
held against it.

{table([["question", OURS, *TOOLS.values()], *ANSWERED], words=range(1, 6))}

{BESIDES}"""


def pairs_section(pairs: dict[str, Any]) -> str:
    """Write what each program took and found at each size."""
    rows = [["", "CPU s", "least, most", "clock s", "peak MiB", "pairs", "recall", "wrong", "runs"]]
    loads = []
    for n, field in sizes_of(pairs):
        rows.append([f"**{n:,}**", *[""] * 8])
        for name, made in field.items():
            if NO_RESULT in made:
                rows.append([f"{name}: {NO_RESULT}, {made[NO_RESULT]}", *[""] * 8])
                continue
            version = ", ".join(made["versions"].values())
            loads.append(made["load"][0])
            rows.append(
                [
                    f"{name} ({version})",
                    f"{made['cpu']:.2f}",
                    ", ".join(f"{one:.2f}" for one in made["spread"]),
                    f"{made['wall']:.1f}",
                    f"{made['peak']:,.0f}",
                    f"{made['pairs']:,}",
                    f"{made['recall']:.4f}",
                    str(made["wrong"]),
                    str(made["runs"]),
                ]
            )
    load = f"{min(loads):.0f} to {max(loads):.0f}" if loads else "no figures"
    amx = "" if "AMX" in pairs.get("machine", "AMX") else NO_AMX
    return f"""## All pairs

Rows of 512 numbers in clusters, variances falling off as 1/i, one in fifty a near copy of another;
all pairs with a cosine of at least 0.95. The truth is what faiss' exact range search returns.
“embedkit” compares every pair (`embedkit.joins.every_pair`); “embedkit cells” looks only where two
rows share a cell. imagededup, faiss and embedkit are exact; hnswlib, usearch and fastdup return
nearest neighbours (10, 10 and as delivered), of which those above the threshold are kept; SemHash
removes duplicates, by usearch. Settings are each tool's own; “wider” doubles hnswlib's breadth of
building, “fp32” is usearch in full precision at twice its breadth of search. From the array in
memory to the pairs: imports and loading are left out. Two threads for whoever takes them; load
{load}. Peak memory is the main process's, the vectors and its libraries included. At 1,000,000 the
others were not run.
{amx}{missing_sizes(pairs)}

{table(rows)}"""


def growth_section(growth: dict[str, Any]) -> str:
    """Write CPU time and bytes by the number of pictures."""
    rows = [["", "pictures", "CPU s, median", "ms a picture", "peak MiB", "bytes a picture"]]
    fits = []
    for space, one in growth.get("spaces", {}).items():
        for n, cell in one["sizes"].items():
            cpu, count = statistics.median(cell["cpu"]), int(n)
            parts = {name: size / count for name, size in cell["bytes"].items()}
            detail = ", ".join(f"{name} {size:,.0f}" for name, size in parts.items())
            total = f"{sum(parts.values()):,.0f} ({detail})"
            each = f"{1e3 * cpu / count:.1f}"
            rows.append([space, f"{count:,}", f"{cpu:.1f}", each, f"{cell['peak']:,.0f}", total])
        fits.append(
            f"`{space}`: {one['exponent without the start']:.2f} without what the command on 50 "
            f"pictures costs, {one['exponent']:.2f} for whole commands"
        )
    return f"""## How embedding grows, and what it leaves on disk

The same mixture of real pictures at each size, each by a command of its own (`embedkit embed`),
{growth.get("rounds", 0)} round(s), in turn. Exponents of CPU time between 1,000 and 10,000
pictures, fitted: {"; ".join(fits) or "no figures"}. `mtcnn` has 1,536 numbers a picture, `pixels`
1,344; the index is a second copy of the vectors, which can be deleted.

{table(rows)}"""


def heads_section(heads: dict[str, Any]) -> str:
    sizes = "; ".join(
        f"{name}: {one['train']:,} to train on, {one['test']:,} to test, {one['classes']} classes"
        for name, one in heads.get("tasks", {}).items()
    )
    return f"""## Heads

{sizes or "No figures."} 1,536 numbers a picture. “C chosen” and “k chosen” take the values that
embedkit tries and choose by five folds in train, as `LogisticRegressionCV` behind a
`StandardScaler` and `GridSearchCV` with cosine and distance weights. embedkit stops its search for
C when the loss has risen twice, starts each fit where the last one ended, and finds all of k in one
search; “as delivered” chooses nothing. One process, in turn, medians of
{heads.get("rounds", 0)} round(s), BLAS on one thread; scikit-learn is embedkit's own version."""


def layouts_section(layouts: dict[str, Any]) -> str:
    if not layouts:
        return "## UMAP\n\nNo figures."
    own, theirs = layouts["both"][OURS], layouts["both"]["umap-learn"]
    return f"""## UMAP

{layouts["n"]:,} pictures, one process, one run. embedkit: {own["cpu"]:.1f} s of CPU,
{own["search"]:.1f} s of them for the exact search, which is paid already where the audit has run;
trustworthiness {own["trustworthiness"]}. umap-learn {layouts["versions"]["umap-learn"]} with its
own approximate search: {theirs["cpu"]:.1f} s; trustworthiness {theirs["trustworthiness"]}. Before
that, compiling takes each process {own["compiling"]:.1f} s and {theirs["compiling"]:.1f} s. More in
[maps.md](maps.md)."""


def write() -> None:
    """Write the page."""
    audit, pairs, growth, heads, layouts = (figures_of(name) for name in NAMES)
    embedding = json.loads((DOCS / "embedding.json").read_text())
    summary = [SUMMARY]
    for rows in (
        audit_summary(audit),
        embedding_summary(embedding),
        pairs_summary(pairs),
        heads_summary(heads),
        layouts_summary(layouts),
    ):
        summary.extend(rows)
    first = next(iter(embedding["networks"].values()))["machine"]
    machines = {processor(one["machine"]) for one in (audit, pairs, growth, heads, layouts) if one}
    others = f"everything else on {' and '.join(sorted(machines))}" if machines else "alone so far"
    taken = "\n".join(
        f"- `{name}.json`: {figures_of(name)['taken']}. {figures_of(name)['machine']}"
        for name in NAMES
        if figures_of(name)
    )
    sections = "\n\n".join(
        [
            audit_section(audit),
            pairs_section(pairs),
            growth_section(growth),
            heads_section(heads),
            layouts_section(layouts),
        ]
    )
    write_page(
        "benchmarks.md",
        "benchmarks_page.py",
        f"""# embedkit beside other tools

One table of what was compared, then how. Every tool runs in a virtual environment of its own, on
the same pictures or the same vectors. The machines have two slow cores and are shared: figures are
**CPU time** of all cores (user and system), for the clock depends on what else ran; compare
within a row. A number above 1 in the fifth column says that the other took longer. Figures are kept
as JSON in [benchmarks/](benchmarks) with the machine and the versions.

{table(summary, words=(2, 5))}

Embedding was measured on {processor(first)}, {others}.

## Targets

{table(targets(audit, growth, pairs), words=(1, 3))}

{sections}

## When and where

{taken}

Embedding is [embedding.md](embedding.md)'s; the figures of drawn faces, which look more alike than
real ones and cost more, are in [audit-cost.md](audit-cost.md).
""",
    )


if __name__ == "__main__":
    print(machine())
    write()
