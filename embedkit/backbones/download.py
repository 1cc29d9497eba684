"""Fetching weights: on request only, under a temporary name until the whole file is right."""

import hashlib
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from embedkit.backbones import find_card
from embedkit.backbones.weights import Source, Weights, source_of, weights_of
from embedkit.errors import WeightsError

SECONDS = 60.0  # without a byte
PIECE = 2**20


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
    say(f"fetching {source.files[0]} from {source.place}")
    if source.url:
        download(source, Path(source.cache).expanduser() / source.files[0])
    else:
        _from_hub(source)
    return weights_of(name)


def download(source: Source, target: Path) -> Path:
    """Fetch a file to `target`, which exists only once it is whole.

    Raises:
        WeightsError: no answer, an incomplete answer, a checksum that does not fit, no space.
    """
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with (
            urllib.request.urlopen(source.url, timeout=SECONDS) as answer,
            tempfile.NamedTemporaryFile(dir=target.parent, suffix=".part", delete=False) as out,
        ):
            temporary = Path(out.name)
            expected, received = int(answer.headers.get("Content-Length") or -1), 0
            while piece := answer.read(PIECE):
                out.write(piece)
                digest.update(piece)
                received += len(piece)
            out.flush()
            os.fsync(out.fileno())
        if expected not in (-1, received):
            raise WeightsError(
                f"{source.url} stopped after {received} of {expected} bytes; try again"
            )
        if not digest.hexdigest().startswith(source.sha256):
            raise WeightsError(
                f"{source.url} sent another file than was published: its SHA-256 begins "
                f"{digest.hexdigest()[:8]}, {source.sha256[:8]} expected"
            )
        temporary.rename(target)
    except (urllib.error.URLError, HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise WeightsError(
            f"{source.url} cannot be fetched: {reason}. Without network, put the file at "
            f"{target} or name it with --weights"
        ) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return target


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
