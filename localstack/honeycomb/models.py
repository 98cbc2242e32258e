"""State of the local Honeycomb: datasets, columns, events and queries in one DuckDB file. Knows no HTTP.

What a method has stored is committed when it returns (see ``localstack.store``). Nothing is stored twice or merged: an event
that is delivered twice is two events, as at Honeycomb.
"""

from __future__ import annotations

import secrets
import string
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import orjson
import pyarrow as pa

from localstack.honeycomb.layout import CREATE_EVENT, CREATE_LONG_TEXT, PROMOTED, Rows, slug
from localstack.store import Store, registered

T = TypeVar("T")

APPLICATION = "parallax.honeycomb"

MIGRATIONS = [
    CREATE_EVENT,
    """
    CREATE TABLE dataset (
        slug VARCHAR PRIMARY KEY, name VARCHAR NOT NULL, description VARCHAR NOT NULL, expand_json_depth INTEGER NOT NULL,
        created_at BIGINT NOT NULL
    );
    CREATE TABLE dataset_column (
        dataset VARCHAR NOT NULL, key_name VARCHAR NOT NULL, id VARCHAR NOT NULL, type VARCHAR NOT NULL, description VARCHAR NOT NULL,
        hidden BOOLEAN NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, PRIMARY KEY (dataset, key_name)
    );
    CREATE TABLE query (id VARCHAR PRIMARY KEY, dataset VARCHAR NOT NULL, spec VARCHAR NOT NULL, created_at BIGINT NOT NULL);
    CREATE TABLE query_result (
        id VARCHAR PRIMARY KEY, dataset VARCHAR NOT NULL, query_id VARCHAR NOT NULL, disable_series BOOLEAN NOT NULL, row_limit INTEGER,
        created_at BIGINT NOT NULL
    )
    """,
    CREATE_LONG_TEXT,
]

#: The pseudo dataset of queries over the whole environment.
ALL = "__all__"

_ALPHABET = string.ascii_letters + string.digits


def new_id(length: int = 11) -> str:
    """An identifier as Honeycomb makes them: letters and digits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


@dataclass(frozen=True)
class Dataset:
    """A dataset. Times are nanoseconds since the epoch."""

    slug: str
    name: str
    description: str
    expand_json_depth: int
    created_at: int
    last_written_at: int | None = None
    columns: int = 0


@dataclass(frozen=True)
class Column:
    """A column of a dataset: the type is that of the first value seen, or what the API set."""

    id: str
    key_name: str
    type: str
    description: str
    hidden: bool
    created_at: int
    updated_at: int
    last_written_at: int | None = None


@dataclass(frozen=True)
class Query:
    """A stored query specification, as it was sent."""

    id: str
    dataset: str
    spec: dict[str, Any]


@dataclass(frozen=True)
class QueryRun:
    """One run of a query: what was asked, and when (nanoseconds since the epoch), which fixes a relative time range."""

    id: str
    dataset: str
    query_id: str
    disable_series: bool
    limit: int | None
    created_at: int


_COLUMN = "id, key_name, type, description, hidden, created_at, updated_at"


def _insert_long_texts(db: duckdb.DuckDBPyConnection, table: pa.Table) -> None:
    """Store the long strings that are not there yet."""
    with registered(db, table) as view:
        db.execute(
            f"INSERT INTO long_text BY NAME SELECT DISTINCT * FROM {view} WHERE digest NOT IN (SELECT digest FROM long_text WHERE part = 0)"
        )


@dataclass
class _Catalog:
    """What is known of datasets and columns, so that ingest asks the database only when something is new.

    It may know less than the database, never more: an event of a dataset or column that it wrongly knew would define neither.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    columns: dict[str, frozenset[str]] = field(default_factory=dict)
    #: Counts what was deleted: what was stored before a deletion must not become known after it.
    deletions: int = 0

    def learn(self, dataset: str, columns: Iterable[str], deletions: int) -> None:
        """``columns`` of ``dataset`` are stored, by a write that began when so many ``deletions`` had been counted."""
        with self.lock:
            if deletions == self.deletions:
                self.columns[dataset] = self.columns.get(dataset, frozenset()).union(columns)

    def forget(self, dataset: str) -> None:
        """All of ``dataset``, or some of its columns, are about to be deleted, or just were."""
        with self.lock:
            self.deletions += 1
            self.columns.pop(dataset, None)


