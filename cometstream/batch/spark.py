"""Spark: ``df.mapInArrow(completions, completions.schema(df))``, where ``completions = Completions(model="gpt-5.4")``."""

from __future__ import annotations

import importlib
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from cometstream.batch.engine_rows import COLUMNS, EngineRows, Given, check_options
from cometstream.batch.tables import read_rows, with_columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Completions"]

# Rows that are taken from Spark while others are under way.
_AHEAD: Final = 4000


class Completions:
    """A function for ``df.mapInArrow`` and ``df.mapInPandas``: each task has one session and one ``fan_out``.

    Each row comes back with the columns of the input and with ``content``, ``error`` (null if the answer is whole),
    ``finish_reason``, ``completion`` (JSON), ``prompt_tokens``, ``completion_tokens`` and ``from_ledger``. Spark runs a task again
    if it failed, and may run one twice: with a ``ledger``, no row is paid twice for that.

    Args:
        prompt: The column with what is asked.
        messages: The column with the messages, as a list or as JSON, instead.
        request: The column with a whole request, as a dict or as JSON, instead.
        id: The column that names the rows; it is needed with ``ledger``.
        prefix: Begins the names of the columns that are added.
        session: What a task's ``CometSession`` is made with, as in ``{"base_url": "..."}``; the key comes from ``COMETAPI_KEY``.
        **options: As of ``fan_out``. With several tasks at a time, use ``shared_limits``.

    Raises:
        CometError: One of them cannot be used.
    """

    def __init__(
        self,
        *,
        prompt: str = "prompt",
        messages: str | None = None,
        request: str | None = None,
        id: str | None = None,  # noqa: A002 - the column's own name
        prefix: str = "",
        session: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self._given = Given(prompt, messages, request, id)
        self._prefix = prefix
        self._options = check_options(self._given, session=session, options=options)
        self._session = session

    def schema(self, frame: Any) -> Any:
        """Return the schema of what comes back for a data frame."""
        types: Any = importlib.import_module("pyspark.sql.types")  # frame comes from it
        kinds = {str: types.StringType(), int: types.LongType(), bool: types.BooleanType()}
        added = [types.StructField(self._prefix + name, kinds[kind]) for name, kind in COLUMNS.items()]
        return types.StructType([*frame.schema.fields, *added])

    def __call__(self, tables: Iterator[Any]) -> Iterator[Any]:
        """Yield each table with its answers.

        Raises:
            ConfigurationError: A column is missing, or is there already.
        """
        rows = EngineRows(self._given, session=self._session, options=self._options)
        try:
            under_way: deque[tuple[Any, list[Any]]] = deque()
            for table in tables:
                under_way.append((table, rows.submit(read_rows(table, self._given, self._prefix))))
                while sum(len(futures) for _, futures in under_way) > _AHEAD or (
                    under_way and all(future.done() for future in under_way[0][1])
                ):
                    yield self._answered(*under_way.popleft())
            while under_way:
                yield self._answered(*under_way.popleft())
        finally:
            rows.close()

    def _answered(self, table: Any, futures: list[Any]) -> Any:
        return with_columns(table, [future.result() for future in futures], self._prefix)
