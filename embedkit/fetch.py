"""One picture from the web: http and https only, bounded in size, time and redirects."""

import http.client
import socket
import threading
import time
from contextlib import suppress
from urllib.parse import urljoin, urlsplit

from embedkit.errors import FetchError

SECONDS = 10.0
MAX_BYTES = 20 * 2**20
REDIRECTS = 3


def is_address(text: str) -> bool:
    """Say whether a text is the address of something on the web rather than a path."""
    return "://" in text


def fetch(address: str) -> bytes:
    """Return what is behind an address.

    Everything together, redirects included, takes at most `SECONDS`; a server that sends a byte
    now and then is cut off too.

    Raises:
        FetchError: not http or https, no answer, too slow, too large, too many redirects.
    """
    deadline = time.monotonic() + SECONDS
    current = address
    for _ in range(REDIRECTS + 1):
        status, location, body = _get(current, deadline)
        if status in (301, 302, 303, 307, 308) and location:
            try:
                current = urljoin(current, location)
            except ValueError:
                raise FetchError(f"{address} redirects to {location!r}, no address") from None
            continue
        if status != 200:
            raise FetchError(f"{current} answered with status {status}")
        return body
    raise FetchError(f"{address} redirects more than {REDIRECTS} times")


def _get(address: str, deadline: float) -> tuple[int, str | None, bytes]:
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise FetchError(f"{address} is no address: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise FetchError(f"{address} is not fetched: only http:// and https:// are")
    make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = make(parts.hostname, port, timeout=_left(address, deadline))
    watch = threading.Timer(0, lambda: None)
    try:
        connection.connect()
        # Time limits of a socket are for one read each; this one ends the conversation.
        watch = threading.Timer(_left(address, deadline), _hang_up, [connection.sock])
        watch.daemon = True
        watch.start()
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"User-Agent": "embedkit", "Accept": "image/*", "Accept-Encoding": "identity"}
        connection.request("GET", target, headers=headers)
        answer = connection.getresponse()
        length = answer.length or 0
        if length > MAX_BYTES:
            raise FetchError(f"{address} is {length / 2**20:.0f} MiB; {_limit()}")
        body = answer.read(MAX_BYTES + 1)
        _left(address, deadline)
        if len(body) > MAX_BYTES:
            raise FetchError(f"{address} is too large; {_limit()}")
        if len(body) < length:
            raise FetchError(f"{address} stopped after {len(body)} of {length} bytes")
        return answer.status, answer.getheader("Location"), body
    except FetchError:
        raise
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        _left(address, deadline)
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise FetchError(f"{address} cannot be fetched: {reason}") from None
    finally:
        watch.cancel()
        connection.close()


def _left(address: str, deadline: float) -> float:
    """Return the seconds that are left.

    Raises:
        FetchError: there are none.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise FetchError(f"{address} took longer than {SECONDS:.0f} s")
    return left


def _limit() -> str:
    return f"at most {MAX_BYTES // 2**20} MiB are fetched"


def _hang_up(sock: socket.socket) -> None:
    with suppress(OSError):  # it may have ended by itself
        sock.shutdown(socket.SHUT_RDWR)
