"""A trace's documents as they are stored, read back in bounded memory: a trace may be of any size, and DuckDB's own readings are not."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from localstack import longtext
from localstack.store import Store, row_ranges

_COLUMNS = "trace_id, id, parent_id, independent, start_time, end_time, received, revision, document, long_text"

#: Bytes that a range of rows is read of at once (:func:`localstack.store.row_ranges`).
_RANGE_BYTES = 2 * 1024 * 1024

#: Bytes of documents that are held because they were read last: about a dozen pages of summaries. In memory they are a few times that.
_RECENT_BYTES = 6 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A row of the segment table, as much as a trace is put together from."""

    trace_id: str
    id: str
    parent_id: str | None
    independent: bool
    start_time: float
    end_time: float | None
    received: float
    revision: int
    document: str


class Documents:
    """The documents of one store, by the ids of their traces in X-Ray's form and lower case."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def sizes(self, trace_ids: Sequence[str]) -> dict[str, int]:
        """Bytes of the documents of each trace of which something is stored."""
        found = self._store.read(
            "SELECT trace_id, sum(bytes)::BIGINT FROM segment WHERE trace IN (SELECT unnest($traces::UUID[])) GROUP BY trace_id",
            {"traces": _uuids(trace_ids)},
        )
        return dict(found)

    def of(self, trace_ids: Sequence[str]) -> dict[str, list[StoredDocument]]:
        """All documents of some traces, of which all together fit into memory."""
        if not trace_ids:
            return {}
        parameters = {"traces": _uuids(trace_ids)}
        chosen = "FROM segment WHERE trace IN (SELECT unnest($traces::UUID[]))"
        try:
            with self._store.transaction() as db:
                documents = _whole(db, db.execute(f"SELECT {_COLUMNS} {chosen}", parameters).fetchall())
        except duckdb.OutOfMemoryException:
            # Not for these documents: for what is stored between them.
            with self._store.transaction() as db:
                places = db.execute(f"SELECT rowid, bytes {chosen} ORDER BY rowid", parameters).fetchall()
                documents = _read(db, places)
        found: dict[str, list[StoredDocument]] = {}
        for document in documents:
            found.setdefault(document.trace_id, []).append(document)
        return found

    def part(self, trace_id: str, most: int, after: str = "") -> tuple[list[StoredDocument], bool]:
        """Documents of a trace by (start_time, id), those after the one with this id, of ``most`` bytes or one; and whether that is all."""
        with self._store.transaction() as db:
            places = db.execute(
                "SELECT rowid, bytes, id FROM segment WHERE trace = $trace::UUID ORDER BY start_time, id", {"trace": _uuids([trace_id])[0]}
            ).fetchall()
            first = next((number + 1 for number, (_, _, identity) in enumerate(places) if identity == after), 0)
            last = first
            while last < len(places) and (last == first or places[last][1] <= most):
                most -= places[last][1]
                last += 1
            documents = _read(db, sorted((row, size) for row, size, _ in places[first:last]))
        return sorted(documents, key=lambda one: (one.start_time, one.id)), last == len(places)


class Recent:
    """Documents of the traces that were summarized last: who lists traces mostly fetches them next, and DuckDB's way to five traces among a
    hundred thousand is long. Safe from any thread.

    What is held is good for as long as no segment arrives. Each trace is held whole or not at all.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._commits = -1
        self._held: OrderedDict[str, tuple[int, list[StoredDocument]]] = OrderedDict()
        self._room = _RECENT_BYTES

    def commits(self) -> int:
        """The moment, before a reading, that :meth:`keep` wants to know."""
        return self._store.appends("segment")

    def keep(self, commits: int, sizes: Mapping[str, int], documents: Mapping[str, list[StoredDocument]]) -> None:
        """Hold these traces, of ``sizes`` bytes, which were read after ``commits``."""
        with self._lock:
            self._check()
            if commits != self._commits:
                return
            for trace_id, found in documents.items():
                if trace_id not in self._held:
                    self._held[trace_id] = (sizes[trace_id], found)
                    self._room -= sizes[trace_id]
            while self._room < 0:
                _, (size, _) = self._held.popitem(last=False)
                self._room += size

    def of(self, trace_ids: Sequence[str]) -> tuple[dict[str, int], dict[str, list[StoredDocument]]]:
        """Bytes and documents of those of the traces that are held."""
        with self._lock:
            self._check()
            held = {trace_id: self._held[trace_id] for trace_id in trace_ids if trace_id in self._held}
        return {trace_id: size for trace_id, (size, _) in held.items()}, {trace_id: found for trace_id, (_, found) in held.items()}

    def _check(self) -> None:
        commits = self.commits()
        if commits != self._commits:
            self._held.clear()
            self._commits, self._room = commits, _RECENT_BYTES


def _read(db: duckdb.DuckDBPyConnection, places: Sequence[tuple[int, int]]) -> list[StoredDocument]:
    """The rows with these ids; within the transaction the ids are of."""
    found: list[StoredDocument] = []
    for first, last in row_ranges(places, _RANGE_BYTES):
        found += _whole(db, db.execute(f"SELECT {_COLUMNS} FROM segment WHERE rowid BETWEEN ? AND ?", [first, last]).fetchall())
    return found


def _whole(db: duckdb.DuckDBPyConnection, rows: Sequence[tuple[Any, ...]]) -> list[StoredDocument]:
    """The documents of rows of the columns, with the long texts; within the transaction that has read them."""
    texts = longtext.whole(db, (row[-1] for row in rows))
    found: list[list[Any]] = [[*fields, texts.get(long, document)] for *fields, document, long in rows]
    return [StoredDocument(*fields) for fields in found]


def _uuids(trace_ids: Sequence[str]) -> list[str]:
    return [trace_id[2:].replace("-", "") for trace_id in trace_ids]
