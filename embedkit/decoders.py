"""Decoders: processes that do what may hang, crash or take all memory, and that can be killed.

What is asked and answered goes through pipes as JSON and raw bytes: a process that a hostile
picture has taken over can send wrong pixels, but nothing that is run here. Its limits are those of
the operating system: processor time, so that a busy machine refuses no more than an idle one, and
address space. Such a process is started when it is first needed, serves one thread at a time, and
ends when it has had nothing to do for a while, or with the process that started it.
"""

import atexit
import json
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from embedkit.errors import UnreadableImageError, WorkerError
from embedkit.workers import machine_memory

SECONDS = 30  # of processor time for one picture; a JPEG 2000 of 63 megapixels and 3 MiB took 3.4
PATIENCE = 300.0  # seconds for one picture, of a decoder that only waits
MEMORY = 2 * 2**30  # bytes more than a decoder has when it starts
GOING = 5.0  # seconds, of one that has closed its end of the pipe
TRIES = 3  # deaths that one picture may have been there at
IDLE = 20.0  # seconds
TOO_LONG = "takes too long"
TOO_MUCH = "takes too much memory"
DIED = "ends its decoder"
# Nothing of a user's script is run again, as `multiprocessing` would; the path is this process's.
_COMMAND = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {} import {}; {}()"

Message = tuple[dict[str, Any], bytes]
Answer = Callable[[dict[str, Any], bytes], Message]


class Decoders:
    """Processes that all answer by the same function, as many as threads ask at once."""

    def __init__(self, module: str, serving: str) -> None:
        """Start none yet.

        Args:
            module: that has the function.
            serving: name of a function that calls `serve`.
        """
        self._command = _COMMAND.format(module, serving, serving)
        self._idle: list[_Decoder] = []
        self._room = threading.BoundedSemaphore(_most())
        atexit.register(self.close)

    def ask(self, question: dict[str, Any], data: bytes) -> Message:
        """Return a process's answer; one that dies is replaced and asked again.

        Raises:
            UnreadableImageError: every process died over it, or it took too long.
            WorkerError: no process can be started.
        """
        with self._room:
            for _ in range(TRIES):
                decoder = self._taken()
                try:
                    answer = decoder.ask(question, data)
                except (OSError, EOFError, ValueError):
                    ended = decoder.end(patience=GOING)
                    if decoder.late:
                        raise UnreadableImageError(f"{TOO_LONG} ({PATIENCE:g} s)") from None
                    if ended == -signal.SIGXCPU:
                        what = f"{SECONDS} s of processor time"
                        raise UnreadableImageError(f"{TOO_LONG} ({what})") from None
                except BaseException:
                    decoder.end()
                    raise
                else:
                    self._idle.append(decoder)
                    return answer
        raise UnreadableImageError(f"{DIED} ({_named(ended)})")

    def processes(self) -> list[int]:
        """Return the ids of the processes that have nothing to do."""
        return [decoder.pid for decoder in self._idle]

    def close(self) -> None:
        """End the processes that have nothing to do."""
        while self._idle:
            self._idle.pop().end()

    def _taken(self) -> "_Decoder":
        with suppress(IndexError):
            while (decoder := self._idle.pop()).ended():
                pass
            return decoder
        return _Decoder(self._command)


class _Decoder:
    """One process.

    Attributes:
        pid: of it.
        late: whether it was killed for its waiting.
    """

    def __init__(self, command: str) -> None:
        self.late = False
        try:
            # A session of its own: Ctrl-C is for those who gave it work.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", command, json.dumps(_path())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,
            )
        except OSError as error:
            raise WorkerError(f"no process can be started to decode pictures in: {error}") from None
        self.pid = self._process.pid

    def ask(self, question: dict[str, Any], data: bytes) -> Message:
        timer = threading.Timer(PATIENCE, self._give_up)
        timer.daemon = True
        timer.start()
        try:
            _send(self._process.stdin, question, data)
            return _received(self._process.stdout)
        finally:
            timer.cancel()

    def ended(self) -> bool:
        """Return whether it is gone; what is left of it is cleared away then."""
        if self._process.poll() is None:
            return False
        self.end()
        return True

    def end(self, patience: float = 0) -> int:
        """Return how it ended; after so many seconds it is killed."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                pipe.close() if pipe else None
        return self._process.wait()

    def _give_up(self) -> None:
        self.late = True
        self._process.kill()


def serve(answer: Answer) -> None:
    """Answer what comes through standard input, until nothing does: the whole of such a process.

    Args:
        answer: to one question; what it raises ends the process.
    """
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)  # where libraries may talk
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, _address_space() + MEMORY)
    # Nothing of a question is ever left in the buffer: the next comes after the answer.
    while select.select([questions], [], [], IDLE)[0]:
        try:
            question, data = _received(questions)
        except EOFError:
            return
        _limit(resource.RLIMIT_CPU, int(time.process_time()) + 1 + SECONDS)
        _send(answers, *answer(question, data))


def _send(pipe: IO[bytes] | None, message: dict[str, Any], data: bytes) -> None:
    if pipe is None:
        raise EOFError
    head = json.dumps([message, len(data)]).encode()
    pipe.write(len(head).to_bytes(4, "big") + head)
    pipe.write(data)
    pipe.flush()


def _received(pipe: IO[bytes] | None) -> Message:
    message, length = json.loads(_exactly(pipe, int.from_bytes(_exactly(pipe, 4), "big")))
    return message, _exactly(pipe, length)


def _exactly(pipe: IO[bytes] | None, n: int) -> bytes:
    data = pipe.read(n) if pipe else b""
    if len(data) < n:
        raise EOFError
    return data


def _limit(what: int, most: int) -> None:
    """Lower one of this process's limits, where the operating system has it."""
    with suppress(OSError, ValueError):
        resource.setrlimit(what, (most, resource.getrlimit(what)[1]))


def _address_space() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:  # no Linux
        return 2**30
    return pages * resource.getpagesize()


def _most() -> int:
    """Return how many processes fit into half of the machine's memory, whatever they take."""
    return max(1, machine_memory() // 2 // MEMORY)


def _path() -> list[str]:
    """Return where this process finds modules; what is relative, from here."""
    return [str(Path(one).resolve()) for one in sys.path]


def _named(ended: int) -> str:
    with suppress(ValueError):
        return signal.Signals(-ended).name
    return f"status {ended}"
