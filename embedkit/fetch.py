"""One picture from the web: http and https only, public addresses only, bounded in every way.

An address may come from somebody else (a table of links, a form), and this machine may reach what
they may not: its own services, a cloud's metadata, the network that it stands in. So a name is
resolved once, every address that it has must be a public one, and the connection is made to that
very address; each redirect is treated as a new one.
"""

import http.client
import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from embedkit.errors import FetchError

SECONDS = 10.0
MAX_BYTES = 20 * 2**20
REDIRECTS = 3
PORTS = (80, 443)
# Networks that lead inwards or into another protocol's addresses. Python's own `is_global` differs
# from release to release (3.11.7 takes 192.0.0.8 and 64:ff9b:1::1 for public ones).
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24"),
        *("192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    )
)
# Of the sixth version only what is given to networks is public, less what stands for addresses of
# the fourth (Teredo, 6to4) or is for examples and identifiers.
_PUBLIC_6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    ipaddress.IPv6Network(network)
    for network in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)


class PrivateAddress(str):
    """An address that may lead to this machine or a network that is not public.

    Whoever hands it over says so; a plain text may not.
    """

    __slots__ = ()


def allow_private(inputs: Iterable[str]) -> list[str]:
    """Return inputs as they are, the addresses among them as such that may be private."""
    return [PrivateAddress(one) if is_address(one) else one for one in inputs]


def is_address(text: str) -> bool:
    """Say whether a text is the address of something on the web rather than a path."""
    return "://" in text


def fetch(address: str) -> bytes:
    """Return what is behind an address.

    Everything together, looking up names and redirects included, takes at most `SECONDS`; a server
    that sends a byte now and then is cut off too.

    Args:
        address: of the public network, also after redirects, unless it is a `PrivateAddress`.

    Raises:
        FetchError: not http or https, not a public address, no answer, too slow, too large, too
            many redirects.
    """
    deadline = time.monotonic() + SECONDS
    current, private = str(address), isinstance(address, PrivateAddress)
    for _ in range(REDIRECTS + 1):
        status, location, body = _get(current, deadline, private)
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


def is_public(ip: str) -> bool:
    """Say whether an address, as resolving a name returns it, is one of the public network."""
    found = ipaddress.ip_address(ip)
    if isinstance(found, ipaddress.IPv4Address):
        return not any(found in network for network in _NOT_PUBLIC)
    inside = found in _PUBLIC_6 and found.scope_id is None
    return inside and not any(found in network for network in _NOT_PUBLIC_6)


def _get(address: str, deadline: float, private: bool) -> tuple[int, str | None, bytes]:
    parts, port = _parts(address, private)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(str(parts.hostname), port)
    else:
        connection = http.client.HTTPConnection(str(parts.hostname), port)
    watch = threading.Timer(0, lambda: None)
    try:
        connection.sock = _connected(address, parts, port, deadline, private)
        # Time limits of a socket are for one read each; this one ends the conversation.
        watch = threading.Timer(_left(address, deadline), _hang_up, [connection.sock])
        watch.daemon = True
        watch.start()
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"User-Agent": "embedkit", "Accept": "image/*", "Accept-Encoding": "identity"}
        connection.request("GET", target, headers=headers)
        answer = connection.getresponse()
        if answer.getheader("Content-Encoding", "identity").lower() != "identity":
            raise FetchError(f"{address} is sent packed, which was not asked for")
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
    except (OSError, http.client.HTTPException, UnicodeError, ValueError) as error:
        _left(address, deadline)
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise FetchError(f"{address} cannot be fetched: {reason}") from None
    finally:
        watch.cancel()
        connection.close()


def _parts(address: str, private: bool) -> tuple[SplitResult, int]:
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise FetchError(f"{address} is no address: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise FetchError(f"{address} is not fetched: only http:// and https:// are")
    if port is None:
        port = 443 if parts.scheme == "https" else 80
    if port not in PORTS and not private:
        raise FetchError(
            f"{address} is not fetched: port {port} is not the web's (80 and 443 are); if it is "
            "meant to: --allow-private"
        )
    return parts, port


def _connected(
    address: str, parts: SplitResult, port: int, deadline: float, private: bool
) -> socket.socket:
    """Return a connection to an address that was looked at, under the name that was asked for.

    Raises:
        FetchError: not a public address, too slow.
        OSError: nobody there, or not whom the name says.
    """
    host = str(parts.hostname)
    found = _resolved(address, host, port, deadline)
    for _, _, _, _, place in found:
        if not private and not is_public(str(place[0])):
            raise FetchError(
                f"{address} is not fetched: {host} leads to {place[0]}, which is not public; if it "
                "is meant to: --allow-private"
            )
    refused: OSError = OSError("it has no address")
    for family, kind, protocol, _, place in found:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(_left(address, deadline))
            sock.connect(place)
            if parts.scheme == "https":
                sock.settimeout(_left(address, deadline))
                return ssl.create_default_context().wrap_socket(sock, server_hostname=host)
        except OSError as error:
            sock.close()
            refused = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise refused


def _resolved(address: str, host: str, port: int, deadline: float) -> list[tuple[Any, ...]]:
    """Look up a name, for no longer than there is time: the system's own limit is minutes."""
    answers: queue.Queue[list[tuple[Any, ...]] | Exception] = queue.Queue()

    def look_up() -> None:
        try:
            answers.put(list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=look_up, daemon=True).start()
    try:
        found = answers.get(timeout=_left(address, deadline))
    except queue.Empty:
        found = []
        _left(address, 0)
    if isinstance(found, Exception):
        raise found
    return found


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
