"""Ray Data: ``ds.map_batches(Completions, fn_constructor_kwargs={"model": "gpt-5.4"}, batch_format="pyarrow")``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cometstream.batch.engine_rows import EngineRows, Given
from cometstream.batch.tables import read_rows, with_columns

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Completions"]


class Completions:
    """What each actor makes, for ``ds.map_batches``: one session and one ``fan_out``, to which all batches of the actor go.

    Ray hands over several batches of ``batch_size`` rows at a time: four, or as many as the environment variable
    ``RAY_DATA_DEFAULT_ASYNC_BATCH_UDF_MAX_CONCURRENCY`` says. So many rows can be under way in each actor. Each row comes back with
    the columns of the input and with ``content``, ``error`` (null if the answer is whole), ``finish_reason``, ``completion``
    (JSON), ``prompt_tokens``, ``completion_tokens`` and ``from_ledger``.

    Args:
        prompt: The column with what is asked.
        messages: The column with the messages, as a list or as JSON, instead.
        request: The column with a whole request, as a dict or as JSON, instead.
        id: The column that names the rows; it is needed with ``ledger``.
        prefix: Begins the names of the columns that are added.
        session: What the actor's ``CometSession`` is made with, as in ``{"base_url": "..."}``; the key comes from ``COMETAPI_KEY``.
        **options: As of ``fan_out``. With several actors, use ``shared_limits``, and ``ledger`` against paying twice. On a cluster,
            an actor's folder is not the program's: give the whole path of a file, or a Redis for several machines.

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
        self._rows = EngineRows(self._given, session=session, options=options)

    async def __call__(self, batch: Any) -> Any:
        """Return a batch with its answers.

        Raises:
            ConfigurationError: A column is missing, or is there already.
        """
        results = await self._rows.complete(read_rows(batch, self._given, self._prefix))
        return with_columns(batch, results, self._prefix)

    def __del__(self) -> None:
        rows = getattr(self, "_rows", None)
        if rows is not None:
            rows.close()
