"""Texts too long for a row, kept beside it in parts.

DuckDB reads a column 2,048 values at a time, and so does a checkpoint, and holds them in memory together, however large they are: of
values of 64 KB that is 128 MB. Where it does not fit, a reading fails, and a checkpoint closes the database. So no row has a text above
:data:`LONG`: its column is empty there, ``long_text`` is a number, and the table ``long_text`` has the text by that number, in parts.

    shorts, numbers, parts = longtext.split(messages)
    store.append({"long_text": parts, "log_event": a_table_of(shorts, numbers)})
    with store.transaction() as db:
        rows = db.execute("SELECT message, long_text FROM log_event WHERE …").fetchall()
        texts = longtext.whole(db, [number for _, number in rows])
        messages = [texts.get(number, message) for message, number in rows]
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import duckdb
import pyarrow as pa

from localstack.store import registered

Key = TypeVar("Key")

#: The table, for a vendor's migrations.
SCHEMA = ("CREATE TABLE long_text (number BIGINT NOT NULL, part INTEGER NOT NULL, text VARCHAR NOT NULL)",)

#: Bytes of UTF-8 that a text in its row has at most.
LONG = 8_000
#: Characters of a part. Up to 4,096 bytes DuckDB keeps a text in a block with others.
PART = 4_000

_PARTS = pa.schema([("number", pa.int64()), ("part", pa.int32()), ("text", pa.string())])

# They grow, so that DuckDB can tell by its statistics where a number is not. From the clock, so that none is used again after a restart.
_numbers = itertools.count(time.time_ns())


def moved(table: str, column: str) -> tuple[str, ...]:
    """Migrations that take the long texts out of a table that was made without this; ``column`` must not have them as NULL."""
    return (
        f"ALTER TABLE {table} ADD COLUMN long_text BIGINT",
        f"UPDATE {table} SET long_text = rowid + 1 + (SELECT coalesce(max(number), 0) FROM long_text) WHERE strlen({column}) > {LONG}",
        f"""INSERT INTO long_text SELECT long_text, part, substr({column}, (part * {PART} + 1)::BIGINT, {PART})
            FROM (SELECT *, unnest(range((length({column}) + {PART - 1}) // {PART})) AS part FROM {table} WHERE long_text IS NOT NULL)""",
        f"UPDATE {table} SET {column} = '' WHERE long_text IS NOT NULL",
    )


def is_long(text: str) -> bool:
    """Whether a text must not stand in its row."""
    return len(text) > LONG // 4 and len(text.encode()) > LONG


def in_parts(texts: Iterable[tuple[Key, str]]) -> Iterator[tuple[Key, int, str]]:
    """Texts by their keys in parts: key, number of the part from 0, text."""
    for key, text in texts:
        for part, at in enumerate(range(0, len(text), PART)):
            yield key, part, text[at : at + PART]


def split(texts: Sequence[str]) -> tuple[Sequence[str], list[int | None], pa.Table]:
    """For each text what its row has of it, and its number, None where it is not long; and the rows of the table ``long_text``."""
    numbers = [next(_numbers) if is_long(text) else None for text in texts]
    long = [(number, text) for number, text in zip(numbers, texts, strict=True) if number is not None]
    if not long:
        return texts, numbers, _PARTS.empty_table()
    columns = zip(*in_parts(long), strict=True)
    parts = [pa.array(column, field.type) for column, field in zip(columns, _PARTS, strict=True)]
    rows = [text if number is None else "" for number, text in zip(numbers, texts, strict=True)]
    return rows, numbers, pa.Table.from_arrays(parts, schema=_PARTS)


def whole(db: duckdb.DuckDBPyConnection, numbers: Iterable[int | None]) -> dict[int | None, str]:
    """Texts by their numbers; a None among these has none. In the transaction that has read the numbers: what is deleted goes with its row.

    The caller bounds how much it asks for; DuckDB holds no more of it than a few parts.
    """
    wanted = sorted({number for number in numbers if number is not None})
    if not wanted:
        return {}
    result = db.execute(
        "SELECT number, part, text FROM long_text WHERE number BETWEEN ? AND ? AND number IN (SELECT unnest(?::BIGINT[]))",
        [wanted[0], wanted[-1], wanted],
    )
    found: dict[int | None, list[tuple[int, str]]] = {}
    while rows := result.fetchmany(1_000):
        for number, part, text in rows:
            found.setdefault(number, []).append((part, text))
    # Sorted here: DuckDB would hold it all.
    return {number: "".join(text for _, text in sorted(parts)) for number, parts in found.items()}


def insert(db: duckdb.DuckDBPyConnection, parts: pa.Table) -> None:
    """Store what :func:`split` gave, within a transaction of the caller's."""
    if parts.num_rows:
        with registered(db, parts) as view:
            db.execute(f"INSERT INTO long_text BY NAME SELECT * FROM {view}")


def delete(db: duckdb.DuckDBPyConnection, rows: str, column: str = "long_text", parameters: Sequence[object] = ()) -> None:
    """Delete the texts of rows that are about to be deleted, or not to be stored. ``rows``: SQL from after FROM to a condition, with
    ``parameters``; ``column``: what their numbers are by, in SQL."""
    db.execute(f"DELETE FROM long_text WHERE number IN (SELECT {column} FROM {rows} AND {column} IS NOT NULL)", parameters)
