"""Mistakes in preprocessing, made on purpose on real faces, and the figures that name them.

Needs UTKFace, FER2013 and `models/mini_xception.py` of the real data.
"""

import importlib.util
import json
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import data_folder, table, write_page

from embedkit.audits import audit
from embedkit.audits.classifiers import check_classifier
from embedkit.audits.parity import Parity
from embedkit.audits.sweeps import Sweep
from embedkit.pipeline import embed
from embedkit.readers import read_source
from embedkit.statistics import Estimate

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SHOWN = 120  # pictures, of which a figure is measured that the others have to explain


def percent(one: Estimate) -> str:
    return f"{100 * one.value:.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]"


def audited(source: Path, label: str, backbone: str, work: Path) -> tuple[Parity, float]:
    """Embed a data set and run the audit; returns it with its seconds of CPU."""
    place = work / f"{source.parent.name}-{Path(backbone).stem}"
    store = embed(source, place, backbone=backbone, label=label, precision="fp32")
    began = time.process_time()
    found = audit(store, checks=["parity"])["parity"]
    if not isinstance(found, Parity):
        raise SystemExit(found.summary)
    return found, time.process_time() - began


def mistakes(columns: dict[str, Sweep]) -> str:
    """Return the accuracy after each mistake that changes anything, a column a network."""
    made = {
        title: {one.name: one for one in swept.mistakes if " + " not in one.name}
        for title, swept in columns.items()
    }
    rows = []
    for name in dict.fromkeys(name for some in made.values() for name in some):
        found = [some.get(name) for some in made.values()]
        worst = min(one.difference.value for one in found if one is not None)
        rows.append(
            (worst, [name, *("" if one is None else percent(one.accuracy) for one in found)])
        )
    right = ["as it should be", *(percent(swept.right) for swept in columns.values())]
    body = [row for _, row in sorted(rows, key=lambda pair: pair[0])]
    return table([["prepared", *columns], right, *body])


def mild(columns: dict[str, Sweep]) -> str:
    """Return the share of answers that each mild change flips."""
    rows = [["on its way", *columns]]
    for place, one in enumerate(next(iter(columns.values())).mild):
        rows.append([one.name, *(percent(swept.mild[place].flipped) for swept in columns.values())])
    return table(rows)


