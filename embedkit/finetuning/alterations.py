"""Alterations of training pictures, drawn anew each time a picture is seen: fixed and mild."""

import numpy as np
import torch
from torch.nn import functional

MIRRORED = 0.5  # of the pictures
SHIFT = 0.08  # of the side, at most, in both directions
SCALE = 0.1  # smaller or larger, at most
BRIGHTNESS = 0.2  # darker or brighter, at most
CONTRAST = 0.2  # flatter or steeper, at most
DESCRIPTION = (
    f"half of them mirrored, shifted by up to {SHIFT:.0%} of the side, scaled by up to "
    f"{SCALE:.0%}, brightness and contrast by up to {BRIGHTNESS:.0%}"
)


def alter(pictures: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
    """Return altered pictures; what a shift leaves empty is filled from the border.

    Args:
        pictures: (n, h, w, c) uint8.
        generator: that draws the alterations.

    Returns:
        (n, h, w, c) float32, 0 to 255.
    """
    n = len(pictures)
    mirror = np.where(generator.random(n) < MIRRORED, -1.0, 1.0)
    zoom = 1 + generator.uniform(-SCALE, SCALE, n)
    shift = 2 * generator.uniform(-SHIFT, SHIFT, (n, 2))  # the grid goes from -1 to 1
    matrix = np.zeros((n, 2, 3), np.float32)
    matrix[:, 0, 0], matrix[:, 1, 1], matrix[:, :, 2] = mirror * zoom, zoom, shift
    bright = generator.uniform(-BRIGHTNESS, BRIGHTNESS, n) * 255
    steep = 1 + generator.uniform(-CONTRAST, CONTRAST, n)
    x = pictures.permute(0, 3, 1, 2).float()
    grid = functional.affine_grid(torch.from_numpy(matrix), list(x.shape), align_corners=False)
    x = functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
    bright_, steep_ = (
        torch.from_numpy(one.astype(np.float32)).view(n, 1, 1, 1) for one in (bright, steep)
    )
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = ((x - mean) * steep_ + mean + bright_).clamp_(0, 255)
    return x.permute(0, 2, 3, 1)
