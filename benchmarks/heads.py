"""embedkit's heads beside plain scikit-learn on the same vectors: accuracy, log-loss and CPU time.

Three tasks in one store of 12,420 real pictures (`mixed.py`, space of `mtcnn`): which sample, the
emotions of FER2013, the genders of UTKFace. Both sides choose the same hyper-parameter from the
same values, inside train; what a user of scikit-learn would write. All in one process, in turn,
BLAS on one thread. Figures are kept in `docs/benchmarks/heads.json`; `--store STORE` takes a store
of these pictures that is there already.
"""

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mixed import lay_out
from rivals import keep, kept, options
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from embedkit.heads import knn, penalty
from embedkit.heads.knn import fit_knn
from embedkit.heads.logistic import fit_logistic
from embedkit.pipeline import embed
from embedkit.store import Store
from embedkit.vectors import DoubleArray, FloatArray, IntArray

FOLDS = 5
ITERATIONS = 1000
SAMPLE, TRAIN, TEST = "which sample", "train", "test"


@dataclass(frozen=True)
class Task:
    """Vectors of train and test, and their class numbers."""

    x: FloatArray
    y: IntArray
    test_x: FloatArray
    test_y: IntArray


Contender = Callable[[Task], DoubleArray]


def label_of(identifier: str, task: str) -> str | None:
    """Return the class of a picture in a task, by its place; None where it is not in the task."""
    _, sample, name = identifier.split("/")
    if task == SAMPLE:
        return sample
    if task == "FER2013, emotion" and sample == "fer2013":
        return name.split("__")[1]
    if task == "UTKFace, gender" and sample == "utkface":
        return name.removeprefix("images__").split("_")[1]
    return None


def task_of(store: Store, name: str) -> Task:
    """Return the pictures of a task."""
    labels = [label_of(one, name) for one in store.items.ids]
    classes = sorted({label for label in labels if label})
    y = np.array([classes.index(label) if label else -1 for label in labels])
    splits = np.array(store.items.splits)
    rows = [np.flatnonzero((splits == split) & (y >= 0)) for split in (TRAIN, TEST)]
    vectors = store.space().vectors
    return Task(vectors[rows[0]], y[rows[0]], vectors[rows[1]], y[rows[1]])


def ours(fit: Callable[..., Any]) -> Contender:
    """Fit one of embedkit's heads."""

    def run(task: Task) -> DoubleArray:
        one_each = np.arange(len(task.y))
        n_classes = int(task.y.max()) + 1
        head = fit(task.x, task.y, one_each, n_classes=n_classes, seed=0)
        return np.asarray(head.probabilities(task.test_x))

    return run


def theirs(make: Callable[[], Any]) -> Contender:
    """Fit a model of scikit-learn."""
    return lambda task: np.asarray(make().fit(task.x, task.y).predict_proba(task.test_x))


def logistic_as_delivered() -> Any:
    return LogisticRegression(max_iter=ITERATIONS)


def logistic_chosen() -> Any:
    chosen = {"Cs": penalty.GRID, "cv": FOLDS, "scoring": "neg_log_loss", "l1_ratios": (0,)}
    model = LogisticRegressionCV(**chosen, max_iter=ITERATIONS, use_legacy_attributes=False)
    return make_pipeline(StandardScaler(), model)


def knn_as_delivered() -> Any:
    return KNeighborsClassifier()


def knn_chosen() -> Any:
    model = KNeighborsClassifier(metric="cosine", weights="distance")
    return GridSearchCV(model, {"n_neighbors": knn.GRID}, cv=FOLDS)


FIELD: dict[str, dict[str, Contender]] = {
    "logistic": {
        "embedkit": ours(fit_logistic),
        "scikit-learn, C chosen": theirs(logistic_chosen),
        "scikit-learn as delivered": theirs(logistic_as_delivered),
    },
    "kNN": {
        "embedkit": ours(fit_knn),
        "scikit-learn, k chosen": theirs(knn_chosen),
        "scikit-learn as delivered": theirs(knn_as_delivered),
    },
}
TASKS = ("UTKFace, gender", "FER2013, emotion", SAMPLE)


def race(task: Task, contenders: dict[str, Contender], rounds: int) -> dict[str, Any]:
    """Fit all in turn; medians of CPU seconds, fitting and answering."""
    made: dict[str, Any] = {name: {"cpu": []} for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            began = time.process_time()
            answers = contender(task)
            made[name]["cpu"].append(time.process_time() - began)
            made[name]["accuracy"] = float((answers.argmax(axis=1) == task.test_y).mean())
            made[name]["log_loss"] = float(log_loss(task.test_y, answers))
    for one in made.values():
        one["median"] = statistics.median(one["cpu"])
    return made


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--store", type=Path, help="of these pictures, where there is one")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.store is None:
            pictures = Path(folder) / "pictures"
            lay_out(given.data, pictures)
            store = embed(pictures, Path(folder) / "store", backbone="mtcnn")
        else:
            store = Store.open(given.store)
        figures = kept("heads") | {"rounds": given.rounds}
        tasks = figures.setdefault("tasks", {})
        for name in given.only or TASKS:
            task = task_of(store, name)
            sizes = {"train": len(task.y), "test": len(task.test_y), "numbers": task.x.shape[1]}
            tasks[name] = sizes | {"classes": int(task.y.max()) + 1, "heads": {}}
            for kind, contenders in FIELD.items():
                with threadpool_limits(1), warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    tasks[name]["heads"][kind] = race(task, contenders, given.rounds)
                print(name, kind, tasks[name]["heads"][kind], flush=True)
                keep("heads", figures)


if __name__ == "__main__":
    main()