def network(data: Path, name: str) -> Any:
    """Load one of the small networks' own modules."""
    spec = importlib.util.spec_from_file_location(name, data / "models" / f"{name}.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"models/{name}.py cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def traced(net: torch.nn.Module, example: torch.Tensor, path: Path, **description: Any) -> Path:
    """Save a network as a file, with its description beside it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(net, example).save(str(path))
    path.with_suffix(".json").write_text(json.dumps(description))
    return path


def emotions(data: Path, work: Path) -> Path:
    """Save the mini-Xception network with its own last layer."""
    net = network(data, "mini_xception").load(data / "models" / "emotion_fer2013.npz")
    example = torch.zeros(2, 1, 64, 64)
    how = {"size": [64, 64], "resize": "squash", "channels": "L", "range": 255}
    return traced(net, example, work / "emotions.pt", **how, mean=127.5, std=127.5)


def mobilenet(data: Path, work: Path) -> Path:
    """Save MobileNetV2 without its last layer."""
    net, (low, high) = network(data, "mobilenetv2").load(data / "models" / "mobilenetv2_int8.npz")
    net.eval().forward = net.features
    example, range_ = torch.zeros(1, 3, 224, 224), high - low
    how = {"size": [224, 224], "resize": "squash", "mean": -low / range_, "std": 1 / range_}
    return traced(net, example, work / "mobilenet.pt", **how)


def named(data: Path, model: Path, *, others: bool) -> tuple[str, int, int]:
    """Take each mistake's accuracy for a figure that is to be explained.

    Args:
        data: folder of the real data.
        model: the classifier.
        others: whether the figure is of other pictures, 120 of the test split; else of the whole
            split, of which embedkit sees 200.

    Returns:
        The table, how often the mistake is among the explanations, and of how many.
    """
    items = read_source(data / "fer2013")
    rows = np.flatnonzero([side == "test" for side in items.splits])
    chosen = np.random.default_rng(0).permutation(rows)
    measured, seen = (chosen[:SHOWN], chosen[SHOWN:]) if others else (rows, rows)
    planted = check_classifier(model, items.take(measured.tolist()), EMOTIONS, pictures=len(rows))
    n = planted.pictures
    made = [
        one for one in planted.sweep.mistakes if one.difference.high < 0 and " + " not in one.name
    ]
    explained = check_classifier(
        model,
        items.take(seen.tolist()),
        EMOTIONS,
        pictures=len(seen) if others else 200,
        figures=[
            f"{round(n * one.accuracy.value)}/{n}" if others else str(one.accuracy.value)
            for one in made
        ],
        seed=1,
    )
    lines = [["mistake that was made", "its accuracy", "nearest", "named", "variants that fit"]]
    hits = 0
    for one, figure in zip(made, explained.figures, strict=True):
        names = [name for name, _ in figure.holds]
        hits += one.name in names
        nearest, accuracy = figure.holds[0] if figure.holds else figure.nearest
        lines.append(
            [
                one.name,
                f"{100 * one.accuracy.value:.1f}",
                f"{nearest} ({100 * accuracy.value:.1f})",
                "yes" if one.name in names else "no",
                f"{len(names)} of {1 + len(explained.sweep.mistakes)}",
            ]
        )
    return table(lines), hits, len(made)


def main() -> None:
    data = data_folder()
    work = Path(tempfile.mkdtemp())
    faces, fair = (data / name / "labels.csv" for name in ("utkface", "fairface"))
    found = {
        "UTKFace, mtcnn": audited(faces, "gender", "mtcnn", work),
        "UTKFace, pixels": audited(faces, "gender", "pixels", work),
        "FairFace, MobileNetV2": audited(
            fair, "gender", f"torchscript:{mobilenet(data, work)}", work
        ),
    }
    model = emotions(data, work)
    swept = check_classifier(model, read_source(data / "fer2013"), EMOTIONS, pictures=1000)
    columns = {name: one.sweep for name, (one, _) in found.items()}
    columns["FER2013, mini-Xception"] = swept.sweep
    same, same_hits, same_n = named(data, model, others=False)
    other, other_hits, other_n = named(data, model, others=True)
    agreed = "\n".join(
        f"- {name}: {one.pictures} pictures in a batch, {one.alone} alone: "
        f"{len(one.agreements[0].differing)} differ, probabilities by "
        f"{one.agreements[0].difference:.1g} at most; {seconds:.0f} s of CPU with the sweep."
        for name, (one, seconds) in found.items()
    )
    n = {name: one.pictures for name, (one, _) in found.items()}
    write_page(
        "parity.md",
        "parity.py",
        f"""# What mistakes in preprocessing cost

Gender by logistic heads: on UTKFace with `mtcnn` and `pixels`, {n["UTKFace, mtcnn"]} test pictures
each, and on FairFace with MobileNetV2's features (`torchscript:`), {n["FairFace, MobileNetV2"]}
pictures, as many as `embedkit audit` takes of sets of that size. Emotion on FER2013 by the
mini-Xception network with its own last layer (`embedkit parity`), all {swept.pictures} test
pictures. Accuracy in percent with 95% intervals after each mistake, made at query time only. An
empty cell: the mistake changes nothing there (FER2013 has no colour), or there is no step for it
(`pixels` normalises nothing).

{mistakes(columns)}

Pictures of these sets are square, upright and opaque, so that squashing, EXIF and transparency
change nothing here.

## Answers changed on the way, in percent

{mild(columns)}

## embedkit with itself

{agreed}

## Which mistake was it?

Each mistake that costs something on FER2013 was made on purpose, and the accuracy that it gave was
handed to `embedkit parity` as `--figure`, with no word of the mistake.

*The same pictures.* The figure is of all {swept.pictures} test pictures, embedkit sees 200 of them:
the mistake is among the variants that fit {same_hits} times of {same_n}.

{same}

*Other pictures.* The figure is of {SHOWN} pictures (`--figure 45/{SHOWN}`), embedkit sees the other
{swept.pictures - SHOWN}: {other_hits} times of {other_n}. A figure of few pictures fits many
variants.

{other}

Mistakes that give the same accuracy cannot be told apart by a figure.
""",
    )


if __name__ == "__main__":
    main()
