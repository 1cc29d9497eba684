"""What another tool is asked about a folder of pictures, for `whole_audit.py`.

Runs in the environment of that tool: `python audit_rivals.py NAME FOLDER VECTORS` prints JSON. The
folder is laid out as split/class; VECTORS is a file with a row for each picture in the order of
their sorted paths, for the tools that would have to download a network of their own.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import numpy as np
from pair_rivals import peak

FOLDS = 5
DATABASE = "its database (mongod)"


class Asked:
    """Questions put to a tool: seconds of this process, and how many pictures each named."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = {}
        self.named: dict[str, int] = {}

    @contextmanager
    def about(self, question: str) -> Iterator[None]:
        """Take the CPU time of a question; children are not in it."""
        began = time.process_time()
        yield
        self.cpu[question] = time.process_time() - began


def pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def out_of_fold(vectors: np.ndarray, labels: list[str]) -> np.ndarray:
    """Return class probabilities of a head that has not seen the picture, as the tools ask for."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    head = LogisticRegression(max_iter=1000)
    return cross_val_predict(head, vectors, labels, cv=FOLDS, method="predict_proba")


def fastdup(folder: Path, vectors: Path) -> Asked:
    """Its own network: copies, outliers, brightness and sharpness, files that cannot be read."""
    import fastdup as tool

    asked = Asked()
    with tempfile.TemporaryDirectory() as work:
        with asked.about("embedding, neighbours, statistics"):
            lab = tool.create(input_dir=str(folder), work_dir=work)
            lab.run(verbose=False)
        with asked.about("copies"):
            asked.named["copies"] = len(lab.similarity())
        with asked.about("outliers"):
            asked.named["outliers"] = len(lab.outliers())
        with asked.about("brightness and sharpness"):
            asked.named["brightness and sharpness"] = len(lab.img_stats())
        with asked.about("unreadable files"):
            asked.named["unreadable files"] = len(lab.invalid_instances())
    return asked


def cleanvision(folder: Path, vectors: Path) -> Asked:
    """All its checks: copies by hash, dark, light, blurry, odd in size or shape, low content."""
    from cleanvision import Imagelab

    asked = Asked()
    with asked.about("all checks"):
        lab = Imagelab(data_path=str(folder))
        lab.find_issues()
    named = zip(lab.issue_summary["issue_type"], lab.issue_summary["num_images"], strict=True)
    asked.named = {name: int(count) for name, count in named}
    return asked


def cleanlab(folder: Path, vectors: Path) -> Asked:
    """Datalab's checks of labels and of vectors."""
    from cleanlab import Datalab

    asked = Asked()
    features = np.load(vectors)
    labels = [path.parent.name for path in pictures(folder)]
    with asked.about(f"answers of a head, {FOLDS}-fold (scikit-learn)"):
        answers = out_of_fold(features, labels)
    with asked.about("all checks of labels and vectors"):
        lab = Datalab(data={"label": labels}, label_name="label", verbosity=0)
        lab.find_issues(pred_probs=answers, features=features)
    summary = lab.get_issue_summary()
    named = zip(summary["issue_type"], summary["num_issues"], strict=True)
    asked.named = {name: int(count) for name, count in named}
    return asked


def fiftyone(folder: Path, vectors: Path) -> Asked:
    """Brain's checks: copies, leaks across splits, uniqueness, mistakes, hardness."""
    os.environ["FIFTYONE_DO_NOT_TRACK"] = "true"
    os.environ["FIFTYONE_DATABASE_DIR"] = tempfile.mkdtemp()
    import fiftyone as tool
    import fiftyone.brain as brain

    asked = Asked()
    features = np.load(vectors)
    paths = pictures(folder)
    labels = [path.parent.name for path in paths]
    with asked.about(f"answers of a head, {FOLDS}-fold (scikit-learn)"):
        answers = out_of_fold(features, labels)
    names = sorted(set(labels))
    with asked.about("data set"):
        data = tool.Dataset()
        data.add_samples(
            tool.Sample(
                filepath=str(path),
                tags=[path.parent.parent.name],
                truth=tool.Classification(label=label),
                answer=tool.Classification(
                    label=names[int(row.argmax())],
                    confidence=float(row.max()),
                    logits=np.log(np.maximum(row, 1e-12)),
                ),
            )
            for path, label, row in zip(paths, labels, answers, strict=True)
        )
    splits = sorted({path.parent.parent.name for path in paths})
    with asked.about("exact copies"):
        exact = brain.compute_exact_duplicates(data)
        asked.named["exact copies"] = len(exact)
    with asked.about("near copies"):
        near = brain.compute_near_duplicates(data, embeddings=features)
        asked.named["near copies"] = len(near.duplicate_ids)
    with asked.about("leaks across splits"):
        leaks = brain.compute_leaky_splits(data, splits=splits, embeddings=features)
        asked.named["leaks across splits"] = len(leaks.leak_ids)
    with asked.about("uniqueness"):
        brain.compute_uniqueness(data, embeddings=features)
    with asked.about("mistakenness"):
        brain.compute_mistakenness(data, "answer", label_field="truth", use_logits=True)
    with asked.about("hardness"):
        brain.compute_hardness(data, "answer")
    asked.cpu[DATABASE] = database_seconds()
    return asked


def database_seconds() -> float:
    """Return the CPU seconds of the database that FiftyOne started; it outlives this process."""
    import psutil

    seconds = 0.0
    for process in psutil.Process().children(recursive=True):
        if process.name() == "mongod":
            times = process.cpu_times()
            seconds += times.user + times.system
    return seconds


TOOLS: dict[str, Callable[[Path, Path], Asked]] = {
    "fastdup": fastdup,
    "cleanvision": cleanvision,
    "cleanlab": cleanlab,
    "fiftyone": fiftyone,
}
PACKAGES = {"fiftyone": ("fiftyone", "fiftyone-brain"), "cleanlab": ("cleanlab", "scikit-learn")}


def main() -> None:
    name, folder, vectors = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a tool says of itself is no answer
    asked = TOOLS[name](folder, vectors)
    versions = {one: metadata.version(one) for one in PACKAGES.get(name, (name,))}
    answer = {"cpu": asked.cpu, "named": asked.named, "versions": versions}
    answer["peak"] = peak()
    print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
