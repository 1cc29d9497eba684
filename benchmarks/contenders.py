"""One contender of `embedding.py`: loads its network once, then embeds each folder it is told.

Reads the path of a folder a line, and answers a line of JSON: seconds by the clock and of all
cores, and the number of pictures. It imports only what its contender needs, so that each rival can
run in a virtual environment of its own.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path


def spent() -> float:
    """Return the CPU seconds of this process and of its finished children."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(one.ru_utime + one.ru_stime for one in map(resource.getrusage, who))


def loader_of(folder: str, transform, *, batch: int, workers: int):
    """Return torch's loader over the pictures of a folder."""
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset

    paths = sorted(Path(folder).rglob("*.jpg"))

    class Pictures(Dataset):
        def __len__(self):
            return len(paths)

        def __getitem__(self, place):
            with Image.open(paths[place]) as image:
                return transform(image.convert("RGB"))

    return DataLoader(Pictures(), batch_size=batch, num_workers=workers)


def plain(network: str, weights: str):
    """A DataLoader with two workers, the library's own transform, eager fp32."""
    return _eager(network, weights, batch=64, workers=2)


def one_process(network: str, weights: str):
    """The same in one process, batches of 32, as sentence-transformers encodes pictures."""
    return _eager(network, weights, batch=32, workers=0)


def clip_retrieval(network: str, weights: str):
    """clip-retrieval's reader (one worker) and mapper (fp32 in, fp16 out), written again."""
    return _eager(network, weights, batch=256, workers=1, half=True)


def _eager(network: str, weights: str, *, half: bool = False, **options):
    import torch
    from references import reference

    read, transform = reference(network, weights)

    def run(folder: str) -> int:
        rows = []
        with torch.no_grad():
            for pictures in loader_of(folder, transform, **options):
                vectors = torch.nn.functional.normalize(read(pictures), dim=1)
                rows.append((vectors.half() if half else vectors).numpy())
        return sum(map(len, rows))

    return run


def embedkit(network: str, weights: str, *options: str):
    """`embedkit.embed`, from the first picture to the finished store, the network loaded."""
    import tempfile

    from embedkit.pipeline import embed

    place = Path(tempfile.mkdtemp())
    settings = dict(option.split("=") for option in options)

    def run(folder: str) -> tuple[int, float, float]:
        loaded = []

        def listen(now) -> None:
            if now.stage == "embedding" and not loaded:
                loaded.extend((time.perf_counter(), spent()))

        store = place / Path(folder).name
        built = embed(folder, store, backbone=network, weights=weights, progress=listen, **settings)
        return len(built.items), *loaded

    return run


def imagededup(network: str, weights: str):
    """Imagededup's CNN encoder as its users call it, its network with random weights."""
    from torchvision import models

    published = models.mobilenet_v3_small
    models.mobilenet_v3_small = lambda weights: published(weights=None)
    from imagededup.methods import CNN

    encoder = CNN(verbose=False)
    return lambda folder: len(encoder.encode_images(image_dir=folder, recursive=True))


def fastdup(network: str, weights: str):
    """Fastdup's run: its own network, its neighbours and its statistics."""
    import tempfile

    import fastdup as library

    def run(folder: str) -> int:
        work = library.create(work_dir=tempfile.mkdtemp(), input_dir=folder)
        work.run(num_threads=2, print_summary=False, verbose=False)
        return len(work.annotations())

    return run


def main() -> None:
    name, network, weights, *options = sys.argv[1:]
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a rival says of itself is no answer
    run = globals()[name](network, weights, *options)
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), spent()
        n = run(line.strip())
        load = 0.0
        if isinstance(n, tuple):
            n, *began = n
            load, (wall, cpu) = began[0] - wall, began
        answer = {"wall": time.perf_counter() - wall, "cpu": spent() - cpu, "n": n, "load": load}
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
