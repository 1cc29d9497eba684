"""Engines: where the work of embedding runs."""

from contextlib import AbstractContextManager, nullcontext

from embedkit.engines.local import Block, Engine, LocalEngine, Maker
from embedkit.errors import InputError

__all__ = ["ENGINES", "Block", "Engine", "LocalEngine", "Maker", "choose_engine"]

ENGINES = ("local", "ray")


def choose_engine(
    name: str, *, threads: int | None = None, address: str | None = None
) -> AbstractContextManager[Engine]:
    """Return the engine of a name, as a context in which it can be used.

    Args:
        name: one of `ENGINES`.
        threads: of this process, or of each of Ray's workers.
        address: of a Ray cluster; None to start Ray on this machine.

    Raises:
        InputError: there is none of that name, Ray is not installed, or the address is not Ray's.
    """
    if name not in ENGINES:
        raise InputError(f"--engine is {name!r}; known are {', '.join(ENGINES)}")
    if name == "local":
        if address is not None:
            raise InputError("--ray-address belongs to --engine ray")
        return nullcontext(LocalEngine(threads))
    from embedkit.engines.ray import RayEngine

    return RayEngine(address, threads)
