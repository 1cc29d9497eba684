"""Fetching weights: on request only, under a temporary name until the whole file is right."""

import hashlib
import os
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import build_opener

from embedkit.backbones import find_card
from embedkit.backbones.weights import Source, Weights, source_of, weights_of
from embedkit.errors import WeightsError
from embedkit.files import rename, sync_folder

SECONDS = 60.0  # without a byte
LONGEST = 6 * 3600.0  # seconds for all
LARGEST = 32 * 2**30  # bytes
PIECE = 2**20
PART = ".part"


def get_weights(name: str, *, say: Callable[[str], None] = lambda _: None) -> Weights:
    """Fetch the weights of a backbone, if they are not here yet.

    Args:
        name: of the backbone.
        say: told what happens.

    Raises:
        InputError: there is no such backbone, or nothing to fetch for it.
        WeightsError: they cannot be fetched, or are not what was published.
    """
    found = weights_of(name)
    if found.path is not None and found.published is not False:
        return found
    source = source_of(find_card(name))
    say(f"fetching {source.files[0]} from {source.place}; licence: {found.licence}")
    if source.url:
        download(source, Path(source.cache).expanduser() / source.files[0])
    else:
        _from_hub(source)
    got = weights_of(name)
    if got.published is None:
        say(f"CHECKSUM UNKNOWN: nothing says that {got.path} is the file that it should be")
    elif not got.published:
        raise WeightsError(f"{got.path} is not the file that the hub has; delete it and try again")
    return got


def download(source: Source, target: Path) -> Path:
    """Fetch a file to `target`, which exists only once it is whole and durable.

    Raises:
        WeightsError: no answer, an incomplete answer, a checksum that does not fit, no space, a
            redirect to where it cannot be trusted, too large, too slow.
    """
    temporary = None
    deadline = time.monotonic() + LONGEST
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        digest = hashlib.sha256()
        with (
            build_opener(_Redirects).open(source.url, timeout=SECONDS) as answer,
            tempfile.NamedTemporaryFile(
                dir=target.parent, prefix=f".{target.name}.", suffix=PART, delete=False
            ) as out,
        ):
            temporary = Path(out.name)
            length, received = int(answer.headers.get("Content-Length") or -1), 0
            if length > LARGEST:
                raise WeightsError(f"{source.url} is {length / 2**30:.0f} GiB; {_limits()}")
            while piece := answer.read1(PIECE):  # what is there; a whole piece could take days
                received += len(piece)
                if received > LARGEST or time.monotonic() > deadline:
                    raise WeightsError(f"{source.url} is too large or too slow; {_limits()}")
                out.write(piece)
                digest.update(piece)
            out.flush()
            os.fsync(out.fileno())
        if length not in (-1, received):
            raise WeightsError(
                f"{source.url} stopped after {received} of {length} bytes; try again"
            )
        if not digest.hexdigest().startswith(source.sha256):
            raise WeightsError(
                f"{source.url} sent another file than was published: its SHA-256 begins "
                f"{digest.hexdigest()[:8]}, {source.sha256[:8]} expected"
            )
        rename(temporary, target)
        sync_folder(target.parent)
    except (urllib.error.URLError, HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        first = str(reason).split("\n", 1)[0]
        raise WeightsError(
            f"{source.url} cannot be fetched: {first}. Without network, put the file at "
            f"{target} or name it with --weights"
        ) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return target


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow a few, and none from https to what anybody on the way could change."""

    max_redirections = 5

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Return the next request, or refuse it."""
        if not newurl.startswith(("https://", req.type + "://")):
            raise urllib.error.URLError(f"it redirects to {newurl[:80]}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _sweep(target: Path) -> None:
    """Remove what killed downloads of this file have left; one that goes on is younger."""
    for left in target.parent.glob(f".{target.name}.*{PART}"):
        if time.time() - left.stat().st_mtime > SECONDS:
            left.unlink(missing_ok=True)


def _limits() -> str:
    return f"at most {LARGEST // 2**30} GiB and {LONGEST // 3600:.0f} hours are taken"


def _from_hub(source: Source) -> None:
    """Fetch from the Hugging Face hub by its own library, which keeps whole files only."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

    for file in source.files:
        try:
            hf_hub_download(source.hub, file)
        except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
            first = str(error.__cause__ or error).strip().split("\n", 1)[0][:200]
            raise _unreachable(source, first) from None
        except EntryNotFoundError:
            continue
        except (HfHubHTTPError, OSError, ValueError) as error:
            first = str(error).strip().split("\n", 1)[0][:200]
            raise _unreachable(source, first) from None
        return
    raise WeightsError(f"{source.place} has none of {', '.join(source.files)}")


def _unreachable(source: Source, reason: str) -> WeightsError:
    return WeightsError(
        f"{source.place} cannot be reached: {reason}. Without network, fetch {source.files[0]} "
        "elsewhere and name it with --weights"
    )
