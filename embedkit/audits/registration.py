"""Registration: lay one picture onto another and compare what overlaps.

A copy agrees with its original everywhere once scale, position, mirror and tone are set right; two
photographs of one subject agree in places. Both are made small and square and compared in three
steps, each on the pairs that the one before leaves: a table of crops against the whole, at 8
pixels, gives the first guesses; Gauss and Newton's method refines them at 16, 32 and 64 pixels (S.
Baker and I. Matthews, "Lucas-Kanade 20 years on", IJCV 56, 2004), on locally normalised grey values
with weights that let a caption be an outlier; and the score is the mean correlation of blocks.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from embedkit.backbones.threads import one_thread
from embedkit.vectors import BoolArray, DoubleArray, FloatArray, IntArray, Pixels
from embedkit.workers import workers

SIDE = 64  # of a plane
COARSE = 8
SCALES = {1.0: 1, 0.9: 3, 0.8: 4, 0.7: 5}  # of crops, and places of each along one side
STARTS = 2
STEPS = {16: 6, 32: 4, 64: 4}
GOES_ON = 0.45  # score at 32 pixels from which a pair is looked at with 64
LEAST_OVERLAP = 0.5
NOISE = 6.0  # grey levels that JPEG and resampling change without anybody seeing
BLOCK = SIDE // 8
FAINT = 0.02  # variance of a block, after its local contrast is set to one
PAIRS = 256  # at once

Planes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Registered:
    """How well pairs of pictures agree.

    Attributes:
        score: (m,) mean correlation of the blocks that overlap, -1 to 1; 0 where less than half of
            the smaller picture overlaps, or nothing in it can be compared.
        mirrored: (m,) whether one of the two had to be mirrored.
    """

    score: DoubleArray
    mirrored: BoolArray


def plane(pixels: Pixels) -> Planes:
    """Return a picture as a (64, 64) grey plane, whatever its shape."""
    image = Image.fromarray(pixels)
    way = Image.Resampling.BOX if min(image.size) >= SIDE else Image.Resampling.BILINEAR
    return np.asarray(image.resize((SIDE, SIDE), way).convert("L"))


def blank(planes: Planes) -> BoolArray:
    """Mark planes too plain to compare: hardly any quarter of a side by a quarter varies."""
    grey = torch.from_numpy(planes.astype(np.float32))
    variance = _pooled(torch.ones_like(grey), grey, grey, block=SIDE // 4)[1]
    return np.asarray((variance > 4 * NOISE**2).sum(dim=1).numpy() < 4)


def register(planes: Planes, pairs: IntArray) -> Registered:
    """Register pairs of pictures and score how well they agree.

    About half a millisecond a pair, and two more where the first looks find them alike.

    Args:
        planes: (n, 64, 64) uint8 from `plane`.
        pairs: (m, 2) rows of them.
    """
    parts = [pairs[start : start + PAIRS] for start in range(0, len(pairs), PAIRS)]
    cores = torch.get_num_threads()
    with one_thread(before=cores), workers(cores) as pool:
        made = list(pool.map(lambda part: _register(planes, part), parts))
    return Registered(
        np.concatenate([np.empty(0), *(score for score, _ in made)]),
        np.concatenate([np.empty(0, bool), *(mirrored for _, mirrored in made)]),
    )


@torch.inference_mode()
def _register(planes: Planes, pairs: IntArray) -> tuple[DoubleArray, BoolArray]:
    used, rows = np.unique(pairs, return_inverse=True)
    pairs = rows.reshape(-1, 2)
    sized = {SIDE: torch.from_numpy(planes[used].astype(np.float32))}
    for side in (32, 16):
        sized[side] = functional.avg_pool2d(sized[2 * side][:, None], 2)[:, 0]
    guesses, mirrored, swapped = _first_guesses(sized[32].numpy(), pairs)
    tried = [
        _refined(*_sides(sized[16], pairs, mirrored[:, one], swapped[:, one]), guesses[:, one])
        for one in range(guesses.shape[1])
    ]
    best = torch.stack([score for _, score in tried], dim=1).argmax(dim=1)
    row = torch.arange(len(pairs))
    maps = torch.stack([found for found, _ in tried], dim=1)[row, best]
    mirror, swap = (x[row.numpy(), best.numpy()] for x in (mirrored, swapped))
    maps, score = _refined(*_sides(sized[32], pairs, mirror, swap), maps)
    on = torch.nonzero(score >= GOES_ON)[:, 0]
    if len(on):
        n = on.numpy()
        score[on] = _refined(*_sides(sized[SIDE], pairs[n], mirror[n], swap[n]), maps[on])[1]
    made: DoubleArray = score.double().numpy()
    return np.round(made, 5), np.asarray(mirror)


def _sides(
    planes: Tensor, pairs: IntArray, mirrored: BoolArray, swapped: BoolArray
) -> tuple[Tensor, Tensor]:
    """Return the whole pictures, and those of which they may be crops: (m, s, s) each."""
    first, second = (planes[torch.from_numpy(pairs[:, side])] for side in (0, 1))
    flip, swap = (torch.from_numpy(x)[:, None, None] for x in (mirrored, swapped))
    second = torch.where(flip, second.flip(2), second)
    return torch.where(swap, first, second), torch.where(swap, second, first)


@cache
def _crops() -> tuple[tuple[float, float, float], ...]:
    """Return (scale, top, left) of the crops that are tried first."""
    return tuple(
        (scale, float(top), float(left))
        for scale, steps in SCALES.items()
        for top in np.linspace(0, 1 - scale, steps)
        for left in np.linspace(0, 1 - scale, steps)
    )


def _first_guesses(planes: FloatArray, pairs: IntArray) -> tuple[Tensor, BoolArray, BoolArray]:
    """Compare every crop of one picture with the whole of the other, both ways, mirrored or not.

    Returns:
        (m, starts, 4) maps (scale and offset along x, along y), the best first and last the whole
        on the whole; (m, starts) whether mirrored; (m, starts) whether the first of the pair is
        the whole.
    """
    plain, flipped = _bank(planes), _bank(planes[:, :, ::-1])
    a, b = plain[pairs[:, 0]], plain[pairs[:, 1]]
    c = flipped[pairs[:, 1]]
    similar = np.stack(
        [
            np.einsum("mcd,md->mc", a, b[:, 0]),
            np.einsum("md,mcd->mc", a[:, 0], b),
            np.einsum("mcd,md->mc", a, c[:, 0]),
            np.einsum("md,mcd->mc", a[:, 0], c),
        ],
        axis=1,
    )
    n = len(_crops())
    flat = np.round(similar.reshape(len(pairs), -1), 5)
    whole = np.where(flat[:, 0] >= flat[:, 2 * n], 0, 2 * n)
    picks = np.stack([*np.argsort(-flat, axis=1, kind="stable")[:, : STARTS - 1].T, whole], axis=1)
    way, crop = picks // n, np.array(_crops())[picks % n]  # (m, starts, 3)
    maps = np.stack([crop[..., 0], crop[..., 2], crop[..., 0], crop[..., 1]], axis=-1)
    return torch.from_numpy(maps.astype(np.float32)), way >= 2, way % 2 == 1


def _bank(planes: FloatArray) -> FloatArray:
    """Return (n, crops, 64) unit vectors of the crops of (n, s, s) planes, at 8 x 8 pixels."""
    vectors = []
    for scale, top, left in _crops():
        down, across = (_box(planes.shape[1], scale, offset) for offset in (top, left))
        made = (down @ planes @ across.T).reshape(len(planes), -1)
        made -= made.mean(axis=1, keepdims=True)
        vectors.append(made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1.0))
    return np.stack(vectors, axis=1)


@cache
def _box(n: int, scale: float, offset: float) -> FloatArray:
    """Return the (8, n) matrix that averages a stretch of n pixels into eight."""
    edges = (offset + scale * np.arange(COARSE + 1) / COARSE) * n
    low = np.maximum(edges[:-1, None], np.arange(n))
    high = np.minimum(edges[1:, None], np.arange(1, n + 1))
    weights = np.maximum(high - low, 0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def _refined(template: Tensor, source: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Improve (m, 4) maps from template to source coordinates; return them and their scores."""
    side = template.shape[-1]
    smooth = _normalised(template)
    unit = (torch.arange(side, dtype=torch.float32) + 0.5) / side
    x, y = unit.expand(side, side), unit[:, None].expand(side, side)
    for _ in range(STEPS[side]):
        warped, inside = _in_place(source, maps)
        residual = smooth - warped
        weight = inside / (1 + (residual / 0.6) ** 2) ** 2
        slope_x, slope_y = _slopes(warped)
        slope_x, slope_y = slope_x / maps[:, 0, None, None], slope_y / maps[:, 2, None, None]
        columns = torch.stack([slope_x * x, slope_x, slope_y * y, slope_y], dim=1).flatten(2)
        weighted = columns * weight.flatten(1)[:, None]
        normal = weighted @ columns.transpose(1, 2)
        normal = normal + torch.diag_embed(1e-2 * normal.diagonal(dim1=1, dim2=2) + 1e-6)
        step = torch.linalg.solve(normal, (weighted * residual.flatten(1)[:, None]).sum(dim=2))
        maps = maps + step.clamp(-0.06, 0.06)
        scale, offset = maps[:, 0::2].clamp(0.55, 1.8), maps[:, 1::2].clamp(-0.5, 0.5)
        maps = torch.stack([scale, offset], dim=2).flatten(1)
    return maps, _agreement(smooth, source, maps)


