"""One process that makes all that embedkit makes of a folder; see test_determinism.py.

Run as `python every_output.py FOLDER BACKBONE THREADS BLOCK` where FOLDER holds `faces/`.
"""

import sys
from pathlib import Path

from embedkit_cli.app import main

from embedkit.pipeline import embed

# Of every command that writes a file; what begins with ./ lies in the folder.
COMMANDS = """
info ./store
audit ./store --report ./audit.json --report ./page.html --report ./page.md
train ./store -o ./head.safetensors
train ./store --head knn -o ./knn.safetensors
explain ./store IMAGE --head knn -o ./card.png
search ./store ./faces/IMAGE --sheet ./sheet.png
split ./store -o ./split.csv
clean ./store -o ./clean.csv
export ./store --to parquet -o ./rows.parquet
export ./store --to npy -o ./arrays
export ./store --to projector -o ./projector
export ./head.safetensors --to onnx -o ./head.onnx
"""
# Half a minute of compiling; not for the control that sees pixels only.
SLOW = """
export ./store --to atlas -o ./atlas.parquet
map ./store -o ./map.html
"""


def make(folder: Path, backbone: str, threads: int, block: int) -> None:
    """Embed, then run every command."""
    faces = folder / "faces"
    store = embed(faces, folder / "store", backbone=backbone, block=block, threads=threads)
    image = store.items.ids[0]
    commands = COMMANDS if backbone == "pixels" else COMMANDS + SLOW
    for line in filter(None, commands.splitlines()):
        words = line.replace("IMAGE", image).replace("./", f"{folder}/").split()
        if main(words) != 0:
            sys.exit(f"failed: {line}")


if __name__ == "__main__":
    make(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
