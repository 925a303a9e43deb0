"""``python -m tests.simulation SEED`` replays one run; ``--runs N`` runs N seeds from SEED on, ``--workers W`` at a time."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import Pool
from typing import TypeAlias

from .world import Broken, Told, run

Run: TypeAlias = Callable[[int], Told]

# Seeds that a worker takes at a time.
_SHARD = 500


def main(run: Run, program: str = "tests.simulation") -> int:
    """Do what the command line says, with a world of one kind."""
    description = f"{program} SEED replays one run; --runs N runs N seeds from SEED on, --workers W at a time."
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument("seed", type=int, nargs="?", default=0, help="the seed, or the first of them (default 0)")
    parser.add_argument(
        "--runs", type=int, help="how many seeds; without it the one is replayed, and each step printed"
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one for each core)"
    )
    options = parser.parse_args()
    if options.runs is None:
        return _replay(run, options.seed)
    return _search(run, options.seed, options.runs, options.workers)


def _replay(run: Run, seed: int) -> int:
    try:
        world = run(seed)
    except Broken as broken:
        print(broken.world.told())
        print(broken)
        return 1
    print(world.told())
    return 0


def _search(run: Run, first: int, runs: int, workers: int) -> int:
    began = time.monotonic()
    shards = [range(start, min(start + _SHARD, first + runs)) for start in range(first, first + runs, _SHARD)]
    done, broken = 0, 0
    with Pool(workers, _quiet) as pool:
        for count, found in pool.imap_unordered(partial(_run_all, run), shards):
            done += count
            broken += len(found)
            for message in found:
                print(message, flush=True)
    seconds = time.monotonic() - began
    print(f"{done} runs in {seconds:.0f} s ({done / seconds:.0f} a second), {broken} broken")
    return 1 if broken else 0


def _quiet() -> None:
    """Keep warnings off stderr: thousands of calls fail here on purpose."""
    logging.getLogger("cometstream").addHandler(logging.NullHandler())


def _run_all(run: Run, seeds: range) -> tuple[int, list[str]]:
    found = []
    for seed in seeds:
        try:
            run(seed)
        except Broken as broken:
            found.append(str(broken).splitlines()[0])
    return len(seeds), found


if __name__ == "__main__":
    sys.exit(main(run))
