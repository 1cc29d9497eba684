"""Serving: the explorer on loopback, from when it listens until it is told to end."""

import os
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from embedkit.errors import EmbedkitError, InputError
from embedkit.explorer.app import Explorer
from embedkit.explorer.states import Watch
from embedkit.images import strict_pillow

HOST = "127.0.0.1"
PATIENCE = 10.0  # seconds that the server may take to start, and to end


@dataclass(frozen=True, slots=True)
class Served:
    """A running explorer.

    Attributes:
        address: to open, with the token in it.
        port: that it listens on.
        ticket: address that can be opened once.
    """

    address: str
    port: int
    ticket: str


@contextmanager
def serve(
    store: Path,
    *,
    label: str = "label",
    backbone: str | None = None,
    port: int = 0,
    blur_faces: bool = False,
) -> Iterator[Served]:
    """Serve a store's explorer on 127.0.0.1 while the block runs.

    Args:
        store: folder of the store.
        label: column with the class.
        backbone: which space; can be left out where there is only one.
        port: to listen on; 0 for one that is free.
        blur_faces: whether faces in pictures are made unrecognisable.

    Raises:
        InputError: no such store, column or space, or the port is taken.
    """
    explorer = Explorer(Watch(store, label=label, backbone=backbone, blur_faces=blur_faces))
    listening = _listen(port)
    explorer.port = int(listening.getsockname()[1])
    server = uvicorn.Server(
        uvicorn.Config(
            explorer.app,
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
    )
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    try:
        with strict_pillow():
            thread.start()
            _wait_for(server, thread)
            page = f"http://{HOST}:{explorer.port}/?token="
            keys = explorer.keys
            yield Served(page + keys.token, explorer.port, page + keys.ticket())
    finally:
        server.should_exit = True
        explorer.close()
        thread.join(PATIENCE)
        listening.close()


def wait() -> None:
    """Return when the user has had enough (Ctrl-C)."""
    with suppress(KeyboardInterrupt):
        threading.Event().wait()


def open_browser(served: Served) -> bool:
    """Open the explorer in the user's browser, and say whether there is one.

    Without a screen there is none: a browser of the terminal would take the terminal over.
    """
    screen = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    return screen and webbrowser.open(served.ticket)


def _listen(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except OSError as error:
        listening.close()
        raise InputError(
            f"port {port} of {HOST} cannot be listened on: {error.strerror}; without --port a free "
            "one is taken"
        ) from None
    return listening


def _wait_for(server: uvicorn.Server, thread: threading.Thread) -> None:
    until = time.monotonic() + PATIENCE
    while not server.started:
        if not thread.is_alive() or time.monotonic() > until:
            raise EmbedkitError("the explorer's server did not start")
        time.sleep(0.01)
