"""Maps of decisions where it is known what decides: does their peak touch a planted mark?

The labels are dealt and have nothing to do with the faces. In one class every picture carries a
mark, so that nothing else can be learned; in the control as many carry it, of both classes.
"""

import csv
import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from common import data_folder, table, write_page
from PIL import Image

from embedkit.audits.activation import class_activation
from embedkit.audits.decisions import Decision, Frame, decide, look
from embedkit.audits.occlusion import occlude, plan_covers
from embedkit.backbones import Backbone, Card, embed_pictures, load_backbone
from embedkit.backbones.network import Network
from embedkit.backbones.preprocessing import Preprocessing
from embedkit.heads.logistic import Logistic, fit_logistic

SIDE = 200  # of UTKFace's pictures
TRAIN, TEST = 400, 150
SEED = 0
SHARES = (0.05, 0.1, 0.2)  # of the side of the picture
FROM = 0.025  # the mark's distance from the corner
BORDER = "border of 3 pixels"

Mask = np.ndarray  # (SIDE, SIDE) whether a pixel belongs to the mark


@dataclass
class Found:
    """Peaks of one kind of map: how many touch the mark, and how many would by chance."""

    hits: list[bool] = field(default_factory=list)
    chance: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def cell(self) -> str:
        """Return the share of peaks that touch the mark."""
        return f"{np.mean(self.hits):.0%}" if self.hits else "–"


