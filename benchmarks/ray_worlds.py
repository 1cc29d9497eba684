"""What `ray_faults.py` starts as a process of its own: a run to disturb, or work that only sleeps.

ray_worlds.py embed ENGINE ADDRESS SOURCE ROOT STORE    # prints how many images are safe
ray_worlds.py sleep actors|data ADDRESS                 # prints each block as it arrives
"""

import logging
import os
import sys
import time
from pathlib import Path

from embedkit.engines import Block
from embedkit.pipeline import Progress, embed

BLOCK = 100
BLOCKS, SECONDS = 45, 0.5  # of the work that only sleeps


def run(engine: str, address: str, source: str, root: str, store: str) -> None:
    def tell(now: Progress) -> None:
        if now.stage == "embedding":
            print(now.safe, flush=True)

    embed(
        source,
        store,
        root=root,
        backbone="pixels",
        engine=engine,
        ray_address=address if engine == "ray" else None,
        block=BLOCK,
        progress=tell,
    )


class Sleeper:
    """A maker whose blocks take a while and come to nothing."""

    on_gpu = False

    @property
    def recipe(self) -> "Sleeper":
        """Return itself."""
        return self

    def open(self, threads: int) -> "Sleeper":
        """Return itself."""
        return self

    def load(self, block: Block, id_: str) -> None:
        """Sleep."""
        time.sleep(SECONDS)

    def finish(self, block: Block, images: list, lanes: object) -> int:
        """Return which block it was."""
        list(images)
        return block.number


def by_actors(address: str) -> None:
    from embedkit.engines.ray import RayEngine

    with RayEngine(address) as engine:
        for number in engine.make([Block(n, ("one",)) for n in range(BLOCKS)], Sleeper()):
            print(number, flush=True)


class Sleeping:
    """The same for Ray Data."""

    def __call__(self, row: dict) -> dict:
        """Sleep."""
        time.sleep(SECONDS)
        return row


def by_data(address: str) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    import ray.data

    ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    rows = ray.data.from_items([{"n": n} for n in range(BLOCKS)], override_num_blocks=BLOCKS)
    pool = ray.data.ActorPoolStrategy(min_size=1, max_size=3)
    for row in rows.map(Sleeping, num_cpus=1, compute=pool).iter_rows():
        print(row["n"], flush=True)


if __name__ == "__main__":
    what, how, *rest = sys.argv[1:]
    sys.path.insert(0, str(Path(__file__).parent))
    if what == "embed":
        run(how, *rest)
    else:
        {"actors": by_actors, "data": by_data}[how](*rest)
