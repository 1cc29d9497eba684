"""Which pictures of a store are not as they were embedded, for the terminal and as JSON."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedkit.pipeline.sources import Changes

KINDS = ("changed", "missing", "new")


def text(found: "Changes") -> str:
    """Say how many there are, and name each."""
    counts = ", ".join(f"{len(getattr(found, what))} {what}" for what in KINDS)
    lines = [f"  {found.n} pictures were compared with their files: {counts}"]
    for what in KINDS:
        lines += [f"    {what}: {' '.join(id_.splitlines())}" for id_ in getattr(found, what)]
    return "\n".join(lines)


def document(found: "Changes") -> dict[str, Any]:
    """Return their ids."""
    return {"compared": found.n} | {what: list(getattr(found, what)) for what in KINDS}
