"""Calibration: from which agreement two pictures of this data set are copies of one photograph."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from scipy import stats

from embedkit.audits.base import rounded
from embedkit.audits.candidates import alike_hashes
from embedkit.audits.registration import Planes, plane, register
from embedkit.images import perceptual_hash
from embedkit.statistics import wilson
from embedkit.synthetic.faults import jpeg_bytes
from embedkit.vectors import BoolArray, DoubleArray, IntArray, Pixels

SAMPLE = 25  # originals, of each of which a copy of every kind is planted
LOW = 0.1  # of the planted copies score less than the others: look-alikes are met there first
# Between what look-alikes reach and half of the copies exceed, in Fisher's z: 0.64 to 1 in real
# sets of strangers, 0.1 to 0.6 in drawn faces, below 0 in photographs taken within minutes.
ROOM = 0.62
FALSE_PAIRS = 0.05  # expected of a set without copies: one audit in twenty lists a pair
KEPT = 0.99  # of the planted copies lie above the score that the threshold keeps away from
FEWEST = 30  # candidates to learn from
UNLEARNED = 0.8  # least threshold with fewer, when nobody knows how alike other pictures are
LOWEST = (0.1, 0.2, 0.3, 0.4)  # of scores, all far below what a copy has
QUANTILES = (0.2, 0.4, 0.6, 0.8)  # of the scores that are left when what may be copies is set aside
MOST = 0.999
LIMIT = float(np.arctanh(MOST))


@dataclass(frozen=True, slots=True)
class Calibration:
    """The threshold in use, and what it does on this data set.

    Attributes:
        threshold: score from which a candidate is a copy.
        look_alikes: score that the best of all pairs that are no copies reaches in one set of
            twenty; None where there were too few candidates to tell.
        candidates: pairs looked at.
        recall: (kind of change, found, planted) of planted copies. Where a second witness has to
            agree, the hash alone is asked, for the copies have no vectors: the least that is found.
        false_pairs: pairs above the threshold expected to be no copies; None as above.
        decoys: (above the threshold, all) pairs that cannot be copies: a picture and a neighbour of
            it, stood on its head.
        sure: score from which no second witness has to agree; above the threshold where look-alikes
            come near to copies, such as other photographs of one person that hardly differ, and
            infinite where they reach them, for the score alone cannot tell them then.
    """

    threshold: float
    look_alikes: float | None
    candidates: int
    recall: tuple[tuple[str, int, int], ...]
    false_pairs: float | None
    decoys: tuple[int, int]
    sure: float

    @property
    def crowded(self) -> bool:
        """Whether a second witness has to agree on some pairs."""
        return self.sure > self.threshold

    @property
    def found(self) -> tuple[int, int]:
        """Planted copies found, and planted, of all kinds but captions."""
        counted = [one for one in self.recall if one[0] != "caption"]
        return sum(one[1] for one in counted), sum(one[2] for one in counted)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "threshold": self.threshold,
            "look_alikes_reach": self.look_alikes,
            "candidate_pairs": self.candidates,
            "planted_copies": [
                {"change": kind, "found": found, "recall": wilson(found, planted).to_dict()}
                for kind, found, planted in self.recall
            ],
            "expected_false_pairs": self.false_pairs,
            "second_witness": self.crowded,
            "no_witness_from": rounded(self.sure) if np.isfinite(self.sure) else None,
            "decoys": {"above_threshold": self.decoys[0], "n": self.decoys[1]},
        }


def calibrate(
    scores: DoubleArray, planes: Planes, pairs: IntArray, originals: Sequence[Pixels], *, seed: int
) -> Calibration:
    """Set the threshold half-way between look-alikes and copies, or say that they overlap.

    Look-alikes: the scores of the candidates themselves, nearly all of which are no copies. Their
    quantiles lie on a line in Fisher's z; where it leads, the best of so many pairs is met. The
    lowest scores draw it first, what lies beyond is set aside, and it is drawn again. Copies:
    seeded pictures of the set, changed in known ways and registered with their originals; they
    begin where all but one in a hundred lie. Where look-alikes reach that, the threshold is what
    they reach, and a second witness has to agree; where they come near (`ROOM`), it has to agree on
    pairs that score as low as one copy in ten. With too few candidates to learn from, the threshold
    is where copies lie, and `UNLEARNED` at least.

    Args:
        scores: (m,) of the candidates.
        planes: (n, 64, 64) of the pictures.
        pairs: (m, 2) the candidates.
        originals: pictures to plant copies of.
        seed: of where crops lie.
    """
    planted = planted_scores(originals, seed=seed)
    every = np.concatenate([np.empty(0), *(s for kind, s in planted.items() if kind != "caption")])
    copies, low = np.quantile(every, [1 - KEPT, LOW]) if len(every) else (MOST, MOST)
    line, sure = _line(scores), 0.0
    if line is None:
        threshold, reach, expected = max(float(copies), UNLEARNED), None, None
    else:
        threshold = reach = _reach(len(scores), *line)
        if reach >= copies:
            sure = np.inf
        else:
            room = np.arctanh(min(np.median(every), MOST)) - np.arctanh(reach)
            sure = float(low) if room < ROOM else 0.0
            threshold = float(np.tanh((np.arctanh(reach) + np.arctanh(min(copies, MOST))) / 2))
        expected = round(_expected(threshold, len(scores), *line), 4)
    threshold = round(threshold, 4)
    alike = _alike(originals, seed=seed)
    found = {kind: (s >= threshold) & (alike[kind] | (s >= sure)) for kind, s in planted.items()}
    return Calibration(
        threshold,
        None if reach is None else round(reach, 4),
        len(scores),
        tuple((kind, int(one.sum()), len(one)) for kind, one in found.items()),
        expected,
        _decoys(planes, pairs, threshold, seed),
        max(sure, threshold),
    )


def _line(scores: DoubleArray) -> tuple[float, float] | None:
    """Return the middle and the spread of what is no copy, in Fisher's z; None of too few."""
    if len(scores) < FEWEST:
        return None
    z = np.arctanh(np.clip(scores, -MOST, MOST))
    # The first line is of the lowest scores alone: more than half of the rest may be copies.
    middle, spread = _fit(z, LOWEST)
    return _fit(z[z < middle + spread * stats.norm.ppf(1 - 1 / len(z))], QUANTILES)


