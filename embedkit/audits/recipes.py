"""Recipes: a network's preprocessing with one thing done wrongly."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from embedkit.backbones.preprocessing import Preprocessing

Recipe = Callable[[Preprocessing], Preprocessing]

# Mean and standard deviation of RGB from 0 to 1 that networks are usually trained with.
RECIPES = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
SAME = 0.01  # of the range: normalisations nearer than this are one


def alike(one: Preprocessing, other: Preprocessing) -> bool:
    """Say whether two ways to prepare a picture are the same but for rounding."""
    first, second = (replace(each, range=1, mean=(), std=()) for each in (one, other))
    mine, theirs = (np.array([each.mean, each.std]) / each.range for each in (one, other))
    return first == second and bool(np.abs(mine - theirs).max() <= SAME)


def normalised(range_: float, mean: float, std: float) -> Recipe:
    """Return the recipe of one range, mean and deviation for all channels."""
    return lambda right: replace(
        right,
        range=range_,
        mean=(mean,) * len(right.mean),
        std=(std,) * len(right.std),
    )


def trained_as(name: str) -> Recipe:
    """Return the recipe of a network that was trained with one of `RECIPES`."""

    def recipe(right: Preprocessing) -> Preprocessing:
        mean, std = RECIPES[name]
        if len(right.mean) == 1:  # a grey network
            return replace(right, range=1, mean=(_mean(mean),), std=(_mean(std),))
        return replace(right, range=1, mean=mean, std=std)

    return recipe


def _mean(numbers: tuple[float, ...]) -> float:
    return float(np.mean(numbers))


def not_divided(right: Preprocessing) -> Preprocessing:
    """Leave out the division by 255."""
    return replace(right, range=255)


def divided_again(right: Preprocessing) -> Preprocessing:
    """Divide once more by 255; as a mean and deviation where the range is 1 already."""
    if right.range == 255:
        return replace(right, range=1)
    return replace(
        right, mean=tuple(255 * m for m in right.mean), std=tuple(255 * s for s in right.std)
    )


def other_filter(right: Preprocessing) -> Preprocessing:
    """Resize with bicubic in place of bilinear interpolation, and with bilinear otherwise."""
    return replace(
        right, interpolation="bicubic" if right.interpolation == "bilinear" else "bilinear"
    )


def margin(right: Preprocessing) -> Preprocessing:
    """Cut a border off as networks of ImageNet do, or keep it where one is cut off."""
    side = min(right.size)
    return replace(right, to=0 if right.to > side else round(side * 256 / 224))
