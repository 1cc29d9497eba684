"""Ray itself: one of our own that nobody else reaches, or a cluster that is there already."""

import atexit
import importlib
import os
import secrets
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from logging import ERROR
from pathlib import Path
from typing import Any

from embedkit.errors import InputError
from embedkit.workers import usable_cores

MEMORY = 128 * 2**20  # bytes; of Ray's object store; what is larger, it keeps in its folder
TEMPORARY = Path("/tmp")  # sockets lie below, whose paths must not be long


def load_ray() -> Any:
    """Return Ray.

    Raises:
        InputError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray is loaded
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise InputError("--engine ray needs Ray; pip install 'embedkit[ray]'") from None


def check_address(address: str) -> None:
    """Refuse an address where nobody answers; Ray itself would try for many minutes.

    Raises:
        InputError: it is none, or nobody answers.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise InputError(
            f"--ray-address is {address!r}; give HOST:PORT as 'ray start' says it, on a machine of "
            "the cluster; all of its machines have to see the pictures and the store's folder"
        )
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"no Ray cluster answers at {address}: {error}") from None


@contextmanager
def joined(ray: Any, address: str) -> Iterator[None]:
    """Be a driver of a cluster.

    Raises:
        InputError: what answers at the address is none, or takes none.
    """
    with _initialized(ray, f"be joined at {address}", {"address": address}):
        yield


@contextmanager
def started(ray: Any, cores: int) -> Iterator[None]:
    """Have a Ray on this machine, and nothing of it afterwards.

    It listens on the loopback address alone, and does only what comes with a token that is in the
    environment of its processes, where no other user reads it; Ray's own lies in a file.

    Args:
        ray: not initialized.
        cores: that a worker needs; those of this machine if they are more.

    Raises:
        InputError: it does not start.
    """
    above = os.environ.get("RAY_TMPDIR") or (TEMPORARY if TEMPORARY.is_dir() else None)
    try:
        folder = tempfile.mkdtemp(prefix="embedkit-ray-", dir=above)
    except OSError as error:
        raise InputError(f"Ray cannot be started: {above} takes no folder: {error}") from None
    clean = partial(shutil.rmtree, folder, ignore_errors=True)
    # What Ray began before it failed to start, it ends at Python's exit, which goes backwards.
    atexit.register(clean)
    options = {
        "address": "local",
        "num_cpus": max(usable_cores(), cores),
        "include_dashboard": False,
        "object_store_memory": MEMORY,
        "_temp_dir": folder,
    }
    given = any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    token = {} if given else {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    mode = {"RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "token")}
    constants: Any = importlib.import_module("ray._private.ray_constants")
    reaches_out = constants.ENABLE_RAY_CLUSTER
    # With it Ray would listen on all addresses, as a machine of a cluster has to.
    constants.ENABLE_RAY_CLUSTER = False
    try:
        with _environment(token | mode):
            _look_again(ray)
            with _initialized(ray, "be started", options):
                yield
    finally:
        _look_again(ray)
        constants.ENABLE_RAY_CLUSTER = reaches_out
        clean()


@contextmanager
def _initialized(ray: Any, what: str, options: dict[str, Any]) -> Iterator[None]:
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**options, logging_level=ERROR, log_to_driver=False)
    except Exception as error:  # noqa: BLE001 (Ray raises plain ones)
        raise InputError(f"Ray cannot {what}: {plain(error)}") from None
    finally:
        signal.signal(signal.SIGTERM, handler)  # Ray's own ends the process on the spot
    # Else Ray writes to standard output, where results are, when a worker dies.
    ray._private.worker._worker_logs_enabled = False
    try:
        yield
    finally:
        ray.shutdown(wait_for_processes=True)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _look_again(ray: Any) -> None:
    """Have Ray look into the environment for its token, which it does once in a process."""
    ray._raylet.Config.initialize("")
    ray._raylet.AuthenticationTokenLoader.instance().reset_cache()


def plain(error: Exception) -> str:
    """Return the last line of Ray's message, where it says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
