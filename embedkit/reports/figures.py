"""Figures: confusion heatmap, learning curve, comparison, as PNG or SVG."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from embedkit.errors import InputError
from embedkit.files import write_output
from embedkit.finetuning import Finetuned
from embedkit.heads.comparison import Comparison
from embedkit.heads.curve import LearningCurve
from embedkit.heads.metrics import Evaluation

# Text stays text in SVG, and the ids in the file do not change from run to run.
STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "embedkit", "font.size": 10}
FORMATS = ("png", "svg")
MOST_CLASSES_WITH_NUMBERS = 20
MOST_CLASSES_WITH_NAMES = 60
LARGEST = 24.0  # inches


class Drawing(Figure):
    """A figure that a notebook shows by itself, pyplot or not."""

    def _repr_png_(self) -> bytes:
        return figure_bytes(self, "png")


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure in the format of its suffix."""
    return write_output(path, figure_bytes(figure, path.suffix.removeprefix(".")))


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """Return a figure as a file of a format, without a date in it."""
    stream = io.BytesIO()
    with mpl.rc_context(STYLE):
        metadata = {"png": {"Software": None}, "svg": {"Date": None}}[kind]
        figure.savefig(stream, format=kind, dpi=150, metadata=metadata)
    return stream.getvalue()


