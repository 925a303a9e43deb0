"""Daft: ``df.with_column("answer", completions(daft.col("question"), model="gpt-5.4"))``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from cometstream.batch.engine_rows import COLUMNS, EngineRows, Given, check_options
from cometstream.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["completions"]

# Rows that Daft has under way in one worker; how many of them are sent at a time, the limits of the batch say.
_AT_A_TIME: Final = 1000


def completions(
    prompt: Any = None,
    *,
    messages: Any = None,
    request: Any = None,
    id: Any = None,  # noqa: A002 - the row's own name
    rows_at_a_time: int = _AT_A_TIME,
    session: Mapping[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Return an expression with the answer to each row.

    It is a struct of ``content``, ``error`` (null if the answer is whole), ``finish_reason``, ``completion`` (JSON),
    ``prompt_tokens``, ``completion_tokens`` and ``from_ledger``. Each worker has one session and one ``fan_out``.

    Args:
        prompt: The expression of what is asked.
        messages: That of the messages, as a list or as JSON, instead.
        request: That of a whole request, as a struct or as JSON, instead.
        id: That of the rows' names; it is needed with ``ledger``.
        rows_at_a_time: Rows that Daft hands over before it has the first result.
        session: What a worker's ``CometSession`` is made with, as in ``{"base_url": "..."}``; the key comes from ``COMETAPI_KEY``.
        **options: As of ``fan_out``. With several workers, use ``shared_limits``, and ``ledger`` against paying twice.

    Raises:
        ConfigurationError: Daft is not installed, or not one of the first three expressions is given.
        CometError: An option cannot be used.
    """
    try:
        daft: Any = importlib.import_module("daft")
    except ImportError as error:
        raise ConfigurationError("Daft needs the extra daft: pip install 'cometstream[daft]'") from error
    sources = {"prompt": prompt, "messages": messages, "request": request}
    given = {name: source for name, source in sources.items() if source is not None}
    if len(given) != 1:
        raise ConfigurationError("give one of prompt, messages and request: the expression that rows are made of")
    ((source, asked),) = given.items()
    names: dict[str, Any] = {"prompt": "prompt", source: source, "id": None if id is None else "id"}
    options = check_options(Given(**names), session=session, options=options)

    kinds = {str: daft.DataType.string(), int: daft.DataType.int64(), bool: daft.DataType.bool()}
    answer = daft.DataType.struct({name: kinds[kind] for name, kind in COLUMNS.items()})

    class Completions:
        """The batch of one worker."""

        def __init__(self) -> None:
            self._rows = EngineRows(Given(**names), session=session, options=options)

        async def complete(self, asked: Any, name: Any = None) -> Any:
            """Return the answer to one row."""
            (told,) = await self._rows.complete([{source: asked, "id": name}])
            return told

        def __del__(self) -> None:
            rows = getattr(self, "_rows", None)
            if rows is not None:
                rows.close()

    Completions.complete = daft.method(return_dtype=answer)(Completions.complete)  # type: ignore[method-assign]
    complete = daft.cls(max_concurrency=rows_at_a_time)(Completions)().complete
    return complete(asked) if id is None else complete(asked, id)
