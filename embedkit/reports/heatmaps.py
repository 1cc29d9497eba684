"""Maps of one picture as PNG: what covering it costs, what each place gives, what layers see."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from embedkit.audits.activation import ClassActivation
from embedkit.audits.channels import Channels
from embedkit.audits.decisions import Frame
from embedkit.audits.occlusion import Occlusion
from embedkit.reports.figures import STYLE, save_figure
from embedkit.reports.pictures import mosaic
from embedkit.vectors import DoubleArray, Pixels

ABOVE_AND_BELOW = "RdBu_r"  # red for the answer, blue against it
COLUMNS = 6
PALE = 0.35  # how much of the picture shows through a map


def as_it_is(frame: Frame) -> Frame:
    """Return a frame as it was seen."""
    return frame


def without_faces(frame: Frame) -> Frame:
    """Return a frame to be drawn in which nobody can be recognised: a few large squares."""
    return replace(frame, picture=mosaic(frame.picture, None), content=_squares(frame.content))


def _squares(content: Pixels) -> Pixels:
    channels = content.shape[2]
    rgb = np.repeat(content, 3, axis=2) if channels == 1 else content
    return np.ascontiguousarray(mosaic(rgb, None)[:, :, :channels])


def write_occlusion(frame: Frame, found: Occlusion, path: Path) -> Path:
    """Draw the picture, what the network sees of it and what covering each part costs.

    Raises:
        OutputError: the file cannot be written.
    """
    covers = found.covers
    pixels = found.values.repeat(covers.stride, axis=0).repeat(covers.stride, axis=1)
    figure = _map_figure(
        frame,
        pixels[: covers.height, : covers.width],
        heading=(
            f"{found.answer!r} against {found.against!r}: log-odds {found.log_odds:+.2f}; covering "
            f"one patch takes off {found.largest:.2f} at most"
        ),
        title=f"what covering it takes off,\nby patches of {covers.patch} x {covers.patch} pixels",
        unit="fall of the log-odds, mean of the patches over a cell",
    )
    return save_figure(figure, _as_png(path))


def write_class_activation(frame: Frame, found: ClassActivation, path: Path) -> Path:
    """Draw the picture, what the network sees of it and what each place gives to the answer.

    Raises:
        OutputError: the file cannot be written.
    """
    values = found.values
    layers = " and ".join(
        f"{one.layer} ({one.values.shape[0]} x {one.values.shape[1]})" for one in found.layers
    )
    constant = f" + {found.constant:.2f} (the network's constant)" if found.constant else ""
    figure = _map_figure(
        frame,
        values * values.size / 100,
        heading=(
            f"{found.answer!r} against {found.against!r}: log-odds {found.log_odds:+.2f} = "
            f"{found.total:+.2f} (sum of the map){constant} {found.intercept:+.2f} (intercept)"
        ),
        title=f"what each place of {layers}\ngives to the log-odds",
        unit="log-odds for each 1% of the area",
    )
    return save_figure(figure, _as_png(path))


def write_channels(frame: Frame, found: Channels, folder: Path, image: str) -> Path:
    """Draw the strongest channels of a layer on one scale, after what the network sees.

    Args:
        frame: the picture as the network sees it.
        found: in it.
        folder: gets a file named after the image and the layer.
        image: id or path of the picture.

    Raises:
        OutputError: the file cannot be written.
    """
    shown = len(found.numbers)
    rows = -(-(shown + 1) // COLUMNS)
    with mpl.rc_context(STYLE):
        figure = Figure((10.5, 1.0 + 1.75 * rows), layout="constrained")
        every = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
        for axes in every:
            axes.set_axis_off()
        every[0].imshow(frame.shown)
        every[0].set_title("what the network sees", fontsize=8)
        low, high = min(0.0, float(found.maps.min())), float(found.maps.max())
        drawn: Any = None
        for axes, number, mean, one in zip(
            every[1:], found.numbers, found.means, found.maps, strict=False
        ):
            drawn = axes.imshow(one, vmin=low, vmax=high, cmap="viridis", interpolation="nearest")
            axes.set_title(f"channel {number}: mean {mean:.3g}", fontsize=8)
        bar = figure.colorbar(drawn, ax=every.tolist(), shrink=0.7, pad=0.01)
        bar.set_label("activation, one scale for all channels")
        height, width = found.maps.shape[1:]
        figure.suptitle(
            f"{found.layer}: {shown} of {found.n} channels, {height} x {width} places; the largest "
            "mean activation first",
            fontsize=10,
            parse_math=False,
        )
    return save_figure(figure, folder / f"{Path(image).stem}-{found.layer}.png")


def _map_figure(
    frame: Frame, values: DoubleArray, *, heading: str, title: str, unit: str
) -> Figure:
    """Draw a picture with its frame, what the network sees, and a map over that in grey."""
    height, width = frame.content.shape[:2]
    with mpl.rc_context(STYLE):
        figure = Figure((10.5, 3.9), layout="constrained")
        left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.15))
        _show(left, frame.picture, _size("the picture", frame.picture))
        _outline(left, frame)
        _show(middle, frame.shown, _size("what the network sees", frame.shown))
        grey = frame.shown.mean(axis=2)
        right.imshow(grey, cmap="gray", vmin=0, vmax=255)
        most = float(np.abs(values).max()) or 1.0
        image = right.imshow(
            values,
            cmap=ABOVE_AND_BELOW,
            vmin=-most,
            vmax=most,
            alpha=1 - PALE,
            extent=(-0.5, width - 0.5, height - 0.5, -0.5),
            interpolation="nearest",
        )
        right.set_title(title, fontsize=9, parse_math=False)
        right.set_axis_off()
        bar = figure.colorbar(image, ax=right, shrink=0.85)
        bar.set_label(unit, fontsize=8)
        figure.suptitle(heading, fontsize=10, parse_math=False)
    return figure


def _show(axes: Axes, pixels: Pixels, title: str) -> None:
    axes.imshow(pixels)
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()


def _outline(axes: Axes, frame: Frame) -> None:
    """Outline what the network sees, where that is not the whole picture."""
    left, top, right, bottom = frame.box
    height, width = frame.picture.shape[:2]
    if (left, top, right, bottom) != (0, 0, width, height):
        axes.add_patch(
            Rectangle(
                (left - 0.5, top - 0.5),
                right - left,
                bottom - top,
                fill=False,
                edgecolor="red",
                clip_on=False,
            )
        )


def _size(what: str, pixels: Pixels) -> str:
    return f"{what}, {pixels.shape[1]} x {pixels.shape[0]}"


def _as_png(path: Path) -> Path:
    return path if path.suffix.lower() == ".png" else path.with_name(path.name + ".png")
