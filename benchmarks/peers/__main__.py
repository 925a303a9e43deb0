"""One measurement in one process: ``python -m benchmarks.peers JOB``, where JOB is a ``Job`` as JSON.

The last line on standard output is the result as JSON. CPU is this process's own, user and system, from before the first
connection to after the last, without imports and a warm-up; the garbage collector is as Python starts it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.answers import Answer
from benchmarks.job import WARM_UPS, Job
from benchmarks.limits import raise_open_files
from benchmarks.peers import BatchPeer, load

if TYPE_CHECKING:
    from benchmarks.peers import Peer

# More than glibc's malloc takes from the kernel by mmap in a young process; freeing it once raises that limit for good.
_WARMS_THE_HEAP = 1024 * 1024

# Streams that a held job opens in a second: more than a listening socket's queue takes would wait for a second try.
_OPENED_A_SECOND = 2000

# The process is idle when it used less CPU than this in a quarter of a second.
_IDLE = 0.01


async def read_and_check(peer: Peer, answer: Answer) -> None:
    check(answer, *await peer.read())


def check(answer: Answer, text: str | None, tokens: int | None) -> None:
    """Text and usage must be what the server sent."""
    if text is not None and text != answer.text:
        raise ValueError(f"the text has {len(text)} characters, or others, in place of {len(answer.text)}")
    if tokens is not None and tokens != answer.chunks:
        raise ValueError(f"the usage says {tokens} tokens in place of {answer.chunks}")


async def run(job: Job) -> dict[str, float]:
    """Warm up, then do the job."""
    cls = load(job.peer)
    answer = Answer.named(job.answer)
    warm_up = Answer(answer.kind, chunks=50, padded=answer.padded)
    async with cls(f"{job.origin}/{warm_up.name}/v1") as peer:
        await asyncio.gather(*(read_and_check(peer, warm_up) for _ in range(WARM_UPS)))
    if job.warm:
        bytearray(_WARMS_THE_HEAP)
    resident = resident_bytes()
    began, cpu = time.perf_counter(), time.process_time()
    opened = 0.0
    async with cls(f"{job.origin}/{job.answer}/v1") as peer:
        early = resident
        if isinstance(peer, BatchPeer):
            early = await read_batch(peer, answer, job)
        else:
            readers = []
            for number in range(job.streams):
                readers.append(asyncio.create_task(read_in_turn(peer, answer, job.requests)))
                if answer.held and number % 100 == 99:
                    await asyncio.sleep(100 / _OPENED_A_SECOND)
            if answer.held:
                await all_held(job)
                opened = time.process_time() - cpu
                resident = resident_bytes() - resident
                await control(job, "release")
            await asyncio.gather(*readers)
    return {
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - began,
        "answers": job.streams * job.requests,
        "opening": opened,
        "bytes_per_stream": resident / job.streams if answer.held else 0,
        "early_bytes": early,
        "late_bytes": resident_bytes(),
    }


async def read_batch(peer: BatchPeer, answer: Answer, job: Job) -> int:
    """Read all rows of a batch, and return the memory that was taken after a tenth of them."""
    rows, early, number = job.streams * job.requests, 0, 0
    async for text, tokens in peer.read_all(rows, job.streams):
        check(answer, text, tokens)
        number += 1
        if number == rows // 10:
            early = resident_bytes()
    assert number == rows
    return early


async def read_in_turn(peer: Peer, answer: Answer, requests: int) -> None:
    for _ in range(requests):
        await read_and_check(peer, answer)


async def all_held(job: Job) -> None:
    """Wait until every stream is half-way at the server, and everything that came was read."""
    while await control(job, "held") < job.streams:  # noqa: ASYNC110 - another process is asked
        await asyncio.sleep(0.1)
    busy = True
    while busy:
        before = time.process_time()
        await asyncio.sleep(0.25)
        busy = time.process_time() - before > _IDLE


async def control(job: Job, call: str) -> int:
    host, _, port = job.origin.rpartition("/")[2].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=job.origin.startswith("https:") or None)
    writer.write(f"GET /{call} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    response = await reader.read()
    writer.close()
    return int(json.loads(response.partition(b"\r\n\r\n")[2]))


def resident_bytes() -> int:
    """Return the memory that the process has now; 0 where the system does not tell."""
    try:
        import resource

        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except (ImportError, OSError):
        return 0


def main() -> None:
    job = Job.from_json(sys.argv[1])
    files = raise_open_files()
    if files < job.streams + 100:
        raise SystemExit(f"{job.streams} streams need as many open files, and {files} is the limit: ulimit -n")
    if job.loop == "uvloop":
        import uvloop

        result = uvloop.run(run(job))
    else:
        result = asyncio.run(run(job))
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
