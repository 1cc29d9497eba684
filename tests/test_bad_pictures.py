"""Pictures of every bad kind: each is embedded or named with its reason, and none ends a run."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from embedkit.backbones.preprocessing import Preprocessing


@contextmanager
def limited_memory(more: int) -> Iterator[None]:
    """Let this process take so many bytes more than it has, and no others."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos", "nearest"])
@pytest.mark.parametrize("channels", ["RGB", "BGR", "L"])
def test_a_narrow_strip_is_cut_before_it_is_enlarged(interpolation, channels, monkeypatch):
    """Cut first or last: the same pixels, up to rounding; and only strips are cut first."""
    generator = np.random.default_rng(0)
    n = 1 if channels == "L" else 3
    taken = Preprocessing(
        size=(48, 64), to=60, interpolation=interpolation, channels=channels,
        mean=(0.0,) * n, std=(1.0,) * n,
    )  # fmt: skip
    for height, width in ((1, 4000), (4000, 1), (3, 2001), (2001, 3), (40, 90), (90, 40)):
        pixels = generator.integers(0, 256, (height, width, 3), np.uint8)
        pixels = np.sort(pixels, axis=int(width > height))  # smooth
        last = taken.prepare(pixels).astype(int)
        with monkeypatch.context() as patch:
            patch.setattr("embedkit.backbones.preprocessing.MOST_PIXELS", 1)
            first = taken.prepare(pixels).astype(int)
            fast = taken.prepare_fast(pixels).astype(int)
        assert first.shape == last.shape == (48, 64, n)
        # Where a point lies on the edge of two pixels, the nearest may be either.
        differing = (np.abs(first - last) > 2).mean()
        assert differing <= (0.2 if interpolation == "nearest" else 0)
        assert np.array_equal(first, fast)


@pytest.mark.parametrize("shape", [(1, 16000), (16000, 1), (1, 64000), (64000, 1), (2, 65000)])
def test_a_narrow_strip_takes_no_gigabytes(shape):
    """A PNG of 16,000 x 1 pixels has 129 bytes; enlarged whole, it had 2.4 GB and more."""
    pixels = np.full((*shape, 3), 90, np.uint8)
    pixels[: max(1, shape[0] // 2), : max(1, shape[1] // 2)] = 200
    with limited_memory(2**29):
        for taken in (Preprocessing(), Preprocessing(to=256, interpolation="bicubic")):
            prepared = taken.prepare(pixels)
            assert prepared.shape == (224, 224, 3)
            assert np.ptp(prepared) >= 100  # the edge in the middle
            assert np.array_equal(prepared, taken.prepare_fast(pixels))
