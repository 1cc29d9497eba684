"""Another tool's copies among CIFAR-10's test and train pictures, for `twins.py`.

Runs in the environment of that tool: `python twin_rivals.py NAME FOLDER` prints JSON, the pairs of
a test and a train picture by threshold. Each tool has the same pictures in one folder.
"""

import json
import sys
import tempfile
from itertools import combinations
from pathlib import Path


def flat(root: Path, folder: Path) -> list[Path]:
    """Link all pictures into one folder, under names that say where they come from."""
    made = []
    for side in ("test", "train"):
        for path in sorted((root / side).glob("*/*.jpg")):
            link = folder / "__".join(path.relative_to(root).parts)
            link.write_bytes(path.read_bytes())
            made.append(link)
    return made


def named(path: str) -> str:
    return Path(path).name.replace("__", "/")


def across(groups) -> list[tuple[str, str]]:
    """Return the pairs of a test and a train picture among groups of copies."""
    pairs = set()
    for group in groups:
        for pair in combinations(sorted(set(map(named, group))), 2):
            if pair[0].startswith("test") and pair[1].startswith("train"):
                pairs.add(pair)
    return sorted(pairs)


def imagededup(folder: Path) -> dict:
    """Perceptual hashes, by the bits that may differ (10 is its default)."""
    from imagededup.methods import PHash

    found = {}
    hasher = PHash(verbose=False)
    codes = hasher.encode_images(image_dir=str(folder))
    for bits in (4, 8, 10, 12):
        near = hasher.find_duplicates(encoding_map=codes, max_distance_threshold=bits)
        found[f"pHash, {bits} bits"] = across((a, b) for a, others in near.items() for b in others)
    return found


def fastdup(folder: Path) -> dict:
    """Its own features, by the least similarity (0.9 is its default)."""
    import fastdup as tool

    work = tempfile.mkdtemp()
    run = tool.create(input_dir=str(folder), work_dir=work)
    run.run(threshold=0.8, ccthreshold=0.9, nearest_neighbors_k=5, verbose=False)
    table = run.similarity()
    found = {}
    for least in (0.9, 0.95):
        part = table[table["distance"] >= least]
        names = zip(part["filename_from"], part["filename_to"], strict=True)
        found[f"similarity {least}"] = across(names)
    return found


def cleanvision(folder: Path) -> dict:
    """Perceptual hashes that are equal, as it is delivered."""
    from cleanvision import Imagelab

    lab = Imagelab(data_path=str(folder))
    lab.find_issues({"exact_duplicates": {}, "near_duplicates": {}})
    return {"as delivered": across(lab.info["near_duplicates"]["sets"])}


def fiftyone(folder: Path) -> dict:
    """Its leaky splits; it needs a MongoDB server, which it fetches from the network."""
    import fiftyone as tool
    import fiftyone.brain as brain

    data = tool.Dataset("twins")
    for path in sorted(folder.glob("*.jpg")):
        side = named(path.name).split("/")[0]
        data.add_sample(tool.Sample(filepath=str(path), tags=[side]))
    index = brain.compute_leaky_splits(data, splits=["test", "train"])
    groups = [[id_, *near] for id_, near in index.neighbors_map.items()]
    paths = dict(zip(data.values("id"), data.values("filepath"), strict=True))
    return {"as delivered": across([paths[one] for one in group] for group in groups)}


TOOLS = {
    "imagededup": imagededup,
    "fastdup": fastdup,
    "cleanvision": cleanvision,
    "fiftyone": fiftyone,
}


def main() -> None:
    name, root = sys.argv[1], Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "pictures"
        folder.mkdir()
        flat(root, folder)
        found = {"imagededup": imagededup, "fastdup": fastdup, "cleanvision": cleanvision}[name](
            folder
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
