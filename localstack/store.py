"""The DuckDB store of a local vendor: one file, one owner, one writer thread with group commit.

A call that writes returns only when its rows are committed to the file, so what a vendor acknowledges survives SIGKILL.
Many callers wait for the same commit: the writer thread takes everything that is queued, puts it into one transaction
and then answers all of them.

    store = Store(path, application="parallax.rollbar", migrations=["CREATE TABLE item (id BIGINT PRIMARY KEY, data JSON)"])
    store.transact(lambda db: db.execute("INSERT INTO item VALUES (?, ?)", [1, "{}"]))
    store.append({"event": arrow_table})
    rows = store.read("SELECT data FROM item WHERE id = ?", [1])
    store.close()

DuckDB allows one process to own a file: a vendor is one process with threads. Readers never wait for the writer; each
thread reads through its own cursor and sees what was committed when its query began.
"""

from __future__ import annotations

import contextlib
import queue
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import duckdb
import pyarrow as pa

# Arrow's own allocator keeps what it once took: about 70 MB of a vendor that ingests. The system's gives it back, as fast.
pa.set_memory_pool(pa.system_memory_pool())

T = TypeVar("T")

#: Rows that one transaction takes at most, so that a commit never holds a caller for long.
GROUP_ROWS = 16_384

#: How long a transaction waits for more callers, where there were more the last time.
LINGER_SECONDS = 0.01

