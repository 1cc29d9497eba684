"""Doors: which requests are let in at all. Loopback is shared with every program and web page.

A web page elsewhere can make the browser send requests here, and by DNS rebinding even read the
answers; so the Host must be ours, a secret must be known, and what writes must come from our page.
"""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request, cookie_parser
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from embedkit.images import MAX_BYTES

WRITING = "X-Embedkit-Writing"
READS = ("GET", "HEAD")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Pictures of people must not stay in the browser's folder.
    "Cache-Control": "no-store",
}


def _secret() -> str:
    return secrets.token_urlsafe(24)


@dataclass(frozen=True)
class Keys:
    """The secrets of one run of the server.

    Attributes:
        token: in the address that is printed.
        cookie: that the page gets in exchange.
        writing: that the page's own scripts send with what changes something; a form or picture
            on another page cannot.
        tickets: that stand for the token once; a browser that is started with one shows nothing
            of worth to those who list processes.
    """

    token: str = field(default_factory=_secret)
    cookie: str = field(default_factory=_secret)
    writing: str = field(default_factory=_secret)
    tickets: set[str] = field(default_factory=set)

    def ticket(self) -> str:
        """Return a token that can be used once."""
        made = _secret()
        self.tickets.add(made)
        return made

    def admits(self, token: str) -> bool:
        """Say whether a token lets in; a ticket is used up by that."""
        if same(token, self.token):
            return True
        if token in self.tickets:
            self.tickets.discard(token)
            return True
        return False


class Doors:
    """Middleware that answers what must not come through, and seals what goes out."""

    def __init__(self, app: ASGIApp, *, keys: Keys, port: Callable[[], int]) -> None:
        self._app, self._keys, self._port = app, keys, port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request in, or say why not."""
        if scope["type"] != "http":
            return
        refusal = self._refusal(Request(scope))

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        if refusal is not None:
            await refusal(scope, receive, sealed)
        else:
            await self._app(scope, _Limited(receive).receive, sealed)

    def _refusal(self, request: Request) -> Response | None:
        headers, port = request.headers, self._port()
        own = (f"127.0.0.1:{port}", f"localhost:{port}")
        if headers.getlist("host") not in ([own[0]], [own[1]]):
            return PlainTextResponse("This is not the host that was asked for.", 421)
        if headers.get("origin") not in (None, *(f"http://{one}" for one in own)):
            return _refused("requests of other pages are not answered")
        first = request.url.path == "/" and "token" in request.query_params
        if first and self._keys.admits(request.query_params["token"]):
            return None if request.method in READS else _refused("the first request reads")
        if not same(_cookie(headers, port), self._keys.cookie):
            return PlainTextResponse(
                "Open the whole address that 'embedkit view' printed: it ends in ?token=...", 403
            )
        if headers.get("sec-fetch-site") not in (None, "same-origin", "none"):
            return _refused("requests of other pages are not answered")
        if request.method not in READS and not same(headers.get(WRITING, ""), self._keys.writing):
            return _refused("this request does not come from the page of 'embedkit view'")
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()) or int(length[:20]) > MAX_BYTES:
            return JSONResponse({"error": f"at most {MAX_BYTES // 2**20} MiB are read"}, 413)
        return None


class _Limited:
    """A body that ends where it gets too long, also one that does not say how long it is."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self._seen = receive, 0

    async def receive(self) -> Message:
        message = await self._receive()
        self._seen += len(message.get("body", b""))
        return {"type": "http.disconnect"} if self._seen > MAX_BYTES else message


def cookie_name(port: int) -> str:
    """Return the name of our cookie: ports of one host share their cookies."""
    return f"embedkit-{port}"


def same(given: str, secret: str) -> bool:
    """Compare in a time that says nothing of the secret."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode())


def _cookie(headers: Headers, port: int) -> str:
    # Those of other servers of this machine come along, whatever they look like.
    return cookie_parser(headers.get("cookie", "")).get(cookie_name(port), "")


def _refused(why: str) -> Response:
    return JSONResponse({"error": why}, 403)
