"""Defects: what can be wrong with a picture, each a figure beside the limit that it passes."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from embedkit.audits.neighbourhood import Neighbourhood
from embedkit.backbones.cards import NOTHING
from embedkit.items import ItemTable, Unreadable
from embedkit.vectors import BoolArray, DoubleArray, FloatArray, IntArray

SMALL_SIDE = 32  # pixels; people still recognise what is on a picture of 32 x 32 (see `measure`)
WIDE = 3.0  # times as long as wide: a square crop of its middle shows a third of it
BLANK = 5.0  # of 255
DARK = 82.0  # of 255: even its bright parts are in the lowest third of the range
BRIGHT = 230.0  # of 255: skin and all else in the middle is as good as white
GREY = 2.0  # of 255: the colour that JPEG's rounding leaves in a grey picture
OFF_CENTRE = 0.25  # of a side: where a square of half the side would not hold the face's middle
CUT_OFF = 128  # the grey that a decoder fills in where a JPEG file ends too early
FAR = 4.0  # spreads from the median: 3 in 100,000 of normal figures
SOFT = 0.15  # what a blur of 1.5% of the side leaves, and hardly a picture as it is has
LARGEST = 320  # pixels a side of pictures that sharpness is read from nearly as a whole
SOFTER, SMALLER, FARTHER = 4.0, 4.0, 1.5  # times the median, the least that is called different
FEWEST = 30  # pictures that a limit can be learned from
LARGE = 50  # pictures of a class that a limit can be learned from
NEAREST = 3
_SEVERAL = re.compile(r"\d+ faces found in it")
_NOBODY_LOOKED = (
    "no network has looked for faces; a space that aligns them does ('embedkit embed -b facenet')"
)


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """One thing that can be wrong with a picture.

    Attributes:
        name: in words that go after "is" or stand alone, such as `blurred`.
        figure: what is measured, in words.
        below: whether pictures below the limit fail, not those above it.
        limit: NaN where nothing is measured.
        values: (n,) figure of every readable image; NaN where it has none.
        files: id and reason of images that could not be taken at all, for this defect.
        by_nature: whether most images of every class would fail: then the set is so, none fails.
        reason: why it was not checked; empty if it was.
    """

    name: str
    figure: str
    below: bool
    limit: float
    values: DoubleArray
    files: tuple[Unreadable, ...] = ()
    by_nature: bool = False
    reason: str = ""

    @property
    def beyond(self) -> BoolArray:
        """Return (n,) which images are beyond the limit."""
        return self.values < self.limit if self.below else self.values > self.limit

    @property
    def failing(self) -> BoolArray:
        """Return (n,) which images fail."""
        return self.beyond & (not self.by_nature)

    def rule(self) -> str:
        """Say from which figure on an image fails."""
        if self.reason or np.isnan(self.limit):
            return self.figure
        return f"{self.figure}, {'below' if self.below else 'above'} {self.limit:.3g}"


def measure(
    items: ItemTable,
    unreadable: Sequence[Unreadable],
    vectors: FloatArray,
    clusters: IntArray,
    y: IntArray,
) -> tuple[Check, ...]:
    """Measure every defect, the one that spoils a picture most surely first.

    A limit is absolute where its meaning is: pictures of fewer than 32 pixels a side, of which
    people recognise ever less (A. Torralba, R. Fergus, W. Freeman, "80 million tiny images", PAMI
    30, 2008), or whose grey values hardly vary. Where most images of every class are beyond it, the
    set is so by nature and none fails. What has no such meaning (how soft, how far from others) is
    compared with the set itself, see `fence`.

    Args:
        items: the readable images.
        unreadable: the others, and why.
        vectors: (n, d) float32, unit rows.
        clusters: (n,) images that are related: none is the other's neighbour.
        y: (n,) class numbers, -1 without a label.
    """
    read: Any = items.column("nuisance")
    width, height = (np.array(items.column(name), float) for name in ("width", "height"))
    of = {
        name: np.array([one[name] for one in read], float)
        for name in ("brightness", "contrast", "sharpness", "saturation")
    }
    small = np.array([one["thumbnail"] for one in read], float).reshape(len(items), 8, 8, 3)
    middle = small[:, 2:6, 2:6].mean(axis=(1, 2)) @ (0.299, 0.587, 0.114)
    short, long = np.minimum(width, height), np.maximum(width, height)
    kinds = {name: tuple(one for one in unreadable if kind(one.reason) == name) for name in FILES}
    nothing = np.full(len(items), np.nan)
    usual_side = fence(np.log(short), y, least=math.log(SMALLER))
    smallest = SMALL_SIDE if usual_side is None else max(SMALL_SIDE, math.exp(usual_side))
    absolute = [
        Check(
            "truncated",
            "eighths of it, from below, in the grey that fills a file which ends too early",
            False,
            0,
            _cut_off(small),
            kinds["truncated"],
        ),
        Check(
            "blank", "standard deviation of the grey values (of 255)", True, BLANK, of["contrast"]
        ),
        Check("tiny", "shorter side in pixels", True, smallest, short),
        Check(
            "dark",
            "grey value of its bright parts (of 255; mean and two standard deviations)",
            True,
            DARK,
            of["brightness"] + 2 * of["contrast"],
        ),
        Check("over-exposed", "mean grey value of its middle (of 255)", False, BRIGHT, middle),
        Check(
            "very long", "longer side as a multiple of the shorter one", False, WIDE, long / short
        ),
        *_faces(items, width, height, kinds),
        Check("grey", "mean colour (of 255)", True, GREY, of["saturation"]),
    ]
    settled = [_by_nature(one, y) for one in absolute]
    blank = settled[1].beyond
    relative = [
        _blurred(of["sharpness"], of["contrast"], blank, short, y),
        _far(vectors, clusters, y),
    ]
    first = Check("unreadable", "the file cannot be read", False, np.nan, nothing)
    place = next(i for i, one in enumerate(settled) if one.name == "no face")
    return (
        replace(first, files=kinds["unreadable"]),
        *settled[:place],
        *relative,
        *settled[place:],
    )


FILES = ("unreadable", "truncated", "no face", "several faces")


def kind(reason: str) -> str:
    """Return the check that an image which could not be taken fails."""
    if reason == NOTHING:
        return "no face"
    if _SEVERAL.fullmatch(reason):
        return "several faces"
    return "truncated" if "truncated" in reason.lower() else "unreadable"


def fence(
    values: DoubleArray, y: IntArray, *, least: float, quantiles: Sequence[float] = (0.9,)
) -> float | None:
    """Return the limit below which a figure is too low for this set; None of too few.

    It lies `FAR` spreads below the median, and `least` at least. The spread is that of the upper
    half (median to the 90th percentile), so that low figures hardly widen it. Where most of one
    class is beyond the limit that another class sets by itself, the defect is that class's, and
    the other's limit holds.

    Args:
        values: (n,), NaN where there is none.
        y: (n,) class numbers, -1 without a label.
        least: distance from the median.
        quantiles: that a spread is read off, the largest of which counts.
    """
    known = np.isfinite(values)
    if known.sum() < FEWEST:
        return None
    limits = [_limit(values[known], least, quantiles)]
    parts = [values[known & (y == k)] for k in range(y.max(initial=-1) + 1)]
    parts = [part for part in parts if len(part) >= LARGE]
    for one in parts:
        own = _limit(one, least, quantiles)
        limits += [own] if any((part < own).mean() > 0.5 for part in parts) else []
    return max(limits)


def _limit(values: DoubleArray, least: float, quantiles: Sequence[float]) -> float:
    middle = np.median(values)
    away = np.quantile(values, quantiles) - middle
    return float(middle - max(FAR * (away / stats.norm.ppf(quantiles)).max(), least))


def _blurred(
    sharpness: DoubleArray, contrast: DoubleArray, blank: BoolArray, short: DoubleArray, y: IntArray
) -> Check:
    """Measure how strong a picture's finest detail is, for its contrast.

    The variance of the Laplacian goes with the square of the contrast where it comes from the
    picture, and not at all where it comes from JPEG's noise, which is what blur leaves: it is
    divided by the contrast itself.
    """
    detail = np.where(blank, np.nan, sharpness - np.log1p(contrast))
    check = Check(
        "blurred",
        "variance of its finest detail, divided by its contrast",
        True,
        SOFT,
        np.exp(detail),
    )
    # Of soft pictures there are more than of very sharp ones: their quarter has a say too.
    usual = fence(detail, y, least=math.log(SOFTER), quantiles=(0.25, 0.9))
    limits = [] if usual is None else [math.exp(usual)]
    # Of larger pictures the figure sees the middle alone, which may have no detail to show.
    if np.quantile(short, 0.9) <= LARGEST and not _by_nature(check, y).by_nature:
        limits.append(SOFT)
    if not limits:
        return replace(check, limit=np.nan, reason=_few(int(np.isfinite(detail).sum())))
    return replace(check, limit=max(limits))


def _far(vectors: FloatArray, clusters: IntArray, y: IntArray) -> Check:
    """Compare the distance from the nearest images with what it is for others."""
    name, words = "far from all others", f"mean cosine with the {NEAREST} nearest others"
    n = len(np.unique(clusters))
    if n < FEWEST:
        return Check(name, words, True, np.nan, np.full(len(y), np.nan), reason=_few(n))
    rows, cosines = Neighbourhood(vectors, clusters).strangers()
    nearest = np.where(rows[:, :NEAREST] >= 0, cosines[:, :NEAREST], np.nan)
    cosine = np.asarray(nearest.mean(axis=1))
    # Distances vary by factors; how near an image is to its own twins says nothing here.
    limit = fence(-np.log(np.maximum(1 - cosine, 1e-6)), y, least=math.log(FARTHER))
    if limit is None:
        return Check(name, words, True, np.nan, cosine, reason=_few(np.isfinite(cosine).sum()))
    return Check(name, words, True, 1 - math.exp(-limit), cosine)


def _few(n: int) -> str:
    return f"not enough images (n = {n}); {FEWEST} are needed to learn what is usual"


def _cut_off(small: DoubleArray) -> DoubleArray:
    """Return how many of the lowest rows of thumbnails are what a decoder fills in."""
    off = np.abs(small - CUT_OFF).max(axis=(2, 3))
    rows = np.cumprod(off[:, ::-1] <= 2, axis=1).sum(axis=1)
    return np.where(rows < small.shape[1], rows, 0).astype(np.float64)


def _faces(
    items: ItemTable,
    width: DoubleArray,
    height: DoubleArray,
    kinds: dict[str, tuple[Unreadable, ...]],
) -> list[Check]:
    def of(name: str) -> DoubleArray:
        values: Any = items.column(name)
        return np.array([np.nan if one is None else one for one in values], float)

    found = of("faces")
    across = (of("face_left") + of("face_right")) / 2 / width
    down = (of("face_top") + of("face_bottom")) / 2 / height
    off = np.full(len(items), np.nan)
    if np.isfinite(across).any():
        away = [np.abs(one - np.nanmedian(one)) for one in (across, down)]
        off = np.maximum(*away)
    looked = bool(np.isfinite(found).any() or kinds["no face"] or kinds["several faces"])
    reason = "" if looked else _NOBODY_LOOKED
    made = [
        Check("no face", "faces found", True, 1, found, kinds["no face"]),
        Check("several faces", "faces found", False, 1, found, kinds["several faces"]),
        Check(
            "off-centre face",
            "distance of the face from where faces are in this set, as a share of the side",
            False,
            OFF_CENTRE,
            off,
        ),
    ]
    return [replace(one, limit=np.nan, reason=reason) if reason else one for one in made]


def _by_nature(check: Check, y: IntArray) -> Check:
    """Let nobody fail what most images of every class would."""
    judged = np.isfinite(check.values)
    parts = [judged & (y == k) for k in range(y.max(initial=-1) + 1)]
    parts = [part for part in parts if part.sum() >= FEWEST] or [judged]
    beyond = [(check.beyond & part).sum() > part.sum() / 2 for part in parts]
    return replace(check, by_nature=all(beyond))
