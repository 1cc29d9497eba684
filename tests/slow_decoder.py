"""What runs in a decoder that hangs, crashes and grows as it is told."""

import os
import signal
import time

from embedkit import decoders


def serve_slowly() -> None:
    """Do what is asked for; one second of CPU time is too long."""
    decoders.SECONDS = 0

    def answer(question, data):
        match question["do"]:
            case "loop":
                while True:
                    pass
            case "wait":
                time.sleep(600)
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "grow":
                bytearray(decoders.MEMORY + 2**26)
            case "talk":
                os.write(1, b"no answer")
                os.write(2, b"TIFFReadDirectory: Warning")
        return {"done": question["do"]}, data[::-1]

    decoders.serve(answer)
