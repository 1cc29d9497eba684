"""Names that a file may have and that nobody expects, and the way of a picture through embedkit."""

import contextlib
import io
import os
import unicodedata
from pathlib import Path

import numpy as np
from embedkit_cli.app import main
from PIL import Image

END = b".png"
NAMES = {
    "255 bytes": b"n" * 251,
    "no UTF-8": b"caf\xe9",
    "emoji": "\N{GRINNING FACE}\N{ZERO WIDTH JOINER}\N{FIRE}".encode(),
    "new line": b"new\nline",
    "carriage return": b"car\rriage",
    "tab": b"\ttab",
    "escape code": b"\x1b[31mred",
    "composed": unicodedata.normalize("NFC", "\u00e9t\u00e9").encode(),
    "decomposed": unicodedata.normalize("NFD", "\u00e9t\u00e9").encode(),
    "right to left": "\u202egnp".encode(),
    "dash": b"-o",
    "formula =": b"=cmd|' /C calc'!A0",
    "formula +": b"+1+1",
    "formula -": b"-1-1",
    "formula @": b"@SUM(1)",
    "percent": b"%2e%2e%2fpasswd",
    "quotes": b'"a\', b"',
    "comma": b"a,b;c",
    "spaces": b"  two",
    "backslash": b"\\x41\\\\",
    "markup": b"<script>alert(1)<\xe2\x88\x95script>",
    "attribute": b"\" onerror='alert(1)",
    "command": b"$(touch x)`touch y`",
}


def make_hostile(root: Path, per: int = 3) -> list[str]:
    """Draw a picture under each name, in folders whose names are no better, beside plain ones.

    Names next to each other are copies.

    Returns:
        the paths, relative to `root`.
    """
    classes = (b"=1+1", b"<b>@\xe9")
    paths = []
    for number, name in enumerate(
        [one + END for one in NAMES.values()]
        + [b"plain %d.png" % one for one in range(per * len(classes))]
    ):
        for place, class_ in enumerate(classes):
            split = b"test" if number % 3 == 0 else b"train"
            paths.append(os.fsdecode(split + b"/" + class_ + b"/" + name))
            path = root / paths[-1]
            path.parent.mkdir(parents=True, exist_ok=True)
            generator = np.random.default_rng([number // 2, place])
            pixels = generator.integers(0, 128, (16, 16, 3)) + 100 * place
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    return paths


def called(*arguments: object, encoding: str = "utf-8") -> tuple[int, str, str]:
    """Run a command in this process, its streams of an encoding; return its status and words."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2)]
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        status = main([str(one) for one in arguments])
    for stream in streams:
        stream.flush()
    out, err = (stream.buffer.getvalue().decode(encoding) for stream in streams)
    return status, out, err
