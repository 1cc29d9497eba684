"""Small pictures for tools that show some: re-encoded, so that no metadata goes along."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future

from PIL import Image

from embedkit.errors import UnreadableImageError
from embedkit.exports.base import Subject
from embedkit.images import decode, read_bytes, strict_pillow
from embedkit.pipeline.progress import Reporter
from embedkit.reports.pictures import Pictures, thumbnail
from embedkit.vectors import IntArray
from embedkit.workers import usable_cores, workers

AHEAD = 8  # pictures that are read before they are asked for, a core


def thumbnails(subject: Subject, rows: IntArray, side: int) -> Iterator[Image.Image | None]:
    """Yield the pictures of some images, in order, at most `side` pixels a side.

    None stands for one whose file is gone or damaged.
    """
    items, ids = subject.store.items, subject.store.items.ids
    pictures = Pictures(items, blur_faces=subject.blur_faces)
    reporter = Reporter(subject.progress)
    reporter.start("pictures", len(rows))

    def read(row: int) -> Image.Image | None:
        try:
            pixels = decode(read_bytes(items.path(ids[row]))).pixels
            return thumbnail(pictures.shown(pixels, pictures.only_face(ids[row])), side)
        except UnreadableImageError:
            return None

    waiting: deque[Future[Image.Image | None]] = deque()
    with strict_pillow(), workers() as pool:
        for row in map(int, rows):
            waiting.append(pool.submit(read, row))
            if len(waiting) >= AHEAD * usable_cores():
                yield waiting.popleft().result()
                reporter.count()
        while waiting:
            yield waiting.popleft().result()
            reporter.count()
