"""The tables that engines hand over: read row by row, and given back with the columns of ``engine_rows``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from cometstream.batch.engine_rows import COLUMNS, checked_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cometstream.batch.engine_rows import Given

__all__ = ["read_rows", "with_columns"]


def read_rows(table: Any, given: Given, prefix: str) -> list[dict[str, Any]]:
    """Return the rows of a table, with the columns that make requests.

    Args:
        table: Of Arrow, of pandas, or a dict of NumPy's arrays.
        given: Which columns make a request.
        prefix: Begins the names of the columns that are added.

    Raises:
        ConfigurationError: A column is missing, or is there already.
    """
    names = list(_names(table))
    checked_columns(names, given, prefix)
    wanted = given.columns
    if hasattr(table, "to_pylist"):
        rows: list[dict[str, Any]] = table.select(wanted).to_pylist()
        return rows
    if hasattr(table, "to_dict"):
        records: list[dict[str, Any]] = table[wanted].to_dict("records")
        return records
    return [dict(zip(wanted, values, strict=True)) for values in zip(*(table[name] for name in wanted), strict=True)]


def with_columns(table: Any, results: Sequence[Mapping[str, Any]], prefix: str) -> Any:
    """Return a table of the same kind with the results as columns."""
    columns = {name: [result[name] for result in results] for name in COLUMNS}
    if hasattr(table, "to_pylist"):
        pa: Any = importlib.import_module("pyarrow")  # the table is of it; so below
        types = {str: pa.string(), int: pa.int64(), bool: pa.bool_()}
        arrays = [pa.array(column, types[COLUMNS[name]]) for name, column in columns.items()]
        fields = [pa.field(prefix + name, array.type) for name, array in zip(columns, arrays, strict=True)]
        schema = pa.schema([*table.schema, *fields])
        return type(table).from_arrays([*table.columns, *arrays], schema=schema)
    if hasattr(table, "to_dict"):
        pd: Any = importlib.import_module("pandas")
        kinds = {str: "object", int: "Int64", bool: "bool"}
        series = {
            prefix + name: pd.Series(column, dtype=kinds[COLUMNS[name]], index=table.index)
            for name, column in columns.items()
        }
        return table.assign(**series)
    np: Any = importlib.import_module("numpy")
    return {**table, **{prefix + name: np.array(column, dtype=object) for name, column in columns.items()}}


def _names(table: Any) -> Sequence[str]:
    names: Sequence[str] = table.schema.names if hasattr(table, "to_pylist") else list(table)
    return names