#: Writes the rows of an Arrow table into the database, on the writer thread, inside the group's transaction.
Insert = Callable[[duckdb.DuckDBPyConnection, pa.Table], None]


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

    ``application`` names whose file it is; a file of another application, a file that is not DuckDB, a damaged one, one
    made by a newer version, or one that another process owns is refused with StoreError and left as it was.
    ``migrations`` are applied in order, once each.

    ``inserts`` says, for a table, how appended rows get into it where a plain insert is not enough (an upsert, ids in the
    order of commits). It finds what was appended with its rows to tables that have none, so it may take away there what it does not
    store here. Such a function may run twice for the same rows, as ``work`` of :meth:`transact`. Where it has a method ``prepare``, that
    is called with the writer thread's connection, once, before its first transaction.

    ``wal_limit``: how large DuckDB's write-ahead log grows before it becomes part of the file. Each time the last rows of every table are
    written anew, so a larger one is cheaper, and takes longer to read after a crash.
    """

    def __init__(
        self,
        path: Path | str,
        application: str,
        migrations: Sequence[str],
        memory_limit: str = "256MB",
        threads: int = 2,
        inserts: Mapping[str, Insert] | None = None,
        wal_limit: str = "16MB",
    ) -> None:
        self.path = Path(path)
        self.application = application
        self._inserts = dict(inserts or {})
        config: dict[str, Any] = {
            "memory_limit": memory_limit,
            "threads": threads,
            "wal_autocheckpoint": wal_limit,
            # Without these, DuckDB takes a file of SQLite for a reason to download an extension.
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        if self.path.exists():
            # Looked at read-only first: opening a file for writing may already change it (a WAL is replayed into it).
            with contextlib.closing(self._open(self.path, config | {"access_mode": "READ_ONLY"})) as looking:
                self._recognize(looking, migrations)
        else:
            self._create(config)
        self._connection = self._open(self.path, config)
        try:
            # Order comes from ORDER BY only; without this promise an insert needs less memory.
            self._connection.execute("SET preserve_insertion_order = false")
            self._migrate(migrations, memory_limit)
        except duckdb.Error as error:
            self._connection.close()
            raise StoreError(
                f"{self.path} cannot be brought up to date ({_first_line(error)}); move it away or run `make clean`"
            ) from error
        self._appends: dict[str, int] = {}
        self._local = threading.local()
        # Weak, so that the cursor of a thread that ended goes with it.
        self._cursors: weakref.WeakSet[duckdb.DuckDBPyConnection] = weakref.WeakSet()
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

    @contextlib.contextmanager
    def transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A transaction of the calling thread, beside the writer thread: committed at the end of the ``with``, or nothing of it.

        For long work on tables that nobody else writes, which would hold up all callers on the writer thread.
        """
        db = self.cursor()
        db.execute("BEGIN")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(duckdb.Error):
                db.execute("ROLLBACK")
            raise

    def appends(self, table: str) -> int:
        """How many commits have brought rows to ``table`` by :meth:`append` since this store was opened.

        It has grown by the time a caller of ``append`` is answered: who sees the same number twice has missed nothing between.
        """
        return self._appends.get(table, 0)

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
        """This thread's own cursor, for reading. Fetch a result whole: one left half read holds its snapshot of the file."""
        cursor = getattr(self._local, "cursor", None)
        if cursor is None:
            with self._closing:
                if self._closed:
                    raise StoreClosed(f"{self.path} is closed")
                cursor = self._local.cursor = self._connection.cursor()
                self._cursors.add(cursor)
        return cast(duckdb.DuckDBPyConnection, cursor)

    def close(self) -> None:
        """Commit what is queued, then close the file. Later writes and reads fail."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._writer.join()
        # The file stays locked while any cursor is open.
        for cursor in list(self._cursors):
            with contextlib.suppress(duckdb.Error):
                cursor.interrupt()
                cursor.close()
        self._connection.close()

    # -- inside

    def _enqueue(self, job: _Append | _Transact) -> None:
        with self._closing:
            if self._closed:
                raise StoreClosed(f"{self.path} is closed")
            self._queue.put(job)

    def _create(self, config: Mapping[str, Any]) -> None:
        """Make the file beside its place and move it there whole, so that a crash leaves no half-made file."""
        new = self.path.with_name(self.path.name + ".new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            new.unlink(missing_ok=True)
            with contextlib.closing(self._open(new, config)) as db:
                db.execute("CREATE TABLE parallax_store (application VARCHAR, version INTEGER)")
                db.execute("INSERT INTO parallax_store VALUES (?, 0)", [self.application])
            new.replace(self.path)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be made ({error}); set STATE_DIR to a folder that can be written") from error

    def _open(self, path: Path, config: Mapping[str, Any]) -> duckdb.DuckDBPyConnection:
        try:
            return duckdb.connect(str(path), config=dict(config))
        except duckdb.Error as error:
            holder = re.search(r"Conflicting lock is held in (.*?\(PID \d+\))", str(error))
            if holder:
                raise StoreError(
                    f"{self.path} is in use by another process, {holder[1]}; stop it with `make down`, or give this one another STATE_DIR"
                ) from error
            raise StoreError(
                f"{self.path} cannot be opened as a DuckDB file ({_first_line(error)}); move it away or run `make clean`"
            ) from error

    def _recognize(self, db: duckdb.DuckDBPyConnection, migrations: Sequence[str]) -> None:
        """Raise StoreError unless the file is one of this application, and not newer than ``migrations``."""
        try:
            marked = db.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'parallax_store'").fetchall()
            rows = db.execute("SELECT application, version FROM parallax_store").fetchall() if marked else []
        except duckdb.Error as error:
            raise StoreError(f"{self.path} cannot be read ({_first_line(error)}); move it away or run `make clean`") from error
        if not rows:
            raise StoreError(f"{self.path} is a DuckDB file of another program; move it away")
        application, version = rows[0]
        if application != self.application:
            raise StoreError(f"{self.path} belongs to {application}, not to {self.application}; move it away")
        if version > len(migrations):
            raise StoreError(
                f"{self.path} was made by a newer Parallax (version {version}, this one knows {len(migrations)}); "
                "update Parallax, or move the file away"
            )

    def _migrate(self, migrations: Sequence[str], memory_limit: str) -> None:
        db = self._connection
        ((version,),) = db.execute("SELECT version FROM parallax_store").fetchall()
        if version == len(migrations):
            return
        if version:
            # A file that was filled before may need any memory, once; without the limit it is DuckDB's own.
            db.execute("RESET memory_limit")
        for number, statement in enumerate(migrations[version:], start=version + 1):
            db.execute("BEGIN")
            db.execute(statement)
            db.execute("UPDATE parallax_store SET version = ?", [number])
            db.execute("COMMIT")
        if version:
            db.execute("CHECKPOINT")
            db.execute(f"SET memory_limit = '{memory_limit}'")

    def _write_loop(self) -> None:
        db = self._connection.cursor()
        for insert in self._inserts.values():
            prepare: Callable[[duckdb.DuckDBPyConnection], None] | None = getattr(insert, "prepare", None)
            if prepare is not None:
                prepare(db)
        stop = False
        callers = 1
        while not stop:
            job = self._queue.get()
            if job is None:
                break
            group: list[_Append | _Transact] = [job]
            rows = job.rows if isinstance(job, _Append) else 1
            patience = time.monotonic() + LINGER_SECONDS
            while rows < GROUP_ROWS:
                # Where several wrote at once before, the others are on their way: a transaction costs as much for one as for all.
                wait = patience - time.monotonic() if len(group) < callers else 0.0
                try:
                    job = self._queue.get(timeout=wait) if wait > 0 else self._queue.get_nowait()
                except queue.Empty:
                    break
                if job is None:
                    stop = True
                    break
                group.append(job)
                rows += job.rows if isinstance(job, _Append) else 1
            # Those who came while the last group was written are as many as write at once.
            callers = len(group)
            self._commit(db, group)
        db.close()

    def _commit(self, db: duckdb.DuckDBPyConnection, group: list[_Append | _Transact]) -> None:
        """Commit a group; when it fails, each member alone, so that one caller's error is only its own."""
        try:
            results = self._apply(db, group)
        except BaseException as error:  # whatever a caller's work raises is the caller's; this thread must live
            if len(group) == 1:
                group[0].done.set_exception(error)
                return
            for job in group:
                self._commit(db, [job])
            return
        for table in {table for job in group if isinstance(job, _Append) for table in job.tables}:
            self._appends[table] = self._appends.get(table, 0) + 1
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
                    # A result that the function did not read to its end would be in the way of the next statement.
                    db.complete()
            self._insert(db, waiting)
            db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(duckdb.Error):
                db.execute("ROLLBACK")
            raise
        return results

    def _insert(self, db: duckdb.DuckDBPyConnection, waiting: dict[str, list[pa.Table]]) -> None:
        for name in sorted(waiting, key=lambda name: name in self._inserts):
            rows = pa.concat_tables(waiting[name], promote_options="default")
            insert = self._inserts.get(name)
            if insert is not None:
                insert(db, rows)
            else:
                with registered(db, rows) as view:
                    db.execute(f'INSERT INTO "{name}" BY NAME SELECT * FROM {view}')
        waiting.clear()