def confusion_heatmap(evaluation: Evaluation) -> Figure:
    """Draw which class was taken for which: shares of each true class, with the counts."""
    counts = evaluation.confusion
    k = len(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(max(3.6, 0.5 * k + 2.2), LARGEST)
    with mpl.rc_context(STYLE):
        figure = Drawing((side + 0.9, side), layout="constrained")
        axes = figure.add_subplot()
        image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
        if k <= MOST_CLASSES_WITH_NAMES:
            axes.set_xticks(range(k), evaluation.labels, rotation=45, ha="right", parse_math=False)
            axes.set_yticks(range(k), evaluation.labels, parse_math=False)
        axes.set_xlabel("predicted")
        axes.set_ylabel("label in the data set")
        axes.set_title(
            f"accuracy {evaluation.accuracy.value:.1%} on {evaluation.n} {evaluation.split} images",
            fontsize=10,
        )
        if k <= MOST_CLASSES_WITH_NUMBERS:
            for row in range(k):
                for column in range(k):
                    axes.text(
                        column,
                        row,
                        str(counts[row, column]),
                        ha="center",
                        va="center",
                        color="white" if shares[row, column] > 0.5 else "black",
                        fontsize=9,
                    )
        bar = figure.colorbar(image, ax=axes, shrink=0.8)
        bar.set_label("share of the true class")
    return figure


def learning_curve_figure(curve: LearningCurve) -> Figure:
    """Draw the accuracy against the number of training images."""
    sizes = [point.n_train for point in curve.points]
    values = [point.accuracy.value for point in curve.points]
    low = [point.accuracy.low for point in curve.points]
    high = [point.accuracy.high for point in curve.points]
    with mpl.rc_context(STYLE):
        figure = Drawing((5.4, 3.6), layout="constrained")
        axes = figure.add_subplot()
        axes.fill_between(sizes, low, high, alpha=0.2, linewidth=0, label="95% interval")
        axes.plot(sizes, values, marker="o", label=curve.head)
        axes.axhline(
            curve.majority, color="grey", linestyle="--", label="always the commonest class"
        )
        axes.set_xlabel("training images")
        axes.set_ylabel(f"accuracy on {curve.split}")
        axes.set_ylim(0, 1)
        axes.set_xlim(0, None)
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right", fontsize=9)
    return figure


def comparison_figure(result: Comparison) -> Figure:
    """Draw the accuracies of a comparison with their intervals, the best on top."""
    rows = result.rows[::-1]
    with mpl.rc_context(STYLE):
        figure = Drawing((6.4, 1.2 + 0.34 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        for place, one in enumerate(rows):
            value = one.accuracy
            axes.plot([value.low, value.high], [place, place], color="C0", linewidth=2)
            axes.plot(value.value, place, marker="o", color="C0")
        names = [f"{one.space} {one.head}" for one in rows]
        axes.set_yticks(range(len(rows)), names, parse_math=False)
        axes.axvline(
            result.majority.value, color="grey", linestyle="--", label="always the commonest class"
        )
        axes.set_xlim(0, 1)
        axes.set_xlabel(f"accuracy on {rows[0].accuracy.n} {result.split} images, 95% intervals")
        axes.grid(axis="x", alpha=0.3)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        # Inside, it would lie on the rows with the lowest accuracy.
        figure.legend(loc="outside upper left", fontsize=9, frameon=False)
    return figure


def training_curves(result: Finetuned) -> Figure:
    """Draw loss and accuracy of every epoch, on train and on validation, and which one was kept."""
    epochs = result.history.epochs
    numbers = [one.number for one in epochs]
    y, valid = result.division.y, result.division.valid
    commonest = np.bincount(y[result.division.train]).argmax()
    majority = float(np.mean(y[valid] == commonest))
    panels = (
        ("loss (nats)", "train_loss", "valid_loss", np.log(len(result.division.labels))),
        ("accuracy", "train_accuracy", "valid_accuracy", majority),
    )
    guesses = ("all classes alike", "always the commonest class")
    seen = "train, as altered" if result.settings["augmented"] else "train"
    with mpl.rc_context(STYLE):
        figure = Drawing((9.0, 3.6), layout="constrained")
        for place, (name, train, held, guess) in enumerate(panels):
            axes = figure.add_subplot(1, 2, 1 + place)
            for column, shown in ((train, seen), (held, "valid")):
                values = [getattr(one, column) for one in epochs]
                axes.plot(numbers, values, marker=".", label=shown)
            axes.axhline(guess, color="grey", linestyle="--", label=guesses[place])
            axes.axvline(
                result.history.kept, color="black", linewidth=0.8, linestyle=":", label="kept"
            )
            axes.set_xlabel("epoch")
            axes.set_ylabel(name)
            axes.set_ylim(0, 1.03 if place else None)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(alpha=0.3)
            axes.legend(fontsize=8)
        figure.suptitle(
            f"{result.trainee.name}: {result.evaluation.accuracy.value:.1%} on "
            f"{result.evaluation.n} {result.evaluation.split} images after epoch "
            f"{result.history.kept}",
            fontsize=10,
        )
    return figure


def write_comparison(result: Comparison, folder: Path) -> list[Path]:
    """Write a comparison as compare.csv and compare.png into a folder.

    Raises:
        OutputError: a file cannot be written.
    """
    names = [
        "space",
        "head",
        "accuracy",
        "low",
        "high",
        "behind_best",
        "behind_low",
        "behind_high",
        "p_adjusted",
    ]
    names += ["image_ms", "bytes_per_image", "train_seconds"]
    names += ["mean_error_in_classes", "quadratic_kappa"]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    for one in result.rows:
        figures = (
            *(one.accuracy.value, one.accuracy.low, one.accuracy.high),
            *(one.behind.value, one.behind.low, one.behind.high),
            *(one.p, one.image_ms, one.bytes_per_image, one.train_seconds),
            *(
                (float("nan"),) * 2
                if one.ordered is None
                else (one.ordered.error.value, one.ordered.kappa.value)
            ),
        )
        cells = ["" if figure != figure else f"{figure:.6g}" for figure in figures]
        writer.writerow([one.space, one.head, *cells])
    table = write_output(folder / "compare.csv", stream.getvalue().encode())
    return [table, save_figure(comparison_figure(result), folder / "compare.png")]


def write_figures(
    evaluation: Evaluation, curve: LearningCurve, folder: Path, suffixes: Sequence[str]
) -> list[Path]:
    """Write the figures of an evaluation into a folder, in every format asked for.

    A head that was trained on no image has no learning curve.

    Raises:
        InputError: a format that is none of `FORMATS`.
        OutputError: a file cannot be written.
    """
    for suffix in suffixes:
        if suffix not in FORMATS:
            raise InputError(f"no figure is drawn as {suffix!r}; formats are {', '.join(FORMATS)}")
    figures = {"confusion": confusion_heatmap(evaluation)}
    if curve.points:
        figures["learning_curve"] = learning_curve_figure(curve)
    return [
        save_figure(figure, folder / f"{name}.{suffix}")
        for name, figure in figures.items()
        for suffix in suffixes
    ]