def _fit(z: DoubleArray, quantiles: tuple[float, ...]) -> tuple[float, float]:
    spread, middle = np.polyfit(stats.norm.ppf(quantiles), np.quantile(z, quantiles), 1)
    return float(middle), max(float(spread), 1e-6)


def _expected(threshold: float, n: int, middle: float, spread: float) -> float:
    """Return how many of `n` pairs that are no copies score as high."""
    return float(n * stats.norm.sf((np.arctanh(min(threshold, MOST)) - middle) / spread))


def _reach(n: int, middle: float, spread: float) -> float:
    """Return the score that so few of `n` pairs are expected to reach, `FALSE_PAIRS` of them."""
    return float(np.tanh(min(middle + spread * stats.norm.ppf(1 - FALSE_PAIRS / n), LIMIT)))


def planted_scores(originals: Sequence[Pixels], *, seed: int) -> dict[str, DoubleArray]:
    """Return the scores of changed copies with their originals, by kind of change."""
    if not originals:
        return {}
    n = len(originals)
    first = [plane(pixels) for pixels in originals]
    pairs = np.stack([np.arange(n), np.arange(n) + n], axis=1)
    return {
        kind: register(np.stack([*first, *map(plane, copies)]), pairs).score
        for kind, copies in _copies(originals, seed)
    }


def _copies(originals: Sequence[Pixels], seed: int) -> Iterator[tuple[str, list[Pixels]]]:
    """Make a copy of every kind of each picture."""
    generator = np.random.default_rng(seed)
    for kind, change in COPIES.items():
        yield kind, [_pixels(change(Image.fromarray(one), generator)) for one in originals]


def _alike(originals: Sequence[Pixels], *, seed: int) -> dict[str, BoolArray]:
    """Mark the changed copies whose perceptual hash is alike, as `witnessed` asks."""
    first = np.array([perceptual_hash(one) for one in originals], np.uint64)
    return {
        kind: alike_hashes(first, np.array([perceptual_hash(one) for one in copies], np.uint64))
        for kind, copies in _copies(originals, seed)
    }


def _decoys(planes: Planes, pairs: IntArray, threshold: float, seed: int) -> tuple[int, int]:
    """Register a sample of the candidates with one of the two stood on its head."""
    if not len(pairs):
        return 0, 0
    chosen = np.random.default_rng(seed).permutation(len(pairs))[: 10 * SAMPLE]
    turned = np.concatenate([planes[pairs[chosen, 0]], planes[pairs[chosen, 1], ::-1]])
    n = len(chosen)
    scores = register(turned, np.stack([np.arange(n), np.arange(n) + n], axis=1)).score
    return int((scores >= threshold).sum()), n


def _pixels(image: Image.Image) -> Pixels:
    return np.asarray(image.convert("RGB"))


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    return Image.open(io.BytesIO(jpeg_bytes(image, quality)))


def _crop(image: Image.Image, share: float, generator: np.random.Generator) -> Image.Image:
    width, height = (max(1, round(side * (1 - share))) for side in image.size)
    left = int(generator.integers(0, image.width - width + 1))
    top = int(generator.integers(0, image.height - height + 1))
    return image.crop((left, top, left + width, top + height))


def _half(image: Image.Image) -> Image.Image:
    return image.resize((-(-image.width // 2), -(-image.height // 2)), Image.Resampling.BICUBIC)


def _captioned(image: Image.Image) -> Image.Image:
    image = image.copy()
    pen = ImageDraw.Draw(image)
    top = round(0.85 * image.height)
    pen.rectangle((0, top, image.width, image.height), fill="white")
    pen.text((4, top), "a caption", fill="black")
    return image


# What happens to a photograph on its way into a data set.
COPIES: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "JPEG at quality 20": lambda image, _: _jpeg(image, 20),
    "half the size": lambda image, _: _half(image),
    "10% cropped": lambda image, generator: _crop(image, 0.1, generator),
    "mirror": lambda image, _: ImageOps.mirror(image),
    "brighter, flatter": lambda image, _: ImageEnhance.Contrast(
        ImageEnhance.Brightness(image).enhance(1.2)
    ).enhance(0.8),
    "grey": lambda image, _: image.convert("L"),
    "border of 5%": lambda image, _: ImageOps.expand(image, max(1, round(0.05 * image.width))),
    "mirror, crop, half, JPEG": lambda image, generator: _jpeg(
        _half(ImageOps.mirror(_crop(image, 0.1, generator))), 60
    ),
    "caption": lambda image, _: _captioned(image),
}