def mobilenet(data: Path) -> Network:
    """Load the MobileNetV2 of the shared folder as a network whose layers can be looked into."""
    spec = importlib.util.spec_from_file_location("net", data / "models" / "mobilenetv2.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    net, (low, high) = module.load(data / "models" / "mobilenetv2_int8.npz")
    card = Card("mobilenetv2", "", "MobileNetV2, pooled features", "its file", "Apache-2.0", "")
    scale = {"mean": (-low / (high - low),) * 3, "std": (1 / (high - low),) * 3}
    preprocessing = Preprocessing(size=(224, 224), resize="squash", **scale)
    return Network(card, net, preprocessing, "", read=net.features)


def masks() -> dict[str, Mask]:
    made = {}
    for share in SHARES:
        mask = np.zeros((SIDE, SIDE), bool)
        start, side = round(FROM * SIDE), round(share * SIDE)
        mask[start : start + side, start : start + side] = True
        made[f"square of {share:.0%} of the side"] = mask
    border = np.ones((SIDE, SIDE), bool)
    border[3:-3, 3:-3] = False
    return made | {BORDER: border}


def touches(box: tuple[float, float, float, float], mask: Mask, frame: Frame) -> bool:
    height, width = frame.content.shape[:2]
    left, top, right, bottom = box
    rows = slice(int(top * SIDE / height), int(np.ceil(bottom * SIDE / height)))
    columns = slice(int(left * SIDE / width), int(np.ceil(right * SIDE / width)))
    return bool(mask[rows, columns].any())


def by_chance(values: np.ndarray, mask: Mask) -> float:
    """Return the share of a map's area that touches the mark, with all that has the same value."""
    rows, columns = (np.arange(SIDE) * cells // SIDE for cells in values.shape)
    cells = np.zeros(values.shape, bool)
    np.logical_or.at(cells, (rows[:, None], columns[None]), mask)
    touched = np.unique(values[cells])
    return float(np.isin(values, touched).mean())


def covered(colour: str) -> Callable[[Decision, Frame], object]:
    def draw(decision: Decision, frame: Frame) -> object:
        behind = None
        if colour != "blurred":
            level = 127.5 if colour == "grey" else frame.content.mean(axis=(0, 1))
            behind = np.empty_like(frame.content)
            behind[:] = np.round(level)
        return occlude(decision, frame, plan_covers(frame), behind=behind)

    return draw


MAPS = {
    "occlusion": covered("blurred"),
    "by the mean colour": covered("mean"),
    "by grey": covered("grey"),
    "class activation": class_activation,
}


def seen(
    backbone: Backbone,
    pictures: list[np.ndarray],
    mask: Mask,
    *,
    tells: bool,
    maps: tuple[str, ...],
    most: int,
) -> tuple[float, dict[str, Found]]:
    """Train on marked pictures and draw maps of marked test pictures; returns the accuracy too."""
    generator = np.random.default_rng(SEED)
    y, coin = generator.integers(2, size=(2, len(pictures)))
    marked = y if tells else coin
    shown = [
        np.where(mask[:, :, None] & bool(one), 0, picture).astype(np.uint8)
        for picture, one in zip(pictures, marked.tolist(), strict=True)
    ]
    vectors = embed_pictures(backbone, shown)
    train, test = np.arange(TRAIN), np.arange(TRAIN, len(pictures))
    head: Logistic = fit_logistic(vectors[train], y[train], train, n_classes=2, seed=SEED)
    answers = head.probabilities(vectors).argmax(axis=1)
    # Where the mark tells the class, only those answers can be due to it that follow it.
    wanted = [row for row in test if marked[row] and (answers[row] == 1 or not tells)]
    found = {name: Found() for name in maps}
    for row in wanted[:most]:
        frame = look(backbone, shown[row])
        decision = decide(head, ["0", "1"], vectors[row])
        for name, one in found.items():
            began = time.process_time()
            made = MAPS[name](decision, frame)
            one.seconds.append(time.process_time() - began)
            one.hits.append(touches(made.peak, mask, frame))
            one.chance.append(by_chance(made.values, mask))
    return float((answers[test] == y[test]).mean()), found


def part(
    backbone: Backbone,
    pictures: list[np.ndarray],
    planted: dict[str, Mask],
    maps: tuple[str, ...],
    most: int,
) -> tuple[str, dict[str, float]]:
    """Return the table of one backbone and the seconds that each kind of map takes."""
    rows = [["planted", "accuracy", "maps", *maps, "by chance", *(f"{m}, control" for m in maps)]]
    seconds: dict[str, list[float]] = {name: [] for name in maps}
    for name, mask in planted.items():
        accuracy, found = seen(backbone, pictures, mask, tells=True, maps=maps, most=most)
        _, control = seen(backbone, pictures, mask, tells=False, maps=maps, most=most)
        chance = sorted({round(100 * float(np.mean(one.chance))) for one in control.values()})
        n = len(found[maps[0]].hits)
        rows.append(
            [
                name,
                f"{accuracy:.0%}",
                f"{n} + {len(control[maps[0]].hits)}",
                *(found[one].cell() for one in maps),
                " to ".join(f"{one}%" for one in chance),
                *(control[one].cell() for one in maps),
            ]
        )
        print(rows[-1], flush=True)
        for one in maps:
            seconds[one] += found[one].seconds + control[one].seconds
    return table(rows), {name: float(np.median(taken)) for name, taken in seconds.items()}


def main() -> None:
    data = data_folder()
    with (data / "utkface" / "labels.csv").open() as file:
        files = sorted(one["file"] for one in csv.DictReader(file))
    chosen = np.random.default_rng(SEED).permutation(len(files))[: TRAIN + TEST]
    pictures = []
    for place in chosen.tolist():
        with Image.open(data / "utkface" / files[place]) as image:
            pictures.append(np.asarray(image.convert("RGB").resize((SIDE, SIDE))))
    every = masks()
    few = {name: every[name] for name in list(every)[1:2]}  # a map takes seconds there
    cases = {
        "mtcnn": (load_backbone("mtcnn"), every, tuple(MAPS), 16),
        "MobileNetV2": (mobilenet(data), few, ("occlusion", "class activation"), 6),
    }
    text, times = [], [["CPU seconds of one map, median", *MAPS]]
    for name, (backbone, planted, maps, most) in cases.items():
        made, seconds = part(backbone, pictures, planted, maps, most)
        text.append(f"## `{name}`\n\n{made}")
        times.append([name, *(f"{seconds[m]:.2f}" if m in seconds else "–" for m in MAPS)])
    write_page("explanations.md", "explanations.py", PAGE.format("\n\n".join(text), table(times)))


PAGE = f"""# Where the maps of `explain` point

{TRAIN} + {TEST} faces of UTKFace with dealt labels, so that nothing but a mark can be learned: a
black square near the upper left corner, {FROM:.1%} of the side away from both edges, or a black
border of 3 of {SIDE} pixels, in every picture of one class. Maps are drawn of test pictures that
carry the mark and are answered with its class. In the control as many pictures carry it, of both
classes, so that it tells nothing. A figure is the share of maps whose peak, the cell with the
largest value, touches the mark; *by chance* is the share of the area whose cells touch it, over
the kinds of map. *accuracy* is of the head where the mark tells the class: 50% is chance, and
where it is low the mark was hardly learned, so that there is little for a map to show. *maps*
counts those drawn where the mark tells the class and those of the control.

*occlusion* is what `explain --occlusion` draws, with its own patch and stride: what is covered
shows the picture itself, blurred. *by the mean colour* and *by grey* cover with one colour instead.

{{}}

## Cost

{{}}
"""


if __name__ == "__main__":
    main()
