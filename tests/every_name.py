"""Take a file of every odd name through the commands, in a process of any locale.

Run as `python every_name.py short|whole` in an empty folder; see test_names.py.
"""

import csv
import io
import json
import sys
from pathlib import Path

from explorers import Client
from hostile import NAMES, called, make_hostile

from embedkit import cells
from embedkit.explorer.serving import serve
from embedkit.files import sha256
from embedkit.items import id_of_path
from embedkit.store import Store

# Of every command that takes ids or shows them. ASKED and LIKED are files, ID and LIKE their ids.
COMMANDS = """
scan f
embed f -b pixels -o store
info store --deep
index store
search store f/ASKED
train store --head knn -o knn.safetensors
predict knn.safetensors f/test f/NONE
split store -o split.csv --json
embed split.csv --root f -b pixels -o again
subset store --where split='train' -o train
subset store --where split='test' -o test
merge train test -o both
reviews store -o reviews.csv
export store --to npy -o npy
export store --to parquet -o items.parquet
export store --to projector -o projector
export store --to fiftyone -o fiftyone
forget both ID
forget both LIKE --yes --sheet meant.png
forget both --list
forget both --lift f/LIKED
""".strip().splitlines()
# What takes a second or more each.
LONGER = """
evaluate knn.safetensors
compare store -o compared
explain store f/ASKED --head knn -o card.png
audit store --check twins --limit leakage=0 --report a.html --report a.md --report a.json
audit store --check twins --format github
audit store --check twins --format junit
audit store --write-baseline known.json
audit store --baseline known.json --json
report store -o r.html -o r.md -o r.json
map store -o m.html --json
clean store -o clean.csv --json
export store --to atlas -o atlas.parquet
forget both --like ID --yes
""".strip().splitlines()
NONE = "no\x1b[2J\nsuch\udce9.png"
FOUND = 1  # status of a limit that is exceeded


def whole_way(*, longer: bool, encoding: str) -> str:
    """Take every name through the commands; return what was counted."""
    paths = make_hostile(Path("f"))
    hashes = {id_of_path(path): sha256(Path("f", path).read_bytes()) for path in paths}
    asked, liked = (
        next(path for path in paths if one in path and path.startswith("test"))
        for one in ("\udce9/", "\n")
    )
    words = {"f/ASKED": f"f/{asked}", "f/LIKED": f"f/{liked}", "f/NONE": f"f/{NONE}"}
    words |= {"ID": id_of_path(asked), "LIKE": id_of_path(liked)}
    shown = 0
    lines = COMMANDS + LONGER * longer
    for line in lines:
        command = [words.get(word, word) for word in line.split()]
        answers = [called(*command, encoding=encoding)]
        if not {"--json", "--yes", "--format", "--lift"} & set(command):
            command.append("--json")
            answers.append(called(*command, encoding=encoding))
        if "--json" in command:
            shown += ids_in(json.loads(answers[-1][1]), hashes)
        for status, out, err in answers:
            assert status == (FOUND if "--limit" in command else 0), (line, err)
            odd = {one for one in out + err if not one.isprintable()} - {"\n"}
            assert not odd, (line, odd)
    for store in ("store", "again"):
        assert held(Store.open(store)) == hashes, store
    left = held(Store.open("both"))
    assert left.items() < hashes.items()
    assert words["LIKE"] not in left
    n_cells = 0
    for table in ["split.csv", "reviews.csv"] + ["clean.csv"] * longer:
        text = Path(table).read_bytes().decode("utf-8", "surrogateescape")
        every = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
        assert all(cells.guarded(cells.bare(cell)) == cell for cell in every), table
        n_cells += len(every)
    with serve(Path("store")) as served:
        client = Client(served)
        listed = client.get("pictures")[1]["pictures"]
        assert {row["id"] for row in listed} <= hashes.keys()
        for row in range(len(paths)):
            assert client.send("GET", f"{client.at}picture/{row}")[0] == 200
    return (
        f"{len(NAMES)} names in 2 classes through {len(lines)} commands and the explorer, "
        f"{sys.getfilesystemencoding()}: {len(paths)} files found again, {shown} ids in JSON as "
        f"they are, 0 control characters printed, 0 formulas in {n_cells} cells"
    )


def held(store: Store) -> dict[str, object]:
    """Return the hash of each image of a store, by id."""
    return dict(zip(store.items.ids, store.items.column("sha256"), strict=True))


def ids_in(document: object, known: dict[str, str]) -> int:
    """Count the ids in a JSON document, all of which must be known; every text must be Unicode."""
    if isinstance(document, list):
        return sum(ids_in(one, known) for one in document)
    if not isinstance(document, dict):
        str(document).encode()
        return 0
    own = [document[key] for key in ("id", "a", "b") if isinstance(document.get(key), str)]
    assert set(own) - {id_of_path(f"f/{NONE}")} <= known.keys(), own
    return len(own) + sum(ids_in(one, known) for one in document.values())


if __name__ == "__main__":
    print(whole_way(longer=sys.argv[1] == "whole", encoding=sys.stdout.encoding))