def _normalised(planes: Tensor) -> Tensor:
    """Take the local mean off and divide by the local contrast: what tone does not change."""
    side = planes.shape[-1]
    window = side // 4 + 1
    mean, smooth = _window((1 / window,) * window, side), _window((0.25, 0.5, 0.25), side)
    around = mean @ (planes @ mean.T)
    variance = (mean @ (planes**2 @ mean.T) - around**2).clamp(min=0)
    made = (planes - around) / (variance + 100).sqrt()
    return smooth @ (made @ smooth.T)


@cache
def _window(weights: tuple[float, ...], side: int) -> Tensor:
    """Return the (side, side) matrix of a weighted mean about each place; edges are repeated.

    As products such means cost a tenth of what pooling costs.
    """
    made = torch.zeros(side, side, dtype=torch.float64)
    for place in range(side):
        for step, weight in enumerate(weights):
            made[place, min(max(place + step - len(weights) // 2, 0), side - 1)] += weight
    return made.float()


def _slopes(planes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the slopes of (m, s, s) planes along x and y, in units of the side."""
    side = planes.shape[-1]
    padded = functional.pad(planes[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    across = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) * (side / 2)
    down = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) * (side / 2)
    return across, down


def _in_place(source: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Sample (m, s, s) planes at the mapped places; also which of them lie inside.

    They are normalised only once they are in place, so that what a picture has beyond the other,
    such as a border, does not count.
    """
    side = source.shape[-1]
    unit = (torch.arange(side, dtype=source.dtype) + 0.5) / side
    x = maps[:, 0:1] * unit + maps[:, 1:2]
    y = maps[:, 2:3] * unit + maps[:, 3:4]
    shape = (len(maps), side, side)
    places = ((2 * x[:, None, :] - 1).expand(shape), (2 * y[:, :, None] - 1).expand(shape))
    inside = ((x >= 0) & (x <= 1))[:, None, :] & ((y >= 0) & (y <= 1))[:, :, None]
    made = functional.grid_sample(
        source[:, None], torch.stack(places, dim=-1), padding_mode="border", align_corners=False
    )
    return _normalised(made[:, 0]), inside.to(source.dtype)


def _agreement(template: Tensor, source: Tensor, maps: Tensor) -> Tensor:
    """Return the mean correlation of the blocks of a plane and one laid onto it: (m,)."""
    warped, inside = _in_place(source, maps)
    block = BLOCK * template.shape[-1] // SIDE
    share, first, second, both = _pooled(inside, template, warped, block=block)
    correlation = both / ((first + FAINT) * (second + FAINT)).sqrt()
    usable = (share > 0.6) & (torch.maximum(first, second) > 4 * FAINT)
    weight = torch.where(usable, first.sqrt() + second.sqrt(), 0)
    mean = (correlation * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1e-9)
    overlap = inside.mean(dim=(1, 2))
    return torch.where((overlap >= LEAST_OVERLAP) & (usable.sum(dim=1) >= 4), mean, 0)


def _pooled(inside: Tensor, first: Tensor, second: Tensor, *, block: int) -> tuple[Tensor, ...]:
    """Return, by block, the share inside, both variances and the covariance: (m, blocks) each."""
    blocks = _blocks(inside.shape[-1], block)

    def mean(x: Tensor) -> Tensor:
        return (blocks @ (x @ blocks.T)).flatten(1)

    share = mean(inside)
    n = share.clamp(min=1e-6)
    a, b = mean(first * inside) / n, mean(second * inside) / n
    return (
        share,
        (mean(first**2 * inside) / n - a**2).clamp(min=0),
        (mean(second**2 * inside) / n - b**2).clamp(min=0),
        mean(first * second * inside) / n - a * b,
    )


@cache
def _blocks(side: int, block: int) -> Tensor:
    """Return the (blocks, side) matrix of the means of blocks that overlap by half."""
    starts = range(0, side - block + 1, block // 2)
    made = torch.zeros(len(starts), side)
    for row, start in enumerate(starts):
        made[row, start : start + block] = 1 / block
    return made
