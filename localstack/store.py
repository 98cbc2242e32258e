"""The DuckDB store of a local vendor: one file, one owner, one writer thread with group commit.

A call that writes returns only when its rows are committed to the file, so what a vendor acknowledges survives SIGKILL.
Many callers wait for the same commit: the writer thread takes everything that is queued, puts it into one transaction
and then answers all of them.

    store = Store(path, application="parallax.rollbar", migrations=["CREATE TABLE item (id BIGINT PRIMARY KEY, data JSON)"])
    store.transact(lambda db: db.execute("INSERT INTO item VALUES (?, ?)", [1, "{}"]))
    store.append({"event": arrow_table})
    rows = store.read("SELECT data FROM item WHERE id = ?", [1])
    store.close()
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import duckdb
import pyarrow as pa

T = TypeVar("T")

#: Rows that one transaction takes at most, so that a commit never holds a caller for long.
GROUP_ROWS = 16_384


class StoreError(Exception):
    """The database file cannot be used. The message is one line that names the file and the next step."""


class StoreClosed(Exception):
    """The store was closed before this write could be committed; nothing of it was stored."""


@dataclass
class _Append:
    tables: Mapping[str, pa.Table]
    rows: int
    done: Future[None]


@dataclass
class _Transact:
    work: Callable[[duckdb.DuckDBPyConnection], Any]
    done: Future[Any]


class Store:
    """One vendor's DuckDB file.

    ``application`` names whose file it is; a file of another application, a file that is not DuckDB, or one made by a
    newer version is refused with StoreError and left as it was. ``migrations`` are applied in order, once each.
    """

    def __init__(
        self, path: Path | str, application: str, migrations: Sequence[str], memory_limit: str = "256MB", threads: int = 2
    ) -> None:
        self.path = Path(path)
        self.application = application
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = duckdb.connect(str(self.path), config={"memory_limit": memory_limit, "threads": threads})
        except duckdb.Error as error:
            raise StoreError(
                f"{self.path} cannot be opened as a DuckDB file ({_first_line(error)}); move it away or run `make clean`"
            ) from error
        try:
            self._connection.execute("SET preserve_insertion_order = false")
            self._migrate(migrations)
        except duckdb.Error as error:
            self._connection.close()
            raise StoreError(
                f"{self.path} cannot be brought up to date ({_first_line(error)}); move it away or run `make clean`"
            ) from error
        except StoreError:
            self._connection.close()
            raise
        self._local = threading.local()
        self._queue: queue.SimpleQueue[_Append | _Transact | None] = queue.SimpleQueue()
        self._closed = False
        self._closing = threading.Lock()
        self._writer = threading.Thread(target=self._write_loop, name=f"store-writer-{self.path.stem}", daemon=True)
        self._writer.start()

    # -- writing

    def append(self, tables: Mapping[str, pa.Table]) -> None:
        """Insert Arrow tables, each into the table of its key (columns by name); return when they are committed."""
        tables = {name: table for name, table in tables.items() if table.num_rows}
        if not tables:
            return
        done: Future[None] = Future()
        self._enqueue(_Append(tables, sum(table.num_rows for table in tables.values()), done))
        done.result()

    def transact(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Run ``work`` inside a transaction of the writer thread; return its result when it is committed.

        ``work`` may run twice (when another caller's work in the same group fails), so it must do nothing but read and
        write this database. What it raises is raised here, and nothing it wrote is kept.
        """
        done: Future[Any] = Future()
        self._enqueue(_Transact(work, done))
        return cast(T, done.result())

    # -- reading

    def read(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Rows of a query, fetched whole. Safe from any thread, beside the writer; sees what is committed."""
        return self.cursor().execute(sql, parameters).fetchall()

    def read_dicts(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Rows of a query as dictionaries by column name."""
        result = self.cursor().execute(sql, parameters)
        names = [column[0] for column in result.description or []]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """This thread's own cursor, for reading."""
        cursor = getattr(self._local, "cursor", None)
        if cursor is None:
            cursor = self._local.cursor = self._connection.cursor()
        return cast(duckdb.DuckDBPyConnection, cursor)

    def close(self) -> None:
        """Commit what is queued, then close the file. Later writes raise StoreClosed."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._writer.join()
        self._connection.close()

    # -- inside

    def _enqueue(self, job: _Append | _Transact) -> None:
        with self._closing:
            if self._closed:
                raise StoreClosed(f"{self.path} is closed")
            self._queue.put(job)

    def _migrate(self, migrations: Sequence[str]) -> None:
        db = self._connection
        tables = {row[0] for row in db.execute("SELECT table_name FROM information_schema.tables").fetchall()}
        if tables and "parallax_store" not in tables:
            raise StoreError(f"{self.path} is a DuckDB file of another program; move it away")
        db.execute("CREATE TABLE IF NOT EXISTS parallax_store (application VARCHAR, version INTEGER)")
        row = db.execute("SELECT application, version FROM parallax_store").fetchone()
        if row is None:
            db.execute("INSERT INTO parallax_store VALUES (?, 0)", [self.application])
            row = (self.application, 0)
        application, version = row
        if application != self.application:
            raise StoreError(f"{self.path} belongs to {application}, not to {self.application}; move it away")
        if version > len(migrations):
            raise StoreError(
                f"{self.path} was made by a newer Parallax (version {version}, this one knows {len(migrations)}); update, or move it away"
            )
        for number, statement in enumerate(migrations[version:], start=version + 1):
            db.execute("BEGIN")
            db.execute(statement)
            db.execute("UPDATE parallax_store SET version = ?", [number])
            db.execute("COMMIT")

    def _write_loop(self) -> None:
        db = self._connection.cursor()
        stop = False
        while not stop:
            job = self._queue.get()
            if job is None:
                break
            group: list[_Append | _Transact] = [job]
            rows = job.rows if isinstance(job, _Append) else 1
            while rows < GROUP_ROWS:
                try:
                    job = self._queue.get_nowait()
                except queue.Empty:
                    break
                if job is None:
                    stop = True
                    break
                group.append(job)
                rows += job.rows if isinstance(job, _Append) else 1
            self._commit(db, group)
        db.close()

    def _commit(self, db: duckdb.DuckDBPyConnection, group: list[_Append | _Transact]) -> None:
        """Commit a group; when it fails, each member alone, so that one caller's error is only its own."""
        try:
            results = self._apply(db, group)
        except Exception as error:
            if len(group) == 1:
                group[0].done.set_exception(error)
                return
            for job in group:
                self._commit(db, [job])
            return
        for job, result in zip(group, results, strict=True):
            job.done.set_result(result)

    def _apply(self, db: duckdb.DuckDBPyConnection, group: list[_Append | _Transact]) -> list[Any]:
        results: list[Any] = []
        db.execute("BEGIN")
        try:
            waiting: dict[str, list[pa.Table]] = {}
            for job in group:
                if isinstance(job, _Append):
                    for name, table in job.tables.items():
                        waiting.setdefault(name, []).append(table)
                    results.append(None)
                else:
                    # A function may read what was appended before it.
                    self._insert(db, waiting)
                    results.append(job.work(db))
            self._insert(db, waiting)
            db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(duckdb.Error):
                db.execute("ROLLBACK")
            raise
        return results

    @staticmethod
    def _insert(db: duckdb.DuckDBPyConnection, waiting: dict[str, list[pa.Table]]) -> None:
        for name, tables in waiting.items():
            db.register("appended", pa.concat_tables(tables, promote_options="default"))
            try:
                db.execute(f'INSERT INTO "{name}" BY NAME SELECT * FROM appended')
            finally:
                db.unregister("appended")
        waiting.clear()


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200]
