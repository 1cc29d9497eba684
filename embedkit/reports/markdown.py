"""An audit as Markdown: what a pull request or a step summary shows."""

import re

from embedkit.audits import Audit, Verdict
from embedkit.reports.page import parted, size, written
from embedkit.reports.text import share

PARTING = "<!-- -->"
COMMIT = r"\b[0-9a-f]{7,40}\b"
LINKED = r"([@#:$](?=\S)|\b[Ww]{3}(?=\.)|\bGH(?=-\d))"
SIGNS = {
    Verdict.PRESENT: "❗ present",
    Verdict.ABSENT: "✅ absent",
    Verdict.INCONCLUSIVE: "❔ inconclusive",
    Verdict.NOT_RUN: "⏸ not run",
}


def markdown(result: Audit, *, command: str = "") -> str:
    """Return the headline, the causes, every answer and how to make them again.

    Names of the user's are shown as they are: nothing in them formats, links or mentions.

    Args:
        result: of `audit`.
        command: that made it.
    """
    first = result.headline
    lines = [f"## {plain(first.title)}", "", plain(first.text), ""]
    if first.reported is not None:
        lines.append(f"- reported: **{share(first.reported)}** of {first.reported.n} test images")
        if first.honest is not None and first.without:
            lines.append(f"- without {plain(first.without)}: **{share(first.honest)}**")
        lines.append("")
    lines += [
        f"1. **{plain(one.title)}**: {plain(size(one))}, {plain(one.certainty)} "
        f"({one.statement.value}). Next: {plain(one.step)}."
        for one in first.causes
    ]
    lines += [""] if first.causes else []
    lines += ["| answer | audit | what was found | figure | n |", "| --- | --- | --- | --- | --- |"]
    for finding in result.findings:
        said = finding.not_run_reason or parted(finding.summary)[0]
        n = "" if finding.estimate is None else f"{finding.estimate.n:,}"
        cells = (SIGNS[finding.verdict], finding.name, plain(said), plain(written(finding)), n)
        lines.append(f"| {' | '.join(cells)} |")
    version = result.store.record.embedkit
    seed = result.settings["seed"]
    lines += ["", f"{len(result.store.items):,} images, embedkit {version}, seed {seed}."]
    lines += [f"`{_code(command)}`"] if command else []
    return "\n".join(lines) + "\n"


def plain(text: str) -> str:
    """Escape whatever Markdown or HTML would read in a text, and keep it on its line."""
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([\\`*_{}\[\]|~])", r"\\\1", line)
    # Mentions, references, addresses, formulas and names of commits are looked for in the text
    # that is shown, where no backslash is left; comments part them.
    line = re.sub(COMMIT, lambda found: PARTING.join(re.findall(".{1,6}", found[0])), line)
    return re.sub(LINKED, rf"\1{PARTING}", line)


def _code(command: str) -> str:
    return " ".join(command.replace("`", "'").split())
