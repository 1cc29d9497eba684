"""What people said of the things that audits list, as plain text."""

from collections.abc import Mapping
from pathlib import Path

from embedkit.audits.reviews import Reviewed


def reviews_text(found: Mapping[str, Reviewed], answers: int, file: Path | None) -> str:
    """Return a line for each finding, and what became of the answers.

    Args:
        found: by name of finding.
        answers: that hold, those of things that are not listed any more among them.
        file: that they were written to.
    """
    lines = [f"{name}: {one.sentence}" for name, one in found.items()]
    if not found:
        lines.append("The last audit lists nothing to judge; 'embedkit audit' makes one.")
    gone = answers - sum(one.looked_at for one in found.values())
    if gone:
        what = "answer is of a thing" if gone == 1 else "answers are of things"
        lines.append(f"{gone} further {what} that this audit does not list.")
    return "\n".join([*lines, *([] if file is None else [f"wrote {file}"])])
