"""Batch: many requests through one session. Each answer is streamed, and no row is lost.

::

    fan_out.py     fan_out(), and the batch that a caller reads
    rows.py        the rows of a running batch: started, sent again, handed over
    row_request.py makes a row of a request
    schedule.py    which row is next
    attempt.py     one request for a row
    outbox.py      the results that wait for their reader
    source.py      pulls the requests from whatever they come from
    limits.py      what may start, and when
    hedging.py     which requests are sent a second time, and when
    result.py      what is reported of a row and of the batch
    price.py       what a row cost

    ledger.py      where finished rows are written down; ledger_sqlite.py and ledger_redis.py are two such places
    claims.py      what a batch asks its ledger; row_key.py is what it finds a row by

    shared_limits.py   limits that several workers share; limits_sqlite.py and limits_redis.py are where they lie
    shared_state.py    what all workers know together; shared_models.py is one worker's part of it

    ray.py, daft.py, spark.py   a batch within the workers of an engine; engine_rows.py is what they have in common, tables.py
                                reads and writes their tables

    jsonl.py       rows from JSON lines
    output.py      the output of a run, and what the next one learns from it; line_file.py is the file below it
    output_line.py one line of it
    row_id.py      how a line tells which row it answers
"""

from __future__ import annotations

from cometstream.batch.fan_out import FanOut, fan_out
from cometstream.batch.hedging import Hedge
from cometstream.batch.ledger import Ledger
from cometstream.batch.limits import ConcurrencyChange
from cometstream.batch.result import BatchProgress, BatchResult
from cometstream.batch.shared_limits import SharedLimits

__all__ = ["BatchProgress", "BatchResult", "ConcurrencyChange", "FanOut", "Hedge", "Ledger", "SharedLimits", "fan_out"]
