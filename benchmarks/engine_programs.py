"""The programs that ``benchmarks.engines`` measures: a batch of rows as a user of each engine writes it, in a process of its own.

``python -m benchmarks.engine_programs PROGRAM`` reads what to do as JSON from its standard input. It prints one line when its rows
begin, one when it has all results, and one with their number when each was found to be whole; only then does it end its engine.
Imports are over when the rows begin. Those of Ray's actors and of ``cometstream batch`` are not, and so their rows begin with the
first request: it is sent as soon as there is a row. Daft's ``prompt`` does much for each row before the first request.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.answers import MODEL, Answer
from benchmarks.limits import raise_open_files

KEY = "sk-benchmark"
# What Ray Data hands over at a time, as in examples/engines; four of these are under way in an actor.
_BATCH = 256

Results = Iterable[tuple[int, "str | None"]]


@dataclass(frozen=True)
class Task:
    """What a program is to do.

    Args:
        answer: The name of an ``Answer``, streamed; programs that cannot read a stream ask for the same as a document.
        rows: How many.
        origin: Where the load server is.
        processes: Workers of ``cometstream batch``.
    """

    answer: str
    rows: int
    origin: str = ""
    processes: int = 1

    @property
    def base_url(self) -> str:
        return f"{self.origin}/{self.answer}/v1"

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @property
    def document_url(self) -> str:
        """Where the same answer is given as one document."""
        return f"{self.origin}/{replace(Answer.named(self.answer), streamed=False).name}/v1"


def begun() -> None:
    """Say that the rows begin."""
    print(json.dumps("begun"), flush=True)


def _prompt(number: int) -> str:
    return f"Write about comet {number}."


@contextmanager
def fan_out(task: Task) -> Iterator[Results]:
    """``fan_out`` in a program of asyncio."""
    from cometstream import CometSession
    from cometstream import fan_out as fan_out_

    async def run() -> list[tuple[int, str | None]]:
        results = []
        rows = ({"messages": [{"role": "user", "content": _prompt(number)}]} for number in range(task.rows))
        async with CometSession(api_key=KEY, base_url=task.base_url) as session:
            async with fan_out_(session, rows, model=MODEL) as batch:
                async for result in batch:
                    whole = result.outcome == "complete" and result.completion is not None
                    results.append((result.index, result.completion.content if whole else None))
        return results

    begun()
    yield asyncio.run(run())


@contextmanager
def batch(task: Task) -> Iterator[Results]:
    """``cometstream batch``: a file in, a file out."""
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder, "in.jsonl"), Path(folder, "out.jsonl")
        with source.open("w") as lines:
            for number in range(task.rows):
                lines.write(json.dumps({"custom_id": str(number), "prompt": _prompt(number)}) + "\n")
        command = [sys.executable, "-m", "cometstream", "batch", str(source), "-o", str(output), "-m", MODEL]
        command += ["--base-url", task.base_url, "--processes", str(task.processes), "--quiet"]
        subprocess.run(command, check=True, env={**os.environ, "COMETAPI_KEY": KEY}, stdout=subprocess.DEVNULL)
        yield _written(output)


def _written(output: Path) -> Iterator[tuple[int, str | None]]:
    with output.open() as lines:
        for line in map(json.loads, lines):
            response = line["response"]
            whole = line["error"] is None and response is not None
            yield int(line["custom_id"]), response["body"]["choices"][0]["message"]["content"] if whole else None


@contextmanager
def ray_ours(task: Task) -> Iterator[Results]:
    """Ray Data with ``cometstream.batch.ray``."""
    from cometstream.batch.ray import Completions

    with _ray() as data:
        options = {"session": {"api_key": KEY, "base_url": task.base_url}, "model": MODEL}
        rows = data.from_items([{"n": number, "prompt": _prompt(number)} for number in range(task.rows)])
        answers = rows.map_batches(
            Completions,
            fn_constructor_kwargs=options,
            batch_format="pyarrow",
            batch_size=_BATCH,
            compute=data.ActorPoolStrategy(size=1),
        )
        yield [(row["n"], row["content"]) for row in answers.take_all()]


@contextmanager
def ray_theirs(task: Task) -> Iterator[Results]:
    """Ray Data with its own HTTP request processor."""
    from ray.data.llm import HttpRequestProcessorConfig, build_processor

    def request(row: dict[str, Any]) -> dict[str, Any]:
        return {"payload": {"model": MODEL, "messages": [{"role": "user", "content": row["prompt"]}]}}

    def answer(row: dict[str, Any]) -> dict[str, Any]:
        return {"n": row["n"], "content": row["http_response"]["choices"][0]["message"]["content"]}

    with _ray() as data:
        config = HttpRequestProcessorConfig(
            url=f"{task.document_url}/chat/completions", headers={"Authorization": f"Bearer {KEY}"}, concurrency=1
        )
        processor = build_processor(config, preprocess=request, postprocess=answer)
        rows = data.from_items([{"n": number, "prompt": _prompt(number)} for number in range(task.rows)])
        yield [(row["n"], row["content"]) for row in processor(rows).take_all()]


@contextmanager
def _ray() -> Iterator[Any]:
    import ray
    import ray.data

    # One for the actor that sends, one for what reads and writes rows.
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield ray.data
    finally:
        ray.shutdown()


@contextmanager
def daft_ours(task: Task) -> Iterator[Results]:
    """Daft with ``cometstream.batch.daft``."""
    import daft

    from cometstream.batch.daft import completions

    frame = _daft_rows(task)
    answer = completions(daft.col("prompt"), session={"api_key": KEY, "base_url": task.base_url}, model=MODEL)
    begun()
    yield [(row["n"], row["answer"]["content"]) for row in frame.with_column("answer", answer).to_pylist()]


@contextmanager
def daft_theirs(task: Task) -> Iterator[Results]:
    """Daft with its own ``prompt``."""
    import daft
    from daft.ai.openai.provider import OpenAIProvider
    from daft.functions import prompt

    # On a busy machine the 5 seconds of its client are over before a thousand connections are open.
    provider = OpenAIProvider(api_key=KEY, base_url=task.document_url, timeout=60)
    frame = _daft_rows(task)
    answer = prompt(daft.col("prompt"), provider=provider, model=MODEL, use_chat_completions=True)
    begun()
    yield [(row["n"], row["answer"]) for row in frame.with_column("answer", answer).to_pylist()]


def _daft_rows(task: Task) -> Any:
    import daft

    return daft.from_pydict({"n": list(range(task.rows)), "prompt": [_prompt(number) for number in range(task.rows)]})


PROGRAMS: dict[str, Callable[[Task], Any]] = {
    program.__name__: program for program in (fan_out, batch, ray_ours, ray_theirs, daft_ours, daft_theirs)
}


def check(results: Results, task: Task) -> int:
    """Every row is there once, with the text that the server sent."""
    text, seen = Answer.named(task.answer).text, set()
    for number, content in results:
        if content != text:
            raise SystemExit(f"row {number} has {content!r:.100}, not the text that was sent")
        if number in seen:
            raise SystemExit(f"row {number} came twice")
        seen.add(number)
    if seen != set(range(task.rows)):
        raise SystemExit(f"{len(seen)} rows came back, not {task.rows}")
    return len(seen)


def main() -> None:
    raise_open_files()
    task = Task(**json.load(sys.stdin))
    with PROGRAMS[sys.argv[1]](task) as results:
        print(json.dumps("done"), flush=True)
        print(json.dumps(check(results, task)), flush=True)


if __name__ == "__main__":
    main()
