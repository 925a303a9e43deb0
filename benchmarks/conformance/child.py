"""One client in a process of its own: ``python -m benchmarks.conformance.child NAME SECONDS``.

The first line on standard output tells the versions. Then each line on standard input is a case as JSON (``base_url``,
``request``), and a line of JSON answers it; standard input's end ends the process.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import warnings
from typing import Any

from benchmarks.conformance.clients import CLIENTS, versions


async def see(client: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Ask for one case and return what the client showed."""
    views: list[dict[str, Any]] = []
    raised = None
    try:
        await client.read(job["base_url"], job["request"], views)
    except Exception as error:
        raised = {
            "name": f"{type(error).__module__.partition('.')[0]}.{type(error).__name__}".removeprefix("builtins."),
            "own": isinstance(error, client.own),
            "status": getattr(error, "status_code", None),
            "message": " ".join(str(error).split())[:100],
        }
    return {"views": views, "raised": raised}


def main() -> None:
    # What a client or its dependencies print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    name, timeout = sys.argv[1], float(sys.argv[2])
    client = CLIENTS[name](timeout)
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    print(json.dumps({"versions": versions(name)}), file=answers, flush=True)
    for line in sys.stdin:
        seen = loop.run_until_complete(see(client, json.loads(line)))
        print(json.dumps(seen, default=str), file=answers, flush=True)


if __name__ == "__main__":
    main()
