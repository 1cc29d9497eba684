"""What a store or a head may name: files of networks, and places on the web, that the user knows.

A store is data that may come from anybody, and names things outside itself: the file of a network
(`onnx:`, `torchscript:`, `--weights`) and the URL that its pictures lie behind. Opening them
because a stranger's store says so would run the stranger's program, or fetch what the stranger
wants fetched. So these are opened only if the user has named the same file (by its content) or the
same place on this machine before: by embedding with it, by `embedkit weights trust FILE`, or by
`embedkit scan URL`.

What was named is kept as one line each, a SHA-256 or a URL, in `place()`.
"""

import os
import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from embedkit.errors import InputError

_of_this_process: set[str] = set()


def place() -> Path | None:
    """Return the file that remembers what the user has named; None without a home."""
    kept = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")  # noqa: PTH111
    return Path(kept) / "embedkit" / "trusted" if Path(kept).is_absolute() else None


def trust(what: str, *, keep: bool = True) -> None:
    """Remember what the user has named: a file's SHA-256, or a URL.

    Where it is not to be kept, or cannot be (no home, one that may not be written), it holds for
    this process.
    """
    known = what in _named()
    _of_this_process.add(what)
    kept = place() if keep and "\n" not in what else None
    if known or kept is None:
        return
    with suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        how = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(kept, how, 0o600)
        try:
            os.write(descriptor, f"{what}\n".encode())
        finally:
            os.close(descriptor)


def check_file(path: Path, sha256: str, named_by: str) -> None:
    """Let a file be opened that the user names, or has named before; refuse any other.

    Args:
        path: for the message.
        sha256: of what will be loaded.
        named_by: what on disk names it, for the message; empty where the user does.

    Raises:
        InputError: only a store or a head names it.
    """
    if not named_by:
        trust(sha256)
    elif sha256 not in _named():
        raise InputError(
            f"{named_by} was made with the network in {path}, which you have not named on this "
            "machine; a file that only a store or a head names is not opened. If you know where "
            f"it comes from: embedkit weights trust {path}"
        )


def check_url(url: str) -> None:
    """Let be opened what the user has named, or what is below it; refuse any other URL.

    Raises:
        InputError: only a store names it.
    """
    upwards = {".", ".."}.intersection(unquote(url).replace("\\", "/").split("/"))
    below = any(url == one or url.startswith(one.rstrip("/") + "/") for one in urls())
    if upwards or not below:
        raise InputError(
            f"{url} is named by a store, and you have not named it on this machine; what only a "
            f"store names is not fetched. If you know that place: embedkit scan {url}"
        )


def urls() -> list[str]:
    """Return the URLs that the user has named."""
    return sorted(one for one in _named() if not re.fullmatch("[0-9a-f]{64}", one))


def _named() -> set[str]:
    kept = place()
    try:
        lines = kept.read_text(encoding="utf-8").splitlines() if kept else []
    except (OSError, ValueError):
        lines = []
    return _of_this_process.union(lines)