class Honeycomb:
    """The state behind the API."""

    def __init__(self, path: Path, memory_limit: str = "192MB") -> None:
        self.store = Store(path, APPLICATION, MIGRATIONS, memory_limit=memory_limit, inserts={"long_text": _insert_long_texts})
        self._catalog = _Catalog()
        for (name,) in self.store.read("SELECT slug FROM dataset"):
            self._catalog.columns[name] = frozenset()
        for name, columns in self.store.read("SELECT dataset, list(key_name) FROM dataset_column GROUP BY dataset"):
            self._catalog.columns[name] = frozenset(columns)

    def close(self) -> None:
        """Commit what is queued and close the file."""
        self.store.close()

    # -- events

    def add(self, rows: Rows) -> None:
        """Store events, with the datasets and columns that they are the first to use. Returns when they are committed."""
        if not rows:
            return
        now = time.time_ns()
        table, long_texts = rows.table(now), rows.long_texts()
        known, deletions = self._catalog.columns, self._catalog.deletions
        news = {name: columns for name, columns in rows.columns.items() if (have := known.get(name)) is None or not columns.keys() <= have}
        if not news:
            self.store.append({"event": table, "long_text": long_texts})
            return
        names = {name: rows.names[name] for name in news}
        self.store.transact(lambda db: self._add_with_columns(db, table, long_texts, names, news, now))
        for name, columns in news.items():
            self._catalog.learn(name, columns, deletions)

    @staticmethod
    def _add_with_columns(
        db: duckdb.DuckDBPyConnection,
        table: pa.Table,
        long_texts: pa.Table,
        names: dict[str, str],
        news: dict[str, dict[str, str]],
        now: int,
    ) -> None:
        for name, columns in news.items():
            db.execute("INSERT INTO dataset VALUES (?, ?, '', 0, ?) ON CONFLICT DO NOTHING", [name, names[name], now])
            have = {row[0] for row in db.execute("SELECT key_name FROM dataset_column WHERE dataset = ?", [name]).fetchall()}
            missing = [Column(new_id(), key, kind, "", False, now, now) for key, kind in columns.items() if key not in have]
            for column in missing:
                Honeycomb._insert_column(db, name, column)
        with registered(db, table) as view:
            db.execute(f"INSERT INTO event BY NAME SELECT * FROM {view}")
        if long_texts.num_rows:
            _insert_long_texts(db, long_texts)

    def long_texts(self, digests: Sequence[str]) -> dict[str, str]:
        """Long strings by their digests (see :mod:`localstack.honeycomb.layout`)."""
        sql = "SELECT digest, string_agg(text, '' ORDER BY part) FROM long_text WHERE digest IN (SELECT unnest($digests)) GROUP BY digest"
        return dict(self.store.read(sql, {"digests": list(digests)}))

    @staticmethod
    def _insert_column(db: duckdb.DuckDBPyConnection, dataset: str, column: Column) -> None:
        values = [dataset, column.id, column.key_name, column.type, column.description, column.hidden, column.created_at, column.updated_at]
        db.execute(f"INSERT INTO dataset_column (dataset, {_COLUMN}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def _execute(self, sql: str, values: list[Any]) -> None:
        def work(db: duckdb.DuckDBPyConnection) -> None:
            db.execute(sql, values)

        self.store.transact(work)

    # -- datasets

    def datasets(self) -> list[Dataset]:
        """Every dataset, by slug."""
        rows = self.store.read(
            """
            SELECT d.slug, d.name, d.description, d.expand_json_depth, d.created_at, e.last_written_at, coalesce(c.columns, 0)
            FROM dataset d
            LEFT JOIN (SELECT dataset, max(ingest_time) AS last_written_at FROM event GROUP BY dataset) e ON e.dataset = d.slug
            LEFT JOIN (SELECT dataset, count(*) AS columns FROM dataset_column GROUP BY dataset) c ON c.dataset = d.slug
            ORDER BY d.slug
            """
        )
        return [Dataset(*row) for row in rows]

    def dataset(self, name: str) -> Dataset | None:
        """One dataset by name or slug, in any casing."""
        key = slug(name)
        return next((dataset for dataset in self.datasets() if dataset.slug == key), None)

    def has_dataset(self, name: str) -> bool:
        return bool(self.store.read("SELECT 1 FROM dataset WHERE slug = ?", [slug(name)]))

    def expand_json_depth(self, name: str) -> int:
        """How deep nested JSON of the Events API becomes columns of its own; 0 keeps it as a string."""
        rows = self.store.read("SELECT expand_json_depth FROM dataset WHERE slug = ?", [slug(name)])
        return int(rows[0][0]) if rows else 0

    def create_dataset(self, name: str, description: str, expand_json_depth: int) -> tuple[Dataset, bool]:
        """The dataset of that name, and whether it is new."""
        key = slug(name)

        def work(db: duckdb.DuckDBPyConnection) -> bool:
            if db.execute("SELECT 1 FROM dataset WHERE slug = ?", [key]).fetchone():
                return False
            db.execute("INSERT INTO dataset VALUES (?, ?, ?, ?, ?)", [key, name, description, expand_json_depth, time.time_ns()])
            return True

        created = self.store.transact(work)
        dataset = self.dataset(key)
        assert dataset is not None
        return dataset, created

    def delete_dataset(self, name: str) -> bool:
        """Delete a dataset with its events and columns; False when there is none."""
        key = slug(name)

        def work(db: duckdb.DuckDBPyConnection) -> bool:
            found = db.execute("SELECT 1 FROM dataset WHERE slug = ?", [key]).fetchone() is not None
            db.execute("DELETE FROM event WHERE dataset = ?", [key])
            db.execute("DELETE FROM dataset_column WHERE dataset = ?", [key])
            db.execute("DELETE FROM dataset WHERE slug = ?", [key])
            return found

        return self._delete(key, work)

    # -- columns

    def columns(self, dataset: str) -> list[Column]:
        """The columns of a dataset, by name, with when each was last written."""
        key = slug(dataset)
        rows = self.store.read(f"SELECT {_COLUMN} FROM dataset_column WHERE dataset = ? ORDER BY key_name", [key])
        written = dict(
            self.store.read(
                """
                SELECT key, max(ingest_time)
                FROM (SELECT unnest(json_keys(attributes)) AS key, ingest_time FROM event WHERE dataset = ?) GROUP BY key
                """,
                [key],
            )
        )
        latest = ", ".join(f'max(ingest_time) FILTER (WHERE "{name}" IS NOT NULL)' for name in PROMOTED)
        promoted = self.store.read(f"SELECT {latest} FROM event WHERE dataset = ?", [key])[0]
        for name, last in zip(PROMOTED, promoted, strict=True):
            if last is not None:
                written[name] = max(last, written.get(name) or last)
        return [Column(*(*row, written.get(row[1]))) for row in rows]

    def create_column(self, dataset: str, key_name: str, type_: str, description: str, hidden: bool) -> Column | None:
        """A new column; None when the dataset has one of that name."""
        key = slug(dataset)
        now = time.time_ns()
        column = Column(new_id(), key_name, type_, description, hidden, now, now)

        def work(db: duckdb.DuckDBPyConnection) -> bool:
            if db.execute("SELECT 1 FROM dataset_column WHERE dataset = ? AND key_name = ?", [key, key_name]).fetchone():
                return False
            self._insert_column(db, key, column)
            return True

        return column if self.store.transact(work) else None

    def update_column(self, dataset: str, identifier: str, changes: dict[str, Any]) -> None:
        """Change ``type``, ``description`` or ``hidden`` of a column."""
        sets = "".join(f'"{name}" = ?, ' for name in changes)
        values = [*changes.values(), time.time_ns(), slug(dataset), identifier]
        self._execute(f"UPDATE dataset_column SET {sets}updated_at = ? WHERE dataset = ? AND id = ?", values)

    def delete_column(self, dataset: str, identifier: str) -> None:
        """Forget a column's definition. Its values stay; the next event that has it defines it again."""
        key = slug(dataset)

        def work(db: duckdb.DuckDBPyConnection) -> None:
            db.execute("DELETE FROM dataset_column WHERE dataset = ? AND id = ?", [key, identifier])

        self._delete(key, work)

    def _delete(self, dataset: str, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Run a deletion. Forgotten before and after: what is written meanwhile may come before it or after it."""
        self._catalog.forget(dataset)
        try:
            return self.store.transact(work)
        finally:
            self._catalog.forget(dataset)

    # -- queries

    def create_query(self, dataset: str, spec: dict[str, Any]) -> Query:
        query = Query(new_id(), dataset, spec)
        self._execute("INSERT INTO query VALUES (?, ?, ?, ?)", [query.id, dataset, orjson.dumps(spec).decode(), time.time_ns()])
        return query

    def query(self, dataset: str, identifier: str) -> Query | None:
        rows = self.store.read("SELECT id, dataset, spec FROM query WHERE id = ? AND dataset = ?", [identifier, dataset])
        return Query(rows[0][0], rows[0][1], orjson.loads(rows[0][2])) if rows else None

    def create_query_run(self, dataset: str, query_id: str, disable_series: bool, limit: int | None) -> QueryRun:
        run = QueryRun(new_id(), dataset, query_id, disable_series, limit, time.time_ns())
        self._execute(
            "INSERT INTO query_result VALUES (?, ?, ?, ?, ?, ?)", [run.id, dataset, query_id, disable_series, limit, run.created_at]
        )
        return run

    def query_run(self, dataset: str, identifier: str) -> QueryRun | None:
        rows = self.store.read(
            """
            SELECT id, dataset, query_id, disable_series, row_limit, created_at
            FROM query_result WHERE id = ? AND dataset = ?
            """,
            [identifier, dataset],
        )
        return QueryRun(*rows[0]) if rows else None
