"""The workers of ``tests.acceptance.workers --ray``: actors of Ray Data, which keep to one limit together."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
import ray.data

from cometstream.batch.ray import Completions
from cometstream.testing import SimulatedServer

# Rows of one task; an actor has several tasks at a time.
_BATCH = 25


class _Noted(Completions):
    """It leaves its process id in a folder."""

    def __init__(self, pids: str, **options: Any) -> None:
        super().__init__(**options)
        Path(pids, str(os.getpid())).touch()


class RayTeam:
    """One dataset over so many actors. Ray starts another for one that was killed, and gives it the dead one's tasks.

    Attributes:
        kills: How many were killed.
    """

    def __init__(self, server: SimulatedServer, folder: Path, options: Mapping[str, Any], rows: int) -> None:
        self._pids = folder / "pids"
        self._pids.mkdir()
        session = {"api_key": server.api_key, "base_url": server.base_url}
        self._options = {"pids": str(self._pids), "session": session, "model": "m", **options}
        self._rows = rows
        self._ended = False
        self.kills = 0

    async def start(self, workers: int) -> None:
        """Start the actors; they send as soon as they can."""
        self._thread = threading.Thread(target=self._run, args=(workers,))
        self._thread.start()
        while len(list(self._pids.iterdir())) < workers:
            if not self._thread.is_alive():
                raise RuntimeError("Ray could not start the actors; what it said stands above")
            await asyncio.sleep(0.2)

    def _run(self, workers: int) -> None:
        ray.init(num_cpus=workers + 1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = [{"prompt": f"row {number}"} for number in range(self._rows)]
        answers = ray.data.from_items(rows, override_num_blocks=max(1, self._rows // _BATCH)).map_batches(
            _Noted,
            fn_constructor_kwargs=self._options,
            batch_format="pyarrow",
            batch_size=_BATCH,
            compute=ray.data.ActorPoolStrategy(size=workers),
        )
        try:
            for _ in answers.iter_batches():
                if self._ended:
                    break
        finally:
            ray.shutdown()  # here: what is left of the dataset would start another Ray

    async def replace(self) -> None:
        """Kill an actor that has run longest, as the kernel would."""
        alive = sorted(self._pids.iterdir(), key=lambda path: path.stat().st_mtime)
        alive[0].unlink()
        os.kill(int(alive[0].name), signal.SIGKILL)
        self.kills += 1

    async def end(self) -> None:
        self._ended = True
        await asyncio.to_thread(self._thread.join)