@contextlib.contextmanager
def registered(db: duckdb.DuckDBPyConnection, rows: pa.Table) -> Iterator[str]:
    """Let SQL on ``db`` read an Arrow table for the length of a ``with``; yields the name to read it by."""
    db.register("appended", rows)
    try:
        yield "appended"
    except BaseException:
        # The view goes with the transaction; after a failed statement DuckDB refuses this one, and must not hide the cause.
        with contextlib.suppress(duckdb.Error):
            db.unregister("appended")
        raise
    db.unregister("appended")


def row_ranges(rows: Iterable[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """Ranges of row ids that hold just these rows, ``(rowid, bytes)`` in ascending order, each of ``most`` bytes or of one row.

    DuckDB reads 2,048 rows of a column at a time, of long texts more than its memory limit; of all conditions only one on a range of
    ``rowid`` (or that a column equals a constant) keeps it from those that are not wanted.
    """
    ranges: list[tuple[int, int]] = []
    room = 0
    for row, size in rows:
        room -= size
        if ranges and row == ranges[-1][1] + 1 and room >= 0:
            ranges[-1] = (ranges[-1][0], row)
        else:
            ranges.append((row, row))
            room = most - size
    return ranges


class Feed:
    """An Arrow table that SQL reads by a name, another one each time: so that a statement over it can be prepared.

        feed = Feed(db, "arrived", empty)
        db.execute("PREPARE keep AS INSERT INTO item FROM arrived")
        feed.rows = table
        db.execute("EXECUTE keep")

    All tables have the schema of the first, ``rows``.
    """

    def __init__(self, db: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> None:
        self.rows = rows
        db.register(name, self)

    # The Arrow PyCapsule interface.

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.rows.__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> object:
        return self.rows.schema.__arrow_c_schema__()


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200]
