"""Row changes on their way into a service's own tables: many of them in few statements.

Changes of the same shape (table, operation, columns) become one batch, which the log applies with one statement.
Changes that meet the same rows keep their order by standing in later batches.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared.log.event import Delete, Patch, Put, RowChange, RowValue, Stamp

Columns = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the service's own schema, as the database describes it."""

    name: str
    key: Columns
    """Its primary key."""
    columns: Columns


class Tables:
    """The tables of one schema."""

    QUERY = """
        SELECT c.relname AS table, array_agg(a.attname::text ORDER BY a.attnum) AS columns,
               (SELECT array_agg(k.attname::text ORDER BY array_position(i.indkey::int2[], k.attnum))
                  FROM pg_catalog.pg_index i
                  JOIN pg_catalog.pg_attribute k ON k.attrelid = i.indrelid AND k.attnum = ANY (i.indkey)
                 WHERE i.indrelid = c.oid AND i.indisprimary) AS key
          FROM pg_catalog.pg_class c
          JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
         WHERE n.nspname = session_user AND c.relkind IN ('r', 'p')
           AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
         GROUP BY c.oid, c.relname"""
    """Describes the tables of the schema that is named as the login."""

    def __init__(self, schema: str, tables: Iterable[Table]) -> None:
        self._schema = schema
        self._tables = {table.name: table for table in tables}

    @classmethod
    def of(cls, schema: str, records: Iterable[Any]) -> "Tables":
        """From the answer to `QUERY`."""
        return cls(schema, (Table(r["table"], tuple(r["key"] or ()), tuple(r["columns"])) for r in records))

    def __getitem__(self, name: str) -> Table:
        """A table by its name, with or without the schema. Raises `LookupError` if the schema has none."""
        schema, dot, rest = name.rpartition(".")
        if dot and schema != self._schema:
            raise LookupError(f"{name} is not in the schema {self._schema}")
        table = self._tables.get(rest)
        if table is None:
            raise LookupError(f"there is no table {name}")
        return table


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the changes of one batch have in common."""

    operation: str
    table: Table
    found_by: Columns
    nulls: Columns
    columns: Columns
    stamps: tuple[tuple[str, str], ...]

    def opening(self) -> str:
        """The JSON of a batch up to its rows."""
        put = self.operation == "put"
        batch: dict[str, object] = {
            "op": self.operation,
            "table": self.table.name,
            "key": self.table.key if put else self.found_by,
            "nulls": self.nulls,
            "columns": self.columns,
            "stamps": dict(self.stamps),
        }
        if put:
            batch["rest"] = [column for column in self.table.columns if column not in self.table.key]
        return json.dumps(batch)[:-1] + ', "rows": ['


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """A row change as JSON, with what decides in which batch it goes."""

    shape: _Shape
    row: str
    """The members of the row's object but for the number of the command."""
    rows_met: str | None
    """Two changes of the same `shape.found_by` meet different rows if this differs; None: it may meet any row."""


def plan(change: RowChange, tables: Tables) -> PlannedChange:
    """A change, ready to be batched. Raises `LookupError` for a table or column that is not there."""
    table = tables[change.table]
    match change:
        case Put(row=row):
            return _put(table, row)
        case Patch(where=where, values=values):
            return _patch(table, where, values)
        case Delete(where=where):
            found_by, nulls, key = _found(table, where)
            shape = _Shape("delete", table, found_by, nulls, (), ())
            return PlannedChange(shape, f'"w":{key}', key)


def _put(table: Table, row: Mapping[str, RowValue]) -> PlannedChange:
    if not table.key:
        raise LookupError(f"the table {table.name} has no primary key")
    plain, stamps = _split(table, row)
    shape = _Shape("put", table, tuple(sorted(table.key)), (), tuple(row), stamps)
    try:
        key = _json({column: plain[column] for column in shape.found_by})
    except KeyError:  # a stamp in the key
        return PlannedChange(shape, f'"r":{_json(plain)}', None)
    return PlannedChange(shape, f'"r":{_json(plain)}', key)


def _patch(table: Table, where: Mapping[str, RowValue], values: Mapping[str, RowValue]) -> PlannedChange:
    found_by, nulls, key = _found(table, where)
    plain, stamps = _split(table, values)
    if not values:
        raise ValueError(f"a patch of {table.name} sets nothing")
    shape = _Shape("patch", table, found_by, nulls, tuple(values), stamps)
    moves = not set(values).isdisjoint(where)
    return PlannedChange(shape, f'"w":{key},"r":{_json(plain)}', None if moves else key)


def _found(table: Table, where: Mapping[str, RowValue]) -> tuple[Columns, Columns, str]:
    plain, stamps = _split(table, where)
    if stamps or not where:
        raise ValueError(f"rows of {table.name} are found by known values, and by one at least")
    found_by = tuple(sorted(column for column, value in plain.items() if value is not None))
    nulls = tuple(sorted(column for column, value in plain.items() if value is None))
    return found_by, nulls, _json({column: plain[column] for column in found_by})


def _split(table: Table, row: Mapping[str, RowValue]) -> tuple[Mapping[str, RowValue], tuple[tuple[str, str], ...]]:
    """What is known, and what the append will know."""
    for column in row:
        if column not in table.columns:
            raise LookupError(f"the table {table.name} has no column {column}")
    plain = {column: value for column, value in row.items() if not isinstance(value, Stamp)}
    return plain, tuple((column, value.value) for column, value in row.items() if isinstance(value, Stamp))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain)


def _plain(value: object) -> object:
    """What JSON has no form for, as PostgreSQL reads it."""
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a row cannot hold a {type(value).__name__}")


@dataclass(slots=True)
class _Order:
    """Which batch the changes of one table have come to."""

    met: dict[Columns, dict[str, int]] = field(default_factory=dict)
    last: dict[Columns, int] = field(default_factory=dict)
    floor: int = 0

    def place(self, change: PlannedChange) -> int:
        """The first batch that comes after every change that may meet the same rows."""
        by = change.shape.found_by + change.shape.nulls
        if change.rows_met is None:
            level = max([self.floor, *(level + 1 for level in self.last.values())])
            self.floor = level + 1
            return level
        level = max([self.floor, *(level + 1 for columns, level in self.last.items() if columns != by)])
        rows = self.met.setdefault(by, {})
        level = max(level, rows.get(change.rows_met, -1) + 1)
        rows[change.rows_met] = level
        self.last[by] = max(self.last.get(by, 0), level)
        return level


def batches(commands: Iterable[Sequence[PlannedChange]]) -> str | None:
    """The changes of commands, numbered from 1, as the JSON that the log takes; None if there are none."""
    orders: dict[str, _Order] = {}
    rows: dict[tuple[int, _Shape], list[str]] = {}
    for number, changes in enumerate(commands, start=1):
        for change in changes:
            name = change.shape.table.name
            order = orders.get(name)
            if order is None:
                order = orders[name] = _Order()
            rows.setdefault((order.place(change), change.shape), []).append(f'{{"c":{number},{change.row}}}')
    if not rows:
        return None
    in_order = sorted(rows.items(), key=lambda item: item[0][0])
    return "[" + ",".join(f"{shape.opening()}{','.join(texts)}]}}" for (_, shape), texts in in_order) + "]"
